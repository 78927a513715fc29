from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from making import write_pictures

from latentscape.data import DataSettings, describe, load_data


def rows(header: str, *lines: str, end: str = "\n") -> str:
    return end.join([header, *lines]) + end


def faces(root: Path, beside: bool = True) -> Path:
    """faces/images/NNN.png with faces/labels.csv: file, age, gender, split."""
    names = write_pictures(root / "images", 6)
    parts = ["train", "train", "train", "valid", "test", "test"]
    lines = [
        f"{n},{20 + i},{'male' if i % 2 else 'female'},{p}" for i, (n, p) in enumerate(zip(names, parts, strict=True))
    ]
    (root / "labels.csv").write_text(rows("file,age,gender,split", *lines))
    return root


@pytest.mark.parametrize("pointed_at", ["", "images"])
def test_a_table_beside_one_folder_of_pictures(tmp_path, pointed_at):
    data = load_data(faces(tmp_path) / pointed_at)
    assert data.labels is None
    assert data.attribute_names == ("age", "gender=male")
    assert data.attributes is not None
    assert data.attributes.tolist() == [[20 + i, i % 2] for i in range(6)]
    assert data.sizes() == {"train": 3, "valid": 1, "test": 2}
    assert data.findings.notes == []


def test_a_column_can_be_made_the_label(tmp_path):
    data = load_data(faces(tmp_path), DataSettings(label_column="gender"))
    assert data.label_names == ("female", "male")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert data.attribute_names == ("age",)


@pytest.mark.parametrize("column", ["label", "class", "Target", "category"])
def test_usual_names_are_the_label(tmp_path, column):
    write_pictures(tmp_path, 3)
    (tmp_path / "any.csv").write_text(rows(f"name,{column}", "000.png,b", "001.png,a", "002.png,b"))
    data = load_data(tmp_path)
    assert data.label_names == ("a", "b")
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0, 1]


def test_number_labels_sort_as_numbers(tmp_path):
    write_pictures(tmp_path, 3)
    (tmp_path / "labels.csv").write_text(rows("name,label", "000.png,10", "001.png,9", "002.png,2"))
    data = load_data(tmp_path)
    assert data.label_names == ("2", "9", "10")
    assert data.labels is not None
    assert data.labels.tolist() == [2, 1, 0]


@pytest.mark.parametrize("written", ["{stem}", "{stem}.png", "./{stem}.png", "images/{stem}.png", "images\\{stem}.png"])
def test_files_are_found_by_path_base_name_or_stem(tmp_path, written):
    names = write_pictures(tmp_path / "images", 4)
    lines = [f"{i},{written.format(stem=Path(n).stem)}" for i, n in enumerate(names)]
    (tmp_path / "labels.csv").write_text(rows("value,file", *lines))
    data = load_data(tmp_path)
    assert data.attributes is not None
    assert data.attributes[:, 0].tolist() == [0, 1, 2, 3]


def test_an_ambiguous_base_name_names_nothing(tmp_path):
    write_pictures(tmp_path / "a", 2, seed=1)
    write_pictures(tmp_path / "b", 2, seed=2)
    (tmp_path / "labels.csv").write_text(rows("file,size", "000.png,1", "b/001.png,2"))
    data = load_data(tmp_path)
    assert data.attributes is not None
    assert np.array_equal(data.attributes[:, 0], [np.nan, np.nan, np.nan, 2], equal_nan=True)
    assert any("1 files that are not there or not unambiguous" in note for note in data.findings.notes)


@pytest.mark.parametrize("kind", ["tsv", "semicolon", "bom", "crlf", "parquet", "quoted"])
def test_kinds_of_tables(tmp_path, kind):
    names = write_pictures(tmp_path, 3)
    lines = [(n, str(i), "x, y" if kind == "quoted" else "xy") for i, n in enumerate(names)]
    path = tmp_path / "labels.csv"
    if kind == "parquet":
        columns = {"file": names, "size": [0, 1, 2], "label": ["xy"] * 3, "box": [[1, 2]] * 3}
        pq.write_table(pa.table(columns), tmp_path / "labels.parquet")
    elif kind == "tsv":
        (tmp_path / "labels.tsv").write_text(rows("file\tsize\tlabel", *("\t".join(line) for line in lines)))
    elif kind == "quoted":
        path.write_text(rows("file,size,label", *(f'{n},{i},"{v}"' for n, i, v in lines)))
    else:
        between = ";" if kind == "semicolon" else ","
        text = rows(
            between.join(("file", "size", "label")),
            *(between.join(line) for line in lines),
            end="\r\n" if kind == "crlf" else "\n",
        )
        path.write_bytes((b"\xef\xbb\xbf" if kind == "bom" else b"") + text.encode())
    data = load_data(tmp_path)
    assert data.label_names == (("x, y",) if kind == "quoted" else ("xy",))
    assert data.attribute_names == ("size",)
    assert data.attributes is not None
    assert data.attributes[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("words", [("train", "val", "test"), ("0", "1", "2"), ("Training", "VALIDATION", "testing")])
@pytest.mark.parametrize("column", ["split", "partition", "Subset"])
def test_words_for_the_split(tmp_path, words, column):
    names = write_pictures(tmp_path, 3)
    (tmp_path / "x.csv").write_text(rows(f"file,{column}", *(f"{n},{w}" for n, w in zip(names, words, strict=True))))
    assert load_data(tmp_path).split.tolist() == [0, 1, 2]


def test_text_of_few_values_becomes_one_attribute_per_value(tmp_path):
    write_pictures(tmp_path, 4)
    (tmp_path / "x.csv").write_text(rows("file,hair", "000.png,red", "001.png,", "002.png,black", "003.png,grey"))
    data = load_data(tmp_path)
    assert data.attribute_names == ("hair=black", "hair=grey", "hair=red")
    assert data.attributes is not None
    expected = [[0, 0, 1], [np.nan] * 3, [1, 0, 0], [0, 1, 0]]
    assert np.array_equal(data.attributes, expected, equal_nan=True)
    told = describe(data)["attributes"]
    assert told["hair=red"] == {"known": 3, "min": 0.0, "mean": pytest.approx(1 / 3), "max": 1.0}


def test_text_of_many_values_is_left_out_with_a_note(tmp_path):
    names = write_pictures(tmp_path, 40)
    (tmp_path / "x.csv").write_text(rows("file,comment,age", *(f"{n},text {i},{i}" for i, n in enumerate(names))))
    data = load_data(tmp_path)
    assert data.attribute_names == ("age",)
    assert any("comment" in note and "40" in note for note in data.findings.notes)


def test_files_that_the_table_does_not_name_are_unlabelled_and_train(tmp_path):
    write_pictures(tmp_path, 4)
    (tmp_path / "x.csv").write_text(rows("file,label,split", "000.png,a,test", "001.png,b,train", "gone.png,a,train"))
    data = load_data(tmp_path)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, -1, -1]
    assert data.split.tolist()[0] == 2
    assert data.split.tolist()[2:] == [0, 0]
    assert any("does not name 2" in note for note in data.findings.notes)
    assert any("names 1 files that are not there" in note for note in data.findings.notes)
    assert describe(data)["labels"] == {"a": 1, "b": 1}


