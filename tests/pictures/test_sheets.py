from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentscape.pictures import rows, sheet, titled_sheet, to_uint8
from latentscape.pictures.sheets import WIDEST, font, text_size, to_rgb, visible_scale


def numbered(count: int, channels: int = 1, height: int = 2, width: int = 3) -> np.ndarray:
    """Images of one value each: image i is 10·i + 10 everywhere."""
    values = (10 * np.arange(count) + 10).astype(np.uint8)
    return np.broadcast_to(values[:, None, None, None], (count, channels, height, width)).copy()


def test_to_uint8_clips_and_rounds():
    x = np.array([-1.0, 0.0, 0.5, 0.4999, 1.0, 7.0, np.nan, np.inf, -np.inf]).reshape(1, 1, 1, 9)
    assert to_uint8(x).ravel().tolist() == [0, 0, 128, 127, 255, 255, 0, 255, 0]
    assert to_uint8(x).dtype == np.uint8


def test_to_uint8_leaves_bytes_and_refuses_other_integers_and_shapes():
    x = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    assert (to_uint8(x) == x).all()
    with pytest.raises(ValueError, match="int64"):
        to_uint8(x.astype(np.int64))
    with pytest.raises(ValueError, match="N×C×H×W"):
        to_uint8(np.zeros((2, 2)))


@pytest.mark.parametrize(("channels", "expected"), [(1, [1, 1, 1]), (2, [1, 2, 0]), (3, [1, 2, 3]), (4, [1, 2, 3])])
def test_any_number_of_channels_becomes_rgb(channels, expected):
    x = np.arange(1, channels + 1, dtype=np.uint8).reshape(1, channels, 1, 1)
    assert to_rgb(x).ravel().tolist() == expected


def test_sheet_places_every_pixel():
    picture = sheet(numbered(5), columns=3, gap=1, scale=2, background=200)
    assert picture.shape == (2 * 4 + 1, 3 * 6 + 2, 3)
    expected = np.full((9, 20), 200, np.uint8)
    for i in range(5):
        top, left = i // 3 * 5, i % 3 * 7
        expected[top : top + 4, left : left + 6] = 10 * i + 10
    assert (picture == expected[..., None]).all()


def test_sheet_enlarges_by_repeating_pixels():
    x = np.arange(6, dtype=np.uint8).reshape(1, 1, 2, 3)
    assert (sheet(x, scale=3)[..., 0] == x[0, 0].repeat(3, 0).repeat(3, 1)).all()


def test_sheet_keeps_colours_and_does_not_stretch_the_scale():
    x = np.zeros((1, 3, 1, 1))
    x[0, :, 0, 0] = 0.1, 0.2, 0.3
    assert sheet(x, scale=1)[0, 0].tolist() == [26, 51, 76]


@pytest.mark.parametrize(("side", "scale"), [(8, 8), (28, 3), (32, 2), (56, 2), (64, 1), (218, 1)])
def test_small_images_are_made_visible(side, scale):
    assert visible_scale(side, side) == scale


def test_wide_sheets_stay_narrow_enough():
    assert sheet(numbered(40, height=28, width=28), columns=40).shape[1] <= WIDEST + 40


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 3), st.integers(1, 3))
def test_sheet_holds_every_image_once(count, columns, gap, scale):
    x = np.full((count, 1, 2, 3), 7, np.uint8)
    picture = sheet(x, columns, gap, scale, background=0)
    assert (picture[..., 0] == 7).sum() == count * 6 * scale**2


def test_rows_put_the_images_under_each_other():
    x = numbered(3, height=30, width=20)
    picture = rows([("a", x), ("b", x[::-1][:2])], scale=1, gap=2)
    margin = max(text_size("a")[0], text_size("b")[0]) + 12
    assert picture.shape == (62, margin + 3 * 22 - 2, 3)
    assert (picture[:30, margin : margin + 20] == 10).all()
    assert (picture[32:, margin : margin + 20] == 30).all()
    assert (picture[32:, margin + 44 :] == 255).all()
    assert (picture[:30, :margin] < 100).any(), "the title is missing"
    assert (picture[30:32] == 255).all()


def test_rows_are_high_enough_for_their_titles():
    picture = rows([("gjÄ|", numbered(1, height=1, width=1))] * 2, scale=1, gap=2)
    line = (picture.shape[0] - 2) // 2
    assert (picture[:line] == picture[-line:]).all()
    inked = np.flatnonzero((picture[:line, :-1] < 128).any(axis=(1, 2)))
    assert len(inked) >= 14, "the title is cut off"
    assert picture[line // 2, -1, 0] == 10 or picture[(line - 1) // 2, -1, 0] == 10


def test_rows_refuse_images_of_two_sizes_and_none():
    with pytest.raises(ValueError, match="one size"):
        rows([("a", numbered(1)), ("b", numbered(1, height=4))])
    with pytest.raises(ValueError, match="at least one"):
        rows([])


def test_titled_sheet_centres_images_over_their_texts():
    x = numbered(2, height=10, width=10)
    x[:] = 200
    picture = titled_sheet(x, ["0.1234", "α = ¼"], columns=2, scale=1)
    image = (picture == 200).all(axis=-1)
    columns = np.flatnonzero(image.any(axis=0))
    assert image.sum() >= 200
    assert (picture[:10, columns[0] : columns[0] + 10] == 200).all()
    cell = (picture.shape[1] - 6) // 2
    assert columns[0] == (cell - 10) // 2
    under = picture[11:, :, 0] < 128
    assert under[:, :cell].any()
    assert under[:, cell + 6 :].any()
    with pytest.raises(ValueError, match="one title per image"):
        titled_sheet(x, ["one"])
    with pytest.raises(ValueError, match="at least one"):
        sheet(x[:0])


@pytest.mark.parametrize("letter", "αμσ×−²→")
def test_the_letters_of_the_field_are_drawn(letter):
    assert bytes(font().getmask(letter)) != bytes(font().getmask("\uffff")), "the font draws a box for it"
