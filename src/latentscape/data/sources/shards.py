"""Shards as WebDataset lays them out: tar files whose members `KEY.jpg`, `KEY.cls`, `KEY.json` … are one example.

One tar file, a folder of them, or a pattern such as `faces-{000000..000009}.tar`. The picture is the member with a
picture's suffix, `cls` its label (a number or a name); the fields of `json` are a table's columns (see `table`): label,
numbers, yes and no, text with few values. The word train, valid or test in a shard's name, or its folder's, gives the
split if more than one of them is there.

Nothing is ever unpacked: the tar files are indexed once, and pictures are read at their places in them.
"""

from __future__ import annotations

import itertools
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from latentscape.data import cache, table
from latentscape.data.picture import SUFFIXES
from latentscape.data.raw import Raw
from latentscape.data.recognise import BRACES, find_tars, is_pattern
from latentscape.data.settings import DataSettings
from latentscape.data.sources.packing import key_of, packed, stamp
from latentscape.errors import DataError

_PARTS = {"train": 0, "training": 0, "valid": 1, "validation": 1, "val": 1, "dev": 1, "test": 2, "testing": 2}
_MOST_SHARDS = 1_000_000
_MOST_TEXT = 1 << 20
"""A `cls` or `json` member of more bytes is not read."""


@dataclass(frozen=True)
class Place:
    """Where a picture lies: the shard, and its first byte and length there."""

    shard: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """The picture's bytes."""
        with open(self.shard, "rb") as f:
            f.seek(self.offset)
            return f.read(self.size)


@dataclass
class Index:
    """The examples of a shard, in its order: a name for each, where its picture is, and what is known of it as text."""

    files: list[str] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    columns: list[dict[str, str]] = field(default_factory=list)


def expand(pattern: str) -> list[Path]:
    """`a-{08..10}.tar` → a-08.tar, a-09.tar, a-10.tar; `{train,test}` stands for each. All must exist. `DataError`."""
    texts = list(itertools.islice(_expanded(pattern), _MOST_SHARDS + 1))
    if len(texts) > _MOST_SHARDS:
        raise DataError(f"{pattern} stands for more than {_MOST_SHARDS:,} shards; give a smaller range")
    paths = [Path(text).expanduser() for text in texts]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"{pattern} stands for {len(paths):,} shards, and {len(missing):,} are not there, first {missing[0]}"
        )
    return paths


def _expanded(pattern: str) -> Iterator[str]:
    found = BRACES.search(pattern)
    if not found:
        yield pattern
        return
    span = re.fullmatch(r"(\d+)\.\.(\d+)", found[1])
    if span:
        first, last = int(span[1]), int(span[2])
        words = (f"{i:0{len(span[1])}d}" for i in range(first, last + 1))
    else:
        words = iter(found[1].split(","))
    for word in words:
        yield from _expanded(pattern[: found.start()] + word + pattern[found.end() :])


@dataclass(frozen=True)
class Tars:
    """The examples of some shards, in order: names, places and what is known of them.

    starts: int64, the number of each shard's first example. stamps: each shard's path, size and time of change. split:
    uint8 N where the shards' names give one, else None.
    """

    name: str
    files: list[str]
    places: list[Place]
    known: table.Known
    split: np.ndarray | None
    starts: np.ndarray
    stamps: list[str]


def _found(where: str | Path) -> tuple[Path, list[Path]]:
    path = Path(where).expanduser()
    if is_pattern(str(where)) and not path.exists():
        return path, expand(str(where))
    return path, find_tars(path) if path.is_dir() else [path]


def _stamps(shards: list[Path]) -> list[str]:
    return [stamp(shard, str(shard.resolve())) for shard in shards]


def open_tars(where: str | Path, settings: DataSettings) -> Tars:
    """Look through all shards of a tar file, a folder of them or a pattern. Raises `DataError`."""
    path, shards = _found(where)
    indices = [index(shard) for shard in shards]
    files = [file for i in indices for file in i.files]
    if not files:
        raise DataError(f"{where} must hold pictures (KEY.jpg, KEY.png, …), found none in {len(shards):,} tar files")
    sizes = [len(i.files) for i in indices]
    parts, split = [part_of(shard) for shard in shards], None
    if all(part is not None for part in parts) and len(set(parts)) > 1:
        split = np.repeat(np.array(parts, np.uint8), sizes)
    return Tars(
        re.sub(r"[-_.]*\{.*\}[-_.]*", "", path.name.removesuffix(".tar")) or path.resolve().parent.name,
        files,
        [place for i in indices for place in i.places],
        _known(path, [columns for i in indices for columns in i.columns], settings),
        split,
        np.cumsum([0, *sizes[:-1]]),
        _stamps(shards),
    )


