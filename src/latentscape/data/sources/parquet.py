"""Parquet files: one, or a folder of shards as the Hugging Face hub stores them (`data/train-00000-of-00002.parquet`),
or as its library's `save_to_disk` leaves them (Arrow streams).

The examples are a column of encoded pictures (bytes, or a struct with `bytes`), which are read a few rows at a time
into the packed cache; else a column of nested lists of numbers (pixels or vectors); else all columns of numbers
together as vectors.

`label`, `class`, … or the first column that the hub's metadata calls a class, or the column asked for, is the label;
`split` or else the shards' names give the split; of the other columns those of numbers, of yes and no, and of text with
few values become attributes (see `table`).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from latentscape.data import table
from latentscape.data.picture import UnreadableError, is_picture
from latentscape.data.raw import Raw, index_labels
from latentscape.data.recognise import find_shards
from latentscape.data.settings import DataSettings
from latentscape.data.sources.arrays import build
from latentscape.data.sources.packing import key_of, packed, stamp
from latentscape.errors import DataError

_PARTS = {"train": 0, "valid": 1, "validation": 1, "val": 1, "dev": 1, "test": 2}
_ROWS = 32
"""Rows of pictures in memory at a time."""

_SNIFFED = 100  # rows in which a column must show a picture to be one of pictures


def load_parquet(path: Path, settings: DataSettings, *, name: str = "", progress: bool = False) -> Raw:
    """Read a Parquet file or a folder of shards. Raises `DataError`."""
    shards = [Shard.open(shard) for shard in (find_shards(path) if path.is_dir() else [path])]
    if len({tuple(shard.schema.names) for shard in shards}) > 1:
        raise DataError(f"the Parquet files in {path} must have the same columns; point at one of them")
    if not sum(shard.rows for shard in shards):
        raise DataError(f"{path} must hold at least one row of examples, found none")
    name = name or path.resolve().name.removesuffix(".parquet")
    said = _Columns(path, shards, settings)
    column = said.picture()
    if column:
        return _pictures(name, path, shards, column, said, settings, progress)
    column = next((f.name for f in said.others() if _is_lists(f.type)), "")
    if column:
        raw = build(name, _arrays(shards, column, path))
        said.describe(raw, list(range(len(raw.x))), without=column)
        return raw
    numbers = [f.name for f in said.others() if _is_number(f.type) and not _has_empty(shards, f.name)]
    if not numbers:
        raise DataError(
            f"{path} must have a column of pictures, of lists of numbers, or columns of numbers, found "
            f"{', '.join(shards[0].schema.names)}"
        )
    raw = build(name, np.stack([_scalars(shards, c) for c in numbers], 1))
    said.describe(raw, list(range(len(raw.x))), attributes=False)
    return raw


def _pictures(
    name: str, path: Path, shards: list[Shard], column: str, said: _Columns, settings: DataSettings, progress: bool
) -> Raw:
    files = [f"row {i}" for i in range(sum(shard.rows for shard in shards))]
    return packed(
        name,
        files,
        _InOrder(_encoded(shards, column)),
        settings,
        lambda raw, kept: said.describe(raw, kept, without=column),
        key=key_of(path, settings, [stamp(s.path, s.path.relative_to(path).as_posix() or ".") for s in shards]),
        where=str(path),
        progress=progress,
    )


# ---- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shard:
    """One file: its columns and how many rows it has."""

    path: Path
    schema: pa.Schema
    rows: int

    @classmethod
    def open(cls, path: Path) -> Shard:
        """Look at a file without reading its rows. Raises `DataError` if it is damaged."""
        with _reading(path):
            if path.suffix != ".arrow":
                with pq.ParquetFile(path) as file:
                    return cls(path, file.schema_arrow, file.metadata.num_rows)
            with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
                return cls(path, stream.schema, sum(batch.num_rows for batch in stream))

    def batches(self, *columns: str, rows: int = 4096) -> Iterator[pa.RecordBatch]:
        """Some columns, at most `rows` rows at a time; never more of the file in memory than that needs."""
        with _reading(self.path):
            if self.path.suffix != ".arrow":
                with pq.ParquetFile(self.path, memory_map=True) as file:
                    yield from file.iter_batches(batch_size=rows, columns=list(columns))
                return
            with pa.memory_map(str(self.path)) as source, pa.ipc.open_stream(source) as stream:
                for batch in stream:
                    chosen = batch.select(list(columns))
                    yield from (chosen.slice(at, rows) for at in range(0, chosen.num_rows, rows))

    @property
    def part(self) -> int | None:
        """The part that the file's name, or else its folder's, says."""
        words = (re.split(r"[-_.]", name.lower())[0] for name in (self.path.name, self.path.parent.name))
        return next((_PARTS[word] for word in words if word in _PARTS), None)


class _reading:
    """Turns what goes wrong in a file into one sentence."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, (pa.ArrowException, OSError)):
            reason = " ".join(str(error).split())[:120]
            raise DataError(f"{self.path} is not a Parquet or Arrow file that can be read ({reason})") from None


