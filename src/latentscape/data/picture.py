"""One picture: from a file of any kind to uint8 C×H×W of the wanted size and colour.

Transparent parts are composited on white; EXIF rotation is applied; 16-bit grey is divided by 257; animations and
multi-page files give their first frame; CMYK, palette, 1-bit and the rest become RGB or grey.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from latentscape.data.digest import digest
from latentscape.data.resample import resample
from latentscape.data.settings import DataSettings

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM")
"""Pillow readers that are used; the others (some of which run other programs) are not."""

# Imported here so that no thread has to register a reader while others look for one.
_READERS = (
    BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, PpmImagePlugin, TiffImagePlugin, WebPImagePlugin
)  # fmt: skip

SUFFIXES = frozenset(
    (
        ".png",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".webp",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".gif",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
    )
)

MAX_PIXELS = 178_956_970
"""Larger pictures are refused before they are decoded; Pillow's own limit."""

REDUCING_GAP = 3.0
"""Averaging over blocks leaves at least so many times the target for the filter: 55 dB from filtering at once."""

_TURNED = range(2, 9)  # EXIF orientations
_ON_THE_SIDE = range(5, 9)  # those that swap height and width
_ORIENTATION = 0x0112


class UnreadableError(Exception):
    """Why a picture cannot be used, in a few words."""


