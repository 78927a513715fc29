"""Arrays of scikit-learn's users as examples of a model, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentscape.config import DataShape

Array = np.ndarray


@dataclass(frozen=True)
class Form:
    """What the examples were that an estimator was fitted to.

    dims: of one example as the user has it: (D,), (H, W) or (C, H, W). shape: as the model sees it. low, high: pixel
    values of black and white; of no meaning for vectors.
    """

    dims: tuple[int, ...]
    shape: DataShape
    low: float = 0.0
    high: float = 1.0

    def examples(self, rows_ND: Array) -> Tensor:
        """float32 N×D, or uint8 N×C×H×W: pixels in 256 steps, those beyond black and white cut off there."""
        if not self.shape.is_image:
            return torch.from_numpy(np.array(rows_ND, np.float32, order="C"))
        unit_ND = (rows_ND.astype(np.float64) - self.low) / (self.high - self.low)
        bytes_ND = np.rint(255 * unit_ND.clip(0, 1)).astype(np.uint8)
        return torch.from_numpy(bytes_ND.reshape(-1, *self.shape.dims))

    def arrays(self, x_NX: Array) -> Array:
        """Vectors, or pixels on [0, 1], N×(shape) → float32 in the user's units and dimensions."""
        values = x_NX if not self.shape.is_image else self.low + (self.high - self.low) * x_NX
        return values.astype(np.float32).reshape(-1, *self.dims)


def flattened(X: Any) -> tuple[Any, tuple[int, ...] | None]:
    """Pictures N×H×W or N×C×H×W as rows N×D, and the dimensions of one; anything else as it is, and None."""
    axes = X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim  # asarray would not do for a sparse matrix
    if axes not in (3, 4):
        return X, None
    pictures = np.asarray(X)
    return pictures.reshape(len(pictures), math.prod(pictures.shape[1:])), pictures.shape[1:]


def form_of(
    rows_ND: Array, dims: tuple[int, ...] | None, image_shape: Any, pixel_range: tuple[float, float] | None
) -> Form:
    """What the training examples are. Raises `ValueError` where the parameters do not fit them.

    dims: of one picture, where they came as pictures. image_shape: (H, W) or (C, H, W), where they came as rows.
    """
    size = rows_ND.shape[1]
    if image_shape is not None:
        asked = tuple(int(side) for side in np.atleast_1d(image_shape))
        if len(asked) not in (2, 3) or math.prod(asked) != size:
            raise ValueError(
                f"image_shape must be (height, width) or (channels, height, width) of {size} values, got {image_shape}"
            )
        seen, dims = asked, dims or (size,)
    elif dims is not None:
        seen = dims
    else:
        return Form((size,), DataShape((size,)))
    shape = DataShape(seen if len(seen) == 3 else (1, *seen))
    return Form(dims, shape, *_range_of(rows_ND, pixel_range))


def _range_of(rows_ND: Array, asked: tuple[float, float] | None) -> tuple[float, float]:
    if asked is not None:
        low, high = (float(end) for end in asked)
        if not low < high:
            raise ValueError(f"pixel_range must be (black, white) with black below white, got {asked}")
        return low, high
    if rows_ND.dtype == np.uint8:
        return 0.0, 255.0
    low, high = float(rows_ND.min()), float(rows_ND.max())
    return low, high if high > low else low + 1.0
