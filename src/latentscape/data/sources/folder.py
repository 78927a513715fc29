"""A folder of pictures, any tree of them, or a single picture.

Labels come from a table (see `table`), else from two or more sub-folders that hold pictures themselves; one lone
sub-folder is no label. If all first sub-folders are called train, valid or test, they are the split, and the folders in
them the labels. The folder is scanned and packed once; see `cache`.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from latentscape.data import cache, table
from latentscape.data.imageset import Findings
from latentscape.data.picture import SUFFIXES, UnreadableError, decode, is_picture
from latentscape.data.raw import Raw, index_labels
from latentscape.data.scan import by, decode_all, quiet_decoding
from latentscape.data.settings import DataSettings
from latentscape.errors import DataError

_SPLIT_FOLDERS = {"train": 0, "training": 0, "valid": 1, "val": 1, "validation": 1, "test": 2, "testing": 2}
_SUFFIXES = tuple(SUFFIXES)
_OTHER_SUFFIXES = (".csv", ".tsv", ".parquet", ".json", ".txt", ".md", ".html", ".py")


class Entry(NamedTuple):
    """One file that may be a picture: its name relative to the folder, bytes, and time of change in nanoseconds."""

    file: str
    size: int
    mtime_ns: int


def list_pictures(folder: Path) -> list[Entry]:
    """Files under `folder` with a picture's suffix or first bytes, sorted by name; hidden ones are left out."""
    entries: list[Entry] = []
    seen: set[tuple[int, int]] = set()
    places = [("", os.fspath(folder))]
    while places:
        prefix, place = places.pop()
        with contextlib.suppress(OSError):
            status = os.stat(place)
            if (status.st_dev, status.st_ino) in seen:  # a link back up
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(place) as there:
                for item in there:
                    if item.name.startswith((".", "__MACOSX")):
                        continue
                    if item.is_dir():
                        places.append((f"{prefix}{item.name}/", item.path))
                    elif _may_be_picture(item):
                        with contextlib.suppress(OSError):  # vanished since
                            status = item.stat()
                            entries.append(Entry(prefix + item.name, status.st_size, status.st_mtime_ns))
    return sorted(entries)


def _may_be_picture(item: os.DirEntry[str]) -> bool:
    if not item.is_file():  # a link to nothing, a pipe
        return False
    name = item.name.lower()
    if name.endswith(_SUFFIXES):
        return True
    if name.endswith(_OTHER_SUFFIXES):
        return False
    try:
        with open(item.path, "rb") as f:
            return is_picture(f.read(16))
    except OSError:
        return False


def load_folder(folder: Path, settings: DataSettings, *, progress: bool = False) -> Raw:
    """Read a folder of pictures through the packed cache. Raises `DataError`, and `DiskFull` where the cache is."""
    entries = list_pictures(folder)
    if not entries:
        raise DataError(nothing_in(folder))
    tables = table.candidates(folder, settings.labels)
    key = _key(folder, entries, tables, settings)
    packed = cache.open_packed(key)
    if packed is None:
        _pack(folder, entries, tables, settings, key, progress)
        packed = cache.open_packed(key)
    if packed is None:
        raise DataError(f"the packed cache at {cache.packed_path(key)} cannot be read back; remove it and try again")
    return packed


def nothing_in(folder: Path) -> str:
    """One sentence on a folder without pictures."""
    files = (p for p in itertools.islice(folder.rglob("*"), 10_000) if p.is_file())
    kinds = Counter(p.suffix.lower() or "files without suffix" for p in files)
    found = ", ".join(f"{n:,} {kind}" for kind, n in kinds.most_common(3)) or "nothing in it"
    return (
        f"{folder} must hold pictures (PNG, JPEG, WebP, BMP, TIFF, GIF), IDX or Parquet files, found {found}; "
        f"point at the folder or the file that does"
    )


def load_picture(path: Path, settings: DataSettings) -> Raw:
    """A set of one picture."""
    with quiet_decoding():
        try:
            picture = decode(path, settings)
        except UnreadableError as reason:
            raise DataError(f"{path} cannot be read: {reason}") from None
    pixels = picture.pixels.copy()  # what is decoded may not be written to
    if settings.mode == "rgb" and len(pixels) == 1:
        pixels = np.repeat(pixels, 3, 0)
    findings = Findings(found=1, modes={picture.mode: 1}, sizes={by(picture.size): 1})
    return Raw(
        path.stem, torch.from_numpy(pixels[None]), files=(path.name,), split=np.zeros(1, np.uint8), findings=findings
    )


