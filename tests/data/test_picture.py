from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from making import picture
from PIL import Image

from latentscape.data import DataSettings
from latentscape.data.picture import UnreadableError, decode, fitted, is_picture

AS_FOUND = DataSettings()


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def test_grey_and_colour_come_back_exactly(tmp_path):
    colour, grey = picture(1, 7, 9), picture(2, 7, 9, "L")
    found = decode(saved(tmp_path / "c.png", colour), AS_FOUND)
    assert np.array_equal(found.pixels, np.asarray(colour).transpose(2, 0, 1))
    assert (found.mode, found.size) == ("RGB", (7, 9))
    assert np.array_equal(decode(saved(tmp_path / "g.png", grey), AS_FOUND).pixels[0], np.asarray(grey))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".webp", ".ppm"])
def test_lossless_kinds_give_the_same_pixels(tmp_path, suffix):
    image = picture(3, 10, 14)
    options = {"lossless": True} if suffix == ".webp" else {}
    path = saved(tmp_path / f"x{suffix}", image, **options)
    assert is_picture(path.read_bytes()[:16])
    assert np.array_equal(decode(path, AS_FOUND).pixels, np.asarray(image).transpose(2, 0, 1))


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("L", (5, 4), value) for value in (200, 10)]
    path = saved(tmp_path / "x.gif", frames[0], save_all=True, append_images=frames[1:], duration=50)
    assert (decode(path, AS_FOUND).pixels == 200).all()


def test_colour_without_colour_is_grey(tmp_path):
    path = saved(tmp_path / "x.png", picture(4, mode="L").convert("RGB"))
    assert decode(path, AS_FOUND).pixels.shape == (1, 12, 12)


def test_mode_grey_weighs_the_colours(tmp_path):
    path = saved(tmp_path / "x.png", Image.new("RGB", (3, 3), (255, 0, 0)))
    assert (decode(path, DataSettings(mode="grey")).pixels == 76).all()


def test_transparency_shows_white(tmp_path):
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[0, :, 3] = 255
    rgba[0, :, 0] = 90
    found = decode(saved(tmp_path / "x.png", Image.fromarray(rgba)), AS_FOUND)
    assert found.mode == "RGBA"
    assert found.pixels[:, 0].tolist() == [[90] * 3, [0] * 3, [0] * 3]
    assert (found.pixels[:, 1] == 255).all()


def test_grey_with_transparency_stays_grey_on_white(tmp_path):
    grey, alpha = (Image.fromarray(np.array([row], np.uint8)) for row in ([50, 50], [255, 0]))
    found = decode(saved(tmp_path / "x.png", Image.merge("LA", [grey, alpha])), AS_FOUND)
    assert found.mode == "LA"
    assert found.pixels.tolist() == [[[50, 255]]]


def test_sixteen_bits_are_divided_by_257(tmp_path):
    values = np.array([[0, 257, 128 * 257], [65535, 129, 128]], np.uint16)
    found = decode(saved(tmp_path / "x.png", Image.fromarray(values)), AS_FOUND)
    assert found.mode == "I;16"
    assert found.pixels.tolist() == [[[0, 1, 128], [255, 1, 0]]]


