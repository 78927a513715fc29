"""What goes out: numbers as JSON, pictures as PNG."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from PIL import Image
from pydantic_core import to_json

from latentscape.serve.card import Card
from latentscape.web.refusals import Refused

DIGITS = 7
"""Of the largest number in an array; float32 has no more."""

PNG = "image/png"

GAP = 1
"""White pixels between the pictures of a sheet."""


def wants_png(accept: str) -> bool:
    """Whether an Accept header names PNG, and JSON not before it."""
    kinds = [part.split(";")[0].strip().lower() for part in accept.split(",")]
    return PNG in kinds and "application/json" not in kinds[: kinds.index(PNG)]


def rounded(values: np.ndarray) -> list[Any]:
    """Nested lists without the digits that float32 does not have. Raises `Refused` for what is not finite."""
    wide = values.astype(np.float64)
    if not np.isfinite(wide).all():
        raise Refused(422, "the model's answer is not finite; give it values nearer to those that it was trained on")
    largest = np.abs(wide).max(initial=0.0)
    return wide.round(DIGITS - 1 - math.floor(math.log10(largest))).tolist() if largest else wide.tolist()


def as_json(content: dict[str, Any]) -> bytes:
    """Arrays become nested lists."""
    return to_json({key: rounded(v) if isinstance(v, np.ndarray) else v for key, v in content.items()})


def to_pixels(x_BCHW: np.ndarray, card: Card) -> np.ndarray:
    """Values of the model → uint8 B×H×W×C, rounded as the package's own pictures are."""
    if not card.is_picture:
        raise Refused(406, "this model makes no pictures; ask for JSON numbers")
    unit = card.to_unit(x_BCHW)
    if not np.isfinite(unit).all():
        raise Refused(422, "the model's answer is not finite; give it values nearer to those that it was trained on")
    return np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)


def png(pixels_HWC: np.ndarray) -> bytes:
    """uint8 H×W×C, C = 1 or 3 → a PNG file."""
    out = io.BytesIO()
    Image.fromarray(pixels_HWC[..., 0] if pixels_HWC.shape[-1] == 1 else pixels_HWC).save(out, "PNG")
    return out.getvalue()


def pngs(pixels_BHWC: np.ndarray) -> list[str]:
    """Each as a PNG file in base64."""
    return [base64.b64encode(png(pixels_HWC)).decode("ascii") for pixels_HWC in pixels_BHWC]


def sheet(pixels_BHWC: np.ndarray) -> np.ndarray:
    """One picture as it is; several side by side, about a square of them, row by row."""
    n, height, width, channels = pixels_BHWC.shape
    if n == 1:
        return pixels_BHWC[0]
    columns = math.ceil(math.sqrt(n))
    lines = math.ceil(n / columns)
    canvas = np.full((lines * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), 255, np.uint8)
    for i, pixels_HWC in enumerate(pixels_BHWC):
        top, left = i // columns * (height + GAP), i % columns * (width + GAP)
        canvas[top : top + height, left : left + width] = pixels_HWC
    return canvas