def _key(folder: Path, entries: list[Entry], tables: list[Path], settings: DataSettings) -> str:
    """Of everything that the packed files depend on: files, tables, and the settings that change pixels or labels."""
    values = settings.to_dict()
    chosen = [values[name] for name in ("size", "fit", "mode", "labels", "label_column")]
    state = hashlib.blake2b(repr((cache.VERSION, str(folder.resolve()), chosen)).encode(), digest_size=16)
    for file, size, mtime_ns in entries:
        state.update(f"{file}\0{size}\0{mtime_ns}\n".encode(errors="surrogateescape"))
    for path in tables:
        state.update(f"{path.name}\0".encode(errors="surrogateescape") + hashlib.blake2b(table.content(path)).digest())
    return state.hexdigest()


def _pack(
    folder: Path, entries: list[Entry], tables: list[Path], settings: DataSettings, key: str, progress: bool
) -> None:
    files = tuple(e.file for e in entries)
    with cache.temporary(key) as place:
        with cache.writing(place):
            pixels = cache.Pixels(place / "pixels.bin", settings.mode)
            try:
                scan = decode_all(files, lambda i: folder / files[i], settings, pixels.append, str(folder), progress)
            finally:
                pixels.close()
        shape = (pixels.count, pixels.channels, *(pixels.size or ()))
        x = torch.from_file(str(pixels.path), size=math.prod(shape), dtype=torch.uint8).view(shape)
        raw = scan.to_raw(folder.resolve().name, x, files)
        _describe_files(raw, folder, tables, settings)
        with cache.writing(place):
            cache.publish(place, key, raw)


def _describe_files(raw: Raw, folder: Path, tables: list[Path], settings: DataSettings) -> None:
    """Labels, attributes and split: from the folders' names, then over them whatever the best table says."""
    assert raw.files is not None
    _from_folders(raw)
    known = [(path, said) for path in tables if (said := _said(path, raw, settings)) is not None]
    if settings.labels and not known:
        raise DataError(
            f"--labels {settings.labels} must name the picture files in one of its columns, found none of them; "
            f"the first is {raw.files[0]}"
        )
    if settings.label_column and not known:
        raise DataError(
            f"--label-column {settings.label_column} needs a table that names the pictures, found none in or "
            f"beside {folder}; give it with --labels"
        )
    if not known:
        return
    path, said = known[0]
    raw.findings.notes += said.notes + [f"{other.name} is not used, {path.name} is" for other, _ in known[1:]]
    if said.labels is not None:
        raw.labels, raw.label_names = said.labels, said.label_names
    if said.split is not None:
        raw.split = said.split
    raw.attributes, raw.attribute_names = said.attributes, said.attribute_names


def _said(path: Path, raw: Raw, settings: DataSettings) -> table.Known | None:
    """What one table says; one that nobody asked for and whose name promises nothing may be unusable."""
    assert raw.files is not None
    try:
        return table.join(path, raw.files, settings.label_column)
    except DataError as error:
        if settings.labels or path.stem.lower() in table.USUAL_NAMES:
            raise
        raw.findings.notes.append(f"{path.name} is not used: {error}")
        return None


def _from_folders(raw: Raw) -> None:
    assert raw.files is not None
    parts = [file.split("/") for file in raw.files]
    if {p[0].lower() for p in parts} <= _SPLIT_FOLDERS.keys() and all(len(p) > 1 for p in parts):
        raw.split = np.array([_SPLIT_FOLDERS[p[0].lower()] for p in parts], np.uint8)
        parts = [p[1:] for p in parts]
    if len({p[0] for p in parts if len(p) == 2}) < 2:
        return
    classes = [p[0] if len(p) > 1 else "" for p in parts]
    labels, names = index_labels(np.array([c for c in classes if c]))
    raw.label_names = names
    raw.labels = np.full(len(classes), -1, np.int64)
    raw.labels[[bool(c) for c in classes]] = labels
    if "" in classes:
        raw.findings.notes.append(f"{classes.count(''):,} pictures lie in no class folder and have no label")
