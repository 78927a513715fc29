"""The packed cache: a folder of files, decoded once into one file of pixels that training maps into memory.

`<root>/<key>/` holds pixels.bin (uint8 N×C×H×W), digests.npy, labels.npy, attributes.npy and split.npy where known,
and index.json. It is written into a temporary folder, flushed to disk and renamed, so that a folder under its final
name is complete whatever happens.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from latentscape.data.imageset import Findings
from latentscape.data.raw import Raw
from latentscape.errors import DataError, DiskFull

VERSION = 2
"""Part of every key: raise it when the same files would be packed differently."""

_ARRAYS = ("digests", "labels", "attributes", "split")
_PREFIX = ".packing-"
_STALE_SECONDS = 24 * 3600


def cache_root() -> Path:
    """Where caches and fetched data live: `LATENTSCAPE_CACHE`, or ~/.cache/latentscape."""
    return Path(os.environ.get("LATENTSCAPE_CACHE") or "~/.cache/latentscape").expanduser()


def packed_path(key: str) -> Path:
    """The folder of one packed cache."""
    return cache_root() / "packed" / key


@contextlib.contextmanager
def writing(place: Path) -> Iterator[None]:
    """Turns a failure to write at `place` into one sentence: `DiskFull`, or `DataError` for the rest."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"no space is left on the disk of {place}; free some, or set LATENTSCAPE_CACHE to a folder "
                f"on another disk"
            ) from None
        raise DataError(
            f"{place} cannot be written ({error.strerror or error}); set LATENTSCAPE_CACHE to a folder that can"
        ) from None


class Pixels:
    """Appends pictures to one file; begins grey and widens to colour when the first coloured picture comes."""

    def __init__(self, path: Path, mode: str) -> None:
        self.path = path
        self.channels = 3 if mode == "rgb" else 1
        self.size: tuple[int, int] | None = None
        self.count = 0
        self._file = open(path, "wb")  # noqa: SIM115  (closed by `close`)

    def append(self, pixels_CHW: np.ndarray) -> None:
        """Add one picture of 1 or 3 channels and the size of all others."""
        self.size = (pixels_CHW.shape[1], pixels_CHW.shape[2])
        if len(pixels_CHW) > self.channels:
            self._widen()
        if len(pixels_CHW) < self.channels:
            pixels_CHW = np.repeat(pixels_CHW, 3, 0)
        self._file.write(np.ascontiguousarray(pixels_CHW).data)
        self.count += 1

    def _widen(self) -> None:
        self.channels = 3
        if not self.count:
            return
        self._file.close()
        narrow = self.path.with_suffix(".grey")
        os.replace(self.path, narrow)
        self._file = open(self.path, "wb")  # noqa: SIM115
        assert self.size is not None
        with open(narrow, "rb") as f:
            for _ in range(self.count):
                self._file.write(f.read(math.prod(self.size)) * 3)
        narrow.unlink()

    def close(self) -> None:
        """Flush to disk and close."""
        if not self._file.closed:
            with self._file as f:
                _flush(f)


@contextlib.contextmanager
def temporary(key: str) -> Iterator[Path]:
    """A folder to pack into; removed at the end unless `publish` renamed it."""
    root = cache_root() / "packed"
    with writing(root):
        root.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{key[:8]}-", dir=root))
    _remove_stale(root)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_stale(root: Path) -> None:
    """Leftovers of packings that were killed more than a day ago."""
    for left in root.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def publish(folder: Path, key: str, raw: Raw) -> Path:
    """Complete the temporary folder, that already holds pixels.bin, and give it its final name."""
    final = packed_path(key)
    index = {
        "version": VERSION, "name": raw.name, "shape": list(raw.x.shape), "label_names": list(raw.label_names),
        "attribute_names": list(raw.attribute_names), "files": list(raw.files or ()),
        "findings": raw.findings.to_dict(),
    }  # fmt: skip
    for name in _ARRAYS:
        array = getattr(raw, name)
        if array is not None:
            content = io.BytesIO()  # written to a file itself, np.save hides that the disk is full
            np.save(content, array, allow_pickle=False)
            with open(folder / f"{name}.npy", "wb") as f:
                f.write(content.getbuffer())
                _flush(f)
    with open(folder / "index.json", "w", encoding="utf-8") as f:
        json.dump(index, f, ensure_ascii=True)
        _flush(f)
    _flush_folder(folder)
    if final.exists() and open_packed(key) is None:
        shutil.rmtree(final, ignore_errors=True)  # damaged from outside
    try:
        os.rename(folder, final)
    except OSError:
        if not final.is_dir():  # else another process packed the same meanwhile
            raise
    _flush_folder(final.parent)
    return final


def _flush(f) -> None:
    f.flush()
    os.fsync(f.fileno())


def _flush_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every system lets a folder be flushed
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def open_packed(key: str) -> Raw | None:
    """The packed set, pixels mapped into memory, or None if there is none or it is damaged."""
    folder = packed_path(key)
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        shape = tuple(index["shape"])
        if index["version"] != VERSION or (folder / "pixels.bin").stat().st_size != math.prod(shape):
            return None
        arrays = {name: _load_array(folder / f"{name}.npy", shape[0]) for name in _ARRAYS}
        return Raw(
            name=index["name"],
            x=torch.from_file(str(folder / "pixels.bin"), size=math.prod(shape), dtype=torch.uint8).view(shape),
            label_names=tuple(index["label_names"]),
            attribute_names=tuple(index["attribute_names"]),
            files=tuple(index["files"]),
            findings=Findings.from_dict(index["findings"]),
            cache_path=folder,
            **arrays,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _load_array(path: Path, n: int) -> np.ndarray | None:
    if not path.exists():
        return None
    array = np.load(path, allow_pickle=False)
    if len(array) != n:
        raise ValueError("length")
    return array
