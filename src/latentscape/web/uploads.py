"""A picture that came over the network, decoded under limits.

What decodes is chosen by the first bytes, never by a name or a declared type. The size in the header is compared with
the limit before a pixel is decoded. Colours are treated as `latentscape.data` treats those of files: transparent parts
on white, 16-bit grey divided by 257, EXIF orientation applied, the first frame of an animation.
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from latentscape.web.limits import Limits
from latentscape.web.refusals import Refused

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")

MEDIA_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp")

# Imported here so that no thread has to register a reader while others look for one.
_READERS = (BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin)

MAX_SCANS = 100
"""Scans of a progressive JPEG; each goes over all pixels once more, whatever its few bytes say."""

REDUCING_GAP = 3.0
"""Averaging over blocks leaves at least so many times the target for the filter, as `latentscape.data` does."""

FIRST_ON_THE_SIDE = 5
"""EXIF orientations from here on swap height and width."""

_ORIENTATION = 0x0112


def decode_picture(data: bytes, limits: Limits) -> np.ndarray:
    """A file's bytes → uint8 H×W×C, C = 1 or 3 as stored. Raises `Refused` (413, 415 or 400)."""
    return pixels_of(open_picture(data, limits))


def open_picture(data: bytes, limits: Limits, target: tuple[int, int] | None = None) -> Image.Image:
    """A file's bytes → a decoded picture of mode "L" or "RGB", upright. Raises `Refused` (413, 415 or 400).

    target: the (height, width) that it will be brought to; a JPEG that is much larger is decoded at a part of its size.
    """
    if len(data) > limits.body_bytes:
        raise Refused(413, f"a picture must have at most {limits.body_bytes:,} bytes, found {len(data):,}")
    if not is_picture(data):
        raise Refused(415, "the picture must be a PNG, JPEG, GIF, WebP or BMP file")
    _check_pixels(*_webp_size(data), limits)
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > MAX_SCANS:
        raise Refused(413, f"a JPEG must have at most {MAX_SCANS} scans; save it again with another program")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_pixels(*image.size, limits)
            _shrink_while_decoding(image, target)
            image.load()
            return _plain(_upright(image))
    except Refused:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many(limits) from None
    except Exception:  # decoders raise anything, down to struct.error and IndexError
        raise Refused(
            400, "the picture is damaged and cannot be decoded; save it again and send the new file"
        ) from None


def is_picture(data: bytes) -> bool:
    """Whether bytes begin as one of the formats does."""
    starts = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM")
    return data.startswith(starts) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def pixels_of(image: Image.Image) -> np.ndarray:
    """An "L" or "RGB" picture → uint8 H×W×C."""
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def fit_picture(image: Image.Image, shape: tuple[int, int, int]) -> np.ndarray:
    """An "L" or "RGB" picture → uint8 of `shape` C×H×W: the largest centred part of its aspect, Lanczos, grey or RGB.

    Within a level or two of what `latentscape.data` makes of the same picture with `--size H W --fit crop`.
    Raises `Refused` for a number of channels that is no picture's.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise Refused(415, f"the model takes {channels} channels, which pictures do not have; send numbers as JSON")
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        across, down = image.size
        scale = min(across / width, down / height)
        left, top = (across - scale * width) / 2, (down - scale * height) / 2
        box = max(left, 0), max(top, 0), min(left + scale * width, across), min(top + scale * height, down)
        image = _resized(image, box, (width, height))
    return np.ascontiguousarray(pixels_of(image).transpose(2, 0, 1))


def _resized(image: Image.Image, box: tuple[float, float, float, float], size: tuple[int, int]) -> Image.Image:
    """A part of the picture, to (width, height); one more than six times too large is first averaged over blocks."""
    left, top, right, bottom = box
    blocks = int((right - left) / size[0] / REDUCING_GAP) or 1, int((bottom - top) / size[1] / REDUCING_GAP) or 1
    if blocks != (1, 1):
        x, y = int(left), int(top)
        image = image.reduce(blocks, (x, y, math.ceil(right), math.ceil(bottom)))
        across, down = blocks
        box = (left - x) / across, (top - y) / down, (right - x) / across, (bottom - y) / down
    return image.resize(size, Image.Resampling.LANCZOS, box)


def _shrink_while_decoding(image: Image.Image, target: tuple[int, int] | None) -> None:
    """JPEG decodes at 1/2, 1/4 or 1/8 for little; at least twice the target is kept for the filter."""
    if target is None or image.format not in ("JPEG", "MPO"):
        return
    width, height = image.size
    if _orientation(image) >= FIRST_ON_THE_SIDE:
        width, height = height, width
    scale = 2 * max(target[0] / height, target[1] / width)
    if scale < 0.5:
        image.draft(None, (round(image.size[0] * scale), round(image.size[1] * scale)))


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        raise _too_many(limits)


def _too_many(limits: Limits) -> Refused:
    return Refused(413, f"a picture must have at most {limits.pixels:,} pixels; send a smaller one")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Width and height in a WebP header, 0×0 of anything else: Pillow's reader makes room for it as it opens."""
    if data[:4] != b"RIFF":
        return 0, 0
    kind, head = data[12:16], data[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(head[6:8], "little") & 0x3FFF, int.from_bytes(head[8:10], "little") & 0x3FFF


def _upright(image: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(image) if _orientation(image) > 1 else image


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1…8; 1 is upright."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF says nothing about the pixels
        return 1
    return found if found in range(1, 9) else 1


def _plain(image: Image.Image) -> Image.Image:
    """Mode "L" or "RGB"."""
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        if wide.min() < 0 or wide.max() > 65535:
            raise Refused(415, "the picture must have 8 or 16 bits per channel")
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba).convert("RGB")
    return image if image.mode in ("L", "RGB") else image.convert("L" if image.mode == "1" else "RGB")
