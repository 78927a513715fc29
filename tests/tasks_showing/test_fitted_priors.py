"""A row of samples for each prior, with its distance to real images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latentscape.errors import AbilityError, ConfigError
from latentscape.latents import encode, priors
from latentscape.metrics import frechet
from latentscape.pictures import sheets
from latentscape.tasks import classify, fitted
from latentscape.tasks.showing import Stage, drawing

GetStage = Callable[[str], Stage]


class Pixels(nn.Module):
    """A reader whose features are the first four pixels of the middle row."""

    value_range = "unit"

    def features(self, x_BX: Tensor) -> Tensor:
        return x_BX[:, 0, 4, 2:6]

    def classify(self, x_BX: Tensor) -> Tensor:
        return x_BX.flatten(1)[:, :2]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classify, "reader", lambda images: Pixels())
    monkeypatch.setattr(classify, "inputs_for", lambda reader, x, value_range: x)
    monkeypatch.setattr(fitted, "Budget", lambda: priors.Budget(steps=5, components=(2,)))


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[str, Any]]]:
    """The rows that were drawn."""
    found: list[list[tuple[str, Any]]] = []
    real = sheets.rows
    monkeypatch.setattr(sheets, "rows", lambda rows, *a: found.append(rows) or real(rows, *a))
    return found


def test_each_prior_has_a_row_and_its_distance(stage: GetStage, entries: list[Any]) -> None:
    here = stage("autoencoder")
    told = drawing.draw(here, "fitted_priors", n=6, score=9, seed=2).caption
    (rows,) = entries
    assert [title.rsplit(" ", 1)[0] for title, _ in rows] == list(priors.KINDS)
    size = here.images.sizes()["test"]
    count = min(9, size)
    for (title, x_NCHW), kind in zip(rows, priors.KINDS, strict=True):
        draws = fitted.fitted_prior(here, kind).sample(9, torch.Generator().manual_seed(2))
        np.testing.assert_allclose(x_NCHW, here.decode(draws[:6]), atol=1e-5)
        picks = torch.randperm(size, generator=torch.Generator().manual_seed(0))[:count]
        real, fake = here.at(picks).x, encode.decode_all(here.model, draws[:count])  # type: ignore[arg-type]
        expected = frechet.distance(Pixels().features(real), Pixels().features(fake))
        assert float(title.split()[-1]) == pytest.approx(expected, abs=0.051)
        assert title in told
    assert f"Fréchet distance of {count} draws to as many test images" in told
    assert "of training images " in told


def test_a_model_with_a_prior_shows_its_own_first(stage: GetStage, entries: list[Any]) -> None:
    drawing.draw(stage("vae"), "fitted_priors", score=0)
    drawing.draw(stage("vae"), "fitted_priors", score=0, kinds=["gmm", "own"])
    assert [title for title, _ in entries[0]] == ["own", *priors.KINDS]
    assert [title for title, _ in entries[1]] == ["gmm", "own"]
    own = stage("vae").model.prior(10, torch.Generator().manual_seed(0))  # type: ignore[operator]
    np.testing.assert_allclose(entries[0][0][1], stage("vae").decode(own), atol=1e-6)


def test_data_without_labels_have_rows_without_distances(stage: GetStage, entries: list[Any]) -> None:
    told = drawing.draw(stage("unlabelled"), "fitted_priors", kinds=["full"]).caption
    assert entries[0][0][0] == "full"
    assert "Fréchet" not in told


def test_conditional_models_are_drawn_under_all_labels(stage: GetStage, entries: list[Any]) -> None:
    here = stage("conditional-autoencoder")
    drawing.draw(here, "fitted_priors", n=10, score=6, kinds=["full"])
    draws = fitted.fitted_prior(here, "full").sample(10, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(entries[0][0][1], here.decode(draws, torch.arange(10)), atol=1e-5)


def test_latents_are_found_once(stage: GetStage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = Stage.latents
    monkeypatch.setattr(Stage, "latents", lambda self, n, split="": asked.append(n) or real(self, n, split))
    monkeypatch.setattr(fitted, "_kept", lambda *a: None)
    drawing.draw(stage("autoencoder"), "fitted_priors", score=0)
    assert sorted(asked) == [10_000, 60_000]


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("gan", {}, AbilityError, "no encoder.*`samples` shows its own"),
        ("classifier", {}, AbilityError, "no decoder"),
        ("curve", {}, AbilityError, "not images"),
        ("autoencoder", {"n": 0}, ConfigError, "n must be at least 1"),
        ("autoencoder", {"score": -1}, ConfigError, "score at least 0"),
        ("autoencoder", {"kinds": ["kde"]}, ConfigError, "kinds must be among own, diagonal.*got 'kde'"),
        ("autoencoder", {"kinds": ["own"]}, AbilityError, "no prior to sample from"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    stage: GetStage, name: str, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        drawing.draw(stage(name), "fitted_priors", **options)
