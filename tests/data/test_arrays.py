from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from latentscape.data import DataSettings, load_data
from latentscape.data.sources import arrays

RNG = np.random.default_rng(3)
PIXELS = RNG.integers(2, 256, (20, 5, 7, 3), dtype=np.uint8)


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize("array", [PIXELS, PIXELS.transpose(0, 3, 1, 2)], ids=["channels last", "channels first"])
@pytest.mark.parametrize("way", ["memory", "tensor", "npy", "npz", "npz packed"])
def test_colour_images_come_the_same_by_every_way(tmp_path, array, way):
    data = {
        "memory": lambda: array,
        "tensor": lambda: torch.from_numpy(np.ascontiguousarray(array)),
        "npy": lambda: saved(tmp_path / "a.npy", array),
        "npz": lambda: np.savez(tmp_path / "a.npz", images=array) or tmp_path / "a.npz",
        "npz packed": lambda: np.savez_compressed(tmp_path / "a.npz", array) or tmp_path / "a.npz",
    }[way]()
    found = load_data(data)
    assert np.array_equal(found.x.numpy(), PIXELS.transpose(0, 3, 1, 2))
    assert found.findings.notes == []
    assert found.fingerprint == load_data(PIXELS).fingerprint


def test_three_axes_are_grey():
    assert load_data(PIXELS[..., 0]).x.shape == (20, 1, 5, 7)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((9, 8, 8, 1), (1, 8, 8)), ((9, 1, 8, 8), (1, 8, 8)), ((9, 4, 8, 8), (4, 8, 8)), ((9, 8, 8, 2), (2, 8, 8)),
     ((9, 2, 8, 8), (2, 8, 8)), ((9, 3, 5, 3), (3, 5, 3))],
)  # fmt: skip
def test_where_the_channels_are(shape, expected):
    assert load_data(RNG.integers(2, 256, shape, dtype=np.uint8)).shape.dims == expected


CONVERSIONS = {
    "uint8": (np.array([0, 100, 255], np.uint8), [0, 100, 255], ""),
    "bool": (np.array([False, True, True]), [0, 255, 255], "0 and 1"),
    "uint8 of 0 and 1": (np.array([0, 1, 1], np.uint8), [0, 255, 255], "0 and 1"),
    "uint16": (np.array([0, 257 * 100, 65535], np.uint16), [0, 100, 255], "257"),
    "uint16 of 8 bits": (np.array([0, 100, 255], np.uint16), [0, 100, 255], "whole numbers"),
    "int64": (np.array([0, 100, 255]), [0, 100, 255], "whole numbers"),
    "unit floats": (np.array([0, 0.5, 1.0]), [0, 128, 255], "[0,1]"),
    "signed floats": (np.array([-1, 0.0, 1.0], np.float32), [0, 128, 255], "[-1,1]"),
    "whole floats": (np.array([0, 100.0, 255.0], np.float32), [0, 100, 255], "whole numbers"),
    "half floats": (np.array([0, 0.25, 1.0], np.float16), [0, 64, 255], "[0,1]"),
}


@pytest.mark.parametrize("kind", CONVERSIONS)
def test_types_and_ranges_become_eight_bits_and_say_so(kind):
    values, expected, note = CONVERSIONS[kind]
    data = load_data(values.reshape(1, 1, 3))
    assert data.x.dtype == torch.uint8
    assert data.x.flatten().tolist() == expected
    assert len(data.findings.notes) == bool(note)
    assert note in "".join(data.findings.notes)


def test_half_of_255_rounds_to_even_in_the_tie():
    assert load_data(np.array([[[0.1, 0.5, 1.0]]])).x.flatten().tolist() == [26, 128, 255]


@pytest.mark.parametrize(
    ("values", "found"),
    [([-3.0, 0, 1], "-3 to 1"), ([0, 0.5, 300], "0 to 300"), ([0, 0.5, 200], "0 to 200"), ([0, 5, 256], "256")],
)
def test_other_ranges_are_refused(refused, values, found):
    with refused("[0,1]", "[-1,1]", found):
        load_data(np.array(values).reshape(1, 1, 3))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_value_that_is_not_finite_is_named(refused, bad):
    values = np.zeros((5000, 2, 2), np.float32)
    values[4500, 1, 0] = bad
    values[4700, 0, 0] = bad
    with refused("(4500, 1, 0)", str(bad), "finite"):
        load_data(values)
    with refused("(4500, 2)"):
        load_data(values.reshape(5000, 4))


