from __future__ import annotations

import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb as colour

from latentscape.pictures import bars, curves, heatmaps, histograms, lattice, plots, scatter, small_scatters


def pixels_of(picture: np.ndarray, name: str) -> int:
    """How many pixels have exactly this colour."""
    return int((picture == np.round(np.array(colour(name)) * 255).astype(np.uint8)).all(axis=-1).sum())


@pytest.fixture
def z_N2() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(120, 2))


def is_picture(picture: np.ndarray) -> bool:
    return picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[-1] == 3


def test_no_global_state_of_matplotlib_is_touched(z_N2):
    before = sys.modules.get("matplotlib.pyplot")
    assert is_picture(scatter(z_N2))
    assert sys.modules.get("matplotlib.pyplot") is before


def test_plots_are_the_same_every_time(z_N2):
    y = np.arange(120) % 3
    assert (scatter(z_N2, y) == scatter(z_N2, y)).all()


def test_scatter_colours_classes_and_quantities(z_N2):
    y = np.arange(120) % 3
    by_class, by_value = scatter(z_N2, y, ["a", "b", "c"]), scatter(z_N2, y.astype(float), label_name="size")
    assert by_class.shape == by_value.shape
    assert (by_class != by_value).any()
    assert (by_class != scatter(z_N2, y, ["a", "b", "d"])).any(), "names are in the picture"


def test_scatter_takes_many_classes_odd_names_and_missing_points(z_N2):
    z = z_N2.copy()
    z[3], z[4] = np.nan, np.inf
    names = [f"$x^{{{k}" for k in range(39)] + ["お"]
    assert is_picture(scatter(z, np.arange(120) % 40, names, title="$\\frac{"))
    assert is_picture(scatter(z[3:5], np.array([0, 1])))
    assert is_picture(scatter(np.zeros((0, 2))))


def test_scatter_draws_background_and_thumbnails(z_N2):
    red = np.zeros((2, 3, 8, 8))
    red[:, 0] = 1
    plain = scatter(z_N2)
    assert pixels_of(plain, plots.FAINT) < pixels_of(scatter(z_N2, background=z_N2 + 1), plots.FAINT)
    assert pixels_of(plain, "red") == 0
    # 40 pixels a side, less what the frame's line and its soft edge cover
    assert 1200 < pixels_of(scatter(z_N2, thumbnails=([[-1.0, 0.0]], red[:1])), "red") <= 1700


def test_scatter_refuses_what_does_not_fit(z_N2):
    with pytest.raises(ValueError, match="one per point"):
        scatter(z_N2, np.zeros(3))
    with pytest.raises(ValueError, match="N×2"):
        scatter(np.zeros((3, 5)))
    with pytest.raises(ValueError, match="one image per place"):
        scatter(z_N2, thumbnails=(z_N2[:2], np.zeros((1, 1, 2, 2))))


def test_small_scatters_show_each_class_alone(z_N2):
    picture = small_scatters(z_N2, np.arange(120) % 2, columns=3)
    third = picture.shape[1] // 3
    own = [[pixels_of(picture[:, c * third : (c + 1) * third], plots.PALETTE[k]) > 0 for k in (0, 1)] for c in range(3)]
    assert own == [[True, True], [True, False], [False, True]]
    with pytest.raises(ValueError, match="one class per point"):
        small_scatters(z_N2, np.linspace(0, 1, 120))


def test_curves_survive_gaps_zeros_and_nothing():
    x = np.arange(5)
    assert is_picture(curves({"a": (x, [1, np.nan, 3, np.inf, 0]), "b": (x[:1], [0.5])}, logy=True))
    assert is_picture(curves({"a": (x, [0.0, -1, 0, 0, 0])}, logy=True))
    assert is_picture(curves({}))
    assert is_picture(curves({f"s{i}": (x, x + i) for i in range(14)}))


def test_a_falling_curve_falls():
    picture = curves({"a": (np.arange(9), -np.arange(9.0))})
    accent = (picture == np.round(np.array(colour(plots.ACCENT)) * 255).astype(np.uint8)).all(axis=-1)
    across = np.flatnonzero(accent.any(axis=0))
    height = [np.flatnonzero(accent[:, c]).mean() for c in (across[0] + 2, across[-1] - 2)]
    assert height[0] + 100 < height[1]


def test_histograms_show_shares_and_the_mean():
    uniform, spike = np.linspace(0, 1, 1000), np.full(1000, 0.55)
    flat, peaked = (histograms({"a": v}, 10, span=(0, 1)) for v in (uniform, spike))
    assert pixels_of(flat, plots.ACCENT) > 5 * pixels_of(peaked, plots.ACCENT)
    assert is_picture(histograms({"a": [np.nan], "b": [], "c": [1.0]}, 4, "title"))
    assert is_picture(histograms({}))


def test_bars_are_as_long_as_their_values():
    picture = bars({"short": 1.0, "long": 2.0, "none": float("nan")}, errors={"long": (1.5, 2.5)})
    accent = (picture == np.round(np.array(colour(plots.ACCENT)) * 255).astype(np.uint8)).all(axis=-1)
    lengths = accent.sum(axis=1)
    assert sorted({int(n) for n in lengths if n > 10})[-1] == pytest.approx(
        2 * np.median(lengths[lengths > 10][:5]), rel=0.1
    )


def test_heatmaps_keep_one_scale():
    x = np.stack([np.zeros((3, 3)), np.full((3, 3), 0.5), np.full((3, 3), np.nan)])
    picture = heatmaps(x, ["a", "b"], low=0, high=0.5, columns=3)
    reds = picture.astype(int)[..., 0]
    assert pixels_of(picture, "#440154") > 5000, "the lowest colour of the scale"
    assert ((reds > 250) & (picture[..., 2] < 40)).sum() > 5000, "the highest"
    with pytest.raises(ValueError, match="N×H×W"):
        heatmaps(np.zeros((0, 2, 2)), low=0, high=1)


def test_lattice_keeps_the_pixels_and_their_order():
    x = np.zeros((6, 3, 4, 4), np.uint8)
    x[0, 0], x[2, 1], x[5, 2] = 251, 251, 251
    picture = lattice(x, 2, 3, (-1, 1, 0, 1))
    places = [np.argwhere((picture == value).all(axis=-1)) for value in ([251, 0, 0], [0, 251, 0], [0, 0, 251])]
    assert [len(p) for p in places] == [64 * 64] * 3, "every pixel is enlarged 16 times, none is blended"
    assert [tuple(p.min(axis=0) - places[0].min(axis=0)) for p in places] == [(0, 0), (0, 128), (64, 128)]
    with pytest.raises(ValueError, match="2×2"):
        lattice(x, 2, 2, (0, 1, 0, 1))


def test_a_lattice_of_one_image_has_axes():
    assert is_picture(lattice(np.zeros((1, 1, 2, 2)), 1, 1, (0, 0, 0, 0)))


def test_a_matrix_darkens_where_counts_are_and_wants_a_name_per_class() -> None:
    empty = plots.matrix(np.zeros((3, 3), int), ["a", "b", "c"], xlabel="read as", ylabel="label")
    full = plots.matrix(np.array([[0, 9, 0]] * 3), ["a", "b", "c"], xlabel="read as", ylabel="label")
    assert empty.shape == full.shape
    assert full.mean() < empty.mean()
    with pytest.raises(ValueError, match="K×K with K names"):
        plots.matrix(np.zeros((3, 2)), ["a", "b", "c"], xlabel="", ylabel="")
