"""Batches of images to one picture: plain sheets, labelled rows, sheets with a text under each image.

All pictures are on one fixed scale, 0 black and 1 white: no picture is stretched to its own range, so that two of
them can be compared by eye.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]
"""A finished picture: uint8 H×W×3, RGB."""

VISIBLE = 64
"""Pixels that the longer side of one image has at least, when the scale is chosen for the viewer."""

WIDEST = 1600
"""Pixels that a sheet should not exceed in width, when the scale is chosen for the viewer."""

_TEXT_SIZE = 15
_INK = 34


def to_uint8(x_NCHW: ArrayLike) -> NDArray[np.uint8]:
    """Images N×C×H×W as uint8: floats are clipped to [0, 1], scaled by 255 and rounded; uint8 stays as it is.

    A value that is not a number becomes 0. Raises `ValueError` if the array is not four-dimensional or holds
    integers other than uint8, whose range nobody knows.
    """
    x = np.asarray(x_NCHW)
    if x.ndim != 4:
        raise ValueError(f"images are N×C×H×W, got an array of shape {x.shape}")
    if x.dtype == np.uint8:
        return x
    if x.dtype.kind not in "fb":
        raise ValueError(f"images are uint8 or floats in [0, 1], got {x.dtype}")
    scaled = np.multiply(x, 255.0, dtype=np.float32)
    np.clip(scaled, 0.0, 255.0, out=scaled)
    if np.isnan(scaled.min(initial=0.0)):  # a minimum over values that are not numbers is none either
        np.nan_to_num(scaled, copy=False, nan=0.0)
    return np.rint(scaled, out=scaled).astype(np.uint8)


def to_rgb(x_NCHW: ArrayLike) -> NDArray[np.uint8]:
    """Images N×C×H×W as uint8 N×H×W×3: grey is repeated, a second channel gets an empty third, a fourth is dropped."""
    x_NHWC = to_uint8(x_NCHW).transpose(0, 2, 3, 1)
    channels = x_NHWC.shape[-1]
    if channels == 1:
        return np.repeat(x_NHWC, 3, axis=-1)
    if channels == 2:
        return np.concatenate([x_NHWC, np.zeros_like(x_NHWC[..., :1])], axis=-1)
    return x_NHWC[..., :3]


def enlarge(x_NHWC: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Every pixel of N×H×W×C as a square of `scale`×`scale` equal pixels."""
    return x_NHWC.repeat(scale, axis=1).repeat(scale, axis=2)