def test_two_axes_are_vectors_as_they_are():
    values = RNG.normal(0, 100, (30, 4))
    data = load_data(values)
    assert data.x.dtype == torch.float32
    assert np.allclose(data.x, values, rtol=1e-6)
    assert not data.shape.is_image
    assert torch.equal(data.examples(torch.tensor([1, 0]), "signed"), data.x[[1, 0]])


def test_uint8_vectors_are_told_to_be_perhaps_pixels():
    assert any("28×28" in note for note in load_data(np.full((12, 784), 7, np.uint8)).findings.notes)


def test_vectors_take_no_size_no_mode_no_bits(refused):
    values = np.zeros((4, 2))
    for settings_, flag in ((DataSettings(size="8"), "--size"), (DataSettings(mode="rgb"), "--mode"),
                            (DataSettings(binarise="fixed"), "--binarise")):  # fmt: skip
        with refused(flag, "vectors"):
            load_data(values, settings_)


def test_numbers_too_large_for_float32_are_refused(refused):
    with refused("float32"):
        load_data(np.full((3, 2), 1e300))


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        (np.array([3, 5, 3]), ("3", "5"), [0, 1, 0]),
        (np.array(["b", "a", "b"]), ("a", "b"), [1, 0, 1]),
        (np.array([[3], [5], [3]]), ("3", "5"), [0, 1, 0]),
        (np.array([2.0, 1.0, 2.0]), ("1", "2"), [1, 0, 1]),
        (np.array([[0, 1], [1, 0], [0, 1]]), ("0", "1"), [1, 0, 1]),
        (torch.tensor([9, 8, 9]), ("8", "9"), [1, 0, 1]),
        ([1, 0, 1], ("0", "1"), [1, 0, 1]),
        (np.array(["b", "a", "b"], dtype=object), ("a", "b"), [1, 0, 1]),
    ],
)
def test_labels_of_any_kind(labels, names, expected):
    data = load_data((PIXELS[:3], labels))
    assert data.label_names == names
    assert data.labels is not None
    assert data.labels.tolist() == expected
    assert data.labels.dtype == torch.int64


@pytest.mark.parametrize("labels", [np.zeros(4, int), np.array([0.5, 1, 2]), np.zeros((3, 2)), np.array([None, 1, 2])])
def test_labels_that_do_not_fit(refused, labels):
    with refused("labels"):
        load_data((PIXELS[:3], labels))


def test_tensors_on_a_graph_and_bfloat16():
    x = torch.rand(3, 4, 4, requires_grad=True)
    assert torch.equal(load_data(x).x[:, 0], (x.detach().double() * 255).round().to(torch.uint8))
    assert load_data(x.detach().bfloat16()).x.shape == (3, 1, 4, 4)


def test_memory_is_shared_where_nothing_is_converted():
    images = np.ascontiguousarray(PIXELS.transpose(0, 3, 1, 2))
    assert load_data(images).x.data_ptr() == images.ctypes.data


def test_an_array_that_cannot_be_written_is_no_warning(recwarn):
    images = np.ascontiguousarray(PIXELS.transpose(0, 3, 1, 2))
    images.flags.writeable = False
    load_data(images)
    assert not recwarn


def test_big_images_stay_on_disk(tmp_path):
    path = saved(tmp_path / "a.npy", np.ascontiguousarray(PIXELS.transpose(0, 3, 1, 2)))
    data = load_data(path)
    with open("/proc/self/maps") as maps:
        assert str(path) in maps.read()
    data.x[0, 0, 0, 0] = 0  # copy-on-write: the file stays as it is
    assert np.load(path)[0, 0, 0, 0] == PIXELS[0, 0, 0, 0]


