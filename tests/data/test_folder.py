from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from making import picture, write_pictures
from PIL import Image

from latentscape.data import DataSettings, describe, load_data
from latentscape.data.scan import decode_all
from latentscape.data.sources import folder as source


def test_a_flat_folder(tmp_path):
    names = write_pictures(tmp_path / "set", 20)
    data = load_data(tmp_path / "set")
    assert (data.name, data.files, data.labels) == ("set", tuple(names), None)
    assert data.x.shape == (20, 3, 12, 12)
    for i, name in enumerate(names):
        assert np.array_equal(data.x[i], np.asarray(Image.open(tmp_path / "set" / name)).transpose(2, 0, 1))
    assert data.findings.used == data.findings.found == 20
    assert data.findings.modes == {"RGB": 20}
    assert data.findings.sizes == {"12x12": 20}


def test_class_folders_are_labels_in_alphabetical_order(tmp_path):
    write_pictures(tmp_path / "dog", 3, seed=1)
    write_pictures(tmp_path / "cat", 2, seed=2)
    write_pictures(tmp_path / "dog" / "puppies", 1, seed=3)
    data = load_data(tmp_path)
    assert data.label_names == ("cat", "dog")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1, 1, 1, 1]
    assert data.files is not None
    assert data.files[-1] == "dog/puppies/000.png"


def test_one_lone_folder_is_no_label(tmp_path):
    write_pictures(tmp_path / "images", 3)
    assert load_data(tmp_path).labels is None


def test_pictures_outside_of_class_folders_have_no_label(tmp_path):
    write_pictures(tmp_path / "a", 1, seed=1)
    write_pictures(tmp_path / "b", 1, seed=2)
    write_pictures(tmp_path, 1, seed=3)
    data = load_data(tmp_path)
    assert data.labels is not None
    assert data.labels.tolist() == [-1, 0, 1]
    assert any("no label" in note for note in data.findings.notes)


def test_folders_named_after_splits_are_the_split(tmp_path):
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        for label in ("cat", "dog"):
            write_pictures(
                tmp_path / part / label, count, seed=len(part) * 10 + len(label) + count * 100 + ord(label[0])
            )
    data = load_data(tmp_path)
    assert data.sizes() == {"train": 8, "valid": 4, "test": 6}
    assert data.label_names == ("cat", "dog")
    assert data.files is not None
    assert all(data.files[i].startswith("val/") for i in data.indices("valid"))


@pytest.mark.parametrize(("mode", "channels"), [("auto", 1), ("grey", 1), ("rgb", 3)])
def test_grey_folders(tmp_path, mode, channels):
    write_pictures(tmp_path, 4, mode="L")
    assert load_data(tmp_path, DataSettings(mode=mode)).x.shape == (4, channels, 12, 12)


def test_one_coloured_picture_makes_the_set_coloured_without_harm_to_the_grey_ones(tmp_path):
    write_pictures(tmp_path, 12, mode="L")
    picture(99).save(tmp_path / "zzz.png")
    data = load_data(tmp_path)
    assert data.x.shape == (13, 3, 12, 12)
    for i in range(12):
        grey = np.asarray(Image.open(tmp_path / f"{i:03d}.png"))
        assert (data.x[i].numpy() == grey).all()
    assert np.array_equal(data.x[12], np.asarray(picture(99)).transpose(2, 0, 1))


def test_the_split_of_a_picture_does_not_depend_on_the_company_it_keeps(tmp_path):
    write_pictures(tmp_path / "grey", 40, mode="L")
    write_pictures(tmp_path / "both", 40, mode="L")
    picture(77).save(tmp_path / "both" / "x.png")
    alone, together = load_data(tmp_path / "grey"), load_data(tmp_path / "both")
    assert together.split[:40].tolist() == alone.split.tolist()


