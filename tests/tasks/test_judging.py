"""Samples judged by a classifier: models whose faults are planted get the figures that say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from latentscape import contract
from latentscape.config import DataShape, Settings
from latentscape.contract import Reconstructs, Samples
from latentscape.data import ImageSet
from latentscape.errors import AbilityError, ConfigError
from latentscape.metrics import frechet, manifold
from latentscape.tasks import classify, judging

SHAPE, CPU = (1, 8, 8), torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """None."""


def stripe(y_N: Tensor) -> Tensor:
    """Rows 0–1, 2–3 or 4–5 bright for class 0, 1 or 2."""
    x_NCHW = torch.zeros(len(y_N), *SHAPE)
    for k in range(3):
        x_NCHW[y_N == k, :, 2 * k : 2 * k + 2] = 0.55
    return x_NCHW


def labelled(n: int = 400, seed: int = 0) -> ImageSet:
    """Faint noise with the stripe of the label: half of class 0, sorted by class within each part; half for testing."""
    rng = torch.Generator().manual_seed(seed)
    y_N = torch.tensor([0, 0, 1, 2]).repeat(n // 4).view(2, -1).sort(1).values.flatten()
    x_NCHW = 0.4 * torch.rand(n, *SHAPE, generator=rng) + stripe(y_N)
    split = torch.zeros(n, dtype=torch.uint8)
    split[n // 2 :] = 2
    return ImageSet("striped", (255 * x_NCHW).to(torch.uint8), split, f"judged{seed}", y_N, ("a", "b", "c"))


class Painter(contract.Model, Reconstructs, Samples):
    """A code is the noise; the label asked for is painted over it, or `paints(asked, own)` if that is another."""

    Config = Config
    needs_labels = True
    latent_dim = 64

    def __init__(self, paints: Any = lambda asked, own: asked, value_range: Any = "unit") -> None:
        super().__init__(DataShape(SHAPE), Config(), 3)
        self.paints, self.value_range = paints, value_range

    def prior(self, n: int, rng: torch.Generator) -> Tensor:
        return 0.4 * torch.rand(n, 64, generator=rng)

    def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        assert y_B is not None
        x_BX = (x_BX + 1) / 2 if self.value_range == "signed" else x_BX
        z_BL = (x_BX - stripe(y_B)).flatten(1)
        z_BL[:, 63] = y_B.float()  # what a code should not keep
        return z_BL

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        own = z_BL[:, 63].round().long()
        x_BX = z_BL.clone()
        x_BX[:, 63] = 0.2
        x_BX = x_BX.view(-1, *SHAPE) + stripe(self.paints(y_B, own))
        return 2 * x_BX - 1 if self.value_range == "signed" else x_BX


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classify, "STEPS", 60)


def judged(model: Any, samples: int = 120, split: str = "test", **rest: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return judging.judge(model.eval(), "a painter", labelled(), split, samples, CPU, **rest)


def test_a_model_that_paints_what_is_asked_for_agrees() -> None:
    metrics, about = judged(Painter())
    assert metrics["label_agreement"] == metrics["transfer_agreement"] == 1
    assert sum(metrics["class_histogram"].values()) == pytest.approx(1)
    assert metrics["class_histogram"]["a"] == pytest.approx(0.5, abs=0.12)  # labels as often as in training
    assert min(metrics["precision"], metrics["recall"]) > 0.7
    assert about["samples"] == {"drawn": 120, "compared": 120, "prior": "the model's own prior"}
    assert about["classifier"]["accuracy"] > 0.98
    assert about["classifier"]["n"] == 200


def test_a_model_that_ignores_the_label_agrees_by_chance_and_never_transfers() -> None:
    metrics, _ = judged(Painter(lambda asked, own: own), 600)
    assert metrics["transfer_agreement"] == 0
    assert metrics["class_histogram"]["a"] == 1  # of the prior's codes, all small
    assert metrics["label_agreement"] == pytest.approx(0.5, abs=0.08)


def test_a_model_that_always_paints_one_class_has_no_recall() -> None:
    collapsed, _ = judged(Painter(lambda asked, own: torch.full_like(asked, 2)))
    good, _ = judged(Painter())
    assert collapsed["class_histogram"] == {"a": 0, "b": 0, "c": 1}
    assert collapsed["label_agreement"] == pytest.approx(0.25, abs=0.1)
    assert collapsed["transfer_agreement"] == 0.75 * 0.5  # one of two others is c, but for images of c
    assert collapsed["recall"] < 0.4 < good["recall"]
    assert collapsed["fid"] > 10 * good["fid"]


def test_the_value_range_is_the_model_s() -> None:
    unit, signed = judged(Painter())[0], judged(Painter(value_range="signed"))[0]
    assert signed["fid"] == pytest.approx(unit["fid"], rel=1e-2)
    assert signed["class_histogram"] == unit["class_histogram"]
    assert signed["transfer_agreement"] == 1


@pytest.mark.parametrize("binarise", ["none", "dynamic"])
def test_it_is_the_same_every_time(binarise: str) -> None:
    """Also where training pixels are drawn anew for every batch."""
    images = labelled()
    images.binarise, images.fingerprint = binarise, binarise
    answers = [
        judging.judge(model, "it", images, "test", 60, CPU) for model in (Painter(), Painter(), Plain(), Plain())
    ]
    assert answers[0] == answers[1]
    assert answers[2] == answers[3]


@pytest.mark.parametrize(
    ("samples", "split", "other", "compared"),
    [(50, "test", "train", 50), (500, "test", "train", 200), (500, "train", "test", 200), (500, "all", "", 400)],
)
def test_equally_many_are_compared(
    samples: int, split: str, other: str, compared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, counts, against = labelled(), set(), judging._against

    def counting(real_NF: Tensor, fakes_NF: Tensor, suffix: str) -> dict[str, float]:
        counts.update((len(real_NF), len(fakes_NF)))
        return against(real_NF, fakes_NF, suffix)

    monkeypatch.setattr(judging, "_against", counting)
    assert judging._counts(images, split, samples) == (other, compared)
    metrics, about = judged(Painter(), samples, split)
    assert about["samples"]["drawn"] == samples
    assert about["samples"]["compared"] == compared
    assert counts == {compared}
    assert ("fid_floor" in metrics) == ("precision_floor" in metrics) == ("recall_floor" in metrics) == bool(other)


def test_a_part_smaller_than_the_samples_sets_the_count() -> None:
    images = labelled()
    images.split[:170] = 1  # 30 training images are left
    assert judging._counts(images, "test", 100) == ("train", 30)
    images.split[images.split == 2] = 0
    assert judging._counts(images, "train", 100) == ("valid", 100)


def test_figures_are_those_of_the_features() -> None:
    """The floor: training images for samples, both sides drawn without regard to the order of the files."""
    images = labelled()
    metrics, about = judged(Painter(), 80)
    reader = classify.reader(images)

    def features(split: str) -> Tensor:
        x_NX = torch.cat(list(judging._some(images, split, 80, "unit", CPU)))
        assert len(x_NX) == 80
        rows = images.examples(images.indices(split), "unit").flatten(1)
        found = (x_NX.flatten(1)[:, None] == rows[None]).all(2).float().argmax(1)
        assert len(found.unique()) == 80
        assert images.labels is not None
        assert len(images.labels[images.indices(split)][found].unique()) == 3  # the first 80 are all of one class
        with torch.no_grad():
            return reader.features(x_NX)

    real, floor = features("test"), features("train")
    assert metrics["fid_floor"] == pytest.approx(frechet.distance(real, floor), rel=1e-3)
    assert (metrics["precision_floor"], metrics["recall_floor"]) == manifold.precision_recall(real, floor)
    assert about["samples"]["compared"] == 80


def test_transfers_take_every_other_label_and_only_labelled_images(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def noting(y: Tensor, own: Tensor) -> Tensor:
        asked.extend(zip(own.tolist(), y.tolist(), strict=True))
        return y

    images, model = labelled(), Painter(noting)
    assert images.labels is not None
    images.labels[200:240] = -1
    reader = judging.Reader(classify.reader(images), "unit")
    found = judging._transfers(model, reader, images, "test", CPU)
    assert found == {"transfer_agreement": 1}
    assert len(asked) == 2 * 160
    assert all(own != y for own, y in asked)
    assert {y for _, y in asked} == {0, 1, 2}
    asked.clear()
    monkeypatch.setattr(judging, "TRANSFERS", 20)
    judging._transfers(model, reader, images, "test", CPU)
    assert len(asked) == 20
    images.labels[200:] = -1
    assert judging._transfers(model, reader, images, "test", CPU) == {}


class Plain(contract.Model, Reconstructs):
    """No prior and no labels: samples come from a Gaussian fitted to its training codes."""

    Config = Config
    latent_dim = 64

    def __init__(self) -> None:
        super().__init__(DataShape(SHAPE), Config())
        self.register_buffer("nothing", torch.zeros(1))

    def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        return x_BX.flatten(1)

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        return z_BL.view(-1, *SHAPE)


def test_a_model_without_a_prior_is_sampled_from_a_fitted_one() -> None:
    metrics, about = judged(Plain())
    assert about["samples"]["prior"] == "a full Gaussian fitted to 200 training latents"
    assert "label_agreement" not in metrics
    assert "transfer_agreement" not in metrics
    assert metrics["fid"] > metrics["fid_floor"]


class Dreamer(contract.Model, Samples):
    """Draws and decodes under a label, as a conditional GAN does, and encodes nothing."""

    Config = Config
    needs_labels = True
    latent_dim = 64
    prior, decode = Painter.prior, Painter.decode
    paints, value_range = staticmethod(lambda asked, own: asked), "unit"

    def __init__(self) -> None:
        super().__init__(DataShape(SHAPE), Config(), 3)


def test_without_an_encoder_nothing_is_transferred() -> None:
    metrics, _ = judged(Dreamer())
    assert metrics["label_agreement"] == 1
    assert "transfer_agreement" not in metrics


class Mute(contract.Model):
    """Makes nothing."""

    Config = Config


class Unfed(contract.Model, contract.Decodes):
    """Decodes, but has nothing to draw codes from."""

    Config = Config
    latent_dim = 64

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        return z_BL.view(-1, *SHAPE)


def test_a_model_that_makes_nothing_is_refused() -> None:
    with pytest.raises(AbilityError, match=r"a painter has no decoder .*; it makes nothing"):
        judged(Mute(DataShape(SHAPE), Config()))
    with pytest.raises(AbilityError, match=r"a painter has no encoder .*; and no prior"):
        judged(Unfed(DataShape(SHAPE), Config()))


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ConfigError, match="--samples must be at least 4, beside as many test images; there would be 3"):
        judged(Painter(), 3)