@pytest.mark.parametrize("shape", [(5,), (0, 3, 3), (2, 0, 3), (2, 2, 2, 2, 2), ()])
def test_shapes_that_are_no_data(refused, shape):
    with refused("array must"):
        load_data(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("values", [np.array([["a", "b"]]), np.zeros((2, 2), complex), np.array([[None, 1]])])
def test_types_that_are_no_data(refused, values):
    with refused("numbers"):
        load_data(values)


def test_ragged_lists_are_no_data(refused):
    with refused("one length"):
        load_data(([[1, 2], [3]], [0, 1]))


@pytest.mark.parametrize("thing", [7, {"x": 1}, None, (1, 2, 3)])
def test_things_that_are_no_data(refused, thing):
    with refused("a path, an array"):
        load_data(thing)


def test_parts_of_an_npz(tmp_path):
    np.savez(
        tmp_path / "a.npz", x_train=PIXELS[:12], y_train=np.arange(12) % 3, x_test=PIXELS[12:], y_test=np.arange(8) % 3
    )
    data = load_data(tmp_path / "a.npz")
    assert data.sizes() == {"train": 12, "valid": 0, "test": 8}
    assert data.classes == 3
    assert np.array_equal(data.x.numpy(), PIXELS.transpose(0, 3, 1, 2))
    np.savez(tmp_path / "b.npz", train_images=PIXELS[:12], val_images=PIXELS[12:15], test_images=PIXELS[15:],
             train_labels=np.zeros((12, 1)), val_labels=np.ones((3, 1)), test_labels=np.ones((5, 1)))  # fmt: skip
    assert load_data(tmp_path / "b.npz").sizes() == {"train": 12, "valid": 3, "test": 5}


def test_labels_and_attributes_of_an_npz(tmp_path):
    factors = RNG.random((20, 2))
    np.savez(tmp_path / "a.npz", imgs=PIXELS, labels=np.arange(20) % 4, latents_values=factors)
    data = load_data(tmp_path / "a.npz")
    assert data.classes == 4
    assert data.attribute_names == ("latents_value_0", "latents_value_1")
    assert data.attributes is not None
    assert np.allclose(data.attributes, factors)


def test_attributes_that_do_not_fit_are_noted(tmp_path):
    np.savez(tmp_path / "a.npz", imgs=PIXELS, factors=RNG.random((19, 2)))
    data = load_data(tmp_path / "a.npz")
    assert data.attributes is None
    assert any("factors is left out" in note for note in data.findings.notes)


def test_the_only_array_needs_no_usual_name(tmp_path):
    np.savez(tmp_path / "a.npz", weird=PIXELS, version=np.array(1))
    assert len(load_data(tmp_path / "a.npz")) == 20


def test_an_npz_without_a_hint_lists_what_it_holds(tmp_path, refused):
    np.savez(tmp_path / "a.npz", one=PIXELS, two=PIXELS)
    with refused("a.npz", "images", "one, two"):
        load_data(tmp_path / "a.npz")


def test_fortran_order_is_read_right(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.asfortranarray(PIXELS))
    saved(tmp_path / "a.npy", np.asfortranarray(PIXELS))
    for name in ("a.npz", "a.npy"):
        assert np.array_equal(load_data(tmp_path / name).x.numpy(), PIXELS.transpose(0, 3, 1, 2))


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


def test_objects_are_never_unpickled(tmp_path, refused):
    sprung = tmp_path / "sprung"
    trap = np.array([Trap(sprung)] * 3, dtype=object)
    np.save(tmp_path / "a.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "b.npz", x=trap)
    np.savez(tmp_path / "c.npz", x=PIXELS, y=np.array([Trap(sprung)] * 20, dtype=object))
    (tmp_path / "d.npy").write_bytes(pickle.dumps(Trap(sprung)))
    (tmp_path / "e.pkl").write_bytes(pickle.dumps(Trap(sprung), protocol=0))
    for name in ("a.npy", "b.npz", "c.npz"):
        with refused("never unpickled"):
            load_data(tmp_path / name)
    for name in ("d.npy", "e.pkl"):
        with refused("pickled file, which is never read"):
            load_data(tmp_path / name)
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()  # the trap works


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, refused, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((3000, 40, 40), np.uint8))
    monkeypatch.setattr(arrays, "BOMB_BYTES", 1 << 20)
    monkeypatch.setattr(arrays, "BOMB_RATIO", 100)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *args, **kwargs: pytest.fail("it was opened"))
    with refused("4,800,128", "refused"):
        load_data(tmp_path / "a.npz")


