"""Parquet files: one, or a folder of shards as the Hugging Face hub stores them (`data/train-00000-of-00002.parquet`),
or as its library's `save_to_disk` does (Arrow).

The examples are a column of encoded pictures (bytes, or a struct with `bytes`), else a column of nested lists (pixels
or vectors), else all columns of numbers together as vectors. `label`, `class`, … (or the column asked for) is the
label, with the names that the hub's metadata gives; a shard's name gives the split.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentscape.data.picture import is_picture
from latentscape.data.raw import Raw, index_labels
from latentscape.data.scan import decode_all
from latentscape.data.settings import DataSettings
from latentscape.data.sources.arrays import build
from latentscape.data.table import LABEL_COLUMNS
from latentscape.errors import DataError

_PARTS = {"train": 0, "valid": 1, "validation": 1, "val": 1, "dev": 1, "test": 2}


def find_shards(folder: Path) -> list[Path]:
    """Parquet files (else Arrow files, as `save_to_disk` writes them) in a folder or two levels below, sorted."""
    for pattern in ("*.parquet", "data-*.arrow"):
        found = sorted(p for depth in ("", "*/", "*/*/") for p in folder.glob(depth + pattern))
        if found:
            return found
    return []


def load_parquet(path: Path, settings: DataSettings, *, progress: bool = False) -> Raw:
    """Read a Parquet file or a folder of shards. Raises `DataError`."""
    shards = find_shards(path) if path.is_dir() else [path]
    tables = [_read(shard) for shard in shards]
    if len({tuple(t.column_names) for t in tables}) > 1:
        raise DataError(f"the Parquet files in {path} must have the same columns; point at one of them")
    name = path.resolve().name.removesuffix(".parquet")
    columns = {c: [v for t in tables for v in t[c].to_pylist()] for c in tables[0].column_names}
    label = _label_column(columns, settings, path)
    raw = _examples(name, columns, label, settings, str(path), progress)
    kept = np.array([int(file.removeprefix("row ")) for file in raw.files]) if raw.files else np.arange(len(raw.x))
    if label:
        _add_labels(raw, [columns[label][i] for i in kept], label, _hub_names(tables[0], label))
    parts = [_part(shard) for shard in shards]
    if len(shards) > 1 and all(p is not None for p in parts) and len(set(parts)) > 1:
        raw.split = np.repeat(np.array(parts, np.uint8), [t.num_rows for t in tables])[kept]
    return raw


def _read(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix != ".arrow":
            return pq.read_table(path)
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_stream(source).read_all()
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{path} is not a Parquet or Arrow file that can be read ({reason})") from None


def _part(shard: Path) -> int | None:
    """The part that a shard's name, or else its folder's, says."""
    words = (re.split(r"[-_.]", name.lower())[0] for name in (shard.name, shard.parent.name))
    return next((_PARTS[word] for word in words if word in _PARTS), None)


def _label_column(columns: dict[str, list], settings: DataSettings, path: Path) -> str:
    if settings.label_column and settings.label_column not in columns:
        raise DataError(
            f"--label-column must be a column of {path.name}, got {settings.label_column}; it has {', '.join(columns)}"
        )
    lower = {name.lower(): name for name in reversed(columns)}
    return settings.label_column or next((lower[name] for name in LABEL_COLUMNS if name in lower), "")


def _examples(
    name: str, columns: dict[str, list], label: str, settings: DataSettings, where: str, progress: bool
) -> Raw:
    others = {column: values for column, values in columns.items() if column != label}
    if not any(others.values()):
        raise DataError(f"{where} must hold at least one row of examples, found none")
    for values in others.values():
        encoded = [_encoded(v) for v in values]
        if any(head is not None and is_picture(head[:16]) for head in encoded):
            return _pictures(name, encoded, settings, where, progress)
    for column, values in others.items():
        if isinstance(values[0], list):
            return build(name, _stacked(values, column, where))
    numbers = [c for c, values in others.items() if all(isinstance(v, (int, float)) for v in values)]
    if numbers:
        return build(name, np.array([others[c] for c in numbers], np.float64).T)
    raise DataError(
        f"{where} must have a column of pictures, of lists of numbers, or columns of numbers, found "
        f"{', '.join(columns)}"
    )


def _encoded(value: Any) -> bytes | None:
    value = value.get("bytes") if isinstance(value, dict) else value
    return value if isinstance(value, bytes) else None


def _stacked(values: list, column: str, where: str) -> np.ndarray:
    try:
        array = np.array(values)
    except ValueError:
        raise DataError(f"column {column} of {where} must hold lists of one length, found several") from None
    return array


def _pictures(name: str, encoded: list[bytes | None], settings: DataSettings, where: str, progress: bool) -> Raw:
    rows = [f"row {i}" for i in range(len(encoded))]
    pictures: list[np.ndarray] = []
    scan = decode_all(rows, lambda i: encoded[i] or b"", settings, pictures.append, where, progress)
    channels = 3 if settings.mode == "rgb" else max(len(p) for p in pictures)
    x = np.stack([p if len(p) == channels else np.repeat(p, channels, 0) for p in pictures])
    return scan.to_raw(name, torch.from_numpy(x), rows)


def _hub_names(table: Any, label: str) -> list[str] | None:
    """Class names that the hub's library leaves in a Parquet file's metadata."""
    try:
        features = json.loads((table.schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
        return [str(n) for n in names]
    except (KeyError, ValueError, TypeError):
        return None


def _add_labels(raw: Raw, values: list, column: str, names: list[str] | None) -> None:
    if names and all(isinstance(v, int) and 0 <= v < len(names) for v in values):
        raw.labels, raw.label_names = np.array(values, np.int64), tuple(names)
        return
    known = [i for i, v in enumerate(values) if v is not None]
    if not known or any(isinstance(values[i], (list, dict, bytes)) for i in known):
        raw.findings.notes.append(f"column {column} is left out: it holds no labels")
        return
    raw.labels = np.full(len(values), -1, np.int64)
    raw.labels[known], raw.label_names = index_labels(np.array([values[i] for i in known]))
