"""Drawn pictures whose true factors are known: one antialiased coloured shape on black.

The factors are drawn independently and evenly: shape (square, ellipse, triangle), size, rotation, x, y and hue. They
are the set's attributes, so that traversals, arithmetic and disentanglement can be scored against the truth.
"""

from __future__ import annotations

import numpy as np
import torch

from latentscape.data.imageset import Findings
from latentscape.data.raw import Raw

SEED = 0
COUNT = 10_000
SIDE = 32
SHAPES = ("square", "ellipse", "triangle")
FACTORS = ("shape", "size", "rotation", "x", "y", "hue")
"""Attributes in order: 0…2; radius in pixels 5…10; degrees 0…90 (one period of the square); centre in pixels right
of and below the picture's middle, -5…5; hue 0…0.8 of the colour circle (red to violet, without wrapping)."""


def load_shapes() -> Raw:
    """uint8 10000×3×32×32, labels by shape, attributes `FACTORS`; always the same pictures."""
    rng = np.random.default_rng(SEED)
    u_NF = rng.random((COUNT, 6))
    low, high = np.array([0, 5, 0, -5, -5, 0.0]), np.array([3, 10, 90, 5, 5, 0.8])
    factors_NF = low + u_NF * (high - low)
    factors_NF[:, 0] = np.floor(factors_NF[:, 0])
    x = np.concatenate([draw(part) for part in np.array_split(factors_NF, 20)])
    return Raw(
        "shapes",
        torch.from_numpy(x),
        labels=factors_NF[:, 0].astype(np.int64),
        label_names=SHAPES,
        attributes=factors_NF.astype(np.float32),
        attribute_names=FACTORS,
        findings=Findings(found=COUNT),
    )


def draw(factors_NF: np.ndarray) -> np.ndarray:
    """Factors N×6 as in `FACTORS` → uint8 pictures N×3×32×32. Coverage is taken from the distance to the outline."""
    kind, radius, degrees, x, y, hue = (column[:, None, None] for column in factors_NF.T)
    axis = np.arange(SIDE) - (SIDE - 1) / 2
    right, down = axis[None, None, :] - x, axis[None, :, None] - y
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    u, v = cos * right + sin * down, cos * down - sin * right
    distance = np.select(
        [kind == 0, kind == 1], [_square(u, v, radius), _ellipse(u, v, radius)], _triangle(u, v, radius)
    )
    coverage_NHW = np.clip(0.5 - distance, 0, 1)
    colour_N3 = np.clip(np.abs((hue[:, 0] * 6 + np.array([[0, 4, 2]])) % 6 - 3) - 1, 0, 1)
    return np.rint(255 * coverage_NHW[:, None] * colour_N3[:, :, None, None]).astype(np.uint8)


def _square(u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(u), np.abs(v)) - 0.8 * radius


def _ellipse(u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """First-order distance f / |grad f| to an ellipse half as high as wide."""
    a, b = 1.1 * radius, 0.55 * radius
    f = np.sqrt((u / a) ** 2 + (v / b) ** 2)
    slope = np.sqrt((u / a**2) ** 2 + (v / b**2) ** 2)
    return np.where(f < 0.1, -0.5 * b, (f - 1) * f / np.maximum(slope, 1e-9))


def _triangle(u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Equilateral: the farthest of three half planes."""
    return np.maximum(np.maximum(0.866 * u + 0.5 * v, -0.866 * u + 0.5 * v), -v) - 0.55 * radius