def test_more_than_the_memory_is_refused(tmp_path, refused, monkeypatch):
    np.savez(tmp_path / "a.npz", x=PIXELS)
    monkeypatch.setattr(arrays, "available_memory", lambda: 100)
    with refused("memory", "100", ".npy"):
        load_data(tmp_path / "a.npz")


def test_what_the_system_says_is_available():
    available = arrays.available_memory()
    assert available is None or 1 << 20 < available < 1 << 50


def forged(shape: tuple[int, ...], body: bytes) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"shape": shape, "fortran_order": False, "descr": "|u1"})
    return stream.getvalue() + body


@pytest.mark.parametrize("shape", [(1 << 20, 1 << 10, 1 << 10), (3, 4, 4), (1, 2, 2)])
def test_a_header_that_does_not_fit_the_file_is_told(tmp_path, refused, shape):
    content = forged(shape, bytes(20))
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("x.npy", content)
    for name in ("a.npy", "b.npz"):
        with refused("bytes of values", "found 20"):
            load_data(tmp_path / name)


def test_a_directory_that_lies_about_sizes_is_told(tmp_path, refused):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", forged((100, 8, 8), bytes(6400)))
    raw = bytearray((tmp_path / "a.npz").read_bytes())
    entry = raw.index(b"PK\x01\x02")
    raw[entry + 24 : entry + 28] = (6528 - 64).to_bytes(4, "little")
    (tmp_path / "a.npz").write_bytes(raw)
    with refused("6,400 bytes"):
        load_data(tmp_path / "a.npz")


def test_damaged_archives_are_told(tmp_path, refused):
    np.savez_compressed(tmp_path / "a.npz", x=RNG.integers(0, 255, (30, 8, 8), dtype=np.uint8))
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[:-30])
    with refused("a.npz"):
        load_data(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(whole[:300] + bytes(200) + whole[500:])
    with refused("x.npy in a.npz"):
        load_data(tmp_path / "a.npz")


def test_a_damaged_header_is_told(tmp_path, refused):
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': import}")
    with refused("a.npy", "not an array"):
        load_data(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x09")
    with refused("a.npy", "not an array"):
        load_data(tmp_path / "a.npy")


@given(
    hnp.arrays(
        st.sampled_from([np.dtype("u1"), np.dtype("?"), np.dtype("f4")]),
        hnp.array_shapes(min_dims=3, max_dims=4, min_side=1, max_side=6),
        elements={"min_value": 0, "max_value": 1},
    )
)
@settings(max_examples=50, deadline=None)
def test_any_small_array_loads_as_images(array):
    data = load_data(array, DataSettings(valid_fraction=0, test_fraction=0))
    scale = 1 if array.dtype == np.uint8 and array.max() == 0 else 255
    assert data.x.dtype == torch.uint8
    assert sorted(data.x.flatten().tolist()) == sorted(
        np.rint(array.astype(float) * scale).astype(int).flatten().tolist()
    )
    assert sum(data.sizes().values()) == len(array)


@pytest.mark.parametrize(("mode", "channels"), [("grey", 1), ("rgb", 3), ("auto", 3)])
def test_size_and_mode_of_arrays(mode, channels):
    data = load_data(PIXELS, DataSettings(size="8x10", mode=mode))
    assert data.x.shape == (20, channels, 8, 10)


def test_grey_arrays_can_be_coloured():
    data = load_data(PIXELS[..., 0], DataSettings(mode="rgb"))
    assert np.array_equal(data.x.numpy(), np.repeat(PIXELS[..., 0][:, None], 3, 1))


def test_arrays_and_files_are_resized_and_greyed_alike(tmp_path):
    from PIL import Image

    for i, picture in enumerate(PIXELS):
        Image.fromarray(picture).save(tmp_path / f"{i:02d}.png")
    settings_ = DataSettings(size="9", mode="grey", fit="stretch")
    files, memory = load_data(tmp_path, settings_), load_data(PIXELS, settings_)
    assert np.abs(files.x.numpy().astype(int) - memory.x.numpy()).max() <= 2


def test_odd_channel_counts_keep_their_colours_or_say_so(refused):
    odd = RNG.integers(2, 256, (6, 5, 8, 8), dtype=np.uint8)
    assert load_data(odd, DataSettings(size="4")).x.shape == (6, 5, 4, 4)
    with refused("1 or 3 channels", "found 5"):
        load_data(odd, DataSettings(mode="grey"))
