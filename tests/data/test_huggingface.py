"""Sets of the Hugging Face hub: by name through a hub that the test plays, and as its library leaves them on a disk."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_parquet import png, write

from latentscape.data import DataSettings, fetch, load_data
from latentscape.data.sources.huggingface import parse

huggingface_hub = pytest.importorskip("huggingface_hub")
errors = pytest.importorskip("huggingface_hub.errors")

NAMES = {"image": {"_type": "Image"}, "label": {"names": ["pear", "apple"], "_type": "ClassLabel"}}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hf:owner/name", ("owner/name", "")),
        ("hf://owner/name", ("owner/name", "")),
        ("hf://datasets/owner/na.me-2_x", ("owner/na.me-2_x", "")),
        ("hf:owner/name/config", ("owner/name", "config")),
    ],
)
def test_names(name, expected):
    assert parse(name) == expected


@pytest.mark.parametrize("name", ["hf:", "hf:name", "hf:../name", "hf:a/b/../c", "hf:a/b/c/d/e", "hf:a b/c", "hf:/a/b"])
def test_what_is_no_name(name, refused):
    with refused("a data set on the hub is hf:owner/name", repr(name)):
        parse(name)


def said(kind: type[Exception]) -> Exception:
    """What the hub's client raises, without the answer that it is made from."""
    error = kind.__new__(kind)
    Exception.__init__(error, "404")
    return error


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """A folder that stands for the hub: `owner/name[@revision]`; what is fetched of it is what the patterns say."""
    place = tmp_path / "hub"

    def snapshot(repo, *, repo_type, revision, allow_patterns):
        assert repo_type == "dataset"
        folder = place / (f"{repo}@{revision.replace('/', '-')}" if revision else repo)
        if not (place / repo).is_dir():
            raise said(errors.RepositoryNotFoundError)
        if not folder.is_dir():
            raise said(errors.RevisionNotFoundError)
        fetched = tmp_path / "fetched" / folder.name
        for pattern in allow_patterns:
            for path in folder.glob(pattern):
                target = fetched / path.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
        fetched.mkdir(parents=True, exist_ok=True)
        return str(fetched)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    return place


def shards(folder: Path) -> None:
    for part, seeds in (("train", (0, 1, 2)), ("test", (3,))):
        images = [{"bytes": png(s), "path": None} for s in seeds]
        path = folder / f"{part}-00000-of-00001.parquet"
        write(path, {"image": images, "label": [s % 2 for s in seeds]}, ["pear", "apple"])


def test_a_set_by_its_name(hub, tmp_path):
    shards(hub / "owner" / "fruit" / "data")
    (hub / "owner" / "fruit" / "fruit.py").write_text("raise SystemExit")
    (hub / "owner" / "fruit" / "data" / "more.pkl").write_bytes(b"\x80")
    data = load_data("hf:owner/fruit")
    assert data.name == "fruit"
    assert data.label_names == ("pear", "apple")
    assert data.sizes() == {"train": 3, "valid": 0, "test": 1}
    assert {p.suffix for p in (tmp_path / "fetched").rglob("*") if p.is_file()} == {".parquet"}
    assert fetch("hf:owner/fruit") == tmp_path / "fetched" / "fruit"
    assert load_data("hf:owner/fruit", DataSettings(size="8")).x.shape == (4, 3, 8, 8)


def test_one_of_several_in_a_repository(hub):
    shards(hub / "owner" / "all" / "small")
    write(hub / "owner" / "all" / "large" / "train.parquet", {"image": [png(i) for i in range(9)]})
    assert len(load_data("hf:owner/all/small")) == 4
    assert len(load_data("hf:owner/all/large")) == 9


def test_the_hubs_own_copy_as_parquet(hub, refused):
    (hub / "owner" / "old").mkdir(parents=True)
    (hub / "owner" / "old" / "old.py").write_text("raise SystemExit")
    with refused("owner/old on the hub holds no Parquet files"):
        load_data("hf:owner/old")
    shards(hub / "owner" / "old@refs-convert-parquet" / "default")
    assert len(load_data("hf:owner/old")) == 4


def test_what_the_hub_cannot_give(hub, refused, monkeypatch):
    with refused("there is no data set owner/gone on the hub"):
        load_data("hf:owner/gone")

    def unreachable(*_, **__):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with refused("owner/name cannot be had from the hub (Name or service not known); check the network"):
        load_data("hf:owner/name")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with refused("pip install 'latentscape[hub]'"):
        load_data("hf:owner/name")
    with refused("--labels is for folders of pictures"):
        load_data("hf:owner/name", DataSettings(labels="x.csv"))


def test_the_classes_of_what_save_to_disk_leaves(tmp_path):
    table = pa.table({"image": [{"bytes": png(s), "path": None} for s in range(3)], "label": [1, 0, 1]})
    with pa.ipc.new_stream(tmp_path / "data-00000-of-00001.arrow", table.schema) as stream:
        stream.write_table(table, max_chunksize=2)
    (tmp_path / "cache-1.arrow").write_bytes(b"an index that the library keeps")
    (tmp_path / "dataset_info.json").write_text(json.dumps({"features": NAMES}))
    data = load_data(tmp_path)
    assert data.label_names == ("pear", "apple")
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0, 1]
    for odd in ("[]", "{", '{"features": 3}', '{"features": {"label": {"names": 7}}}'):
        (tmp_path / "dataset_info.json").write_text(odd)
        shutil.rmtree(data.cache_path.parent)  # type: ignore[union-attr]
        assert load_data(tmp_path).label_names == ("0", "1")


def test_a_table_whose_columns_differ_from_file_to_file(tmp_path, refused):
    for name, column in (("train-0", "image"), ("train-1", "img")):
        pq.write_table(pa.table({column: [png(0)]}), tmp_path / f"{name}.parquet")
    with refused("must have the same columns"):
        load_data(tmp_path)
