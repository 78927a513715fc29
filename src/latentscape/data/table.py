"""A table beside the pictures: labels, attributes or the split, one row per file name.

The column of file names is the one that matches the most files. Of the others, `split`, `partition` or `subset` gives
the split (train, valid, test or 0, 1, 2); `label`, `class`, `target` or `category` (or the one asked for) the label;
columns of numbers become attributes; columns of text with at most 32 different values become one attribute of 0 and 1
per value ("gender=male"; of two values only the second in the alphabet), others are left out with a note.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from latentscape.data.raw import index_labels
from latentscape.errors import DataError

SUFFIXES = (".csv", ".tsv", ".parquet")
USUAL_NAMES = frozenset(
    ("labels", "label", "metadata", "attributes", "annotations", "split", "splits", "partition", "index", "table")
)
"""A table beside a folder counts only under one of these names or the folder's; one in the folder under any."""

SPLIT_COLUMNS = ("split", "partition", "subset")
"""Columns that hold the split, in order of preference."""

LABEL_COLUMNS = ("label", "class", "target", "category", "labels", "class_name")
"""Columns that hold the label unless another is asked for, in order of preference."""

_SPLIT_VALUES = {
    "train": 0, "training": 0, "0": 0, "valid": 1, "val": 1, "validation": 1, "dev": 1, "1": 1,
    "test": 2, "testing": 2, "2": 2,
}  # fmt: skip
MOST_VALUES = 32
"""Text columns with more different values are left out."""


@dataclass
class Known:
    """What a table says about N files; see `ImageSet` for the fields. A part that the table lacks is None or empty."""

    labels: np.ndarray | None = None
    label_names: tuple[str, ...] = ()
    attributes: np.ndarray | None = None
    attribute_names: tuple[str, ...] = ()
    split: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)


def candidates(folder: Path, asked: str) -> list[Path]:
    """Tables that may speak of the folder's pictures: the one asked for, else those in the folder and beside it.

    Beside the folder only usual names (labels.csv, metadata.csv, …) and the folder's own name count.
    """
    if asked:
        path = next((p for p in (Path(asked).expanduser(), folder / asked) if p.is_file()), None)
        if path is None:
            raise DataError(f"--labels must be a CSV, TSV or Parquet file, found nothing at {asked}")
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(f"--labels must be a .csv, .tsv or .parquet file, got {path.name}")
        return [path]
    inside = _tables_in(folder)
    names = {*USUAL_NAMES, folder.resolve().name.lower()}
    return inside + [p for p in _tables_in(folder.resolve().parent) if p.stem.lower() in names]


def _tables_in(folder: Path) -> list[Path]:
    try:
        names = sorted(name for name in os.listdir(folder) if name.lower().endswith(SUFFIXES))
    except OSError:
        return []
    return [folder / name for name in names if (folder / name).is_file()]


