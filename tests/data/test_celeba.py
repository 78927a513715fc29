"""CelebA in its official layout: the miniature of `celeba`, read, damaged, fetched and unpacked."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import celeba
from latentscape.data import DataSettings, fetch, fetching, load_data
from latentscape.data.sources import celeba as source

SMALL = DataSettings(size="56")


@pytest.fixture(scope="session")
def original(tmp_path_factory) -> Path:
    return celeba.make(tmp_path_factory.mktemp("original") / "faces")


@pytest.fixture
def faces(original, tmp_path) -> Path:
    return shutil.copytree(original, tmp_path / "faces")


def column(data, name):
    return data.attributes[:, data.attribute_names.index(name)]


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_the_official_layout(faces):
    data = load_data(faces, SMALL)
    assert data.x.shape == (60, 3, 56, 56)
    assert data.sizes() == {"train": 40, "valid": 10, "test": 10}
    assert data.split.tolist() == [0] * 40 + [1] * 10 + [2] * 10
    assert data.files is not None
    assert data.files[:2] == ("000001.jpg", "000002.jpg")
    assert data.labels is None
    assert data.findings.notes == []
    assert data.attribute_names[:40] == tuple(celeba.NAMES)
    first = (faces / "list_attr_celeba.txt").read_text().splitlines()[2].split()[1:]
    assert data.attributes is not None
    assert data.attributes[0, :40].tolist() == [float(sign == "1") for sign in first]


def test_who_it_is_and_where_the_parts_of_the_face_are(faces):
    data = load_data(faces, SMALL)
    assert column(data, "identity").tolist() == [2880 + i // 3 for i in range(60)]
    assert data.attribute_names[40:] == (
        "identity",
        *(f"{point}_{axis}" for point in celeba.POINTS for axis in "xy"),
        *("box_x_1", "box_y_1", "box_width", "box_height"),
    )
    box = (faces / "list_bbox_celeba.txt").read_text().splitlines()[7].split()
    assert column(data, "box_width")[5] == float(box[3])


def test_a_size_resizes_the_short_side_and_cuts_the_middle_out(faces):
    """178×218 → 56×56: of the height, 178 rows from the 20th are seen; the landmarks say where the eyes come to lie."""
    data = load_data(faces, SMALL)
    assert data.files is not None
    seen = Image.open(faces / "img_align_celeba" / data.files[7]).crop((0, 20, 178, 198)).resize((56, 56), 1)
    assert np.abs(data.x[7].permute(1, 2, 0).numpy().astype(int) - np.asarray(seen)).mean() < 1
    bare = column(data, "Eyeglasses") == 0
    scale = 56 / 178
    for i in torch.nonzero(bare).flatten()[:5].tolist():
        x, y = float(column(data, "lefteye_x")[i]), float(column(data, "lefteye_y")[i])
        right, down = int((x + 0.5) * scale), int((y - 20 + 0.5) * scale)
        assert data.x[i, :, down, right].max() < 80  # the pupil
        assert data.x[i, :, down + 5, right].max() > 150  # skin


def test_as_large_as_they_are(faces):
    assert load_data(faces).x.shape == (60, 3, 218, 178)


def test_attributes_show_in_the_pictures(faces):
    data = load_data(faces, SMALL)
    mouth = data.x[:, :, 42:46, 24:32].float().amin(1).mean((1, 2))  # white teeth
    smiling = column(data, "Smiling") == 1
    assert mouth[smiling].min() > mouth[~smiling].max()


def test_an_attribute_is_the_label(faces):
    data = load_data(faces, DataSettings(size="16", label_attribute="Smiling"))
    assert data.label_names == ("no", "yes")
    assert data.labels is not None
    assert torch.equal(data.labels, column(data, "Smiling").long())


def test_the_zip_is_read_as_it_is(faces):
    unpacked = load_data(faces, SMALL)
    celeba.pack(faces)
    data = load_data(faces, SMALL)
    assert data.fingerprint == unpacked.fingerprint
    assert not (faces / "img_align_celeba").exists()
    assert data.cache_path != unpacked.cache_path


def test_the_cache_is_read_the_second_time(faces, monkeypatch):
    once = load_data(faces, SMALL)
    monkeypatch.setattr(source, "read_list", lambda *_: pytest.fail("the lists are read again"))
    again = load_data(faces, SMALL)
    assert again.fingerprint == once.fingerprint
    assert again.attribute_names == once.attribute_names


def test_a_changed_list_or_picture_is_seen(faces):
    once = load_data(faces, SMALL)
    path = faces / "list_eval_partition.txt"
    path.write_text(path.read_text().replace("000001.jpg  0", "000001.jpg  2"))
    assert load_data(faces, SMALL).sizes()["test"] == 11
    shutil.copy(faces / "img_align_celeba" / "000002.jpg", faces / "img_align_celeba" / "000001.jpg")
    assert not torch.equal(load_data(faces, SMALL).x[0], once.x[0])


def test_other_places_of_the_same_files(faces):
    """The folders of the official drive, the folder of pictures itself, and the copy on Kaggle."""
    once = load_data(faces, SMALL)
    assert load_data(faces / "img_align_celeba", SMALL).fingerprint == once.fingerprint
    for folder, names in (("Anno", "list_attr identity list_land list_bbox"), ("Eval", "list_eval"), ("Img", "img")):
        (faces / folder).mkdir()
        for name in names.split():
            for path in list(faces.glob(f"{name}*")):
                path.rename(faces / folder / path.name)
    assert load_data(faces, SMALL).fingerprint == once.fingerprint


def test_the_copy_on_kaggle(faces):
    once = load_data(faces, SMALL)
    for path in [*faces.glob("list_*.txt"), faces / "identity_CelebA.txt"]:
        lines = path.read_text().splitlines()
        rows = [",".join(line.split()) for line in lines if line.split()[0].endswith(".jpg")]
        head = next((line.split() for line in lines[1:2] if "jpg" not in line), ["value"])
        columns = [name for name in head if name != "image_id"]
        path.with_suffix(".csv").write_text("\n".join([",".join(["image_id", *columns]), *rows]))
        path.unlink()
    (faces / "identity_CelebA.csv").unlink()
    (faces / "outer").mkdir()
    (faces / "img_align_celeba").rename(faces / "outer" / "img_align_celeba")
    (faces / "outer").rename(faces / "img_align_celeba")
    data = load_data(faces, SMALL)
    assert torch.equal(data.x, once.x)
    assert torch.equal(data.split, once.split)
    assert torch.equal(column(data, "Smiling"), column(once, "Smiling"))
    assert torch.equal(column(data, "nose_x"), column(once, "nose_x"))


def test_only_pictures_and_partition_are_needed(faces):
    for name in ("list_attr_celeba", "identity_CelebA", "list_landmarks_align_celeba", "list_bbox_celeba"):
        (faces / f"{name}.txt").unlink()
    data = load_data(faces, SMALL)
    assert data.attributes is None
    assert "list_attr_celeba.txt is not there" in data.findings.notes[0]
    assert data.sizes()["valid"] == 10


def test_one_damaged_picture_does_not_stop_it(faces):
    (faces / "img_align_celeba" / "000003.jpg").write_bytes(b"no")
    data = load_data(faces, SMALL)
    assert [file for file, _ in data.findings.unreadable] == ["000003.jpg"]
    assert data.sizes()["train"] == 39
    assert column(data, "identity")[:5].tolist() == [2880, 2880, 2881, 2881, 2881]


def test_pictures_that_no_list_names_are_left_out(faces):
    shutil.copy(faces / "img_align_celeba" / "000001.jpg", faces / "img_align_celeba" / "000999.jpg")
    data = load_data(faces, SMALL)
    assert len(data) == 60
    assert "1 pictures are left out" in data.findings.notes[0]


# ---- what is missing or damaged --------------------------------------------------------------------------------------


def test_a_missing_partition_or_missing_pictures(faces, refused):
    (faces / "list_eval_partition.txt").rename(faces / "elsewhere")
    with refused("list_eval_partition.txt", "is missing in", "mmlab", "latentscape data fetch celeba"):
        load_data(faces, SMALL)
    (faces / "elsewhere").rename(faces / "list_eval_partition.txt")
    (faces / "img_align_celeba" / "000011.jpg").unlink()
    (faces / "img_align_celeba" / "000012.jpg").unlink()
    with refused("2 of 60 are missing, first 000011.jpg"):
        load_data(faces, SMALL)
    shutil.rmtree(faces / "img_align_celeba")
    with refused("img_align_celeba/ (or img_align_celeba.zip) is missing"):
        load_data(faces, SMALL)


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("list_attr_celeba.txt", "60\n", "61\n", "says that it names 61 pictures, found 60"),
        ("list_attr_celeba.txt", "000004.jpg ", "000004.jpg  7", "line 6"),
        ("list_attr_celeba.txt", "000004.jpg ", "000004.jpg  x", "a picture's name and 40 values of -1 or 1, found 'x"),
        ("list_attr_celeba.txt", "000004.jpg ", "../004.jpg ", "line 6"),
        ("list_attr_celeba.txt", "000004.jpg ", "000004.jpg  1 ", "found 41 for '000004.jpg'"),
        ("list_attr_celeba.txt", "000004.jpg ", "000999.jpg ", "1 of 60 are missing, first 000004.jpg"),
        ("list_eval_partition.txt", "000004.jpg  0", "000004.jpg  3", "line 4"),
        ("list_eval_partition.txt", "000004.jpg  0", "000004.jpg  3", "and 1 value of 0, 1 or 2, found '3'"),
        ("list_eval_partition.txt", "000004.jpg", "000005.jpg", "each picture once, found 1 named again"),
        ("identity_CelebA.txt", "000004.jpg 2881", "000004.jpg", "line 4"),
        ("list_landmarks_align_celeba.txt", "000001.jpg ", "000001.jpg 1.5 ", "values that are whole numbers"),
    ],
)
def test_a_damaged_list_is_told_with_its_line(faces, refused, name, old, new, words):
    path = faces / name
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))
    with refused(str(path) if "missing" not in words else name.removesuffix(".txt"), words):
        load_data(faces, SMALL)


def test_lists_that_are_no_text_and_an_empty_one(faces, refused):
    (faces / "list_attr_celeba.txt").write_bytes(b"\xff\xfe\x00")
    with refused("list_attr_celeba.txt cannot be read"):
        load_data(faces, SMALL)
    (faces / "list_attr_celeba.txt").write_text("")
    with refused("must name pictures, found none"):
        load_data(faces, SMALL)


def test_what_does_not_apply(faces, refused):
    with refused("--label-column", "--label-attribute Smiling"):
        load_data(faces, DataSettings(label_column="Smiling"))
    with refused("--labels is for folders of pictures"):
        load_data(faces, DataSettings(labels="x.csv"))


def test_a_zip_that_is_none_or_damaged(faces, refused):
    path = celeba.pack(faces)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("img_align_celeba/000002.jpg")
    content[info.header_offset + 200] ^= 255
    path.write_bytes(content)
    data = load_data(faces, SMALL)
    assert [file for file, _ in data.findings.unreadable] == ["000002.jpg"]
    assert "damaged in the zip" in data.findings.unreadable[0][1]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/img_align_celeba/000002.jpg", b"another of the name")
    with refused("must hold each picture once, found 000002.jpg twice"):
        load_data(faces, SMALL)
    path.write_bytes(b"PK no zip")
    with refused("is not a zip file that can be read"):
        load_data(faces, SMALL)


# ---- unpacking -------------------------------------------------------------------------------------------------------


def test_unpacking_writes_pictures_and_nothing_else(faces, tmp_path):
    path = celeba.pack(faces)
    with zipfile.ZipFile(path, "a") as archive:
        for name in (
            "../escaped.jpg",
            "/escaped.jpg",
            "img_align_celeba/../../escaped.jpg",
            "img_align_celeba/x.py",
        ):
            archive.writestr(name, b"no")
        archive.writestr("__MACOSX/img_align_celeba/000001.jpg", b"no")
    lines: list[str] = []
    folder = source.extract(path, lines.append)
    assert sorted(p.name for p in folder.iterdir()) == [f"{i:06d}.jpg" for i in range(1, 61)]
    assert not list(tmp_path.rglob("escaped*"))
    assert not [p for p in faces.iterdir() if p.name.startswith(".unpacking")]
    source.extract(path, lines.append)
    assert lines == [
        "img_align_celeba.zip: unpacking 60 pictures",
        "img_align_celeba: already unpacked, 60 pictures",
    ]


def test_a_member_larger_than_any_face_is_never_unpacked(faces, refused, monkeypatch):
    path = celeba.pack(faces)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("img_align_celeba/000999.jpg", bytes(1 << 20))
    monkeypatch.setattr(source, "_MOST_BYTES", 1 << 16)
    with refused("000999.jpg", "more than the 65,536 bytes"):
        source.extract(path, lambda _: None)
    assert not (faces / "img_align_celeba").exists()


def test_unpacking_half_a_folder_or_an_odd_zip(faces, refused):
    path = celeba.pack(faces)
    (faces / "img_align_celeba").mkdir()
    with refused("holds 0 of 60 pictures; remove it"):
        source.extract(path, lambda _: None)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "none")
    with refused("found no picture there"):
        source.extract(path, lambda _: None)


# ---- by name ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def mirror(faces, monkeypatch) -> Path:
    """The miniature as a place to fetch from, whose sums are the right ones."""
    celeba.pack(faces)
    sums = {file: hashlib.md5((faces / file).read_bytes()).hexdigest() for file in fetching.CELEBA_MD5}
    monkeypatch.setattr(fetching, "CELEBA_MD5", sums)
    monkeypatch.setattr(source, "COUNT", 60)
    return faces


def test_by_name_from_a_folder(mirror, own_places, refused):
    with refused("celeba is not in", str(own_places), "latentscape data fetch celeba"):
        load_data("celeba")
    lines: list[str] = []
    folder = fetch("celeba", str(mirror), lines.append)
    assert folder == own_places / "datasets" / "celeba"
    assert "not commercial" in lines[0]
    for line, (file, md5) in zip(lines[1:7], fetching.CELEBA_MD5.items(), strict=True):
        assert line == f"{file} from {mirror.as_uri()}/: expected MD5 {md5}, found {md5}"
    data = load_data("CelebA", SMALL)
    assert (data.name, len(data)) == ("celeba", 60)
    (folder / "img_align_celeba.zip").unlink()  # not needed any more
    again: list[str] = []
    fetch("celeba", str(mirror), again.append)
    assert "img_align_celeba.zip: already unpacked" in again
    assert load_data("celeba", SMALL).fingerprint == data.fingerprint


def test_the_second_address_is_tried_over_http(mirror, monkeypatch):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(mirror))

        def log_message(self, *args): ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setitem(
            fetching.ADDRESSES, "celeba", ("http://127.0.0.1:9/{id}", f"http://127.0.0.1:{server.server_port}/")
        )
        lines: list[str] = []
        folder = fetch("celeba", None, lines.append)
        server.shutdown()
    assert (folder / "img_align_celeba" / "000060.jpg").is_file()
    assert f"http://127.0.0.1:{server.server_port}/" in lines[1]


def test_what_can_be_done_without_is_left_out(mirror, refused):
    (mirror / "list_bbox_celeba.txt").unlink()
    (mirror / "identity_CelebA.txt").write_text("<html>too many have asked</html>")
    lines: list[str] = []
    folder = fetch("celeba", str(mirror), lines.append)
    assert not (folder / "identity_CelebA.txt").exists()
    assert any("identity_CelebA.txt is left out" in line and "a web page came in its place" in line for line in lines)
    data = load_data("celeba", SMALL)
    assert "identity" not in data.attribute_names
    (folder / "list_attr_celeba.txt").unlink()
    (mirror / "list_attr_celeba.txt").unlink()
    with refused("celeba could not be fetched", "put list_eval_partition.txt, list_attr_celeba.txt, img_align", "hand"):
        fetch("celeba", str(mirror), lines.append)
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_a_file_that_never_ends_is_refused(mirror, refused, monkeypatch):
    monkeypatch.setitem(fetching._MOST_BYTES, "celeba", 100)
    with refused("more than the 100 bytes"):
        fetch("celeba", str(mirror), lambda _: None)


def test_a_part_of_it_under_the_name_is_told(mirror, monkeypatch, refused, tmp_path):
    monkeypatch.setattr(source, "COUNT", 202_599)
    mirror.rename(tmp_path / "celeba")
    monkeypatch.setenv("LATENTSCAPE_DATA", str(tmp_path))
    with refused("must hold CelebA's 202,599 pictures, found 60"):
        load_data("celeba", SMALL)