def test_mixed_sizes_want_a_size(tmp_path, refused):
    write_pictures(tmp_path, 3, size=(12, 12))
    picture(50, 9, 20).save(tmp_path / "other.png")
    with refused("2 sizes", "12x12 (3)", "9x20 (1)", "--size 12"):
        load_data(tmp_path)
    data = load_data(tmp_path, DataSettings(size="8x10"))
    assert data.x.shape == (4, 3, 8, 10)
    assert data.findings.sizes == {"12x12": 3, "9x20": 1}


def test_many_sizes_are_counted_not_all_listed(tmp_path, refused):
    for i in range(9):
        picture(i, 10 + i, 10).save(tmp_path / f"{i}.png")
    with refused("9 sizes", "…"):
        load_data(tmp_path)


def test_rotated_pictures_agree_in_size(tmp_path):
    picture(1, 16, 32).save(tmp_path / "a.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(2, 32, 16).save(tmp_path / "b.jpg", exif=exif)
    assert load_data(tmp_path).x.shape == (2, 3, 16, 32)


def test_what_cannot_be_read_is_listed_and_skipped(tmp_path):
    write_pictures(tmp_path, 5)
    (tmp_path / "001.png").write_bytes((tmp_path / "001.png").read_bytes()[:60])
    (tmp_path / "003.png").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    data = load_data(tmp_path)
    assert data.files == ("000.png", "002.png", "004.png")
    assert [file for file, _ in data.findings.unreadable] == ["001.png", "003.png", "empty.jpg"]
    assert all(reason for _, reason in data.findings.unreadable)
    assert (data.findings.found, data.findings.used) == (6, 3)


def test_nothing_readable_is_an_error(tmp_path, refused):
    (tmp_path / "a.png").write_text("no picture")
    (tmp_path / "b.png").touch()
    with refused("none of the 2 pictures", "a.png", "not a picture"):
        load_data(tmp_path)


def test_a_file_that_vanishes_while_scanning_is_listed(tmp_path, monkeypatch):
    write_pictures(tmp_path, 4)
    listed = source.list_pictures(tmp_path)
    (tmp_path / "002.png").unlink()
    monkeypatch.setattr(source, "list_pictures", lambda folder: listed)
    assert load_data(tmp_path).findings.unreadable == [("002.png", "vanished while being read")]


def test_pictures_without_a_suffix_are_known_by_content(tmp_path):
    picture(1).save(tmp_path / "first", "PNG")
    picture(2).save(tmp_path / "second.dat", "JPEG")
    (tmp_path / "notes").write_text("nothing")
    assert load_data(tmp_path).files == ("first", "second.dat")


def test_hidden_files_are_left_out(tmp_path):
    write_pictures(tmp_path, 2)
    write_pictures(tmp_path / ".thumbnails", 2, seed=5)
    picture(9).save(tmp_path / "._000.png")
    assert load_data(tmp_path).files == ("000.png", "001.png")


def test_a_link_back_up_is_no_endless_tree(tmp_path):
    write_pictures(tmp_path, 2)
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert len(load_data(tmp_path)) == 2


def test_odd_file_names(tmp_path):
    for name in ("mit Leerzeichen.png", "ünïcode-文.png", "new\nline.png"):
        picture(len(name)).save(tmp_path / name)
    path = os.fsencode(tmp_path) + b"/bad-\xff.png"
    shutil.copy(tmp_path / "mit Leerzeichen.png", path)
    data = load_data(tmp_path)
    assert data.files is not None
    assert len(data.files) == 4
    assert load_data(tmp_path).files == data.files


def test_one_picture_is_a_set_of_one(tmp_path):
    image = picture(3, 20, 30)
    image.save(tmp_path / "cat.png")
    data = load_data(tmp_path / "cat.png")
    assert (data.name, data.files, len(data)) == ("cat", ("cat.png",), 1)
    assert np.array_equal(data.x[0], np.asarray(image).transpose(2, 0, 1))
    assert data.sizes()["train"] == 1
    assert load_data(tmp_path / "cat.png", DataSettings(size="8", mode="grey")).x.shape == (1, 1, 8, 8)
    picture(3, mode="L").save(tmp_path / "grey.png")
    assert load_data(tmp_path / "grey.png", DataSettings(mode="rgb")).x.shape == (1, 3, 12, 12)


def test_one_damaged_picture_is_an_error(tmp_path, refused):
    picture(3).save(tmp_path / "cat.png")
    (tmp_path / "cat.png").write_bytes((tmp_path / "cat.png").read_bytes()[:50])
    with refused("cat.png", "cannot be read"):
        load_data(tmp_path / "cat.png")


def test_a_folder_without_pictures_says_what_is_there(tmp_path, refused):
    with refused("nothing in it"):
        load_data(tmp_path)
    for name in ("a.docx", "b.docx", "c.xml"):
        (tmp_path / name).write_text("x")
    with refused("2 .docx", "1 .xml", "pictures"):
        load_data(tmp_path)


def test_exact_copies_are_found_and_stay_on_one_side(tmp_path):
    write_pictures(tmp_path / "a", 40)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    Image.open(tmp_path / "a" / "000.png").save(tmp_path / "b" / "same.bmp")
    data = load_data(tmp_path)
    assert ["a/000.png", "b/000.png", "b/same.bmp"] in data.findings.duplicates
    assert len(data.findings.duplicates) == 40
    assert data.split[:40].tolist() == data.split[40:80].tolist()
    assert data.sizes()["test"] > 0


def test_equal_content_has_one_fingerprint_wherever_and_whenever(tmp_path):
    write_pictures(tmp_path / "one", 10)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    os.utime(tmp_path / "two" / "003.png", (1, 1))
    one = load_data(tmp_path / "one").fingerprint
    assert load_data(tmp_path / "two").fingerprint == one
    picture(500).save(tmp_path / "two" / "003.png")
    assert load_data(tmp_path / "two").fingerprint != one


def test_no_bar_where_there_is_no_terminal(tmp_path, capfd):
    write_pictures(tmp_path, 3)
    load_data(tmp_path, progress=True)
    assert capfd.readouterr() == ("", "")


def test_a_bar_on_a_terminal_goes_to_standard_error_only(tmp_path, capsys, monkeypatch):
    write_pictures(tmp_path, 3)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    load_data(tmp_path, progress=True)
    said = capsys.readouterr()
    assert said.out == ""
    assert "reading pictures" in said.err


def test_quiet_on_a_terminal_too(tmp_path, capsys, monkeypatch):
    write_pictures(tmp_path, 3)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    load_data(tmp_path)
    assert capsys.readouterr() == ("", "")


def test_order_and_content_survive_uneven_decoding_times(tmp_path):
    write_pictures(tmp_path, 60)
    for i in range(0, 60, 7):
        picture(i, 300, 300).resize((12, 12)).save(tmp_path / f"{i:03d}.png", compress_level=9)
    rows: list[np.ndarray] = []
    names = sorted(p.name for p in tmp_path.iterdir())
    decode_all(names, lambda i: tmp_path / names[i], DataSettings(), rows.append, "here", False)
    for name, row in zip(names, rows, strict=True):
        assert np.array_equal(row, np.asarray(Image.open(tmp_path / name)).transpose(2, 0, 1))


def test_description_counts_what_was_found(tmp_path):
    write_pictures(tmp_path / "a", 5, seed=1)
    write_pictures(tmp_path / "b", 3, seed=2)
    (tmp_path / "a" / "bad.png").touch()
    told = describe(load_data(tmp_path))
    assert told["labels"] == {"a": 5, "b": 3}
    assert told["unreadable"]["count"] == 1
    assert told["shape"] == [3, 12, 12]
    assert Path(told["cache"]).is_dir()
    assert sum(told["split"].values()) == told["n"] == 8


def test_pixels_are_mapped_not_loaded(tmp_path):
    write_pictures(tmp_path, 3)
    data = load_data(tmp_path)
    assert data.cache_path is not None
    with open("/proc/self/maps") as maps:
        assert str(data.cache_path / "pixels.bin") in maps.read()
    assert data.x.dtype == torch.uint8
