"""Pictures and stars on a map: none over another, each where it belongs."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb as colour

from latentscape.pictures import scatter

RED = np.array([255, 0, 0])


def red_pixels(picture: np.ndarray) -> int:
    return int((picture == RED).all(-1).sum())


@pytest.fixture
def z_N2() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(300, 2))


def tiles(count: int) -> np.ndarray:
    x = np.zeros((count, 3, 8, 8))
    x[:, 0] = 1
    return x


def test_a_picture_that_would_cover_another_is_left_out(z_N2: np.ndarray) -> None:
    one = red_pixels(scatter(z_N2, thumbnails=(z_N2[:1], tiles(1))))
    same = np.repeat(z_N2[:1], 9, 0) + np.linspace(0, 0.01, 9)[:, None]
    assert red_pixels(scatter(z_N2, thumbnails=(same, tiles(9)))) == one
    apart = np.array([[-2.0, -2.0], [2.0, 2.0], [0.0, 0.0]])
    assert red_pixels(scatter(z_N2, thumbnails=(apart, tiles(3)))) == pytest.approx(3 * one, rel=0.1)
    assert red_pixels(scatter(z_N2, thumbnails=(apart, tiles(3)), most_thumbnails=2)) == pytest.approx(2 * one, rel=0.1)


def test_a_crowd_fills_the_map_without_overlap(z_N2: np.ndarray) -> None:
    """Every picture that is drawn is drawn whole: red is a whole number of single ones."""
    one = red_pixels(scatter(z_N2, thumbnails=(np.zeros((1, 2)), tiles(1))))
    crowd = red_pixels(scatter(z_N2, thumbnails=(z_N2, tiles(300))))
    assert crowd > 15 * one
    assert crowd / one == pytest.approx(round(crowd / one), abs=0.05 * crowd / one)


def test_names_of_classes_stay_readable(z_N2: np.ndarray) -> None:
    """The name stands at the median of its class, and so do all the pictures."""
    y, middles = np.arange(300) % 2, np.zeros((2, 2))
    for k in (0, 1):
        middles[k] = np.median(z_N2[y == k], axis=0)
    assert red_pixels(scatter(z_N2, y, ["first", "second"], thumbnails=(middles, tiles(2)))) == 0
    assert red_pixels(scatter(z_N2, thumbnails=(middles[:1], tiles(1)))) > 1000


def test_marked_places_get_a_star_and_their_name(z_N2: np.ndarray) -> None:
    gold = np.round(np.array(colour("#ffd400")) * 255).astype(np.uint8)

    def stars(picture: np.ndarray) -> int:
        return int((picture == gold).all(-1).sum())

    plain, marked = scatter(z_N2), scatter(z_N2, marked=([[0.0, 0.0], [1.0, 1.0]], ["me", "you"]))
    assert stars(plain) == 0
    assert stars(marked) > 60
    other = scatter(z_N2, marked=([[0.0, 0.0], [1.0, 1.0]], ["me", "them"]))
    assert (marked != other).any(), "names are in the picture"
    scatter(z_N2, marked=([[0.0, np.nan]], ["x" * 200]))
    with pytest.raises(ValueError, match="one name each"):
        scatter(z_N2, marked=([[0.0, 0.0]], []))
