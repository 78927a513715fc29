"""Latents over their prior, and what their range and the prior's draws decode to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from latentscape.errors import AbilityError, ConfigError
from latentscape.pictures import plots, sheets
from latentscape.tasks import training
from latentscape.tasks.showing import Films, Stage, drawing
from tiny_runs import TINY

GetStage = Callable[[str], Stage]


@pytest.fixture(scope="module")
def adversarial(tmp_path_factory: pytest.TempPathFactory) -> GetStage:
    """A tiny adversarial autoencoder by the number of its latent dimensions."""
    made: dict[str, Stage] = {}

    def get(name: str) -> Stage:
        if name not in made:
            model, latent_dim = name.rsplit("-", 1)
            settings = {**TINY, "max_steps": 3, "latent_dim": int(latent_dim), "discriminator_hidden": (8,)}
            run = training.train(model, "digits", out=tmp_path_factory.mktemp("run") / "run", **settings)
            made[name] = Stage(run.folder, run.model, run.data)
        return made[name]

    return get


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]]:
    """What the drawing functions were handed, by their names."""
    calls: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {}
    for room, name in ((plots, "scatter"), (plots, "lattice"), (sheets, "headed_sheet")):
        function, noted = getattr(room, name), calls.setdefault(name, [])
        monkeypatch.setattr(
            room, name, lambda *a, function=function, noted=noted, **k: noted.append((a, k)) or function(*a, **k)
        )
    return calls


def test_the_map_lays_latents_over_the_prior(adversarial: GetStage, drawn: dict[str, Any]) -> None:
    stage = adversarial("adversarial-autoencoder-2")
    found = drawing.draw(stage, "prior_map", n=10, draws=500, seed=3)
    (z_N2, labels, names), options = drawn["scatter"][0]
    latents, y_N = stage.latents(10)
    np.testing.assert_array_equal(z_N2, latents.numpy())
    np.testing.assert_array_equal(labels, y_N)
    assert names == stage.images.label_names
    prior = stage.model.prior(500, torch.Generator().manual_seed(3))  # type: ignore[operator]
    np.testing.assert_array_equal(options["background"], prior.numpy())
    share = float(stage.model.inside(latents).double().mean())  # type: ignore[operator]
    assert f"over 500 draws of the prior (grey, seed 3); {share:.1%} of the latents lie" in found.caption


def test_more_dimensions_are_shown_on_axes_of_both(adversarial: GetStage, drawn: dict[str, Any]) -> None:
    found = drawing.draw(adversarial("style-label-aae-5"), "prior_map", n=10, draws=300)
    _, options = drawn["scatter"][0]
    assert options["background"].shape == (300, 2)
    assert "first principal axis" in options["xlabel"]
    assert "the latents lie" not in found.caption  # a Gaussian has no edge


def test_the_map_can_be_filmed(adversarial: GetStage) -> None:
    stage = adversarial("adversarial-autoencoder-2")
    films = Films(stage.folder.path, [{"what": "prior_map", "every_steps": 3, "options": {"n": 20}}])
    (path,) = films.finish(stage.model, 3)
    assert path.name == "film-prior_map.gif"
    assert path.stat().st_size > 1000


def test_the_grid_spans_what_the_latents_span(adversarial: GetStage, drawn: dict[str, Any]) -> None:
    stage = adversarial("adversarial-autoencoder-2")
    found = drawing.draw(stage, "range_grid", steps=7)
    z_NL, _ = stage.latents(10_000)
    (x, rows, columns, extent, *_), _ = drawn["lattice"][0]
    assert (len(x), rows, columns) == (49, 7, 7)
    low, high = float(z_NL.min()), float(z_NL.max())
    assert extent == pytest.approx((low, high, low, high))
    corner = stage.decode(torch.tensor([[low, high]]))
    np.testing.assert_allclose(x[:1], corner, atol=1e-6)
    assert "7×7 steps" in found.caption


def test_every_style_stands_in_a_row_under_every_label(adversarial: GetStage, drawn: dict[str, Any]) -> None:
    stage = adversarial("style-label-aae-5")
    found = drawing.draw(stage, "style_label", n=3, seed=2)
    (cells, headings), _ = drawn["headed_sheet"][0]
    assert headings == [str(k) for k in range(10)]
    z_NL = stage.model.prior(3, torch.Generator().manual_seed(2))  # type: ignore[operator]
    for row, column in ((0, 0), (1, 7), (2, 9)):
        expected = stage.decode(z_NL[row : row + 1], torch.tensor([column]))[0]
        np.testing.assert_allclose(cells[10 * row + column], expected, atol=1e-6)
    assert "3 draws of the prior over 5 latent dimensions (seed 2)" in found.caption
    assert drawing.draw(stage, "range_grid", steps=3, label=4).caption.endswith("decoded as 4.")


@pytest.mark.parametrize(
    ("name", "what", "options", "error", "words"),
    [
        ("autoencoder-3", "prior_map", {}, AbilityError, "no prior to sample from.*nothing to lay its latents over"),
        ("classifier", "prior_map", {}, AbilityError, "has no prior to sample from"),
        ("adversarial-autoencoder-2", "prior_map", {"draws": 0}, ConfigError, "draws must be at least 1, got 0"),
        ("adversarial-autoencoder-2", "range_grid", {"steps": 1}, ConfigError, "steps must be at least 2, got 1"),
        ("adversarial-autoencoder-2", "style_label", {}, AbilityError, "reads no labels"),
        ("style-label-aae-5", "style_label", {"n": 0}, ConfigError, "n must be at least 1, got 0"),
        ("style-label-aae-5", "range_grid", {"label": 10}, ConfigError, "label must be 0 to 9"),
        ("conditional-autoencoder", "style_label", {}, AbilityError, "`transfer` shows the styles of test images"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    stage: GetStage,
    adversarial: GetStage,
    name: str,
    what: str,
    options: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    get = adversarial if "aae" in name or "adversarial" in name else stage
    with pytest.raises(error, match=words):
        drawing.draw(get(name.removesuffix("-3")), what, **options)