def load_shards(where: str | Path, settings: DataSettings, *, progress: bool = False) -> Raw:
    """Read a tar file, a folder of them or a pattern through the packed cache. Raises `DataError`."""
    path, shards = _found(where)
    key = key_of(path, settings, _stamps(shards))
    if (found := cache.open_packed(key)) is not None:
        return found
    tars = open_tars(where, settings)
    known = tars.known

    def describe(raw: Raw, kept: list[int]) -> None:
        raw.split = None if tars.split is None else tars.split[kept]
        raw.findings.notes += known.notes
        if known.labels is not None:
            raw.labels, raw.label_names = known.labels[kept], known.label_names
        if known.attributes is not None:
            raw.attributes, raw.attribute_names = known.attributes[kept], known.attribute_names

    return packed(
        tars.name,
        tars.files,
        lambda i: tars.places[i].read(),
        settings,
        describe,
        key=key,
        where=str(where),
        progress=progress,
    )


def part_of(shard: Path) -> int | None:
    """The part that a word of the shard's name, or else its folder's, says."""
    words = [*re.split(r"[-_.]", shard.name.lower()), *re.split(r"[-_.]", shard.parent.name.lower())]
    return next((_PARTS[word] for word in words if word in _PARTS), None)


def index(shard: Path) -> Index:
    """Look through a tar file; regular files alone count. Raises `DataError` if it is damaged or compressed."""
    members: dict[str, dict[str, tarfile.TarInfo]] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                key, kind = _key_of(member.name)
                if member.isreg() and kind:
                    members.setdefault(key, {}).setdefault(kind, member)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())[:100]
        raise DataError(
            f"{shard} is not a tar file that can be read ({reason}); compressed ones must be unpacked to .tar"
        ) from None
    if any(m.offset_data + m.size > shard.stat().st_size for kinds in members.values() for m in kinds.values()):
        raise DataError(f"{shard} is cut off: it is shorter than what it says it holds; get it again")
    found = Index()
    with open(shard, "rb") as f:
        for key, kinds in members.items():
            picture = _picture(kinds)
            if picture:
                member = kinds[picture]
                found.files.append(f"{shard.name}/{key}.{picture}")
                found.places.append(Place(shard, member.offset_data, member.size))
                found.columns.append(_said(f, kinds))
    return found


def _key_of(name: str) -> tuple[str, str]:
    """`a/b.seg.png` → ("a/b", "seg.png"): the key ends at the first dot of the last part. Hidden files have no kind."""
    folder, _, base = name.removeprefix("./").rpartition("/")
    key, _, kind = base.partition(".")
    if not key or folder.startswith("__MACOSX"):
        return "", ""
    return (f"{folder}/{key}" if folder else key), kind.lower()


def _picture(kinds: dict[str, tarfile.TarInfo]) -> str:
    """The kind of the example's picture: one that is a picture's suffix, else one that ends in it."""
    whole = [kind for kind in kinds if f".{kind}" in SUFFIXES]
    return next(iter(whole + [kind for kind in kinds if f".{kind.rpartition('.')[2]}" in SUFFIXES]), "")


def _said(f: Any, kinds: dict[str, tarfile.TarInfo]) -> dict[str, str]:
    """What `json` and `cls` say, as text by name; the label of `cls` is called "cls"."""
    columns: dict[str, str] = {}
    for kind in ("json", "cls"):
        if kind not in kinds or kinds[kind].size > _MOST_TEXT:
            continue
        f.seek(kinds[kind].offset_data)
        text = f.read(kinds[kind].size).decode("utf-8", "replace").strip()
        if kind == "cls":
            columns["cls"] = text
            continue
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict):
            columns |= {str(name): _text(v) for name, v in values.items() if not isinstance(v, (list, dict))}
    return columns


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return "" if value is None else str(value)


def _known(path: Path, said: list[dict[str, str]], settings: DataSettings) -> table.Known:
    """Labels and attributes out of every example's columns; what an example does not say is unknown."""
    known = table.Known()
    names = list(dict.fromkeys(name for columns in said for name in columns))
    asked = settings.label_column
    if asked and asked not in names:
        raise DataError(
            f"--label-column must be cls or a field of the json members of {path.name}, got {asked}; there are "
            f"{', '.join(names) or 'none'}"
        )
    lower = {name.lower(): name for name in reversed(names)}
    label = asked or next((lower[name] for name in ("cls", *table.LABEL_COLUMNS) if name in lower), "")
    columns = {name: [columns.get(name, "") for columns in said] for name in names}
    if label:
        known.labels, known.label_names = table.labels_of(path, label, columns.pop(label))
    merged: dict[str, np.ndarray] = {}
    for name, values in columns.items():
        merged |= table.attributes_of(path, name, values, known)
    if merged:
        known.attributes = np.stack(list(merged.values()), 1).astype(np.float32)
        known.attribute_names = tuple(merged)
    return known
