"""Rows of images with a text under each, smoothed curves over what they were smoothed from."""

from __future__ import annotations

import numpy as np
import pytest

from latentscape.pictures import curves, histograms
from latentscape.pictures.sheets import text_size, titled_rows


def images(count: int) -> np.ndarray:
    """All red, as no text is."""
    return np.tile(np.array([1.0, 0.0, 0.0])[:, None, None], (count, 1, 8, 8))


def test_every_image_stands_in_its_row_above_its_text() -> None:
    picture = titled_rows([("one", images(3), ["a", "b", "c"]), ("two", images(2), ["d", "e"])], scale=4)
    red = (picture == [255, 0, 0]).all(-1)
    rows = np.flatnonzero(red.any(1))
    assert (np.diff(rows) > 1).sum() == 1, "two rows"
    top, low = rows[0], rows[-1]
    for line, count in ((top, 3), (low, 2)):
        starts = np.flatnonzero(np.diff(red[line].astype(int)) == 1)
        ends = np.flatnonzero(np.diff(np.append(red[line], False).astype(int)) == -1)
        assert (ends - starts).tolist() == [32] * count
    below = picture.mean(-1)[top + 32 : np.flatnonzero(red[top + 32 :].any(1))[0] + top + 32]
    assert (below < 60).any(), "texts stand between the rows"
    assert (picture.mean(-1)[low + 1 :] < 60).any(), "and under the last"


def test_cells_are_as_wide_as_the_widest_line_and_rows_as_high_as_their_lines() -> None:
    short = titled_rows([("", images(2), ["a", "b"])], scale=1)
    long = titled_rows([("", images(2), ["a long text", "b"])], scale=1)
    assert long.shape[1] - short.shape[1] == 2 * (text_size("a long text")[0] - text_size("b")[0])
    double = titled_rows([("", images(2), ["a\nb", "b"])], scale=1)
    third = titled_rows([("", images(2), ["a\nb\nc", "b"])], scale=1)
    assert third.shape[0] - double.shape[0] == double.shape[0] - short.shape[0] > 8
    both = titled_rows([("", images(2), ["a\nb", "b"]), ("", images(2), ["a", "b"])], scale=1)
    assert both.shape[0] == double.shape[0] + short.shape[0] + 4


def test_rows_without_images_or_texts_are_refused() -> None:
    for entries in ([], [("one", images(0), [])], [("one", images(2), ["a"])]):
        with pytest.raises(ValueError, match="at least one image, and one text per image"):
            titled_rows(entries)


def test_what_a_line_was_smoothed_from_is_drawn_pale_below_it() -> None:
    x = np.arange(10)
    smooth = {"a": (x, np.ones(10))}
    plain, with_raw = curves(smooth), curves(smooth, raw={"a": (x, 1 + 0.01 * (-1.0) ** x)})
    assert (plain != with_raw).any()
    other = curves(smooth, raw={"b": (x, np.zeros(10))})
    assert (plain == other).all(), "a name without a line has none below it"


def test_numbers_on_the_axis_of_small_histograms_do_not_touch() -> None:
    """Long numbers: there is more white between two of them than between the letters of one."""
    picture = histograms({"one": np.linspace(-0.0131, -0.0011, 50)}, 10).mean(-1)
    ink = np.flatnonzero((picture[-24:-8] < 120).any(0))
    gaps = np.diff(ink)
    assert (gaps > 15).sum() >= 1, "two numbers or more"
    assert not ((gaps > 9) & (gaps <= 15)).any()
    runs = np.split(ink, np.flatnonzero(gaps > 15) + 1)
    assert max(np.ptp(run) for run in runs) < 60, "none runs into the next"
