"""Lanczos resampling of 8-bit pictures whose result has the same bits on every machine.

Most of what it costs to pack small pictures is the filter, so it runs as products of small matrices instead of pixel by
pixel. Weights are multiples of 2⁻¹⁵: a product with an 8-bit pixel, and every sum of such products below 512 levels, is
a whole number of 2⁻¹⁵ that float32 holds exactly, so that the result does not depend on the order in which a library
adds. Between the two axes values are rounded to 8 bits, as Pillow does.
"""

from __future__ import annotations

import functools

import numpy as np

_UNIT = 2.0**15
_LOBES = 3
_BLOCK = 8  # rows of the result made by one product: more waste zeros of the band, fewer waste calls

Band = tuple[slice, slice, np.ndarray]
"""Places of the result, places of the source that they are made of, and float32 weights result×source."""


def resample(pixels_HWC: np.ndarray, box: tuple[float, float, float, float], target: tuple[int, int]) -> np.ndarray:
    """uint8 H×W×C, the part inside of `box` (left, top, right, bottom; in pixels) → uint8 C×h×w of `target` (h, w)."""
    height, width, channels = pixels_HWC.shape
    left, top, right, bottom = box
    rows = _filtered(pixels_HWC.reshape(height, -1), bands(height, top, bottom, target[0]))
    turned = np.ascontiguousarray(rows.reshape(-1, width, channels).transpose(1, 2, 0)).reshape(width, -1)
    columns = _filtered(turned, bands(width, left, right, target[1]))
    return np.ascontiguousarray(columns.astype(np.uint8).T).reshape(channels, *target)


def _filtered(values_LX: np.ndarray, filters: tuple[Band, ...]) -> np.ndarray:
    """Whole numbers 0…255 of any type, L×X → float32 O×X, whole numbers too."""
    first, last = filters[0][1].start, filters[-1][1].stop
    source = values_LX[first:last].astype(np.float32, copy=False)
    result = np.empty((filters[-1][0].stop, values_LX.shape[1]), np.float32)
    for into, taken, weights in filters:
        np.matmul(weights, source[taken.start - first : taken.stop - first], out=result[into])
    np.rint(result, out=result)
    return np.clip(result, 0, 255, out=result)


@functools.lru_cache(256)
def bands(length: int, begin: float, end: float, out: int) -> tuple[Band, ...]:
    """The filter that brings the stretch begin…end of an axis of `length` pixels to `out` pixels, in blocks."""
    step = (end - begin) / out
    stretch = max(step, 1.0)
    centre_O1 = (begin + (np.arange(out) + 0.5) * step)[:, None]
    from_O1 = np.maximum((centre_O1 - _LOBES * stretch + 0.5).astype(int), 0)
    to_O1 = np.minimum((centre_O1 + _LOBES * stretch + 0.5).astype(int), length)
    place_L = np.arange(length)
    t_OL = (place_L + 0.5 - centre_O1) / stretch
    w_OL = np.sinc(t_OL) * np.sinc(t_OL / _LOBES) * ((place_L >= from_O1) & (place_L < to_O1))
    units_OL = np.rint(w_OL / w_OL.sum(1, keepdims=True) * _UNIT)
    units_OL[np.arange(out), units_OL.argmax(1)] += _UNIT - units_OL.sum(1)  # what is flat stays flat
    starts = range(0, out, _BLOCK)
    spans = [(a, min(a + _BLOCK, out)) for a in starts]
    return tuple(
        _band(units_OL / _UNIT, slice(a, b), slice(int(from_O1[a, 0]), int(to_O1[b - 1, 0]))) for a, b in spans
    )


def _band(w_OL: np.ndarray, into: slice, taken: slice) -> Band:
    return into, taken, np.ascontiguousarray(w_OL[into, taken], dtype=np.float32)
