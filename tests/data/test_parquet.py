from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from making import picture

from latentscape.data import DataSettings, load_data
from latentscape.data.sources import packing
from latentscape.data.sources import parquet as source
from latentscape.errors import DataError


def png(seed: int, **options) -> bytes:
    stream = io.BytesIO()
    picture(seed, **options).save(stream, "PNG")
    return stream.getvalue()


def write(path: Path, columns: dict, names: list[str] | None = None) -> Path:
    table = pa.table(columns)
    if names:
        hub = {"info": {"features": {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(hub)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("wrapped", [True, False])
def test_encoded_pictures_with_the_names_of_the_hub(tmp_path, wrapped):
    images = [{"bytes": png(i), "path": None} if wrapped else png(i) for i in range(5)]
    data = load_data(write(tmp_path / "a.parquet", {"image": images, "label": [0, 1, 1, 0, 1]}, ["cat", "dog"]))
    assert data.label_names == ("cat", "dog")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 1, 0, 1]
    for i in range(5):
        assert np.array_equal(data.x[i], np.asarray(picture(i)).transpose(2, 0, 1))


def test_shards_carry_the_split(tmp_path):
    for part, seeds in (
        ("train-00000-of-00002", (0, 1)),
        ("train-00001-of-00002", (2,)),
        ("test-00000-of-00001", (3, 4)),
    ):
        write(
            tmp_path / "data" / f"{part}.parquet", {"image": [{"bytes": png(s)} for s in seeds], "label": list(seeds)}
        )
    data = load_data(tmp_path)
    assert data.sizes() == {"train": 3, "valid": 0, "test": 2}
    assert data.labels is not None
    assert sorted(data.labels[data.indices("test")].tolist()) == [3, 4]


def test_folders_carry_the_split_too(tmp_path):
    for part, seeds in (("train", (0, 1)), ("validation", (2,)), ("test", (3, 4))):
        write(tmp_path / "default" / part / "0000.parquet", {"image": [png(s) for s in seeds]})
    assert load_data(tmp_path).sizes() == {"train": 2, "valid": 1, "test": 2}


def test_what_save_to_disk_leaves(tmp_path):
    for part, seeds in (("train", (0, 1, 2)), ("test", (3,))):
        (tmp_path / part).mkdir()
        table = pa.table({"image": [{"bytes": png(s), "path": None} for s in seeds], "label": list(seeds)})
        with pa.ipc.new_stream(tmp_path / part / "data-00000-of-00001.arrow", table.schema) as stream:
            stream.write_table(table)
        (tmp_path / part / "state.json").write_text("{}")
    data = load_data(tmp_path)
    assert data.sizes() == {"train": 3, "valid": 0, "test": 1}
    assert np.array_equal(data.x[data.indices("test")][0], np.asarray(picture(3)).transpose(2, 0, 1))
    (tmp_path / "test" / "data-00000-of-00001.arrow").write_bytes(b"no")
    with pytest.raises(DataError, match=r"data-00000-of-00001\.arrow"):
        load_data(tmp_path)


def test_rows_that_cannot_be_read_are_skipped_with_their_labels(tmp_path):
    images = [png(0), b"broken", None, png(3, mode="L")]
    data = load_data(write(tmp_path / "a.parquet", {"image": images, "label": ["a", "b", "c", "d"]}))
    assert data.x.shape == (2, 3, 12, 12)
    assert [row for row, _ in data.findings.unreadable] == ["row 1", "row 2"]
    assert data.labels is not None
    assert [data.label_names[i] for i in data.labels] == ["a", "d"]


def test_lists_and_columns_of_numbers(tmp_path):
    pixels = np.arange(2, 34).reshape(2, 4, 4)
    images = load_data(write(tmp_path / "a.parquet", {"pixels": pixels.tolist(), "label": [1, 0]}))
    assert np.array_equal(images.x[:, 0], pixels)
    vectors = load_data(write(tmp_path / "b.parquet", {"v": [[1.0, 2.0], [3.0, 4.0]]}))
    assert vectors.x.tolist() == [[1, 2], [3, 4]]
    columns = load_data(
        write(tmp_path / "c.parquet", {"a": [1.0, 3.0], "b": [2, 4], "class": ["x", "y"], "t": ["p", "q"]})
    )
    assert columns.x.tolist() == [[1, 2], [3, 4]]
    assert columns.label_names == ("x", "y")


def test_another_column_as_the_label(tmp_path):
    path = write(tmp_path / "a.parquet", {"image": [png(0), png(1)], "label": [0, 1], "kind": ["p", "q"]})
    assert load_data(path, DataSettings(label_column="kind")).label_names == ("p", "q")


def test_mixed_sizes_want_a_size(tmp_path, refused):
    path = write(tmp_path / "a.parquet", {"image": [png(0), png(1, height=20)]})
    with refused("2 sizes", "--size"):
        load_data(path)
    assert load_data(path, DataSettings(size="8")).x.shape == (2, 3, 8, 8)


def test_what_is_no_data(tmp_path, refused):
    with refused("no", "words"):
        load_data(write(tmp_path / "a.parquet", {"words": ["p", "q"]}))
    with refused("at least one row"):
        load_data(write(tmp_path / "b.parquet", {"x": pa.array([], pa.float64())}))
    with refused("lists of one length"):
        load_data(write(tmp_path / "c.parquet", {"x": [[1.0], [1.0, 2.0]]}))
    with refused("--label-column", "age"):
        load_data(write(tmp_path / "d.parquet", {"x": [1.0]}), DataSettings(label_column="age"))
    (tmp_path / "e.parquet").write_bytes(b"PAR1 and nothing more")
    with refused("e.parquet is not a Parquet"):
        load_data(tmp_path / "e.parquet")


# ---- a few rows at a time, into the packed cache --------------------------------------------------------------------


def test_pictures_are_packed_once(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", {"image": [png(i) for i in range(5)], "label": list("ababa")})
    once = load_data(path)
    assert once.cache_path is not None
    monkeypatch.setattr(packing, "decode_all", lambda *_: pytest.fail("the pictures are decoded again"))
    again = load_data(path)
    assert again.cache_path == once.cache_path
    assert again.fingerprint == once.fingerprint
    assert again.label_names == ("a", "b")
    with pytest.raises(pytest.fail.Exception):
        load_data(path, DataSettings(size="6"))


def test_few_rows_are_in_memory_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_ROWS", 8)
    path = write(tmp_path / "a.parquet", {"image": [png(i % 9) for i in range(400)]})
    most, pop = [0], source._InOrder.__call__

    def watched(self, i):
        most[0] = max(most[0], len(self._read))
        return pop(self, i)

    monkeypatch.setattr(source._InOrder, "__call__", watched)
    assert len(load_data(path)) == 400
    assert 0 < most[0] < 200
    sizes = [len(b.column(0)) for b in source.Shard.open(path).batches("image", rows=8)]
    assert max(sizes) == 8


def test_damage_in_the_middle_of_a_file_is_one_sentence(tmp_path, refused):
    path = write(tmp_path / "a.parquet", {"image": [png(i, height=60, width=60) for i in range(60)]})
    content = bytearray(path.read_bytes())
    content[4:40] = bytes(36)  # the first page's header; the file's footer is as it was
    path.write_bytes(content)
    with refused("a.parquet is not a Parquet or Arrow file that can be read"):
        load_data(path)


def test_a_broken_stream_breaks_for_every_thread():
    def rows():
        yield b"a"
        raise DataError("broken")

    ask = source._InOrder(rows())
    with pytest.raises(DataError):
        ask(3)
    with pytest.raises(DataError):
        ask(1)
    assert ask(0) == b"a"


# ---- columns beside the pictures ------------------------------------------------------------------------------------


def test_other_columns_become_attributes(tmp_path):
    columns = {
        "image": [png(0), b"broken", png(2), png(3)],
        "label": [1, 0, 0, 1],
        "Smiling": [True, True, None, False],
        "age": [20.5, 30.0, None, 50.0],
        "gender": ["male", "female", "female", "male"],
        "name": [f"n{i}" for i in range(4)],
    }
    data = load_data(write(tmp_path / "a.parquet", columns))
    assert data.attribute_names[:3] == ("Smiling", "age", "gender=male")
    assert data.attributes is not None
    assert np.array_equal(data.attributes[:, 0], [1, np.nan, 0], equal_nan=True)
    assert np.array_equal(data.attributes[:, 1], [20.5, np.nan, 50], equal_nan=True)
    assert data.attributes[:, 2].tolist() == [1, 0, 1]
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0, 1]
    assert "column name" not in " ".join(data.findings.notes)
    smiling = load_data(tmp_path / "a.parquet", DataSettings(label_attribute="Smiling")).labels
    assert smiling is not None
    assert smiling.tolist() == [1, -1, 0]


def test_classes_of_the_hub_keep_their_order_and_unknown_ones_have_no_label(tmp_path):
    hub = {"kind": {"names": ["zebra", "ant"], "_type": "ClassLabel"}, "sex": {"names": ["m", "f"]}}
    table = pa.table({"img": [png(i) for i in range(4)], "kind": [0, 1, -1, 1], "sex": [0, 1, 1, 0]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": hub}})})
    pq.write_table(table, tmp_path / "a.parquet")
    data = load_data(tmp_path / "a.parquet")
    assert data.label_names == ("zebra", "ant")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, -1, 1]
    assert data.attribute_names == ("sex=m",)
    assert data.attributes is not None
    assert data.attributes[:, 0].tolist() == [1, 0, 0, 1]


def test_fractions_are_an_attribute_unless_asked_for(tmp_path, refused):
    path = write(tmp_path / "a.parquet", {"image": [png(0), png(1)], "target": [0.5, 2.0]})
    data = load_data(path)
    assert data.labels is None
    assert data.attribute_names == ("target",)
    with refused("target", "whole numbers or text", "fractions"):
        load_data(path, DataSettings(label_column="target"))
    whole = load_data(write(tmp_path / "b.parquet", {"image": [png(0), png(1)], "target": [3.0, None]}))
    assert whole.label_names == ("3",)
    assert whole.labels is not None
    assert whole.labels.tolist() == [0, -1]


def test_a_column_gives_the_split(tmp_path, refused):
    images = [png(0), b"broken", png(2), png(3), png(4)]
    path = write(tmp_path / "a.parquet", {"image": images, "split": ["train", "val", "val", "test", "test"]})
    assert load_data(path).split.tolist() == [0, 1, 2, 2]
    bad = write(tmp_path / "b.parquet", {"image": [png(i) for i in range(3)], "split": ["train", "no", "test"]})
    with refused("column split", "'no'"):
        load_data(bad)


@pytest.mark.parametrize("wrap", ["fixed", "nested", "tensor", "wide"])
def test_arrays_in_columns(tmp_path, wrap):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 6), dtype=np.uint8)
    if wrap == "fixed":
        column = pa.FixedSizeListArray.from_arrays(pa.FixedSizeListArray.from_arrays(pixels.reshape(-1), 6), 4)
    elif wrap == "tensor":
        column = pa.FixedShapeTensorArray.from_numpy_ndarray(pixels)
    else:
        kind = pa.large_list(pa.list_(pa.uint8())) if wrap == "wide" else pa.list_(pa.list_(pa.uint8()))
        column = pa.array(pixels.tolist(), kind)
    pq.write_table(pa.table({"pixels": column, "label": list("abcab"), "n": range(5)}), tmp_path / "a.parquet")
    data = load_data(tmp_path / "a.parquet")
    assert np.array_equal(data.x[:, 0], pixels)
    assert data.label_names == ("a", "b", "c")
    assert data.attribute_names == ("n",)


def test_lists_with_holes_are_refused(tmp_path, refused):
    with refused("lists of one length"):
        load_data(write(tmp_path / "a.parquet", {"x": [[1.0, 2.0], None]}))
    with refused("lists of numbers, found", "empty places"):
        load_data(write(tmp_path / "b.parquet", {"x": [[1.0, None], [1.0, 2.0]]}))
    with refused("lists of numbers, found string"):
        load_data(write(tmp_path / "c.parquet", {"x": [["a"], ["b"]]}))


def test_pictures_that_are_only_named_are_no_pictures(tmp_path, refused):
    with refused("must have a column of pictures"):
        load_data(write(tmp_path / "a.parquet", {"image": [{"bytes": None, "path": "/etc/passwd"}]}))
