"""NumPy arrays and tensors: in memory, .npy and .npz files. Nothing in a file is ever unpickled.

Three and four axes are images, two are vectors (see `adapt`). In .npz files the images are called x, images, imgs,
data or arr_0 (or x_train and x_test; x_valid too), the labels y, labels, label or target (y_train, y_test), the
attributes attributes, factors or latents_values. A file's own claims about its size are checked before memory is taken
for them.
"""

from __future__ import annotations

import math
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from latentscape.data.adapt import to_images, to_vectors
from latentscape.data.imageset import Findings
from latentscape.data.raw import Raw, index_labels
from latentscape.errors import DataError

BOMB_BYTES = 1 << 30
BOMB_RATIO = 1000
"""A member of an .npz that unpacks to more than `BOMB_BYTES` and `BOMB_RATIO` times its packed size is refused."""

_IMAGES = ("x", "images", "image", "imgs", "img", "data", "pictures", "arr_0")
_LABELS = ("y", "labels", "label", "targets", "target", "classes", "arr_1")
_ATTRIBUTES = ("attributes", "factors", "latents_values", "attrs")
_PARTS = (("train",), ("valid", "val", "validation"), ("test",))


def load_memory(data: np.ndarray | Tensor | tuple, name: str = "array") -> Raw:
    """An array or tensor of examples, or (examples, labels). Memory is shared where nothing has to be converted."""
    x, y = (data[0], data[1]) if isinstance(data, tuple) and len(data) == 2 else (data, None)
    return build(name, _as_numpy(x), None if y is None else _as_numpy(y))