def test_palette_and_transparent_palette(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert decode(saved(tmp_path / "p.png", image), AS_FOUND).pixels[:, 0].T.tolist() == [[10, 20, 30], [200, 100, 50]]
    path = saved(tmp_path / "t.png", image, transparency=0)
    assert decode(path, AS_FOUND).pixels[:, 0].T.tolist() == [[255, 255, 255], [200, 100, 50]]


def test_one_bit_is_black_and_white(tmp_path):
    bits = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1")
    assert decode(saved(tmp_path / "x.png", bits), AS_FOUND).pixels.tolist() == [[[0, 255], [255, 0]]]


def test_cmyk_jpeg_becomes_the_colour_it_shows(tmp_path):
    path = saved(tmp_path / "x.jpg", Image.new("RGB", (16, 16), (230, 40, 60)).convert("CMYK"), quality=98)
    found = decode(path, AS_FOUND)
    assert found.mode == "CMYK"
    assert np.abs(found.pixels.mean((1, 2)) - [230, 40, 60]).max() < 6


def test_float_tiff_in_unit_range_is_scaled_and_others_are_refused(tmp_path):
    path = saved(tmp_path / "x.tiff", Image.fromarray(np.array([[0, 0.5, 1]], np.float32)))
    assert decode(path, AS_FOUND).pixels.tolist() == [[[0, 128, 255]]]
    path = saved(tmp_path / "y.tiff", Image.fromarray(np.array([[0, -4.0, 1]], np.float32)))
    with pytest.raises(UnreadableError, match="-4"):
        decode(path, AS_FOUND)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(tmp_path, orientation):
    upright = np.zeros((16, 32), np.uint8)
    upright[:8, :8] = 255  # bright corner top left
    undo = {
        2: 0,
        3: 3,
        4: 1,
        5: 5,
        6: 2,
        7: 6,
        8: 4,
    }  # Image.Transpose that turns the upright picture into the stored one
    stored = Image.fromarray(upright)
    if orientation in undo:
        stored = stored.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "x.jpg", stored, exif=exif, quality=98)
    found = decode(path, AS_FOUND)
    assert found.size == (16, 32)
    assert np.abs(found.pixels[0].astype(int) - upright).max() < 40


@pytest.mark.parametrize(
    ("fit", "target"), [(f, t) for f in ("crop", "pad", "stretch") for t in ((8, 8), (6, 20), (40, 12))]
)
def test_any_target_shape_is_met(fit, target):
    assert fitted(picture(5, 17, 23), target, fit).shape == (3, *target)


def test_crop_keeps_the_middle():
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 200
    cropped = fitted(Image.fromarray(wide), (10, 10), "crop")
    assert (cropped == 200).all()


def test_pad_keeps_everything_on_black():
    padded = fitted(Image.new("L", (30, 10), 200), (30, 30), "pad")[0]
    assert (padded[10:20] == 200).all()
    assert not padded[:10].any()
    assert not padded[20:].any()


def test_stretch_uses_the_whole_picture():
    halves = np.zeros((10, 40), np.uint8)
    halves[:, 20:] = 255
    stretched = fitted(Image.fromarray(halves), (10, 10), "stretch")[0]
    assert stretched[:, :4].max() < 30
    assert stretched[:, 6:].min() > 225


def test_shrinking_is_antialiased():
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    small = fitted(Image.fromarray(stripes), (8, 8), "crop")
    assert np.abs(small.astype(int) - 127).max() <= 2


def test_a_jpeg_decoded_at_a_fraction_looks_the_same(tmp_path):
    image = picture(6, 400, 640)
    jpeg, png = saved(tmp_path / "x.jpg", image, quality=95), saved(tmp_path / "x.png", image)
    size = DataSettings(size="32")
    difference = decode(jpeg, size).pixels.astype(int) - decode(png, size).pixels
    assert np.abs(difference).max() <= 6


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
    )


def jpeg_bytes() -> bytes:
    stream = io.BytesIO()
    picture(7, 64, 64).save(stream, "JPEG")
    return stream.getvalue()


DAMAGED = {
    "cut off": jpeg_bytes()[:-400],
    "text": b"this is no picture at all, whatever the name says",
    "empty": b"",
    "bomb": png_header(60_000, 60_000),
    "hollow": png_header(30, 30),
    "header only": b"\x89PNG\r\n\x1a\n",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_cannot_be_read_says_why_in_a_few_words(tmp_path, kind, recwarn):
    path = tmp_path / "x.png"
    path.write_bytes(DAMAGED[kind])
    with pytest.raises(UnreadableError) as error:
        decode(path, AS_FOUND)
    reason = str(error.value)
    assert 5 < len(reason) < 200
    assert "\n" not in reason
    if kind == "bomb":
        assert "pixels" in reason
    assert not recwarn


def test_a_vanished_file_says_so(tmp_path):
    with pytest.raises(UnreadableError, match="vanished"):
        decode(tmp_path / "gone.png", AS_FOUND)
