"""Fetch a named data set, once, from a list of addresses tried in turn; every file is checked by its MD5.

A set is looked for in `$LATENTSCAPE_DATA/<name>` and in the data home, `~/.cache/latentscape/datasets/<name>`, where
it is fetched to. `LATENTSCAPE_MIRROR` (or the `address` argument) names a place to try before the usual ones: a web
address or a folder that holds the files.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

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
    "celeba": ("https://drive.usercontent.google.com/download?id={id}&export=download&confirm=t",),
}
"""Name → addresses that a file's name is put behind, or its number on the drive (`DRIVE_IDS`) in the place of {id}."""

FILES = tuple(f"{name}.gz" for name in MNIST_MD5)
"""The four files that each of the sets of IDX files consists of."""

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

CELEBA_MD5 = {
    "list_eval_partition.txt": "d32c9cbf5e040fd4025c592c306e6668",
    "list_attr_celeba.txt": "75e246fa4810816ffd6ee81facbd244c",
    "identity_CelebA.txt": "32bd1bd63d3c78cd57e08160ec5ed1e2",
    "list_landmarks_align_celeba.txt": "cc24ecafdb5b50baae59b03474781f8c",
    "list_bbox_celeba.txt": "00566efa6fedff7a56946cd1c10f1c16",
    "img_align_celeba.zip": "00d2c5bc6d35e252742224ab0c1e8fcb",
}
"""The files of CelebA; the largest last, so that what is wrong shows at the small ones."""

OPTIONAL = frozenset(("identity_CelebA.txt", "list_landmarks_align_celeba.txt", "list_bbox_celeba.txt"))
"""Files that a set is of use without."""

DRIVE_IDS = {
    "list_eval_partition.txt": "0B7EVK8r0v71pY0NSMzRuSXJEVkk",
    "list_attr_celeba.txt": "0B7EVK8r0v71pblRyaVFSWGxPY0U",
    "identity_CelebA.txt": "1_ee_0u7vcNLOfNLegJRHmolfH5ICW-XS",
    "list_landmarks_align_celeba.txt": "0B7EVK8r0v71pd0FJY3Blby1HUTQ",
    "list_bbox_celeba.txt": "0B7EVK8r0v71pbThiMVRxWXZ4dU0",
    "img_align_celeba.zip": "0B7EVK8r0v71pZjFTYXZWM3FlRnM",
}
"""What the drive of CelebA's authors calls its files."""

TERMS = {
    "celeba": "CelebA is for research that is not commercial; its terms: https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
}
"""What to know before a set is used."""

_MOST_BYTES = {"celeba": 1 << 31}
_USUAL_MOST = 1 << 28
_CHUNK = 1 << 20
_TOLD_BYTES = 1 << 26  # of larger files every tenth part is reported
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
    if name.startswith("hf:"):
        from latentscape.data.sources.huggingface import fetch_hub

        return fetch_hub(name)
    name = {"stacked-mnist": "mnist"}.get(name, name)
    if name not in ADDRESSES:
        known = f"{name} is embedded and needs no fetching" if name in NAMES else f"there is no data set {name!r}"
        raise DataError(f"{known}; those that can be fetched are {', '.join(ADDRESSES)}")
    address = address or os.environ.get("LATENTSCAPE_MIRROR")
    bases = ([_base(address)] if address else []) + list(ADDRESSES[name])
    folder = data_home() / name
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if name in TERMS:
        report(TERMS[name])
    for file, expected in files_of(name).items():
        try:
            _get(name, file, expected, bases, folder, report)
        except DataError as error:
            if file not in OPTIONAL:
                raise
            report(f"{file} is left out, it can be done without: {error}")
    if name == "celeba":
        _unpack(folder, report)
    return folder


def files_of(name: str) -> dict[str, str]:
    """The files of a set that can be fetched, each with its MD5."""
    return CELEBA_MD5 if name == "celeba" else dict(zip(FILES, MD5[name], strict=True))


def _get(name: str, file: str, expected: str, bases: list[str], folder: Path, report: Callable[[str], None]) -> None:
    if (folder / file).is_file() and _md5(folder / file, name) == expected:
        report(f"{file}: already there, MD5 {expected}")
    elif _is_unpacked(folder, file):
        report(f"{file}: already unpacked")
    else:
        _fetch_file(name, file, expected, bases, folder, report)


def _is_unpacked(folder: Path, file: str) -> bool:
    """Whether an archive's pictures all lie in a folder of its name, so that it can be done without."""
    from latentscape.data.sources.celeba import ARCHIVE, COUNT, count_pictures

    return file == ARCHIVE and count_pictures(folder) >= COUNT


def _unpack(folder: Path, report: Callable[[str], None]) -> None:
    from latentscape.data.sources.celeba import ARCHIVE, extract

    if (folder / ARCHIVE).is_file():
        extract(folder / ARCHIVE, report)


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
        url = base.replace("{id}", DRIVE_IDS.get(file, "")) if "{id}" in base else base + file
        place = base.partition("?")[0]
        with _temporary(folder) as (stream, path):
            try:
                _download(url, stream, folder, _MOST_BYTES.get(name, _USUAL_MOST), lambda t: report(f"{file}: {t}"))
            except (OSError, ValueError, http.client.HTTPException) as error:
                cause = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
                reasons.append(f"{place}: {' '.join(str(cause).split())[:100] or type(error).__name__}")
                continue
            found = _md5(path, name)
            report(f"{file} from {place}: expected MD5 {expected}, found {found}")
            if found != expected:
                page = " (a web page came in its place)" if _is_page(path) else ""
                reasons.append(f"{place}: MD5 must be {expected}, found {found}{page}")
                continue
            with writing(folder):
                os.replace(path, folder / file)
            return
    tried = "; ".join(reasons) or "no address to try"
    wanted = ", ".join(f for f in files_of(name) if f not in OPTIONAL)
    raise DataError(
        f"{name} could not be fetched ({tried}): put {wanted} into {folder} by hand, "
        f"or name another address in LATENTSCAPE_MIRROR"
    )


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A file under another name, gone at the end unless it was renamed: a file under its own name is complete."""
    with writing(folder):
        handle, name = tempfile.mkstemp(prefix=".fetching-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream, Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _download(url: str, stream: IO[bytes], folder: Path, most: int, report: Callable[[str], None]) -> None:
    """What is at the address into a file in `folder`, through to the disk; never more than `most` bytes."""
    request = urllib.request.Request(url, headers={"User-Agent": "latentscape"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
        whole, done = int(answer.headers.get("Content-Length") or 0), 0
        while part := answer.read(_CHUNK):
            before, done = done, done + len(part)
            if done > most:
                raise ValueError(f"more than the {most:,} bytes that such a file may have")
            with writing(folder):
                stream.write(part)
            if whole > _TOLD_BYTES and 10 * done // whole > 10 * before // whole:
                report(f"{100 * done // whole} % of {whole:,} bytes")
    with writing(folder):
        stream.flush()
        os.fsync(stream.fileno())


def _md5(path: Path, name: str) -> str:
    """The file's MD5; for MNIST that of what is compressed in it."""
    try:
        with gzip.open(path) if name == "mnist" else open(path, "rb") as f:
            return hashlib.file_digest(f, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return "none, for it is not a gzip file"


def _is_page(path: Path) -> bool:
    with open(path, "rb") as f:
        return f.read(64).lstrip()[:1] == b"<"
