from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from making import idx_bytes, write_idx

from latentscape.data import DataSettings, load_data
from latentscape.data.sources.idx import read_idx


def four_files(folder: Path, suffix: str = "", n: tuple[int, int] = (30, 10), side: int = 6) -> np.ndarray:
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (sum(n), side, side), dtype=np.uint8)
    labels = (np.arange(sum(n)) % 10).astype(np.uint8)
    write_idx(folder / f"train-images-idx3-ubyte{suffix}", images[: n[0]])
    write_idx(folder / f"train-labels-idx1-ubyte{suffix}", labels[: n[0]])
    write_idx(folder / f"t10k-images-idx3-ubyte{suffix}", images[n[0] :])
    write_idx(folder / f"t10k-labels-idx1-ubyte{suffix}", labels[n[0] :])
    return images


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("inner", ["", "raw"])
def test_four_files_give_images_labels_and_the_fixed_split(tmp_path, suffix, inner):
    images = four_files(tmp_path / inner, suffix)
    data = load_data(tmp_path)
    assert data.x.dtype == torch.uint8
    assert np.array_equal(data.x[:, 0].numpy(), images)
    assert data.sizes() == {"train": 30, "valid": 0, "test": 10}
    assert data.indices("test").tolist() == list(range(30, 40))
    assert data.labels is not None
    assert data.labels.tolist() == [i % 10 for i in range(40)]
    assert data.classes == 10
    assert str(data.shape) == "1×6×6"


def test_plain_and_compressed_twins_are_read_once(tmp_path):
    four_files(tmp_path)
    four_files(tmp_path, ".gz")
    assert len(load_data(tmp_path)) == 40


def test_plain_and_compressed_have_one_fingerprint_wherever_they_lie(tmp_path):
    four_files(tmp_path / "a")
    four_files(tmp_path / "b", ".gz")
    assert load_data(tmp_path / "a").fingerprint == load_data(tmp_path / "b").fingerprint


def test_valid_images_are_taken_out_of_the_training_part_by_content(tmp_path):
    four_files(tmp_path, n=(300, 40))
    data = load_data(tmp_path, DataSettings(valid_fraction=0.2))
    assert data.sizes()["test"] == 40
    assert 30 <= data.sizes()["valid"] <= 90
    assert data.indices("valid").max() < 300


def test_label_values_need_not_start_at_zero(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((3, 2, 2), np.uint8))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.array([7, 3, 7], np.uint8))
    data = load_data(tmp_path, DataSettings(valid_fraction=0, test_fraction=0))
    assert data.label_names == ("3", "7")
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0, 1]


def test_a_single_file_brings_the_labels_beside_it(tmp_path):
    images = four_files(tmp_path)
    data = load_data(tmp_path / "t10k-images-idx3-ubyte")
    assert np.array_equal(data.x[:, 0].numpy(), images[30:])
    assert data.labels is not None
    assert len(data.labels) == 10


def test_a_file_known_by_content_whatever_its_name(tmp_path):
    path = write_idx(tmp_path / "mystery.dat", np.arange(48, dtype=np.uint8).reshape(3, 4, 4))
    assert load_data(path).x.flatten().tolist() == list(range(48))


def test_two_axes_are_vectors(tmp_path):
    path = write_idx(tmp_path / "points", np.arange(12, dtype=np.float32).reshape(6, 2))
    data = load_data(path)
    assert data.x.dtype == torch.float32
    assert str(data.shape) == "vector of 2"
    assert data.x.flatten().tolist() == list(range(12))


idx_arrays = st.sampled_from(["u1", "i1", ">i2", ">i4", ">f4", ">f8"]).flatmap(
    lambda kind: hnp.arrays(np.dtype(kind), hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))
)


@given(array=idx_arrays, packed=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_array_comes_back(tmp_path_factory, array, packed):
    native = array.astype(array.dtype.newbyteorder("="))
    path = tmp_path_factory.mktemp("idx") / f"some{'.gz' if packed else ''}"
    write_idx(path, native)
    found = read_idx(path)
    assert found.shape == native.shape
    assert found.dtype == native.dtype
    assert found.tobytes() == native.tobytes()


@given(images=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6)))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_images_of_any_shape_load(tmp_path_factory, images):
    path = write_idx(tmp_path_factory.mktemp("idx") / "images", images)
    data = load_data(path, DataSettings(valid_fraction=0, test_fraction=0))
    assert np.array_equal(data.x[:, 0].numpy(), images)
    assert sum(data.sizes().values()) == len(images)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("change", [-3, +3])
def test_a_wrong_length_is_told(tmp_path, refused, packed, change):
    content = idx_bytes(np.arange(64, dtype=np.uint8).reshape(4, 4, 4))
    content = content[:change] if change < 0 else content + b"abc"
    path = tmp_path / ("images.gz" if packed else "images")
    path.write_bytes(gzip.compress(content) if packed else content)
    with refused("images", "64 bytes", "4×4×4", "found"):
        load_data(path)


def test_a_header_that_promises_the_impossible_takes_no_memory(tmp_path, refused):
    content = bytes([0, 0, 8, 3]) + b"\xff" * 12 + bytes(100)
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(content))
    with refused("fewer"):
        load_data(path)


def test_a_cut_gzip_stream_is_told(tmp_path, refused):
    rng = np.random.default_rng(0)
    content = gzip.compress(idx_bytes(rng.integers(0, 256, (9, 9, 9), dtype=np.uint8)))
    path = tmp_path / "images.gz"
    path.write_bytes(content[:-200])
    with refused("damaged"):
        load_data(path)


def test_labels_must_match_the_images(tmp_path, refused):
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((3, 2, 2), np.uint8))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(4, np.uint8))
    with refused("one label per image", "4", "3"):
        load_data(tmp_path)


def test_labels_alone_are_not_a_set(tmp_path, refused):
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(4, np.uint8))
    with refused("none of images"):
        load_data(tmp_path)
    with refused("must be an IDX file of images"):
        load_data(tmp_path / "train-labels-idx1-ubyte")


def test_several_files_of_images_are_ambiguous(tmp_path, refused):
    for name in ("letters-train-images", "digits-train-images"):
        write_idx(tmp_path / f"{name}-idx3-ubyte", np.zeros((3, 2, 2), np.uint8))
    with refused("one IDX file of images per part", "letters-train-images"):
        load_data(tmp_path)


def test_parts_of_different_size_are_told(tmp_path, refused):
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((3, 2, 2), np.uint8))
    write_idx(tmp_path / "t10k-images-idx3-ubyte", np.zeros((3, 4, 4), np.uint8))
    with refused("2×2 and 4×4"):
        load_data(tmp_path)


def test_no_images_are_told(tmp_path, refused):
    path = write_idx(tmp_path / "images", np.zeros((0, 4, 4), np.uint8))
    with refused("no examples"):
        load_data(path)
