"""Images that came as arrays: to uint8 N×C×H×W, and to the size and colour that the settings ask for."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latentscape.data.picture import fitted
from latentscape.data.settings import DataSettings
from latentscape.errors import DataError

_CHUNK = 4096  # examples converted at a time, so that no second copy of the set is made


def to_images(array: np.ndarray, what: str) -> tuple[Tensor, list[str]]:
    """N×H×W, N×H×W×C or N×C×H×W of any numeric type → (uint8 N×C×H×W, notes on what was converted).

    bool and {0, 1} become 0 and 255; uint16 above 255 is divided by 257; floats in [0, 1] or [-1, 1] and whole
    numbers in 0…255 are stored as 8-bit. Channels are last if the last axis is 1, 3 or 4 long and the second is not.
    Raises `DataError` for NaN, infinity, other ranges and other types.
    """
    notes: list[str] = []
    if array.ndim == 3:
        nchw = array[:, None]
    elif _channels_last(array.shape):
        nchw = array.transpose(0, 3, 1, 2)
    else:
        nchw = array
    if nchw.shape[1] > 512:
        raise DataError(f"{what} must be N×H×W, N×H×W×C or N×C×H×W, found {_by(array.shape)}")
    scale, shift = _scaling(array, what, notes)
    if nchw.dtype == np.uint8 and (scale, shift) == (1.0, 0.0):
        return as_tensor(nchw), notes
    x = torch.empty(nchw.shape, dtype=torch.uint8)
    for start in range(0, len(nchw), _CHUNK):
        part = nchw[start : start + _CHUNK].astype(np.float64)
        x[start : start + _CHUNK] = torch.from_numpy(np.rint((part + shift) * scale).astype(np.uint8))
    return x, notes


def as_tensor(array: np.ndarray) -> Tensor:
    """A tensor over the array's memory where that is writable and contiguous (or mapped copy-on-write), else a copy."""
    if not array.flags.c_contiguous or not array.flags.writeable:
        array = np.array(array, order="C")
    return torch.from_numpy(array)


def to_vectors(array: np.ndarray, what: str) -> tuple[Tensor, list[str]]:
    """N×D of any numeric type → (float32 N×D unscaled, notes). Raises `DataError` for NaN, infinity, other types."""
    if array.dtype.kind not in "bufi":
        raise DataError(f"{what} must be numbers, found the type {array.dtype}")
    _extremes(array, what)
    with np.errstate(over="ignore"):
        x = torch.from_numpy(np.array(array, np.float32, order="C"))
    if not torch.isfinite(x).all():
        raise DataError(f"{what} holds numbers too large for float32; scale them down")
    side = round(array.shape[1] ** 0.5)
    if array.dtype == np.uint8 and side * side == array.shape[1] and side > 1:
        return x, [
            f"{array.shape[1]} uint8 values per example are taken as a vector, not scaled; reshape them to "
            f"N×{side}×{side} if they are pixels"
        ]
    return x, []


def _channels_last(shape: tuple[int, ...]) -> bool:
    usual = 1, 3, 4
    if (shape[3] in usual) != (shape[1] in usual):
        return shape[3] in usual
    return shape[3] < shape[1]


def _scaling(array: np.ndarray, what: str, notes: list[str]) -> tuple[float, float]:
    """(scale, shift) that bring the values to 0…255."""
    if array.dtype.kind not in "bufi":
        raise DataError(f"{what} must hold numbers, found the type {array.dtype}")
    low, high, whole = _extremes(array, what)
    if array.dtype.kind == "b" or (array.dtype.kind in "ui" and low >= 0 and high == 1):
        notes.append(f"{what}: 0 and 1 stored as 0 and 255")
        return 255.0, 0.0
    if array.dtype == np.uint8:
        return 1.0, 0.0
    if array.dtype == np.uint16 and high > 255:
        notes.append(f"{what}: 16-bit values divided by 257 and stored as 8-bit")
        return 1 / 257, 0.0
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        notes.append(f"{what}: {array.dtype} in [0,1] stored as 8-bit")
        return 255.0, 0.0
    if array.dtype.kind == "f" and low >= -1 and high <= 1:
        notes.append(f"{what}: {array.dtype} in [-1,1] stored as 8-bit")
        return 127.5, 1.0
    if whole and low >= 0 and high <= 255:
        notes.append(f"{what}: {array.dtype} holding whole numbers 0 to 255 stored as 8-bit")
        return 1.0, 0.0
    raise DataError(
        f"pixels must lie in [0,1], [-1,1] or be whole numbers from 0 to 255, found {low:g} to {high:g} "
        f"of type {array.dtype} in {what}; rescale them"
    )


def _extremes(array: np.ndarray, what: str) -> tuple[float, float, bool]:
    """(minimum, maximum, all whole numbers); `DataError` at the first value that is not finite."""
    low, high, whole = float("inf"), float("-inf"), True
    for start in range(0, len(array), _CHUNK):
        part = array[start : start + _CHUNK]
        if part.dtype.kind == "f":
            finite = np.isfinite(part)
            if not finite.all():
                first = np.unravel_index(int(np.argmin(finite)), part.shape)
                index = ", ".join(str(int(i)) for i in (first[0] + start, *first[1:]))
                raise DataError(f"{what} holds {part[first]} at index ({index}); every value must be finite")
            whole = whole and bool((part == np.rint(part)).all())
        low, high = min(low, float(part.min())), max(high, float(part.max()))
    return low, high, whole


def adapt(x_NCHW: Tensor, settings: DataSettings) -> Tensor:
    """Bring uint8 N×C×H×W to the settings' colour mode and size. Raises `DataError` where colours make no sense."""
    if settings.mode == "rgb":
        return _coloured(_resized(x_NCHW, settings), "rgb")  # one channel is cheaper to resize than three
    return _resized(_coloured(x_NCHW, settings.mode), settings)


def _coloured(x_NCHW: Tensor, mode: str) -> Tensor:
    channels = x_NCHW.shape[1]
    if mode == "auto" or channels == {"grey": 1, "rgb": 3}[mode]:
        return x_NCHW
    if channels not in (1, 3):
        raise DataError(f"--mode {mode} needs images of 1 or 3 channels, found {channels}; leave it at auto")
    if mode == "rgb":
        return x_NCHW.expand(-1, 3, -1, -1).contiguous()
    grey = torch.empty(len(x_NCHW), 1, *x_NCHW.shape[2:], dtype=torch.uint8)
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]  # ITU-R 601, as Pillow's "L"
    for start in range(0, len(x_NCHW), _CHUNK):
        grey[start : start + _CHUNK] = (x_NCHW[start : start + _CHUNK] * luma).sum(1, keepdim=True).round()
    return grey


def _resized(x_NCHW: Tensor, settings: DataSettings) -> Tensor:
    target = settings.target
    if target is None or target == tuple(x_NCHW.shape[2:]):
        return x_NCHW
    n, channels = x_NCHW.shape[:2]
    resized = np.empty((n, channels, *target), np.uint8)
    for old_CHW, new_CHW in zip(x_NCHW.numpy(), resized, strict=True):
        if channels == 3:
            new_CHW[:] = fitted(Image.fromarray(np.ascontiguousarray(old_CHW.transpose(1, 2, 0))), target, settings.fit)
            continue
        for old_HW, new_HW in zip(old_CHW, new_CHW, strict=True):
            new_HW[:] = fitted(Image.fromarray(old_HW), target, settings.fit)[0]
    return torch.from_numpy(resized)


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
