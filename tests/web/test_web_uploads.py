"""Uploaded pictures: the same pixels as the data pipeline's, and refusals before anything is decoded."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from latentscape.data.picture import decode
from latentscape.data.settings import DataSettings
from latentscape.web.limits import Limits
from latentscape.web.refusals import Refused
from latentscape.web.uploads import decode_picture, fit_picture, open_picture

LIMITS = Limits(pixels=100_000, body_bytes=1 << 20)


def smooth(mode: str = "RGB", size: tuple[int, int] = (90, 70)) -> Image.Image:
    """A picture with structure at several scales, in any mode."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (3 + 4 * c)) + np.cos(y / (5 + 3 * c)) for c in range(4)]
    pixels = np.stack([(w + 2) / 4 * 255 for w in waves], -1).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 251)
    if mode in ("RGBA", "CMYK"):
        return Image.frombytes(mode, size, pixels.tobytes())
    return Image.fromarray(np.ascontiguousarray(pixels[..., :3])).convert(mode)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(smooth(), "JPEG", exif=exif, quality=95)


FILES = {
    "png": saved(smooth()),
    "grey": saved(smooth("L")),
    "16 bit": saved(smooth("I;16")),
    "1 bit": saved(smooth("1")),
    "palette": saved(smooth("P")),
    "grey and alpha": saved(smooth("LA")),
    "alpha": saved(smooth("RGBA")),
    "palette with a transparent colour": saved(smooth("P"), transparency=3),
    "jpeg": saved(smooth(), "JPEG", quality=95),
    "progressive": saved(smooth(), "JPEG", progressive=True),
    "cmyk": saved(smooth("CMYK"), "JPEG"),
    "gif": saved(smooth("P"), "GIF"),
    "animation": saved(smooth("P"), "GIF", save_all=True, append_images=[Image.new("P", (90, 70))]),
    "webp": saved(smooth(), "WEBP", lossless=True),
    "lossy webp": saved(smooth(), "WEBP"),
    "webp with alpha": saved(smooth("RGBA"), "WEBP"),
    "bmp": saved(smooth(), "BMP"),
    **{f"turned {i}": turned(i) for i in (2, 3, 6, 8)},
}


def as_read(data: bytes, **settings: Any) -> np.ndarray:
    """What the data pipeline makes of the file, C×H×W; grey stored as colour is one channel there."""
    return decode(data, DataSettings(**settings)).pixels


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_the_data_pipeline(name: str) -> None:
    mine = decode_picture(FILES[name], LIMITS).transpose(2, 0, 1)
    theirs = as_read(FILES[name])
    assert mine.dtype == np.uint8
    np.testing.assert_array_equal(mine, np.broadcast_to(theirs, mine.shape))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 20, 50), (1, 70, 90), (3, 140, 100), (1, 8, 8)])
@pytest.mark.parametrize("name", ["png", "grey", "jpeg", "alpha", "turned 6"])
def test_fitting_agrees_with_the_data_pipeline(name: str, shape: tuple[int, int, int]) -> None:
    mine = fit_picture(open_picture(FILES[name], LIMITS, shape[1:]), shape)
    mode = "grey" if shape[0] == 1 else "rgb"
    theirs = as_read(FILES[name], size="{}x{}".format(*shape[1:]), mode=mode, fit="crop")
    assert mine.shape == shape
    difference = np.abs(mine.astype(int) - theirs)
    assert difference.mean() < 0.5
    assert difference.max() <= 3  # the filter's weights are rounded differently


def test_large_pictures_fit_as_well() -> None:
    data = saved(smooth("RGB", (400, 250)))
    mine = fit_picture(open_picture(data, LIMITS, (16, 16)), (3, 16, 16))
    theirs = as_read(data, size="16x16", mode="rgb", fit="crop")
    assert np.abs(mine.astype(int) - theirs).max() <= 3


def refused(data: bytes, limits: Limits = LIMITS) -> tuple[int, str]:
    with pytest.raises(Refused) as refusal:
        decode_picture(data, limits)
    return refusal.value.status, str(refusal.value)


def png(width: int, height: int, rows: bytes = b"", extra: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def gif(width: int, height: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6)
    return head + b"," + struct.pack("<HHHH", 0, 0, width, height) + b"\0\x02\x02\x44\x01\0;"


def webp(kind: bytes, head: bytes) -> bytes:
    body = b"WEBP" + kind + struct.pack("<I", len(head)) + head
    return b"RIFF" + struct.pack("<I", len(body)) + body


HUGE = {
    "png": png(60_000, 60_000),
    "png just beyond": png(1001, 100),
    "png that is only wide": png(2**31 - 1, 1),
    "gif": gif(65535, 65535),
    "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "webp of several parts": webp(b"VP8X", b"\0\0\0\0" + b"\xff\x3f\0" + b"\xff\x3f\0"),
    "lossless webp": webp(b"VP8L", b"\x2f" + struct.pack("<I", 0x3FFF | 0x3FFF << 14) + bytes(5)),
    "lossy webp": webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 0x3FFF, 0x3FFF)),
}


@pytest.mark.parametrize("name", HUGE)
def test_more_pixels_than_allowed_are_refused_by_the_header(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(self: Image.Image) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    assert refused(HUGE[name]) == (413, "a picture must have at most 100,000 pixels; send a smaller one")


def test_the_limit_itself_is_allowed() -> None:
    assert decode_picture(png(1000, 100, bytes(1001 * 100)), LIMITS).shape == (100, 1000, 1)


def test_more_bytes_than_allowed() -> None:
    status, words = refused(FILES["png"], Limits(body_bytes=100))
    assert status == 413
    assert "100 bytes" in words


def test_a_jpeg_of_countless_scans() -> None:
    data = FILES["progressive"]
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    assert refused(data[:-2] + scan * 101 + data[-2:])[0] == 413


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"GIF", b"<svg/>", saved(smooth("L"), "TIFF"), saved(smooth("L"), "PPM"), b"%!PS-Adobe", b"\0" * 99],
)
def test_other_files(data: bytes) -> None:
    assert refused(data)[0] == 415


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_never_do_more_than_be_refused(name: str) -> None:
    draws = np.random.default_rng(len(name))
    for _ in range(12):
        data = bytearray(FILES[name])
        for place in draws.integers(12, len(data), 6):
            data[place] = draws.integers(256)
        cut = bytes(data[: draws.integers(13, len(data))]) if draws.random() < 0.5 else bytes(data)
        with contextlib.suppress(Refused):
            assert decode_picture(cut, LIMITS).dtype == np.uint8


def test_channels_that_no_picture_has() -> None:
    with pytest.raises(Refused, match="4 channels"):
        fit_picture(smooth(), (4, 8, 8))