def content(path: Path) -> bytes:
    """The file's bytes, or `DataError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check its permissions") from None


def read_columns(path: Path) -> dict[str, list[str]]:
    """A table's columns as text; missing values are empty. Raises `DataError`."""
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path)
    try:
        text = content(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path} must be UTF-8 text, found other bytes; save it as UTF-8") from None
    first = text.partition("\n")[0]
    delimiter = max("\t,;", key=first.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    except csv.Error as error:
        raise DataError(f"{path} is not a table that can be read ({error})") from None
    if not rows:
        raise DataError(f"{path} must be a table with a header line, found an empty file")
    width = len(rows[0])
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise DataError(f"{path} must have {width} columns in every row, found {len(row)} in row {number}")
    names = [name.strip() for name in rows[0]]
    return {name: [row[i].strip() for row in rows[1:]] for i, name in enumerate(names)}


def _read_parquet(path: Path) -> dict[str, list[str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is not a Parquet file that can be read ({' '.join(str(error).split())[:120]})"
        ) from None
    plain = [f.name for f in table.schema if not (pa.types.is_nested(f.type) or pa.types.is_binary(f.type))]
    return {name: ["" if v is None else str(v) for v in table[name].to_pylist()] for name in plain}


class FileNames:
    """Finds a file by what a table calls it: its path, its base name or its stem where those are unambiguous."""

    def __init__(self, files: Iterable[str]) -> None:
        self._index: dict[str, int] = {}
        self._loose: dict[str, int] = {}
        for i, file in enumerate(files):
            self._index[file] = i
            base = file.rpartition("/")[2]
            for loose in {base, base.rpartition(".")[0]} - {""}:
                self._loose[loose] = -1 if loose in self._loose else i

    def find(self, name: str) -> int:
        """Position of the file, -1 if there is none or more than one."""
        name = name.replace("\\", "/").removeprefix("./")
        found = self._index.get(name)
        return found if found is not None else self._loose.get(name.rpartition("/")[2], -1)


def join(path: Path, files: tuple[str, ...], label_column: str) -> Known | None:
    """What the table at `path` says of `files`, or None if it names none of them."""
    columns = read_columns(path)
    names = FileNames(files)
    key = _key_column(columns, names)
    if key is None:
        return None
    rows_N = np.full(len(files), -1)
    absent = repeated = 0
    for row, name in enumerate(columns[key]):
        i = names.find(name)
        absent += i < 0
        repeated += i >= 0 and rows_N[i] >= 0
        if i >= 0 and rows_N[i] < 0:
            rows_N[i] = row
    known = Known()
    unnamed = int((rows_N < 0).sum())
    for count, words in (
        (absent, "{} names {} files that are not there or not unambiguous"),
        (repeated, "{} names {} files more than once; the first row counts"),
        (unnamed, "{} does not name {} of the files; they have no label and no attributes, and train"),
    ):
        if count:
            known.notes.append(words.format(path.name, f"{count:,}"))
    aligned = {name: _aligned(values, rows_N) for name, values in columns.items() if name != key}
    _interpret(path, aligned, label_column, known)
    return known


def _key_column(columns: dict[str, list[str]], names: FileNames) -> str | None:
    """The column that matches the most files, judged on about a thousand rows."""
    best, most = None, 0
    for column, values in columns.items():
        matches = sum(names.find(v) >= 0 for v in values[:: max(1, len(values) // 1000)])
        if matches > most:
            best, most = column, matches
    return best


def _aligned(values: list[str], rows_N: np.ndarray) -> list[str]:
    return [values[row] if row >= 0 else "" for row in rows_N]


def _interpret(path: Path, columns: dict[str, list[str]], label_column: str, known: Known) -> None:
    if label_column and label_column not in columns:
        raise DataError(
            f"--label-column must be a column of {path.name}, got {label_column}; it has {', '.join(columns)}"
        )
    lower = {name.lower(): name for name in reversed(columns)}
    label = label_column or next((lower[name] for name in LABEL_COLUMNS if name in lower), "")
    split = next((lower[name] for name in SPLIT_COLUMNS if name in lower and lower[name] != label), "")
    if label:
        known.labels, known.label_names = labels_of(path, label, columns[label])
    if split:
        known.split = split_of(path, split, columns[split])
    parts = [attributes_of(path, name, values, known) for name, values in columns.items() if name not in (label, split)]
    merged = {name: column for part in parts for name, column in part.items()}
    if merged:
        known.attributes = np.stack(list(merged.values()), 1).astype(np.float32)
        known.attribute_names = tuple(merged)


def labels_of(path: Path, column: str, values: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """(int64 N, names) from a column of class names or whole numbers; empty: -1. Raises `DataError` for fractions."""
    numbers = _numbers(values)
    present = [i for i, value in enumerate(values) if value]
    if numbers is not None and present and not (numbers[present] == np.rint(numbers[present])).all():
        raise DataError(
            f"column {column} of {path.name} must hold class names or whole numbers to be the label, found fractions"
        )
    texts = np.array(values) if numbers is None else numbers
    indices = np.full(len(values), -1, np.int64)
    indices[present], names = index_labels(texts[present])
    return indices, tuple(name.removesuffix(".0") for name in names) if numbers is not None else names


def split_of(path: Path, column: str, values: list[str]) -> np.ndarray:
    """uint8 N of 0 train, 1 valid, 2 test from a column of these words or numbers; empty: train. `DataError`."""
    codes = np.zeros(len(values), np.uint8)
    for i, value in enumerate(values):
        if not value:
            continue
        if value.lower() not in _SPLIT_VALUES:
            raise DataError(
                f"column {column} of {path.name} must hold train, valid or test (or 0, 1, 2), found {value!r}"
            )
        codes[i] = _SPLIT_VALUES[value.lower()]
    return codes


def attributes_of(path: Path, name: str, values: list[str], known: Known) -> dict[str, np.ndarray]:
    """{attribute name: N values} from one column."""
    numbers = _numbers(values)
    if numbers is not None:
        return {name: numbers} if np.isfinite(numbers).any() else {}
    found = sorted(set(values) - {""})
    if len(found) > MOST_VALUES:
        known.notes.append(f"column {name} of {path.name} is left out: text with {len(found):,} different values")
        return {}
    texts = np.array(values)
    shown = found[1:] if len(found) == 2 else found
    return {f"{name}={value}": np.where(texts == "", np.nan, texts == value) for value in shown}


def _numbers(values: list[str]) -> np.ndarray | None:
    """The values as float64, NaN where empty; None if any is not a number."""
    try:
        return np.array([float(v) if v else np.nan for v in values])
    except ValueError:
        return None