def _values(shards: list[Shard], column: str) -> Iterator[pa.Array]:
    """A column, piece by piece."""
    for shard in shards:
        for batch in shard.batches(column):
            yield batch.column(0)


def _scalars(shards: list[Shard], column: str) -> np.ndarray:
    """A column of numbers or of yes and no, float64, NaN where empty."""
    parts = [array.cast(pa.float64(), safe=False) for array in _values(shards, column)]
    return np.concatenate([part.to_numpy(zero_copy_only=False) for part in parts])


def _has_empty(shards: list[Shard], column: str) -> bool:
    return any(array.null_count for array in _values(shards, column))


def _arrays(shards: list[Shard], column: str, path: Path) -> np.ndarray:
    """A column of lists, however deep, as N×… in the numbers' own type."""
    whole: np.ndarray | None = None
    at, n = 0, sum(shard.rows for shard in shards)
    for part in _values(shards, column):
        array = _unlisted(part, column, path)
        if whole is None:
            whole = np.empty((n, *array.shape[1:]), array.dtype)
        if array.shape[1:] != whole.shape[1:]:
            raise DataError(f"column {column} of {path} must hold lists of one length, found several")
        whole[at : at + len(array)] = array
        at += len(array)
    assert whole is not None
    return whole


def _unlisted(array: Any, column: str, path: Path) -> np.ndarray:
    shape = [len(array)]
    while True:
        kind = array.type
        if isinstance(kind, pa.FixedShapeTensorType):
            shape, array = [*shape, *kind.shape], array.storage.flatten()
        elif isinstance(kind, pa.BaseExtensionType):
            array = array.storage
        elif _is_lists(kind):
            lengths = np.unique(array.value_lengths().to_numpy(zero_copy_only=False))
            if array.null_count or len(lengths) > 1:
                raise DataError(f"column {column} of {path} must hold lists of one length, found several")
            shape, array = [*shape, int(lengths[0])], array.flatten()
        else:
            break
    if not _is_number(array.type) or array.null_count:
        raise DataError(f"column {column} of {path} must hold lists of numbers, found {array.type} or empty places")
    return array.to_numpy(zero_copy_only=False).reshape(shape)


def _encoded(shards: list[Shard], column: str) -> Iterator[bytes | None]:
    """The files' bytes of a column of pictures, row by row."""
    for shard in shards:
        for batch in shard.batches(column, rows=_ROWS):
            values = batch.column(0)
            yield from (values.field("bytes") if pa.types.is_struct(values.type) else values).to_pylist()


class _InOrder:
    """Gives row i out of a stream to threads that ask for each row once and nearly in order."""

    def __init__(self, rows: Iterator[bytes | None]) -> None:
        self._rows, self._next = rows, 0
        self._read: dict[int, bytes | None] = {}
        self._lock = threading.Lock()
        self._broken: DataError | None = None

    def __call__(self, i: int) -> bytes:
        with self._lock:
            while self._next <= i:
                self._read_on()
            found = self._read.pop(i)
        if not found:
            raise UnreadableError("no picture in this row")
        return found

    def _read_on(self) -> None:
        if self._broken:
            raise self._broken
        try:
            self._read[self._next] = next(self._rows, None)
        except DataError as error:  # also for the threads that come after the one that meets it
            self._broken = error
            raise
        self._next += 1


# ---- what the columns say --------------------------------------------------------------------------------------------


