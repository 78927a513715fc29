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
from latentscape.errors import AbilityError, ConfigError, DataError, RunError
from latentscape.latents import priors
from latentscape.metrics import frechet, kernel, manifold
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
    assert about["samples"] == {"drawn": 120, "compared": 120, "neighbours": 120, "prior": "the model's own prior"}
    assert about["features"]["name"] == f"the classifier in {about['classifier']['run']}"
    assert metrics["modes"] == 3
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
    assert collapsed["coverage"] < 0.4 < good["coverage"]
    assert collapsed["precision"] > 0.7
    assert collapsed["fid"] > 10 * good["fid"]
    assert collapsed["kid"] > 10 * abs(good["kid"])
    assert collapsed["modes"] == 1


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
    images, counts, distances = labelled(), set(), judging._distances

    def counting(real: judging.Seen, fake: judging.Seen) -> Any:
        counts.update((len(real.features), len(fake.features)))
        return distances(real, fake)

    monkeypatch.setattr(judging, "_distances", counting)
    assert judging._counts(images, split, samples) == (other, compared)
    metrics, about = judged(Painter(), samples, split)
    assert about["samples"]["drawn"] == samples
    assert about["samples"]["compared"] == compared
    assert counts == {compared}
    floored = {name for name in metrics if name.endswith("_floor")}
    kinds = ("fid", "kid", "precision", "recall", "density", "coverage", "duplicate_fraction")
    assert floored == ({f"{name}_floor" for name in kinds} if other else set())
    assert ("memorised_fraction" in metrics) == bool(other)
    assert set(kinds) <= set(about["intervals"])
    for name, (low, high) in about["intervals"].items():
        assert low - 1e-9 <= metrics[name] <= high + 1e-9


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
        x_NX = torch.cat([x_BX for x_BX, _ in judging._some(images, split, 80, "unit", CPU)])
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
    found = manifold.overlap(manifold.region(real), manifold.region(floor))
    assert metrics["precision_floor"] == pytest.approx(float(found.precise_M.double().mean()))
    assert metrics["recall_floor"] == pytest.approx(float(found.recalled_N.double().mean()))
    assert metrics["density_floor"] == pytest.approx(float(found.density_M.mean()))
    assert metrics["coverage_floor"] == pytest.approx(float(found.covered_N.double().mean()))
    assert metrics["kid_floor"] == pytest.approx(float(kernel.distances(real, floor).mean()), rel=1e-3, abs=1e-6)
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
    assert found.tolist() == [1.0] * 160
    assert len(asked) == 2 * 160
    assert all(own != y for own, y in asked)
    assert {y for _, y in asked} == {0, 1, 2}
    asked.clear()
    monkeypatch.setattr(judging, "TRANSFERS", 20)
    judging._transfers(model, reader, images, "test", CPU)
    assert len(asked) == 20
    images.labels[200:] = -1
    assert len(judging._transfers(model, reader, images, "test", CPU)) == 0


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
    with pytest.raises(ConfigError, match="--samples must be at least 6, beside as many test images; there would be 5"):
        judged(Painter(), 5)


class Player(contract.Model, Samples):
    """Makes the pictures it was given, one after the other."""

    Config = Config
    latent_dim = 1

    def __init__(self, x_NX: Tensor) -> None:
        super().__init__(DataShape(SHAPE), Config())
        self.x_NX = x_NX

    def prior(self, n: int, rng: torch.Generator) -> Tensor:
        return (torch.arange(n) % len(self.x_NX))[:, None].float()

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        return self.x_NX[z_BL[:, 0].long()]


def unlabelled(n: int = 400) -> ImageSet:
    images = labelled(n)
    images.labels, images.label_names = None, ()
    return images


