"""Fetch a named data set, once, from a list of addresses tried in turn; every file is checked by its MD5.

A set is looked for in `$LATENTSCAPE_DATA/<name>` and in the data home, `~/.cache/latentscape/datasets/<name>`, where
it is fetched to. `LATENTSCAPE_MIRROR` (or the `address` argument) names a place to try before the usual ones: a web
address or a folder that holds the files.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path

from latentscape.data.cache import cache_root, writing
from latentscape.data.names import NAMES
from latentscape.data.sources.idx import MNIST_MD5
from latentscape.errors import DataError

ADDRESSES: dict[str, tuple[str, ...]] = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    "kmnist": (
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    ),
}

FILES = tuple(f"{name}.gz" for name in MNIST_MD5)
"""The four files that every one of these sets consists of."""

MD5: dict[str, tuple[str, ...]] = {
    "mnist": tuple(MNIST_MD5.values()),
    "fashion-mnist": (
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    "kmnist": (
        "bdb82020997e1d708af4cf47b453dcf7", "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7", "7320c461ea6c1c855c0b718fb2a4b134",
    ),
}  # fmt: skip
"""In the order of `FILES`: of the uncompressed content for MNIST, of the .gz file itself for the others."""

_MOST_BYTES = 1 << 28
_TIMEOUT_SECONDS = 30


def data_home() -> Path:
    """Where fetched sets live."""
    return cache_root() / "datasets"


def places(name: str) -> list[Path]:
    """Folders that may hold the named set, in the order in which they are tried."""
    own = os.environ.get("LATENTSCAPE_DATA")
    return ([Path(own).expanduser() / name] if own else []) + [data_home() / name]


def fetch(name: str, address: str | None = None, report: Callable[[str], None] = print) -> Path:
    """Get the files of a named set that are not there yet; returns their folder.

    `address` (default: LATENTSCAPE_MIRROR) is tried before the usual addresses; `report` takes one line per file with
    the expected and the found MD5. Raises `DataError` if a file cannot be had anywhere, `DiskFull` if there is no room.
    """
    name = {"stacked-mnist": "mnist"}.get(name, name)
    if name not in ADDRESSES:
        known = f"{name} is embedded and needs no fetching" if name in NAMES else f"there is no data set {name!r}"
        raise DataError(f"{known}; those that can be fetched are {', '.join(ADDRESSES)}")
    address = address or os.environ.get("LATENTSCAPE_MIRROR")
    bases = ([_base(address)] if address else []) + list(ADDRESSES[name])
    folder = data_home() / name
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for file, expected in zip(FILES, MD5[name], strict=True):
        if (folder / file).is_file() and _md5((folder / file).read_bytes(), name) == expected:
            report(f"{file}: already there, MD5 {expected}")
        else:
            _fetch_file(name, file, expected, bases, folder, report)
    return folder


def _base(address: str) -> str:
    path = Path(address).expanduser()
    base = path.resolve().as_uri() if path.is_dir() else address
    if not base.startswith(("http://", "https://", "file://")):
        raise DataError(f"the address must be http://…, https://… or an existing folder, got {address!r}")
    return base.rstrip("/") + "/"


def _fetch_file(
    name: str, file: str, expected: str, bases: list[str], folder: Path, report: Callable[[str], None]
) -> None:
    reasons = []
    for base in bases:
        try:
            content = _download(base + file)
        except (OSError, ValueError) as error:
            cause = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            reasons.append(f"{base}: {' '.join(str(cause).split())[:100]}")
            continue
        found = _md5(content, name)
        report(f"{file} from {base}: expected MD5 {expected}, found {found}")
        if found != expected:
            reasons.append(f"{base}: MD5 must be {expected}, found {found}")
            continue
        _write(folder / file, content)
        return
    tried = "; ".join(reasons) or "no address to try"
    raise DataError(
        f"{name} could not be fetched ({tried}): put {', '.join(FILES)} into {folder} by hand, "
        f"or name another address in LATENTSCAPE_MIRROR"
    )


def _download(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "latentscape"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
        content = answer.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"more than the {_MOST_BYTES:,} bytes that such a file may have")
    return content


def _md5(content: bytes, name: str) -> str:
    if name == "mnist":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            return "none, for it is not a gzip file"
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _write(path: Path, content: bytes) -> None:
    """Under a temporary name first: a file under its own name is complete."""
    with writing(path.parent):
        handle, temporary = tempfile.mkstemp(prefix=".fetching-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as f:
                f.write(content)
                f.flush()
                os.fsync(f.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
