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
