"""Tar shards: one, a folder, a pattern; labels, attributes, split; and everything that may be wrong with them."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile

import numpy as np
import pytest
import torch
from making import write_pictures
from PIL import Image
from shard_files import jpeg, write_shards, write_tar

from latentscape.data import DataSettings, load_data
from latentscape.data.sources import packing


def decoded(seed, **options):
    return np.asarray(Image.open(io.BytesIO(jpeg(seed, **options)))).transpose(2, 0, 1)


def test_a_folder_of_shards(tmp_path):
    data = load_data(write_shards(tmp_path / "set"))
    assert len(data) == 15
    assert data.name == "set"
    for i in range(15):
        assert np.array_equal(data.x[i], decoded(i))
    assert data.labels is not None
    assert data.labels.tolist() == [i % 3 for i in range(15)]
    assert data.label_names == ("0", "1", "2")
    assert data.attribute_names == ("age", "odd")
    assert data.attributes is not None
    assert data.attributes.tolist() == [[i, i % 2] for i in range(15)]
    assert data.files is not None
    assert data.files[7] == "set-000001.tar/00007.jpg"


def test_one_shard_a_pattern_and_an_attribute_as_the_label(tmp_path):
    write_shards(tmp_path)
    one = load_data(tmp_path / "set-000002.tar", DataSettings(label_attribute="odd"))
    assert len(one) == 5
    assert one.labels is not None
    assert one.labels.tolist() == [0, 1, 0, 1, 0]
    two = load_data(f"{tmp_path}/set-{{000000..000001}}.tar")
    assert (len(two), two.name) == (10, "set")
    listed = load_data(f"{tmp_path}/set-{{000001,000000}}.tar", DataSettings(size="6"))
    assert listed.files is not None
    assert listed.files[0] == "set-000001.tar/00005.jpg"
    assert listed.x.shape == (10, 3, 6, 6)


def test_names_give_the_split(tmp_path):
    for part in ("train", "val", "test"):
        write_shards(tmp_path / "named", 1, 2, f"faces-{part}-{{:03d}}.tar")
        write_shards(tmp_path / "folders" / part, 1, 2)
    for folder in ("named", "folders"):
        assert load_data(tmp_path / folder).sizes() == {"train": 2, "valid": 2, "test": 2}
    assert load_data(f"{tmp_path}/folders/{{train,test}}/set-000000.tar").sizes()["test"] == 2


def test_shards_are_packed_once_and_again_when_changed(tmp_path, monkeypatch):
    write_shards(tmp_path / "set")
    once = load_data(tmp_path / "set")
    with monkeypatch.context() as patch:
        patch.setattr(packing, "decode_all", lambda *_: pytest.fail("decoded again"))
        assert torch.equal(load_data(tmp_path / "set").x, once.x)
    write_tar(tmp_path / "set" / "set-000002.tar", {"a.png": jpeg(99)})
    assert len(load_data(tmp_path / "set")) == 11


def test_what_counts_as_an_example(tmp_path):
    members = {
        "./a/1.seg.png": jpeg(1),
        "./a/1.jpg": jpeg(2),
        "./a/1.cls": b"cat\n",
        "b/1.JPEG": jpeg(3),
        "b/1.json": b'{"label": "dog", "w": null}',
        "c.txt": b"a caption alone",
        "d.png": b"broken",
        "d.cls": b"owl",
        ".hidden.jpg": jpeg(4),
        "__MACOSX/e.jpg": jpeg(5),
        "f.png": jpeg(6),
        "f.json": b"not json",
        "g.depth.png": jpeg(7),
    }
    data = load_data(write_tar(tmp_path / "x.tar", members))
    assert data.files == ("x.tar/a/1.jpg", "x.tar/b/1.jpeg", "x.tar/f.png", "x.tar/g.depth.png")
    assert np.array_equal(data.x[0], decoded(2))
    assert [file for file, _ in data.findings.unreadable] == ["x.tar/d.png"]
    assert data.labels is not None
    assert [data.label_names[k] if k >= 0 else "" for k in data.labels.tolist()] == ["cat", "", "", ""]


def test_a_field_of_json_is_the_label(tmp_path, refused):
    members = {}
    for i, kind in enumerate(("cat", "dog", "cat")):
        members |= {f"{i}.png": jpeg(i), f"{i}.json": json.dumps({"kind": kind, "label": i}).encode()}
    path = write_tar(tmp_path / "x.tar", members)
    plain, asked = load_data(path), load_data(path, DataSettings(label_column="kind"))
    assert plain.label_names == ("0", "1", "2")
    assert asked.label_names == ("cat", "dog")
    assert plain.attribute_names == ("kind=dog",)
    with refused("--label-column must be cls or a field", "got age", "kind, label"):
        load_data(path, DataSettings(label_column="age"))


def test_links_and_devices_are_no_members(tmp_path, refused):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (("a.jpg", tarfile.SYMTYPE), ("b.jpg", tarfile.LNKTYPE), ("c.jpg", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    with refused("must hold pictures", "found none in 1 tar files"):
        load_data(path)


def test_names_that_lead_out_write_nothing(tmp_path):
    data = load_data(write_tar(tmp_path / "in" / "x.tar", {"../../out.jpg": jpeg(0), "/abs.jpg": jpeg(1)}))
    assert len(data) == 2
    assert not list(tmp_path.rglob("out.jpg"))
    assert not os.path.exists("/abs.jpg")


def test_damaged_and_compressed_ones(tmp_path, refused):
    path = write_tar(tmp_path / "x.tar", {f"{i}.jpg": jpeg(i, height=99, width=99) for i in range(5)})
    whole = path.read_bytes()
    path.write_bytes(whole[:6000])
    with refused("x.tar"):
        load_data(path)
    path.write_bytes(gzip.compress(whole))
    with refused("x.tar", "unpack"):
        load_data(path)
    path.write_bytes(whole[:512] + b"\xff" * 512 + whole[1024:])
    assert load_data(path).findings.unreadable[0][0] == "x.tar/0.jpg"


def test_patterns_that_stand_for_nothing_or_too_much(tmp_path, refused):
    write_shards(tmp_path)
    with refused("stands for 5 shards, and 2 are not there, first", "set-000003.tar"):
        load_data(f"{tmp_path}/set-{{000000..000004}}.tar")
    with refused("stands for more than 1,000,000 shards"):
        load_data(f"{tmp_path}/set-{{0..99999999}}.tar")
    with refused("there is no data set and no path"):
        load_data(f"{tmp_path}/gone.tar")


def test_a_folder_with_pictures_is_one_of_pictures(tmp_path):
    write_shards(tmp_path / "set", 1)
    write_pictures(tmp_path / "set", 3)
    assert len(load_data(tmp_path / "set")) == 3
    with_table = tmp_path / "other"
    write_shards(with_table, 1)
    (with_table / "labels.csv").write_text("file,label\n")
    assert len(load_data(with_table)) == 5


def test_old_tar_files_without_a_magic_are_known_by_their_checksum(tmp_path):
    path = write_tar(tmp_path / "x.bin", {"a.jpg": jpeg(0)})
    content = bytearray(path.read_bytes())
    content[257:265] = bytes(8)
    content[148:156] = b"        "
    content[148:156] = f"{sum(content[:512]):06o}\0 ".encode()
    path.write_bytes(content)
    assert len(load_data(path)) == 1
