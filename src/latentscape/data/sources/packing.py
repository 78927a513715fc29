"""What every source of encoded pictures does: decode them once into the packed cache, and read them from there.

A source says how many pictures there are, what each is called, how to get the bytes of each, and what is known of those
that could be read. Files, rows of a table and members of an archive differ in nothing else.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from latentscape.data import cache
from latentscape.data.raw import Raw
from latentscape.data.scan import decode_all
from latentscape.data.settings import DataSettings
from latentscape.errors import DataError

Describe = Callable[[Raw, list[int]], None]
"""Adds labels, attributes and split to a set, given the positions of the pictures that could be read."""


def key_of(path: Path, settings: DataSettings, state: Iterable[str | bytes]) -> str:
    """The cache's key: of the place, of the settings that change pixels or labels, and of `state`.

    state: whatever else the packed files depend on, such as the name, size and time of change of every file read.
    """
    values = settings.to_dict()
    chosen = [values[name] for name in ("size", "fit", "mode", "labels", "label_column")]
    whole = hashlib.blake2b(repr((cache.VERSION, str(path.resolve()), chosen)).encode(), digest_size=16)
    for part in state:
        whole.update((part if isinstance(part, bytes) else part.encode(errors="surrogateescape")) + b"\n")
    return whole.hexdigest()


def stamp(path: Path, name: str = "") -> str:
    """A file's name, size and time of change in nanoseconds, for `key_of`. Raises `DataError` if it is not there."""
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check its permissions") from None
    return f"{name or path.name}\0{status.st_size}\0{status.st_mtime_ns}"


def packed(
    name: str,
    files: Sequence[str],
    source: Callable[[int], Path | bytes],
    settings: DataSettings,
    describe: Describe,
    *,
    key: str,
    where: str,
    progress: bool = False,
) -> Raw:
    """The pictures `files` from the packed cache of that key, decoded into it if it is not there yet.

    source: the path or the bytes of picture i; asked once for each, nearly in order, from several threads; raises
        `UnreadableError` for what it cannot give. where: names the place in errors.
    Raises `DataError` if nothing can be read or sizes differ, and `DiskFull`.
    """
    found = cache.open_packed(key)
    if found is not None:
        return found
    with cache.temporary(key) as place:
        with cache.writing(place):
            pixels = cache.Pixels(place / "pixels.bin", settings.mode)
            try:
                scan = decode_all(files, source, settings, pixels.append, where, progress)
            finally:
                pixels.close()
        shape = (pixels.count, pixels.channels, *(pixels.size or ()))
        x = torch.from_file(str(pixels.path), size=math.prod(shape), dtype=torch.uint8).view(shape)
        raw = scan.to_raw(name, x, files)
        describe(raw, scan.kept)
        with cache.writing(place):
            cache.publish(place, key, raw)
    found = cache.open_packed(key)
    if found is None:
        raise DataError(f"the packed cache at {cache.packed_path(key)} cannot be read back; remove it and try again")
    return found