class _Columns:
    """Which column is what."""

    def __init__(self, path: Path, shards: list[Shard], settings: DataSettings) -> None:
        self.path, self.shards, self.schema = path, shards, shards[0].schema
        self.classes = class_names(shards[0])
        self.asked = bool(settings.label_column)
        self.label = self._label(settings.label_column)
        lower = {name.lower(): name for name in reversed(self.schema.names)}
        found = [lower[n] for n in table.SPLIT_COLUMNS if n in lower and lower[n] != self.label]
        self.split = next((c for c in found if _is_text(self.schema.field(c).type)), "")

    def _label(self, asked: str) -> str:
        names = self.schema.names
        if asked and asked not in names:
            raise DataError(
                f"--label-column must be a column of {self.path.name}, got {asked}; it has {', '.join(names)}"
            )
        lower = {name.lower(): name for name in reversed(names)}
        usual = [lower[name] for name in table.LABEL_COLUMNS if name in lower]
        return asked or next(iter([*usual, *self.classes]), "")

    def others(self) -> list[pa.Field]:
        """The columns that are neither label nor split."""
        return [f for f in self.schema if f.name not in (self.label, self.split)]

    def picture(self) -> str:
        """The first column that shows pictures in its first rows; empty if there is none."""
        for f in self.others():
            if _is_bytes(f.type) or (pa.types.is_struct(f.type) and _bytes_of(f.type)):
                rows = (row for row, _ in zip(_encoded(self.shards, f.name), range(_SNIFFED), strict=False))
                if any(row is not None and is_picture(row[:16]) for row in rows):
                    return f.name
        return ""

    def describe(self, raw: Raw, kept: list[int], *, without: str = "", attributes: bool = True) -> None:
        """Add labels, split and attributes of the rows `kept`."""
        known = table.Known()
        left = [f for f in self.others() if f.name != without]
        if self.label and not self._add_labels(raw, kept, known):
            left.append(self.schema.field(self.label))
        parts = [shard.part for shard in self.shards]
        if self.split:
            raw.split = table.split_of(self.path, self.split, [v or "" for v in self._texts(self.split)])[kept]
        elif all(p is not None for p in parts) and len(set(parts)) > 1:
            raw.split = np.repeat(np.array(parts, np.uint8), [shard.rows for shard in self.shards])[kept]
        columns: dict[str, np.ndarray] = {}
        for f in left if attributes else []:
            columns |= self._attributes(f, known)
        if columns:
            raw.attributes = np.stack([np.asarray(v, np.float32)[kept] for v in columns.values()], 1)
            raw.attribute_names = tuple(columns)
        raw.findings.notes += known.notes

    def _texts(self, column: str) -> list[str | None]:
        return [None if v is None else str(v) for array in _values(self.shards, column) for v in array.to_pylist()]

    def _attributes(self, f: pa.Field, known: table.Known) -> dict[str, np.ndarray]:
        if f.name in self.classes:
            names = self.classes[f.name]
            codes = _scalars(self.shards, f.name)
            texts = [names[int(c)] if 0 <= c < len(names) else "" for c in codes]  # not true of NaN
            return table.attributes_of(self.path, f.name, texts, known)
        if _is_number(f.type):
            values = _scalars(self.shards, f.name)
            return {f.name: values} if np.isfinite(values).any() else {}
        if _is_text(f.type):
            return table.attributes_of(self.path, f.name, [v or "" for v in self._texts(f.name)], known)
        return {}

    def _add_labels(self, raw: Raw, kept: list[int], known: table.Known) -> bool:
        """Whether the label's column holds labels; fractions that nobody asked for are an attribute."""
        kind = self.schema.field(self.label).type
        if self.label in self.classes:
            codes, names = _scalars(self.shards, self.label)[kept], self.classes[self.label]
            if (np.isnan(codes) | ((codes >= -1) & (codes < len(names)))).all():
                raw.labels, raw.label_names = np.nan_to_num(codes, nan=-1).astype(np.int64), names
                return True
        if not (_is_number(kind) or _is_text(kind)):
            known.notes.append(f"column {self.label} is left out: it holds no labels")
            return True
        values = [v for array in _values(self.shards, self.label) for v in array.to_pylist()]
        values = [values[i] for i in kept]
        there = [i for i, v in enumerate(values) if v is not None]
        if pa.types.is_floating(kind) and not all(values[i].is_integer() for i in there):
            if self.asked:
                raise DataError(
                    f"column {self.label} of {self.path.name} must hold whole numbers or text to be the label, found "
                    "fractions"
                )
            return False
        if there:
            found = np.array([values[i] for i in there])
            raw.labels = np.full(len(values), -1, np.int64)
            raw.labels[there], raw.label_names = index_labels(
                found.astype(np.int64) if found.dtype.kind == "f" else found
            )
        return True


def class_names(shard: Shard) -> dict[str, tuple[str, ...]]:
    """Columns that the hub's library calls classes → the names of these, in the order of their numbers.

    They stand in the file's own metadata, or in `dataset_info.json` beside it.
    """
    try:
        features = json.loads((shard.schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        try:
            features = json.loads((shard.path.parent / "dataset_info.json").read_text(encoding="utf-8"))["features"]
        except (OSError, KeyError, ValueError, TypeError):
            return {}
    found = {}
    for name in shard.schema.names:
        feature = features.get(name) if isinstance(features, dict) else None
        names = feature.get("names") if isinstance(feature, dict) else None
        if isinstance(names, list) and names:
            found[name] = tuple(map(str, names))
    return found


def _is_lists(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _bytes_of(kind: pa.StructType) -> bool:
    place = kind.get_field_index("bytes")
    return place >= 0 and _is_bytes(kind.field(place).type)