def test_a_file_named_twice_keeps_the_first_row(tmp_path):
    write_pictures(tmp_path, 2)
    (tmp_path / "x.csv").write_text(rows("file,label", "000.png,a", "000.png,b", "001.png,b"))
    data = load_data(tmp_path)
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1]
    assert any("more than once" in note for note in data.findings.notes)


def test_a_table_goes_over_class_folders(tmp_path):
    write_pictures(tmp_path / "a", 1, seed=1)
    write_pictures(tmp_path / "b", 1, seed=2)
    (tmp_path / "x.csv").write_text(rows("file,label", "a/000.png,zebra", "b/000.png,yak"))
    assert load_data(tmp_path).label_names == ("yak", "zebra")


def test_unrelated_tables_are_no_matter(tmp_path):
    write_pictures(tmp_path / "set", 2)
    (tmp_path / "set" / "results.csv").write_text(rows("step,loss", "1,2", "2,1"))
    (tmp_path / "expenses.csv").write_text(rows("file,label", "000.png,a", "001.png,b"))
    data = load_data(tmp_path / "set")
    assert data.labels is None
    assert data.attributes is None


def test_an_odd_table_that_nobody_asked_for_is_noted(tmp_path):
    write_pictures(tmp_path, 2)
    (tmp_path / "results.csv").write_text("a,b\n1,2,3\n")
    assert any("results.csv is not used" in note for note in load_data(tmp_path).findings.notes)


def test_the_table_asked_for_may_lie_anywhere(tmp_path):
    write_pictures(tmp_path / "set", 2)
    table = tmp_path / "far" / "t.csv"
    table.parent.mkdir()
    table.write_text(rows("file,label", "000.png,a", "001.png,b"))
    assert load_data(tmp_path / "set", DataSettings(labels=str(table))).classes == 2


REFUSED = {
    "ragged": ("file,label\n000.png,a,b\n", ("2 columns", "row 2")),
    "empty": ("", ("header",)),
    "split word": ("file,split\n000.png,holdout\n", ("train, valid or test", "'holdout'")),
    "fractions": ("file,label\n000.png,0.5\n", ("whole numbers",)),
    "bytes": (b"file,label\n000.png,\xff\xfe\n", ("UTF-8",)),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_table_that_cannot_be_used_says_why(tmp_path, refused, kind):
    text, words = REFUSED[kind]
    write_pictures(tmp_path, 2)
    (tmp_path / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with refused("labels.csv", *words):
        load_data(tmp_path)


def test_what_was_asked_for_must_be_there(tmp_path, refused):
    write_pictures(tmp_path / "set", 2)
    folder = tmp_path / "set"
    with refused("--labels", "found nothing at nowhere.csv"):
        load_data(folder, DataSettings(labels="nowhere.csv"))
    with refused("--label-column gender", "--labels"):
        load_data(folder, DataSettings(label_column="gender"))
    (tmp_path / "other.csv").write_text(rows("file,label", "cat.png,a"))
    with refused("--labels", "found none of them", "000.png"):
        load_data(folder, DataSettings(labels=str(tmp_path / "other.csv")))
    (folder / "labels.csv").write_text(rows("file,age", "000.png,1", "001.png,2"))
    with refused("--label-column", "labels.csv", "it has age", "got sex"):
        load_data(folder, DataSettings(label_column="sex"))
    (folder / "labels.txt").write_text("x")
    with refused(".csv, .tsv or .parquet"):
        load_data(folder, DataSettings(labels="labels.txt"))
    (folder / "bad.parquet").write_text("x")
    with refused("bad.parquet", "not a Parquet file"):
        load_data(folder, DataSettings(labels="bad.parquet"))


def test_a_table_for_what_is_no_folder_is_refused(refused):
    with refused("--labels", "digits"):
        load_data("digits", DataSettings(labels="labels.csv"))


def test_pictures_that_cannot_be_read_shift_nothing(tmp_path):
    names = write_pictures(tmp_path, 5)
    (tmp_path / "001.png").write_bytes(b"")
    (tmp_path / "x.csv").write_text(rows("file,value", *(f"{n},{i}" for i, n in enumerate(names))))
    data = load_data(tmp_path)
    assert data.attributes is not None
    assert data.attributes[:, 0].tolist() == [0, 2, 3, 4]
