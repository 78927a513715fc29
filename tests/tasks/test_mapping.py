"""Maps: latents where the method puts them, coloured by what is known, the user's own marked."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from attribute_pictures import make
from latentscape.errors import AbilityError, ConfigError
from latentscape.pictures import read_captions
from latentscape.runs import RunFolder
from latentscape.tasks import mapping, training
from latentscape.tasks.evaluating import load_for
from latentscape.tasks.mapping import draw_map, plane_of
from tiny_runs import TINY


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def people(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    return training.train("pca", str(folder), latent_dim=4, threads=1, out=out).path


def test_principal_axes_hold_the_most_variance() -> None:
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0))).Q
    z_NL = torch.randn(3_000, 5, generator=torch.Generator().manual_seed(1)) * torch.tensor([4, 2, 1, 1, 1.0]) @ turn
    plane = plane_of(z_NL + 7)
    assert plane.method == "pca"
    assert "70%" in plane.axes[0].replace("69%", "70%")  # 16 of 23
    np.testing.assert_allclose(plane.place(z_NL + 7).std(0), [4, 2], rtol=0.05)
    np.testing.assert_allclose(plane.place(torch.full((1, 5), 7.0) + z_NL.mean(0)), np.zeros((1, 2)), atol=1e-4)


def test_two_coordinates_are_taken_as_they_are_and_one_gets_a_zero() -> None:
    z_N2 = torch.randn(9, 2)
    assert plane_of(z_N2).method == "coordinates"
    assert torch.equal(plane_of(z_N2).place(z_N2), z_N2)
    assert torch.equal(plane_of(z_N2[:, :1], "pca").place(z_N2[:, :1]), torch.stack([z_N2[:, 0], torch.zeros(9)], 1))
    wide = torch.randn(50, 3) * torch.tensor([1.0, 5.0, 2.0])
    assert plane_of(wide, "coordinates").axes == ("z2", "z3")


def test_umap_is_asked_for_by_name_or_told_how_to_get(monkeypatch: pytest.MonkeyPatch, people: Path) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ConfigError, match="pip install umap-learn"):
        draw_map(people, method="umap")


def test_umap_places_the_set_where_it_fitted_it_and_new_points_by_transform(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {}

    class Umap:
        def __init__(self, **settings: int) -> None:
            told.update(settings)

        def fit_transform(self, z: np.ndarray) -> np.ndarray:
            return z[:, :2] * 10

        def transform(self, z: np.ndarray) -> np.ndarray:
            return z[:, :2] + 1

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Umap))
    z_NL = torch.randn(8, 4)
    plane = plane_of(z_NL, "umap", 3)
    assert told == {"n_neighbors": 7, "random_state": 3, "n_jobs": 1}
    torch.testing.assert_close(plane.place(z_NL), z_NL[:, :2] * 10)
    torch.testing.assert_close(plane.place(z_NL[:2].clone()), z_NL[:2, :2] + 1)


def test_colours_are_labels_quantities_or_one_class(folder: Path, people: Path) -> None:
    images = load_for(RunFolder(people))
    rows = images.indices("all")
    label, age = mapping.colours_of(images, rows, ""), mapping.colours_of(images, rows, "age")
    assert label.name == "label"
    assert label.kind is np.int64
    assert label.names == ("old", "young")
    assert age.kind is np.float64
    assert age.values is not None
    assert np.isnan(age.values).sum() == 5
    glasses = mapping.colours_of(images, rows, "glasses")
    assert glasses.names == ("not glasses=yes", "glasses=yes")
    assert glasses.values is not None
    assert set(glasses.values) == {0, 1}
    assert mapping.colours_of(images, rows, "none").values is None
    with pytest.raises(ConfigError, match="--colour-by must be an attribute of people"):
        mapping.colours_of(images, rows, "beauty")


def test_pictures_are_put_where_the_set_would_put_them(people: Path, folder: Path, tmp_path: Path) -> None:
    """000.png is the first test example, so that its star lies on its point."""
    answer = draw_map(people, [folder / "000.png"], out=tmp_path / "m.npy")
    places = np.load(tmp_path / "m.npy")
    assert places.shape == (answer["n"], 2) == (20, 2)
    np.testing.assert_allclose(answer["pictures"]["000.png"], places[0], atol=1e-4)


def test_a_picture_with_everything_on_it(people: Path, folder: Path) -> None:
    answer = draw_map(
        people, [folder / "000.png"], colour_by="age", thumbnails=5, split="all", command="latentscape map r"
    )
    assert answer["out"] == str(people / "pictures" / "map-pca-age.png")
    words = read_captions(people / "pictures")["map-pca-age.png"]
    assert words["command"] == "latentscape map r"
    assert words["caption"] == (
        "Latents of 80 all examples of people on their principal axes, coloured by age (grey: 5 of which it is not "
        "known); marked: 000.png."
    )
    plain = np.array(Image.open(draw_map(people, colour_by="age", split="all")["out"]))
    assert plain.shape == np.array(Image.open(answer["out"])).shape


def test_what_cannot_be_drawn_is_refused(people: Path, tmp_path: Path) -> None:
    for wrong, words in (
        ({"method": "tsne"}, "--method must be one of auto, coordinates, pca, umap"),
        ({"thumbnails": -1}, "--thumbnails must be at least 0"),
        ({"n": -1}, "--n must be at least 0"),
        ({"seed": -1}, "--seed must be"),
        ({"out": tmp_path / "m.gif"}, r"X\.png or X\.npy"),
    ):
        with pytest.raises(ConfigError, match=words):
            draw_map(people, **wrong)
    gan = training.train("gan", "digits", out=tmp_path / "gan", max_steps=1, **TINY).path
    with pytest.raises(AbilityError, match="`project` finds the latents"):
        draw_map(gan)