def played(x_NX: Tensor, samples: int = 200, **how: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    how = judging.How(**{"features": "random", **how})
    return judging.judge(Player(x_NX), "a player", unlabelled(), "test", samples, CPU, how)


def pictures(split: str, seed: int = 0) -> Tensor:
    images = labelled(seed=seed)
    return images.examples(images.indices(split), "unit")


def test_copies_of_training_images_raise_the_flag_and_new_images_do_not() -> None:
    copied, about = played(pictures("train") + 0.001)
    assert copied["memorised_fraction"] == 1
    assert copied["fid"] == pytest.approx(copied["fid_floor"], rel=0.2)  # which sees nothing of it
    assert len(about["warnings"]) == 1
    assert about["warnings"][0].startswith(
        "100.0% of samples lie nearer to a training image than to any of as many held"
    )
    fresh, about = played(pictures("test", seed=1))
    assert about["intervals"]["memorised_fraction"][0] < 0.5 < about["intervals"]["memorised_fraction"][1]
    assert about["warnings"] == []
    assert 0.4 < fresh["memorised_fraction"] < 0.6


def test_when_training_images_are_measured_copies_are_still_of_them() -> None:
    found, _ = judging.judge(Player(pictures("train")), "it", unlabelled(), "train", 200, CPU, judging.How())
    assert found["memorised_fraction"] == 1


def test_the_same_pictures_again_and_again_are_duplicates() -> None:
    few, about = played(pictures("test", seed=1)[:50])
    assert few["duplicate_fraction"] == 1
    assert few["duplicate_fraction_floor"] < 0.02
    assert any("samples nearly equal another one" in text for text in about["warnings"])
    assert played(pictures("test", seed=1))[0]["duplicate_fraction"] < 0.02


def test_real_images_score_as_their_floor() -> None:
    found, _ = played(pictures("test", seed=1))
    for name in ("fid", "precision", "recall", "density", "coverage"):
        assert found[name] == pytest.approx(found[f"{name}_floor"], rel=0.15, abs=0.05)
    assert abs(found["kid"]) < 0.1
    assert found["sharpness"] == pytest.approx(found["sharpness_real"], rel=0.05)
    blurred = torch.nn.functional.avg_pool2d(pictures("test", seed=1), 3, 1, 1)
    mushy, _ = played(blurred)
    assert mushy["sharpness"] < 0.5 * found["sharpness_real"]
    assert mushy["kid"] > 1


def test_without_labels_a_random_net_compares_and_nothing_is_read() -> None:
    found, about = played(pictures("test", seed=1), features="auto")
    assert about["features"]["kind"] == "random"
    assert "on 200 training images" in about["features"]["name"]
    assert not {"class_histogram", "modes", "classifier"} & (set(found) | set(about))
    with pytest.raises(DataError, match="has no labels to train one with"):
        played(pictures("test"), features="classifier")


def test_latents_are_those_of_the_pictures_made() -> None:
    """Clipped as a saved picture is, in the model's own range, under the label asked for."""
    seen: list[tuple[Tensor, Tensor | None]] = []

    class Watched(Painter):
        def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
            seen.append((x_BX, y_B))
            return super().encode(x_BX, y_B)

    how = judging.How(features="latents")
    found, about = judged(Watched(value_range="signed"), how=how)
    assert (about["features"]["kind"], about["features"]["size"]) == ("latents", 64)
    assert min(float(x.min()) for x, _ in seen) < -0.5
    assert all(float(x.abs().max()) <= 1 and y is not None for x, y in seen)
    assert found["fid"] < 3 * found["fid_floor"]
    with pytest.raises(AbilityError, match=r"has no encoder .* --features latents has nothing to compare"):
        played(pictures("test"), features="latents")


def test_vectors_are_compared_as_they_are() -> None:
    rng = torch.Generator().manual_seed(0)
    split = torch.zeros(300, dtype=torch.uint8)
    split[150:] = 2
    images = ImageSet("points", torch.randn(300, 2, generator=rng), split, "points")
    model = Player(torch.randn(100, 2, generator=rng))
    model.shape = images.shape
    found, about = judging.judge(model, "it", images, "test", 100, CPU)
    assert about["features"] == {"kind": "random", "name": "the values themselves", "size": 2}
    assert "sharpness" not in found
    x_NX = images.examples(images.indices("test"), "real")
    picks = torch.randperm(150, generator=torch.Generator().manual_seed(0))[:100]
    assert found["fid"] == pytest.approx(frechet.distance(x_NX[picks], model.x_NX), rel=1e-6)


@pytest.mark.parametrize("kind", ["diagonal", "full", "gmm"])
def test_samples_come_from_the_prior_asked_for(kind: str) -> None:
    found, about = judging.judge(Plain(), "it", labelled(), "test", 60, CPU, judging.How(prior=kind))
    assert about["samples"]["prior"] == f"{priors.WORDS[kind]} fitted to 200 training latents"
    images = labelled()
    z_NL = images.examples(images.indices("train"), "unit").flatten(1)
    drawn = priors.fit(kind, z_NL).sample(60, torch.Generator().manual_seed(0)).view(-1, *SHAPE)
    again, _ = judging.judge(Player(drawn), "it", images, "test", 60, CPU)
    assert found["fid"] == pytest.approx(again["fid"], rel=1e-4)


def test_a_prior_that_cannot_be_is_refused() -> None:
    with pytest.raises(
        AbilityError, match=r"it has no prior .*; draw from one fitted to its training latents, --prior d"
    ):
        judging.judge(Plain(), "it", labelled(), "test", 60, CPU, judging.How(prior="own"))
    with pytest.raises(ConfigError, match=r"--prior must be one of auto, own, diagonal, full, gmm, .*, got 'uniform'"):
        judging.judge(Plain(), "it", labelled(), "test", 60, CPU, judging.How(prior="uniform"))


def test_folders_that_list_class_after_class_are_used_evenly() -> None:
    y_N = torch.arange(4).repeat_interleave(25)
    assert y_N[judging.spread(y_N, 100, 8)].bincount().tolist() == [2, 2, 2, 2]
    mixed = torch.arange(4).repeat(25)
    assert judging.spread(mixed, 100, 8).tolist() == list(range(8))
    assert judging.spread(None, 100, 3).tolist() == [0, 1, 2]
    assert judging.spread(y_N, 100, 200).tolist() == list(range(100))


def test_samples_that_are_not_finite_are_refused() -> None:
    with pytest.raises(RunError, match="makes samples that are not finite"):
        played(torch.full((9, *SHAPE), torch.nan))
