"""What lies at a path, told by content and not by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from latentscape.data.picture import is_picture
from latentscape.errors import DataError

Kind = Literal[
    "idx-folder", "idx-file", "celeba", "folder", "npy", "npz", "parquet", "parquet-folder", "picture", "shards"
]

ACCEPTED = "a folder of pictures, a picture, IDX files, .npy, .npz, Parquet or tar shards"


BRACES = re.compile(r"\{([^{}]*)\}")
"""What stands for several words in the name of shards: {000..009} or {train,test}."""


def recognise(path: Path) -> Kind:
    """The kind of data at an existing path. Raises `DataError` saying what was found and what is accepted."""
    from latentscape.data.sources.celeba import find_celeba
    from latentscape.data.sources.idx import find_idx, read_header

    if path.is_dir():
        if find_celeba(path):
            return "celeba"
        if find_idx(path):
            return "idx-folder"
        return _kind_of_folder(path)
    if not path.is_file():
        raise DataError(f"{path} must be a file or a folder, found something else; give {ACCEPTED}")
    try:
        with open(path, "rb") as f:
            head = f.read(512)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check its permissions") from None
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"PAR1"):
        return "parquet"
    if is_picture(head):
        return "picture"
    if read_header(path) is not None:
        return "idx-file"
    if _is_tar(head):
        return "shards"
    if head.startswith(b"PK\x03\x04") and _holds_arrays(path):
        return "npz"
    raise DataError(f"{path} is {_what(head, path)}; data must be {ACCEPTED}")


def _kind_of_folder(folder: Path) -> Kind:
    """Pictures are what a folder is of; Parquet files or tar files are if there are none."""
    from latentscape.data.sources.folder import list_pictures

    tables, tars = find_shards(folder), find_tars(folder)
    if not (tables or tars) or list_pictures(folder):
        return "folder"
    return "parquet-folder" if tables else "shards"


def find_shards(folder: Path) -> list[Path]:
    """Parquet files (else Arrow files, as `save_to_disk` writes them) in a folder or two levels below, sorted."""
    for pattern in ("*.parquet", "data-*.arrow"):
        found = sorted(p for depth in ("", "*/", "*/*/") for p in folder.glob(depth + pattern))
        if found:
            return found
    return []


def find_tars(folder: Path) -> list[Path]:
    """Tar files in a folder or one level below, sorted."""
    return sorted(p for depth in ("", "*/") for p in folder.glob(f"{depth}*.tar") if not p.name.startswith("."))


def is_pattern(text: str) -> bool:
    """Whether a text is a pattern of several tar files."""
    return bool(BRACES.search(text)) and text.endswith(".tar")


def _is_tar(head: bytes) -> bool:
    """Whether a file that begins with these 512 bytes is a tar file: by its magic, or by a header's checksum."""
    if len(head) < 512 or not head.strip(b"\0"):
        return False
    if head[257:262] == b"ustar":
        return True
    try:
        said = int(head[148:156].strip(b" \0"), 8)
    except ValueError:
        return False
    return said == sum(head[:148]) + 8 * ord(" ") + sum(head[156:512])


def _holds_arrays(path: Path) -> bool:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".npy") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return path.suffix == ".npz"  # damaged: the reader says how


def _what(head: bytes, path: Path) -> str:
    if not head:
        return "an empty file"
    packed = b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf"
    if head.startswith(packed) or ".tar" in path.name:
        if path.suffix in (".pt", ".pth", ".ckpt"):
            return "a PyTorch file, which is not read as data"
        return "an archive or compressed file; unpack it and point at the folder"
    if head[:1] == b"\x80" or path.suffix in (".pkl", ".pickle", ".pt", ".pth"):
        return "a pickled file, which is never read because that can run any program in it; save the array as .npy"
    if path.suffix.lower() in (".csv", ".tsv"):
        return "a table; point at the folder of pictures and give the table with --labels"
    return f"of an unknown kind (it begins with {head[:8]!r})"
