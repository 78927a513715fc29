"""IDX files, the format of MNIST and its relatives: big-endian, plain or gzip-compressed.

A header of two zero bytes, a type code, the number of axes and their lengths, then the values
(http://yann.lecun.com/exdb/mnist/). Files are known by their first bytes, not by their names; names only tell the
training part from the test part ("test" or "t10k").
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from latentscape.data.adapt import as_tensor, to_images, to_vectors
from latentscape.data.imageset import Findings
from latentscape.data.raw import Raw, index_labels
from latentscape.data.split import TEST, TRAIN
from latentscape.errors import DataError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""MD5 of the uncompressed MNIST files."""

_DEFLATE_MOST = 1032  # no gzip stream expands by more


@dataclass(frozen=True, slots=True)
class IdxHeader:
    """Where an IDX file is, its value type and the lengths of its axes."""

    path: Path
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def is_test(self) -> bool:
        """Whether the file's name says that it belongs to the test part."""
        return any(word in self.path.name.lower() for word in ("test", "t10k"))


def read_header(path: Path) -> IdxHeader | None:
    """The header of an IDX file, or None if the file is not one (too short, other first bytes, unreadable gzip)."""
    try:
        with _open(path) as f:
            start = f.read(4)
            if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in TYPES or not 1 <= start[3] <= 8:
                return None
            lengths = f.read(4 * start[3])
    except (OSError, EOFError, zlib.error):
        return None
    if len(lengths) < 4 * start[3]:
        return None
    return IdxHeader(path, np.dtype(TYPES[start[2]]), tuple(np.frombuffer(lengths, ">u4").tolist()))


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file, native byte order. Raises `DataError` if the length does not fit the header."""
    header = read_header(path)
    if header is None:
        raise DataError(f"{path} is not an IDX file; it should start with two zero bytes, a type and a number of axes")
    offset = 4 + 4 * len(header.shape)
    wanted = math.prod(header.shape) * header.dtype.itemsize
    room = path.stat().st_size * (_DEFLATE_MOST if _is_gzip(path) else 1)
    if wanted + offset > room:
        raise _wrong_length(header, wanted, "fewer")
    try:
        with _open(path) as f:
            f.seek(offset)
            body = f.read(wanted + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged ({' '.join(str(error).split())}); get it again") from None
    if len(body) != wanted:
        raise _wrong_length(header, wanted, "more" if len(body) > wanted else f"{len(body):,}")
    return (
        np.frombuffer(bytearray(body), header.dtype)
        .astype(header.dtype.newbyteorder("="), copy=False)
        .reshape(header.shape)
    )


def _wrong_length(header: IdxHeader, wanted: int, found: str) -> DataError:
    shape = "×".join(map(str, header.shape))
    return DataError(
        f"{header.path} must hold {wanted:,} bytes of values for its header's {shape}, found {found}; "
        f"the file is cut off or damaged, get it again"
    )


def _is_gzip(path: Path) -> bool:
    with open(path, "rb") as f:
        return f.read(2) == b"\x1f\x8b"


def _open(path: Path):
    return gzip.open(path, "rb") if _is_gzip(path) else open(path, "rb")


Part = tuple[IdxHeader, IdxHeader | None]
"""The images of one part and their labels, if there are any."""


def find_idx(folder: Path) -> list[IdxHeader]:
    """Headers of the IDX files in a folder or its `raw` sub-folder, sorted by name; plain files win over .gz twins."""
    for place in (folder, folder / "raw", folder / folder.name / "raw"):
        if not place.is_dir():
            continue
        names = {name for name in os.listdir(place) if not name.startswith(".") and _may_be_idx(name)}
        likely = [place / name for name in sorted(names) if not (name.endswith(".gz") and name[:-3] in names)]
        headers = [h for p in likely if p.is_file() and (h := read_header(p))]
        if headers:
            return headers
    return []


def _may_be_idx(name: str) -> bool:
    suffix = os.path.splitext(name)[1]
    return suffix == ".gz" or not suffix or "idx" in name


def load_idx_folder(folder: Path) -> Raw:
    """Read a folder of IDX files: images, labels if there are any, for the training and the test part."""
    headers = find_idx(folder)
    parts = [_part([h for h in headers if h.is_test == is_test], folder) for is_test in (False, True)]
    present: list[Part] = [(images, labels) for images, labels in parts if images is not None]
    if not present:
        raise DataError(f"{folder} holds IDX files of labels but none of images; the images' files are missing")
    sources = [path for pair in present for path in pair if path is not None]
    raw = _join(folder.resolve().name, present)
    if len(present) == 2:
        raw.split = np.repeat(np.array([TRAIN, TEST], np.uint8), [h.shape[0] for h, _ in present])
    alike = len(sources) == 4 and raw.x.shape == (70_000, 1, 28, 28) and raw.label_names == tuple(map(str, range(10)))
    if alike and mnist_md5(raw) == MNIST_MD5:
        raw.name = "mnist"
    return raw


def load_idx_file(path: Path) -> Raw:
    """Read one IDX file of images, with the labels that lie beside it under the matching name, if any."""
    images = read_header(path)
    if images is None or len(images.shape) < 2:
        raise DataError(f"{path} must be an IDX file of images; point at the images' file or at its folder")
    twin = path.name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    labels = read_header(path.with_name(twin)) if twin != path.name and path.with_name(twin).is_file() else None
    return _join(path.name.split(".")[0].removesuffix("-ubyte"), [(images, labels)])


def _part(headers: list[IdxHeader], folder: Path) -> tuple[IdxHeader | None, IdxHeader | None]:
    """(images, labels) of one part."""
    images = [h for h in headers if len(h.shape) >= 2]
    labels = [h for h in headers if len(h.shape) == 1]
    for kind, found in (("images", images), ("labels", labels)):
        if len(found) > 1:
            names = ", ".join(h.path.name for h in found[:4])
            raise DataError(
                f"{folder} must hold one IDX file of {kind} per part, found {len(found)} ({names}); "
                f"point at one file of images"
            )
    return (images[0] if images else None), (labels[0] if images and labels else None)


def _join(name: str, parts: list[Part]) -> Raw:
    findings = Findings()
    arrays, labels = [], []
    for images, label in parts:
        arrays.append(read_idx(images.path))
        if label is not None:
            if label.shape[0] != images.shape[0]:
                raise DataError(
                    f"{label.path.name} must hold one label per image of {images.path.name}, found "
                    f"{label.shape[0]:,} for {images.shape[0]:,}"
                )
            labels.append(read_idx(label.path))
    if len({a.shape[1:] for a in arrays}) > 1:
        sizes = " and ".join("×".join(map(str, a.shape[1:])) for a in arrays)
        raise DataError(f"{name}: training and test images must have one size, found {sizes}")
    if labels and len(labels) < len(arrays):
        raise DataError(f"{name} has labels for one part only; add the other part's file of labels or remove both")
    joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    if joined.ndim > 4:
        raise DataError(f"{name} must hold images (3 or 4 axes) or vectors (2), found {joined.ndim} axes")
    if joined.ndim == 3 and joined.dtype == np.uint8 and joined.size:
        x, notes = as_tensor(joined[:, None]), []
    else:
        x, notes = (
            (to_vectors if joined.ndim == 2 else to_images)(joined, name) if joined.size else (torch.empty(0, 1), [])
        )
    findings.found, findings.notes = len(joined), notes
    indices, names = index_labels(np.concatenate(labels)) if labels else (None, ())
    return Raw(name=name, x=x, labels=indices, label_names=names, findings=findings)


def mnist_md5(raw: Raw) -> dict[str, str]:
    """What the MD5 of the four uncompressed files must be if they hold this set of 60,000 + 10,000 28×28 images."""
    assert raw.labels is not None
    pixels, labels = raw.x.numpy(), raw.labels.astype(np.uint8)
    heads = (
        "00000803 0000ea60 0000001c 0000001c", "00000801 0000ea60",
        "00000803 00002710 0000001c 0000001c", "00000801 00002710",
    )  # fmt: skip
    parts = (pixels[:60_000], labels[:60_000], pixels[60_000:], labels[60_000:])
    return {
        file: hashlib.md5(bytes.fromhex(head) + part.tobytes(), usedforsecurity=False).hexdigest()
        for file, head, part in zip(MNIST_MD5, heads, parts, strict=True)
    }
