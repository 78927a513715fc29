from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from making import picture, write_pictures

from latentscape.data import DataSettings, Findings, ImageSet, describe, load_data, to_range
from latentscape.tasks import training


def test_importing_is_cheap():
    code = """
import sys, latentscape.data as room
room.NAMES
print([name for name in ("torch", "numpy", "PIL", "sklearn", "pyarrow", "rich") if name in sys.modules])
room.load_data, room.ImageSet
print([name for name in ("sklearn", "pyarrow", "rich") if name in sys.modules])
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split("\n")[:2] == ["[]", "[]"]


def test_the_public_names_are_all_there():
    import latentscape.data as room

    for name in room.__all__:
        assert getattr(room, name) is not None
    assert callable(room.fetch)
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = room.nothing_such


def test_an_image_set_passes_through():
    data = load_data("digits")
    assert load_data(data) is data


def unknown_files(folder: Path) -> dict[str, tuple[Path, tuple[str, ...]]]:
    """Things that are no data, and what must be said of them."""
    content = {
        "text": ("notes.txt", b"hello there, this is text", ("unknown kind", ".npy")),
        "empty": ("empty.bin", b"", ("an empty file",)),
        "table": ("labels.csv", b"file,label\n", ("a table", "--labels")),
        "weights": ("model.pt", b"", ("an empty file",)),
        "compressed": ("data.gz", gzip.compress(b"something"), ("compressed", "unpack")),
        "json": ("x.json", b"{}", ("unknown kind",)),
    }
    cases = {}
    for kind, (name, body, words) in content.items():
        (folder / name).write_bytes(body)
        cases[kind] = (folder / name, words)
    with tarfile.open(folder / "x.tar.gz", "w:gz") as archive:
        archive.add(folder / "notes.txt")
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        archive.writestr("a.txt", "b")
    torch.save({"a": torch.zeros(2)}, folder / "weights.pt")
    cases["tar"] = folder / "x.tar.gz", ("archive", "unpack")
    cases["zip"] = folder / "x.zip", ("archive", "unpack")
    cases["torch"] = folder / "weights.pt", ("PyTorch file",)
    return cases


@pytest.mark.parametrize("kind", ["text", "empty", "table", "weights", "compressed", "json", "tar", "zip", "torch"])
def test_unknown_files_are_named_for_what_they_are(tmp_path, refused, kind):
    path, words = unknown_files(tmp_path)[kind]
    with refused(str(path), "a folder of pictures", *words):
        load_data(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("digit", ("did you mean", "digits")),
        ("fashionmnist", ("fashion-mnist",)),
        ("/nowhere/at/all", ("no path '/nowhere/at/all'", "names are", "digits")),
        ("", ("no path ''",)),
        ("owner/name", ("hub", "it is called hf:owner/name")),
        ("a\nb", ("'a b'",)),
        ("x" * 5000, ("no data set",)),
        ("bad\0name", ("no data set",)),
    ],
)
def test_what_is_not_there_is_told_with_close_matches(refused, text, words):
    with refused("there is no data set and no path", *words):
        load_data(text)


def test_close_matches_of_a_path(tmp_path, refused):
    (tmp_path / "pictures").mkdir()
    with refused(str(tmp_path / "pictures")):
        load_data(tmp_path / "picturs")


def test_a_pipe_is_neither_file_nor_folder(tmp_path, refused):
    import os

    os.mkfifo(tmp_path / "pipe")
    with refused("must be a file or a folder"):
        load_data(tmp_path / "pipe")


def test_a_tilde_is_home(tmp_path, monkeypatch):
    write_pictures(tmp_path / "set", 2)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load_data("~/set")) == 2


def test_files_are_known_by_content_not_by_name(tmp_path):
    np.save(tmp_path / "a.npy", np.full((3, 2, 2), 9, np.uint8))
    (tmp_path / "a.npy").rename(tmp_path / "array.png")
    picture(1).save(tmp_path / "picture.npy", "PNG")
    assert len(load_data(tmp_path / "array.png")) == 3
    assert len(load_data(tmp_path / "picture.npy")) == 1


def test_pixels_in_every_range():
    x = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert torch.allclose(to_range(x, "unit"), torch.tensor([0, 0.2, 1]))
    assert torch.allclose(to_range(x, "real"), torch.tensor([0, 0.2, 1]))
    assert torch.allclose(to_range(x, "signed"), torch.tensor([-1, -0.6, 1]))
    for value_range in ("unit", "signed"):
        assert to_range(x, value_range).dtype == torch.float32
    vectors = torch.tensor([300.0, -4])
    assert to_range(vectors, "signed") is vectors


def test_examples_are_scaled_and_leave_the_set_alone():
    data = load_data("digits")
    before = data.x.clone()
    x = data.examples(torch.tensor([5, 3]), "signed")
    assert torch.allclose((x + 1) * 127.5, data.x[[5, 3]].float(), atol=1e-4)
    assert torch.equal(data.x, before)


def binarised(kind: str, seed: int = 0) -> tuple[ImageSet, ImageSet]:
    x = np.random.default_rng(seed).integers(2, 255, (600, 6, 6), dtype=np.uint8)
    return load_data(x), load_data(x, DataSettings(binarise=kind))


def test_fixed_bits_are_drawn_once_with_the_pixels_as_chances():
    grey, bits = binarised("fixed")
    assert set(bits.x.unique().tolist()) == {0, 255}
    chance = grey.x.double() / 255
    error = (bits.x.double() / 255 - chance).mean()
    assert abs(error) < 4 * (chance * (1 - chance)).sum().sqrt() / chance.numel()
    bright = bits.x[grey.x > 200].double().mean() / 255
    assert bright == pytest.approx(grey.x[grey.x > 200].double().mean().item() / 255, abs=0.03)
    assert torch.equal(bits.x, binarised("fixed")[1].x)
    assert bits.fingerprint != grey.fingerprint
    assert torch.equal(bits.split, grey.split)


def test_dynamic_bits_leave_training_grey():
    grey, bits = binarised("dynamic")
    train = bits.indices("train")
    assert torch.equal(bits.x[train], grey.x[train])
    for part in ("valid", "test"):
        assert set(bits.x[bits.indices(part)].unique().tolist()) == {0, 255}
    assert torch.equal(bits.x, binarised("dynamic")[1].x)
    assert bits.binarise == "dynamic"


def test_bits_need_grey(refused):
    x = np.random.default_rng(0).integers(2, 255, (20, 3, 6, 6), dtype=np.uint8)
    with refused("--binarise fixed", "3 channels", "--mode grey"):
        load_data(x, DataSettings(binarise="fixed"))
    assert len(load_data(x, DataSettings(binarise="fixed", mode="grey"))) == 20


def test_digits_at_the_size_of_a_model():
    data = load_data("digits", DataSettings(size="28x28", mode="rgb"))
    assert data.x.shape == (1797, 3, 28, 28)
    assert data.x.float().mean() == pytest.approx(load_data("digits").x.float().mean().item(), rel=0.05)


def test_fingerprints_tell_content_labels_and_split_apart():
    x = np.random.default_rng(0).integers(2, 255, (50, 4, 4), dtype=np.uint8)
    labels = np.arange(50) % 3
    base = load_data((x, labels))
    assert load_data((x.copy(), labels.copy())).fingerprint == base.fingerprint
    changed = x.copy()
    changed[7, 1, 1] ^= 1
    others = [
        load_data((changed, labels)), load_data((x, (labels + 1) % 3)), load_data(x), load_data((x[::-1], labels)),
        load_data((x, labels), DataSettings(test_fraction=0.4)), load_data((x.reshape(50, 2, 8), labels)),
        load_data((x, np.array(["a", "b", "c"])[labels])),
    ]  # fmt: skip
    assert len({base.fingerprint, *(o.fingerprint for o in others)}) == len(others) + 1


def test_findings_survive_json():
    found = Findings(5, 3, [("a", "b")], [["c", "d", "e"]], [("f", "g")], {"L": 3}, {"2x3": 3}, ["a note"])
    assert Findings.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize("name", ["digits", "curves", "shapes"])
def test_descriptions_are_plain_json(name):
    data = load_data(name)
    told = json.loads(json.dumps(describe(data)))
    assert told["name"] == name
    assert told["n"] == len(data) == sum(told["split"].values())
    assert told["values"] == ("float32 vectors" if name == "curves" else "uint8 pixels")
    assert sum(told["labels"].values()) == len(data)
    assert told["fingerprint"] == data.fingerprint
    if name == "shapes":
        assert told["attributes"]["hue"]["min"] < told["attributes"]["hue"]["mean"] < told["attributes"]["hue"]["max"]


def test_descriptions_cut_long_lists():
    data = load_data("digits")
    data.findings.unreadable = [(f"{i}.png", "damaged") for i in range(50)]
    told = describe(data)
    assert told["unreadable"]["count"] == 50
    assert len(told["unreadable"]["first"]) == 20


def test_a_folder_called_like_a_set_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is trained on and what the run says it was trained on are the same."""
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    run = training.train("pca", "digits", out=tmp_path / "run")
    assert run.folder.config()["run"]["data"] == "digits"
    assert len(run.data) == 1797