def visible_scale(height: int, width: int, columns: int = 1) -> int:
    """The whole factor that shows images of this size well: 8×8 → 8, 28×28 → 3, 64×64 → 1, less in a wide sheet."""
    return max(1, min(math.ceil(VISIBLE / max(height, width)), WIDEST // (columns * width)))


def _paste(canvas: Picture, image_HWC: Picture, top: int, left: int) -> None:
    canvas[top : top + image_HWC.shape[0], left : left + image_HWC.shape[1]] = image_HWC


def sheet(
    x_NCHW: ArrayLike,
    columns: int | None = None,
    gap: int = 1,
    scale: int | None = None,
    background: int = 255,
) -> Picture:
    """Images side by side, row by row from the top left, as one uint8 H×W×3 picture.

    x_NCHW: float in [0, 1] or uint8. columns: about a square without it. gap: pixels of `background` (0–255) between
    images, after scaling; none round the edge. scale: every pixel becomes scale×scale equal ones; without it, a whole
    number that makes small images visible. Raises `ValueError` without any image.
    """
    x_NHWC = to_rgb(x_NCHW)
    count, height, width, _ = x_NHWC.shape
    if count == 0:
        raise ValueError("a sheet needs at least one image")
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    scale = scale or visible_scale(height, width, columns)
    x_NHWC, height, width = enlarge(x_NHWC, scale), height * scale, width * scale
    lines = math.ceil(count / columns)
    shape = (lines * (height + gap) - gap, columns * (width + gap) - gap, 3)
    canvas = np.full(shape, background, np.uint8)
    for i, image in enumerate(x_NHWC):
        _paste(canvas, image, i // columns * (height + gap), i % columns * (width + gap))
    return canvas


def rows(entries: Sequence[tuple[str, ArrayLike]], scale: int | None = None, gap: int = 2) -> Picture:
    """One labelled row of images per (title, x_NCHW), the titles at the left: original, noisy, reconstruction, …

    Rows may have different lengths; all images have one size. Values and scale are those of `sheet`; the scale is
    fixed, so that rows can be compared. Raises `ValueError` without any image.
    """
    pictures = [(title, to_rgb(x)) for title, x in entries]
    columns = max((len(x) for _, x in pictures), default=0)
    if columns == 0:
        raise ValueError("rows need at least one image")
    sizes = {x.shape[1:3] for _, x in pictures if len(x)}
    if len(sizes) > 1:
        raise ValueError(f"the images of all rows have one size, got {sorted(sizes)}")
    height, width = sizes.pop()
    scale = scale or visible_scale(height, width, columns)
    margin = max(text_size(title)[0] for title, _ in pictures)
    margin = margin + 12 if margin else 0
    line = max(height * scale, _line_height())
    pitch, inset = line + gap, (line - height * scale) // 2
    canvas = np.full((len(pictures) * pitch - gap, margin + columns * (width * scale + gap) - gap, 3), 255, np.uint8)
    for r, (_, x) in enumerate(pictures):
        for c, image in enumerate(enlarge(x, scale)):
            _paste(canvas, image, r * pitch + inset, margin + c * (width * scale + gap))
    centres = [(4, r * pitch + line / 2) for r in range(len(pictures))]
    return _write(canvas, [title for title, _ in pictures], centres, "lm")


def titled_sheet(
    x_NCHW: ArrayLike, titles: Sequence[str], columns: int | None = None, scale: int | None = None, gap: int = 6
) -> Picture:
    """A sheet with a short text under each image: a label, a probability, the share of a mixture.

    Values, columns and scale are those of `sheet`; a column is as wide as its widest text needs. Raises `ValueError`
    if there is not one title per image, or no image.
    """
    x_NHWC = to_rgb(x_NCHW)
    count, height, width, _ = x_NHWC.shape
    if count == 0 or len(titles) != count:
        raise ValueError(f"a titled sheet needs one title per image, got {len(titles)} for {count}")
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    scale = scale or visible_scale(height, width, columns)
    height, width = height * scale, width * scale
    cell_width = max(width, *(text_size(title)[0] + 4 for title in titles))
    cell_height = height + _line_height() + 4
    shape = (math.ceil(count / columns) * (cell_height + gap) - gap, columns * (cell_width + gap) - gap, 3)
    canvas = np.full(shape, 255, np.uint8)
    corners = [(i // columns * (cell_height + gap), i % columns * (cell_width + gap)) for i in range(count)]
    for image, (top, left) in zip(enlarge(x_NHWC, scale), corners, strict=True):
        _paste(canvas, image, top, left + (cell_width - width) // 2)
    places = [(left + cell_width / 2, top + height + 2 + _line_height() / 2) for top, left in corners]
    return _write(canvas, titles, places, "mm")


def titled_rows(entries: Sequence[tuple[str, ArrayLike, Sequence[str]]], scale: int | None = None) -> Picture:
    """One row of images per (title, x_NCHW, texts): the title at the left, under each image its text.

    A text may have several lines. Values and scale are those of `sheet`; rows may have different lengths, all images
    have one size. Raises `ValueError` without any image, or where a row has not one text per image.
    """
    found = [(title, to_rgb(x), [text.split("\n") for text in texts]) for title, x, texts in entries]
    columns = max((len(x) for _, x, _ in found), default=0)
    if columns == 0 or any(len(x) != len(texts) for _, x, texts in found):
        raise ValueError("titled rows need at least one image, and one text per image")
    _, height, width, _ = found[0][1].shape
    scale = scale or visible_scale(height, width, columns)
    height, width, line = height * scale, width * scale, _line_height()
    cell = max(width + 4, *(text_size(text)[0] + 8 for _, _, texts in found for lines in texts for text in lines))
    margin = max(text_size(title)[0] for title, _, _ in found) + 12
    pitches = [height + line * max(map(len, texts), default=0) + 14 for _, _, texts in found]
    canvas = np.full((sum(pitches) - 4, margin + columns * cell, 3), 255, np.uint8)
    written: list[tuple[str, tuple[float, float]]] = []
    for top, (_, x, texts) in zip(np.cumsum([0, *pitches]), found, strict=False):
        for c, (image, lines) in enumerate(zip(enlarge(x, scale), texts, strict=True)):
            _paste(canvas, image, int(top), margin + c * cell + (cell - width) // 2)
            below = top + height + 2 + line / 2
            written += [(text, (margin + (c + 0.5) * cell, below + i * line)) for i, text in enumerate(lines)]
    canvas = _write(canvas, [text for text, _ in written], [place for _, place in written], "mm")
    middles = [(4, top + height / 2) for top in np.cumsum([0, *pitches])[:-1]]
    return _write(canvas, [title for title, _, _ in found], middles, "lm")


def headed_sheet(x_NCHW: ArrayLike, headings: Sequence[str], scale: int | None = None, gap: int = 2) -> Picture:
    """A sheet with as many columns as headings, each heading above its column: original, then every label.

    Values and scale are those of `sheet`; a column is as wide as its heading needs. Raises `ValueError` if the images
    do not fill whole rows.
    """
    x_NHWC, columns = to_rgb(x_NCHW), len(headings)
    count, height, width, _ = x_NHWC.shape
    if not columns or count == 0 or count % columns:
        raise ValueError(f"a headed sheet has whole rows, got {count} images under {columns} headings")
    scale = scale or visible_scale(height, width, columns)
    height, width, top = height * scale, width * scale, _line_height() + 6
    cell = max(width, *(text_size(heading)[0] + 8 for heading in headings))
    canvas = np.full((top + count // columns * (height + gap) - gap, columns * (cell + gap) - gap, 3), 255, np.uint8)
    for i, image in enumerate(enlarge(x_NHWC, scale)):
        left = i % columns * (cell + gap) + (cell - width) // 2
        _paste(canvas, image, top + i // columns * (height + gap), left)
    places = [(c * (cell + gap) + cell / 2, top / 2) for c in range(columns)]
    return _write(canvas, headings, places, "mm")


def panels(pictures: Sequence[Picture], headings: Sequence[str], columns: int = 2, gap: int = 16) -> Picture:
    """Finished pictures of any sizes in a grid, each below its heading: two runs side by side, a panel per class.

    A column is as wide, and a line as high, as the largest picture (or heading) in it. Raises `ValueError` if there is
    not one heading per picture, or no picture.
    """
    if not pictures or len(headings) != len(pictures):
        raise ValueError(f"panels need one heading per picture, got {len(headings)} for {len(pictures)}")
    columns = max(1, min(columns, len(pictures)))
    top = _line_height() + 8
    widths = [
        max(_panel_width(*e) for e in list(zip(pictures, headings, strict=True))[c::columns]) for c in range(columns)
    ]
    starts = range(0, len(pictures), columns)
    heights = [top + max(p.shape[0] for p in pictures[s : s + columns]) for s in starts]
    lefts, tops = np.cumsum([0, *(w + gap for w in widths)]), np.cumsum([0, *(h + gap for h in heights)])
    canvas = np.full((int(tops[-1]) - gap, int(lefts[-1]) - gap, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        _paste(canvas, picture, int(tops[i // columns]) + top, int(lefts[i % columns]))
    places = [(int(lefts[i % columns]) + 4, int(tops[i // columns]) + top / 2) for i in range(len(pictures))]
    return _write(canvas, headings, places, "lm")


def _panel_width(picture: Picture, heading: str) -> int:
    return max(picture.shape[1], text_size(heading)[0] + 8)


def stacked(pictures: Sequence[Picture], gap: int = 12) -> Picture:
    """Finished pictures below each other, at the left, on white. Raises `ValueError` without any picture."""
    if not pictures:
        raise ValueError("a stack needs at least one picture")
    width = max(p.shape[1] for p in pictures)
    canvas = np.full((sum(p.shape[0] + gap for p in pictures) - gap, width, 3), 255, np.uint8)
    top = 0
    for picture in pictures:
        _paste(canvas, picture, top, 0)
        top += picture.shape[0] + gap
    return canvas


def fitted(picture: Picture, most: int) -> Picture:
    """The picture, made smaller (averaged over areas) if its longer side has more than `most` pixels."""
    height, width = picture.shape[:2]
    share = most / max(height, width)
    if share >= 1:
        return picture
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return np.array(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


@lru_cache(maxsize=8)
def font(size: int = _TEXT_SIZE) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The face for texts in pictures: matplotlib's DejaVu Sans, since Pillow's own has no Greek letters."""
    spec = importlib.util.find_spec("matplotlib")
    for place in (spec.submodule_search_locations or []) if spec else []:
        file = Path(place) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if file.exists():
            return ImageFont.truetype(str(file), size)
    return ImageFont.load_default(size=size)


def text_size(text: str) -> tuple[int, int]:
    """Width and height in pixels of one line of text."""
    left, top, right, bottom = font().getbbox(_one_line(text)) if text else (0, 0, 0, 0)
    return math.ceil(right - left), math.ceil(bottom - top)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _line_height() -> int:
    return text_size("Ágj|")[1]


def _write(canvas: Picture, texts: Sequence[str], places: Sequence[tuple[float, float]], anchor: str) -> Picture:
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    for text, place in zip(texts, places, strict=True):
        if text:
            draw.text(place, _one_line(text), fill=(_INK, _INK, _INK), font=font(), anchor=anchor)
    return np.array(image)