def _as_numpy(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if isinstance(values, np.ndarray):
        return values
    if isinstance(values, (list, range)):
        try:
            return np.asarray(values)
        except ValueError:
            raise DataError("data in lists must be of one length at every level; make it an array") from None
    kind = type(values).__name__
    raise DataError(f"data must be a name, a path, an array, a tensor or a pair of examples and labels, got {kind}")


def build(name: str, array: np.ndarray, labels: np.ndarray | None = None) -> Raw:
    """Examples (N×D, N×H×W, N×H×W×C, N×C×H×W) and labels (N of any kind, or one-hot N×K) → `Raw`."""
    if array.ndim not in (2, 3, 4):
        raise DataError(f"{name} must have 2 axes (vectors), 3 (grey images) or 4 (images), found {array.ndim}")
    if array.dtype.kind not in "bufi":
        raise DataError(f"{name} must hold numbers, found the type {array.dtype}; save the pixels as uint8 or float32")
    if not array.size:
        raise DataError(
            f"{name} must hold at least one example of at least one value, found the shape {_by(array.shape)}"
        )
    x, notes = (to_vectors if array.ndim == 2 else to_images)(array, name)
    indices, names = (None, ()) if labels is None else _labels(labels, name, len(array))
    return Raw(name, x, indices, names, findings=Findings(found=len(x), notes=notes))


def _labels(labels: np.ndarray, name: str, n: int) -> tuple[np.ndarray, tuple[str, ...]]:
    if labels.ndim == 2 and labels.shape[1] > 1 and len(labels) == n and labels.dtype.kind in "bufi":
        if not (labels.max(1) == 1).all() or not (labels.sum(1) == 1).all():
            raise DataError(f"the labels of {name} must be one per example or one-hot rows, found other rows")
        return labels.argmax(1).astype(np.int64), tuple(map(str, range(labels.shape[1])))
    if labels.size != n or labels.ndim > 2:
        raise DataError(f"the labels of {name} must be {n:,}, one per example, found the shape {_by(labels.shape)}")
    if labels.dtype.kind == "O" and all(isinstance(value, (str, int)) for value in labels.flat):
        labels = np.array(labels.tolist())
    if labels.dtype.kind not in "biufU":
        raise DataError(f"the labels of {name} must be whole numbers or text, found the type {labels.dtype}")
    flat = labels.reshape(-1)
    if flat.dtype.kind == "f":
        if not (np.isfinite(flat).all() and (flat == np.rint(flat)).all()):
            raise DataError(f"the labels of {name} must be whole numbers or text, found fractions")
        flat = flat.astype(np.int64)
    return index_labels(flat)


def load_npy(path: Path) -> Raw:
    """An .npy file; uint8 images stay on disk, mapped copy-on-write."""
    with open(path, "rb") as f:
        shape, fortran, dtype = _header(f, path.name)
        offset = f.tell()
    _check_room(path.name, shape, dtype, path.stat().st_size - offset)
    if 0 in shape:
        return build(path.stem, np.empty(shape, dtype))
    array = np.memmap(path, dtype, mode="c", offset=offset, shape=shape, order="F" if fortran else "C")
    return build(path.stem, array)


def _header(f: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, Fortran order, type) of an .npy stream. Raises `DataError`; refuses arrays of Python objects."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # headers that Python 2 wrote
            version = np.lib.format.read_magic(f)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(f)
    except Exception as error:  # the header is parsed as Python literals, whose parser raises anything
        raise DataError(f"{name} is not an array that can be read ({_one_line(error)})") from None
    if dtype.hasobject:
        raise DataError(f"{name} holds Python objects, which are never unpickled; save it as uint8 or float32")
    return shape, fortran, dtype


def _check_room(name: str, shape: tuple[int, ...], dtype: np.dtype, held: int) -> None:
    wanted = math.prod(shape) * dtype.itemsize
    if wanted != held:
        raise DataError(
            f"{name} must hold {wanted:,} bytes of values for its shape {_by(shape)}, found {held:,}; it is damaged"
        )


def load_npz(path: Path) -> Raw:
    """An .npz file with images and perhaps labels, attributes, and parts for training and testing."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {i.filename.removesuffix(".npy"): i for i in archive.infolist() if i.filename.endswith(".npy")}
            return _from_members(path, archive, members)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path} is damaged or not an .npz file ({_one_line(error)})") from None


def _from_members(path: Path, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> Raw:
    parts = {code: names for code in range(3) if (names := _part_names(members, code)) is not None}
    if 0 in parts:
        return _from_parts(path, archive, members, parts)
    images = _pick(members, _IMAGES) or _only_images(archive, members)
    if images is None:
        raise DataError(
            f"{path.name} must hold images under one of {', '.join(_IMAGES)} (or x_train and x_test), "
            f"found {', '.join(members) or 'no arrays'}"
        )
    labels, attributes = _pick(members, _LABELS), _pick(members, _ATTRIBUTES)
    array = _read(archive, members[images])
    raw = build(path.stem, array, _read(archive, members[labels]) if labels else None)
    if attributes:
        _add_attributes(raw, _read(archive, members[attributes]), attributes)
    return raw


def _part_names(members: dict[str, zipfile.ZipInfo], code: int) -> tuple[str, str | None] | None:
    """(name of the images, name of the labels) of one part, tried as x_train and train_x."""
    for part in _PARTS[code]:
        pairs = [
            [f"{word}_{part}" for word in words] + [f"{part}_{word}" for word in words] for words in (_IMAGES, _LABELS)
        ]
        images = _pick(members, pairs[0])
        if images is not None:
            return images, _pick(members, pairs[1])
    return None


def _pick(members: dict[str, zipfile.ZipInfo], names: Any) -> str | None:
    lower = {name.lower(): name for name in reversed(members)}
    return next((lower[name] for name in names if name in lower), None)


def _only_images(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> str | None:
    """The one member of two to four axes whose name says neither labels nor attributes, if there is just one."""
    found = []
    for name, info in members.items():
        if name.lower() in _LABELS + _ATTRIBUTES:
            continue
        with archive.open(info) as f:
            try:
                shape, _, _ = _header(f, name)
            except DataError:
                continue
        if 2 <= len(shape) <= 4:
            found.append(name)
    return found[0] if len(found) == 1 else None


def _from_parts(path: Path, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], parts: dict) -> Raw:
    arrays = [_read(archive, members[images]) for images, _ in parts.values()]
    if len({a.shape[1:] for a in arrays}) > 1:
        shapes = " and ".join(_by(a.shape[1:]) for a in arrays)
        raise DataError(f"the parts of {path.name} must hold examples of one shape, found {shapes}")
    if len({a.dtype for a in arrays}) > 1:
        raise DataError(
            f"the parts of {path.name} must have one type, found {' and '.join(str(a.dtype) for a in arrays)}"
        )
    labelled = all(labels for _, labels in parts.values())
    labels = [_read(archive, members[labels]) for _, labels in parts.values()] if labelled else []
    for (name, _), array, label in zip(parts.values(), arrays, labels, strict=False):
        if len(label) != len(array):
            raise DataError(
                f"{path.name} must have one label per example of {name}, found {len(label):,} for {len(array):,}"
            )
    raw = build(path.stem, np.concatenate(arrays), np.concatenate(labels) if labels else None)
    raw.split = np.repeat(np.array(list(parts), np.uint8), [len(a) for a in arrays])
    return raw


def _add_attributes(raw: Raw, values: np.ndarray, name: str) -> None:
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or len(values) != len(raw.x) or values.dtype.kind not in "bufi":
        shape = _by(values.shape)
        raw.findings.notes.append(f"{name} is left out: attributes must be numbers, {len(raw.x)}×A, found {shape}")
        return
    raw.attributes = values.astype(np.float32)
    raw.attribute_names = tuple(f"{name.rstrip('s')}_{i}" for i in range(values.shape[1]))


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """One member, after its declared size was judged; never reads more than that size."""
    name = f"{info.filename} in {Path(archive.filename or '').name}"
    _refuse_bomb(info, name)
    with archive.open(info) as f:
        shape, fortran, dtype = _header(f, name)
        _check_room(name, shape, dtype, info.file_size - f.tell())
        body = bytearray(math.prod(shape) * dtype.itemsize)
        filled = 0
        while part := f.read(min(1 << 24, len(body) - filled)):
            body[filled : filled + len(part)] = part
            filled += len(part)
    if filled < len(body):
        raise DataError(f"{name} must hold {len(body):,} bytes of values, found {filled:,}; it is damaged")
    array = np.frombuffer(body, dtype)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def _refuse_bomb(info: zipfile.ZipInfo, name: str) -> None:
    ratio = info.file_size / max(info.compress_size, 1)
    if info.file_size > BOMB_BYTES and ratio > BOMB_RATIO:
        raise DataError(
            f"{name} would unpack {info.compress_size:,} bytes to {info.file_size:,}, as no real pictures do; it is "
            f"refused; save it uncompressed if it is meant"
        )
    available = available_memory()
    if available is not None and info.file_size > available:
        raise DataError(
            f"{name} needs {info.file_size:,} bytes of memory, but {available:,} are available; save it as .npy, which "
            f"is read without loading it"
        )


def available_memory() -> int | None:
    """Bytes that can be taken without swapping, where the system says."""
    try:
        with open("/proc/meminfo", encoding="ascii") as f:
            for line in f:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "()"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
