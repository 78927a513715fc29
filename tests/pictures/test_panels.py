"""Sheets under headings, panels of finished pictures, and the plots of vectors, estimates and curves."""

from __future__ import annotations

import numpy as np
import pytest

from latentscape.pictures import columns, estimates, fitted, headed_sheet, marked, panels, stacked, traces


def flat(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_headed_sheets_keep_every_image_below_its_heading() -> None:
    x = np.full((6, 1, 40, 40), 20, np.uint8) * np.arange(1, 7, dtype=np.uint8).reshape(6, 1, 1, 1)
    picture = headed_sheet(x, ["a", "b", "c"], scale=1, gap=2)
    top = picture.shape[0] - 2 * 40 - 2
    for i in range(6):
        row, column = divmod(i, 3)
        cell = picture[top + row * 42 : top + row * 42 + 40, column * 42 : column * 42 + 40]
        assert (cell == 20 * (i + 1)).all()
    assert (picture[:top] < 255).any(), "headings"


@pytest.mark.parametrize(("count", "headings"), [(4, 3), (0, 3), (3, 0)])
def test_headed_sheets_have_whole_rows(count: int, headings: int) -> None:
    with pytest.raises(ValueError, match="whole rows"):
        headed_sheet(np.zeros((count, 1, 4, 4)), ["k"] * headings)


def test_panels_of_different_sizes_do_not_overlap() -> None:
    pictures = [flat(30, 90, 10), flat(60, 40, 20), flat(20, 20, 30)]
    picture = panels(pictures, ["one", "two", "three"], columns=2, gap=5)
    for p in pictures:
        rows, across = (picture == p[0, 0, 0]).all(2).nonzero()
        inside = picture[rows.min() : rows.max() + 1, across.min() : across.max() + 1]
        assert (inside == p[0, 0, 0]).all(2).sum() >= p.shape[0] * p.shape[1]


def test_panels_need_a_heading_each() -> None:
    with pytest.raises(ValueError, match="one heading per picture, got 1 for 2"):
        panels([flat(4, 4, 0)] * 2, ["a"])


def test_stacks_go_down_on_white() -> None:
    picture = stacked([flat(5, 9, 1), flat(3, 4, 2)], gap=2)
    assert picture.shape == (10, 9, 3)
    assert (picture[:5] == 1).all()
    assert (picture[5:7] == 255).all()
    assert (picture[7:, :4] == 2).all()
    assert (picture[7:, 4:] == 255).all()
    with pytest.raises(ValueError, match="at least one"):
        stacked([])


def test_fitted_pictures_shrink_and_never_grow() -> None:
    assert fitted(flat(100, 50, 7), 40).shape == (40, 20, 3)
    assert (fitted(flat(100, 50, 7), 40) == 7).all()
    small = flat(10, 20, 7)
    assert fitted(small, 40) is small


def test_marked_pixels_are_orange_and_the_rest_is_grey() -> None:
    picture = marked(np.full((3, 4, 5), 0.5), [(1, 2)], side=10)
    assert picture.shape == (8, 10, 3)
    orange = (picture == (230, 159, 0)).all(2)
    assert orange[2:4, 4:6].all()
    assert orange.sum() == 4
    assert (np.ptp(picture[~orange].astype(int), axis=-1) == 0).all()


def bars_in(picture: np.ndarray) -> int:
    """How many groups of columns hold the bars' blue."""
    blue = (np.abs(picture.astype(int) - (11, 99, 165)).sum(2) < 12).sum(0) > 20
    return int((np.diff(blue.astype(int)) == 1).sum())


def test_a_bar_per_value_and_none_for_what_is_no_number() -> None:
    assert bars_in(columns([1.0, 2.0, 3.0])) == 3
    assert bars_in(columns([1.0, np.nan, 3.0])) == 2
    assert (columns([1.0, 2.0], errors=[0.5, 0.5]) != columns([1.0, 2.0])).any()


def test_estimates_show_their_intervals() -> None:
    near, far = (estimates({"a": -3.0, "b": -2.0}, {"a": e, "b": 0.1}) for e in (0.1, 0.9))
    assert near.shape == far.shape
    assert (near != far).any()


def test_traces_draw_a_line_per_name() -> None:
    points, line = np.random.default_rng(0).normal(size=(50, 2)), np.stack([np.linspace(-1, 1, 9)] * 2, 1)
    one, two = traces({"a": line}, points), traces({"a": line, "b": -line * (1, -1)}, points)
    assert one.shape[2] == two.shape[2] == 3
    orange = (np.abs(two.astype(int) - (230, 159, 0)).sum(2) < 12).sum()
    assert orange > 50
    assert (np.abs(one.astype(int) - (230, 159, 0)).sum(2) < 12).sum() == 0
