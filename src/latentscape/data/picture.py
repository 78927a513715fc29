"""One picture: from a file of any kind to uint8 C×H×W of the wanted size and colour.

Transparent parts are composited on white; EXIF rotation is applied; 16-bit grey is divided by 257; animations and
multi-page files give their first frame; CMYK, palette, 1-bit and the rest become RGB or grey.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

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

_ROTATED = (5, 6, 7, 8)  # EXIF orientations that swap height and width
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
    """A decoded picture: uint8 C×H×W (C is 1 if it holds no colour), and its mode and size as stored."""

    pixels: np.ndarray
    mode: str
    size: tuple[int, int]


def is_picture(head: bytes) -> bool:
    """Whether a file that begins with these (at least 12) bytes is a picture of a kind that is read."""
    starts = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"GIF87a", b"GIF89a")
    pnm = head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in b" \t\r\n#" and len(head) > 2
    return head.startswith(starts) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or pnm


def decode(source: Path | bytes, settings: DataSettings, expected: tuple[int, int] | None = None) -> Picture:
    """Read one file, or a file's bytes. `expected`, used without a target size, is the (height, width) it must have.

    Raises `UnreadableError` for anything wrong with the file and `OtherSizeError` if it is not as expected.
    """
    try:
        with _stream(source) as f, Image.open(f, formats=FORMATS) as image:
            mode, size = image.mode, _oriented_size(image)
            if size[0] * size[1] > MAX_PIXELS:
                raise UnreadableError(
                    f"{size[1]:,}×{size[0]:,} pixels are more than the {MAX_PIXELS:,} that are decoded"
                )
            if settings.target is None and expected is not None and size != expected:
                raise OtherSizeError(mode, size)
            _shrink_while_decoding(image, size, settings)
            image.load()
            plain = to_plain(ImageOps.exif_transpose(image))
        if settings.mode == "grey":
            plain = plain.convert("L")
        if settings.target is not None:
            plain = fit_picture(plain, settings.target, settings.fit)
        return Picture(_pixels(plain), mode, size)
    except (UnreadableError, OtherSizeError):
        raise
    except Exception as error:  # decoders raise anything, down to struct.error and IndexError
        raise UnreadableError(_reason(error)) from None


def _stream(source: Path | bytes) -> IO[bytes]:
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")


def _oriented_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    try:
        rotated = image.getexif().get(_ORIENTATION) in _ROTATED
    except Exception:  # damaged EXIF says nothing about the pixels
        rotated = False
    return (width, height) if rotated else (height, width)


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


def fit_picture(image: Image.Image, target: tuple[int, int], fit: str) -> Image.Image:
    """Bring an "L" or "RGB" picture to (height, width), antialiased (Lanczos).

    crop: the largest centred part of the target's aspect. pad: the whole picture on black. stretch: as it comes.
    """
    height, width = target
    if image.size == (width, height):
        return image
    resize: dict[str, Any] = {"resample": Image.Resampling.LANCZOS, "reducing_gap": 3.0}
    if fit == "stretch":
        return image.resize((width, height), **resize)
    ratios = width / image.size[0], height / image.size[1]
    if fit == "crop":
        part = width / max(ratios), height / max(ratios)
        left, top = (image.size[0] - part[0]) / 2, (image.size[1] - part[1]) / 2
        box = max(left, 0), max(top, 0), min(left + part[0], image.size[0]), min(top + part[1], image.size[1])
        return image.resize((width, height), box=box, **resize)
    inner = tuple(max(1, round(side * min(ratios))) for side in image.size)
    padded = Image.new(image.mode, (width, height))
    padded.paste(image.resize((inner[0], inner[1]), **resize), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return padded


def _pixels(plain: Image.Image) -> np.ndarray:
    """C×H×W, one channel if all three are equal."""
    pixels = np.asarray(plain)
    if pixels.ndim == 2:
        return pixels[None].copy()
    if (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all():
        return pixels[None, ..., 0].copy()
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


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