class OtherSizeError(Exception):
    """The picture is readable but not of the expected size."""

    def __init__(self, mode: str, size: tuple[int, int]) -> None:
        super().__init__(mode, size)
        self.mode, self.size = mode, size


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: uint8 C×H×W (C is 1 if it holds no colour), mode and size as stored, digest of the pixels."""

    pixels: np.ndarray
    mode: str
    size: tuple[int, int]
    digest: bytes


def is_picture(head: bytes) -> bool:
    """Whether a file that begins with these (at least 12) bytes is a picture of a kind that is read."""
    starts = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"GIF87a", b"GIF89a")
    pnm = head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in b" \t\r\n#" and len(head) > 2
    return head.startswith(starts) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or pnm


def decode(source: Path | str | bytes, settings: DataSettings, expected: tuple[int, int] | None = None) -> Picture:
    """Read one file, or a file's bytes. `expected`, used without a target size, is the (height, width) it must have.

    Raises `UnreadableError` for anything wrong with the file and `OtherSizeError` if it is not as expected.
    """
    try:
        with _stream(source) as f, Image.open(f, formats=FORMATS) as image:
            mode, turned = image.mode, _orientation(image)
            width, height = image.size
            size = (width, height) if turned in _ON_THE_SIDE else (height, width)
            if size[0] * size[1] > MAX_PIXELS:
                raise UnreadableError(
                    f"{size[1]:,}×{size[0]:,} pixels are more than the {MAX_PIXELS:,} that are decoded"
                )
            if settings.target is None and expected is not None and size != expected:
                raise OtherSizeError(mode, size)
            _shrink_while_decoding(image, size, settings)
            image.load()
            plain = to_plain(ImageOps.exif_transpose(image) if turned in _TURNED else image)
            if settings.mode == "grey":
                plain = plain.convert("L")
            target = settings.target or (plain.size[1], plain.size[0])
            pixels = _one_if_equal(fitted(plain, target, settings.fit))
        return Picture(pixels, mode, size, digest(pixels.data))
    except (UnreadableError, OtherSizeError):
        raise
    except Exception as error:  # decoders raise anything, down to struct.error and IndexError
        raise UnreadableError(_reason(error)) from None


def _stream(source: Path | str | bytes) -> IO[bytes]:
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1…8; 1 is upright."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF says nothing about the pixels
        return 1


def _shrink_while_decoding(image: Image.Image, size: tuple[int, int], settings: DataSettings) -> None:
    """JPEG decodes at 1/2, 1/4 or 1/8 for little; at least twice the target is kept for the resampling filter."""
    if image.format not in ("JPEG", "MPO") or settings.target is None:
        return
    scales = [t / s for t, s in zip(settings.target, size, strict=True)]
    scale = 2 * max(scales)
    if scale < 0.5:
        image.draft(None, (round(image.size[0] * scale), round(image.size[1] * scale)))


def to_plain(image: Image.Image) -> Image.Image:
    """Mode "L" or "RGB"; transparency goes onto white. Raises `UnreadableError` for float pictures of unknown range."""
    if image.mode in ("L", "RGB"):
        if "transparency" not in image.info:
            return image
        return _on_white(image.convert("RGBA"))
    if image.mode.startswith("I;16") or image.mode == "I":
        return _from_16_bit(np.asarray(image))
    if image.mode == "F":
        return _from_float(np.asarray(image))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return _on_white(image.convert("RGBA"))
    return image.convert("L" if image.mode == "1" else "RGB")


def _on_white(rgba: Image.Image) -> Image.Image:
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _from_16_bit(values_HW: np.ndarray) -> Image.Image:
    wide = values_HW.astype(np.int64)
    if wide.min() < 0 or wide.max() > 65535:
        raise UnreadableError(f"integer values {wide.min()} to {wide.max()} lie outside of 0 to 65535")
    return Image.fromarray(((wide + 128) // 257).astype(np.uint8))


def _from_float(values_HW: np.ndarray) -> Image.Image:
    low, high = float(values_HW.min()), float(values_HW.max())
    if not (low >= 0 and high <= 255):  # also true of NaN
        raise UnreadableError(f"float values {low:g} to {high:g} lie outside of 0 to 1 and 0 to 255")
    scale = 255.0 if high <= 1 else 1.0
    return Image.fromarray(np.rint(values_HW * scale).astype(np.uint8))


def fitted(image: Image.Image, target: tuple[int, int], fit: str) -> np.ndarray:
    """An "L" or "RGB" picture as uint8 C×height×width of the target (height, width), antialiased (Lanczos).

    crop: the largest centred part of the target's aspect. pad: the whole picture on black. stretch: as it comes.
    """
    width, height = image.size
    if (height, width) == target:
        return np.ascontiguousarray(_array(image).transpose(2, 0, 1))
    ratios = target[1] / width, target[0] / height
    if fit == "stretch":
        return _resized(image, (0, 0, width, height), target)
    if fit == "crop":
        part = target[1] / max(ratios), target[0] / max(ratios)
        left, top = (width - part[0]) / 2, (height - part[1]) / 2
        box = max(left, 0), max(top, 0), min(left + part[0], width), min(top + part[1], height)
        return _resized(image, box, target)
    inside = max(1, round(height * min(ratios))), max(1, round(width * min(ratios)))
    inner = _resized(image, (0, 0, width, height), inside)
    top, left = (target[0] - inner.shape[1]) // 2, (target[1] - inner.shape[2]) // 2
    padded = np.zeros((len(inner), *target), np.uint8)
    padded[:, top : top + inner.shape[1], left : left + inner.shape[2]] = inner
    return padded


def _resized(image: Image.Image, box: tuple[float, float, float, float], target: tuple[int, int]) -> np.ndarray:
    """A part of the picture; one more than six times too large is first averaged over blocks of whole pixels."""
    left, top, right, bottom = box
    across = int((right - left) / target[1] / REDUCING_GAP) or 1
    down = int((bottom - top) / target[0] / REDUCING_GAP) or 1
    if (across, down) != (1, 1):
        x, y = int(left), int(top)
        image = image.reduce((across, down), (x, y, math.ceil(right), math.ceil(bottom)))
        box = (left - x) / across, (top - y) / down, (right - x) / across, (bottom - y) / down
    return resample(_array(image), box, target)


def _array(image: Image.Image) -> np.ndarray:
    """H×W×C."""
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _one_if_equal(pixels_CHW: np.ndarray) -> np.ndarray:
    """One channel if all three are equal."""
    if len(pixels_CHW) == 1 or not all(np.array_equal(pixels_CHW[0], other) for other in pixels_CHW[1:]):
        return pixels_CHW
    return pixels_CHW[:1].copy()


def _reason(error: Exception) -> str:
    """A few words, on one line, without the path."""
    if isinstance(error, FileNotFoundError):
        return "vanished while being read"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture of a kind that is read"
    if isinstance(error, Image.DecompressionBombError):
        return f"more pixels than the {MAX_PIXELS:,} that are decoded"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "damaged: " + (" ".join(str(error).split()) or type(error).__name__)[:120]
