"""The adversarial autoencoder: each player's direction, what the discriminator can see, and priors from files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import loops
from latentscape.config import DataShape
from latentscape.contract import Batch
from latentscape.errors import ConfigError
from latentscape.models import _prior_points, adversarial_autoencoder
from latentscape.models.adversarial_autoencoder import told_apart
from latentscape.numerics import priors
from latentscape.tasks import training

IMAGE = (1, 6, 5)


def made(**settings: Any) -> Any:
    small = {"net": "mlp", "hidden": (9,), "discriminator_hidden": (16, 8), "prior_factor": 3}
    return loops.make("adversarial_autoencoder", IMAGE, **{**small, **settings}).train()


def some(n: int) -> Batch:
    return Batch(torch.rand(n, *IMAGE, generator=torch.Generator().manual_seed(1)))


def step(model: Any, phase: str, batch: Batch, rate: float = 0.05, draws: Any = None) -> dict[str, Tensor]:
    """One plain gradient step of one player; the losses' terms before it."""
    player = next(p for p in model.phases if p.name == phase)
    draws = model.draw(phase, batch, torch.Generator().manual_seed(0)) if draws is None else draws
    losses = model(phase, batch, draws)
    moved = player.parameters()
    with torch.no_grad():
        for p, g in zip(moved, torch.autograd.grad(losses.total, moved), strict=True):
            p.sub_(rate * g)
    return {k: v.detach() for k, v in losses.terms.items()}


# ---- the players ---------------------------------------------------------------------------------------------------


def test_players_take_their_turns_in_the_order_of_the_course() -> None:
    model = made()
    assert [p.name for p in model.phases] == ["reconstruct", "generate", "discriminate"]
    assert model.judged_by == "reconstruct"
    assert [p.low_precision for p in model.phases] == [True, False, False]


@pytest.mark.parametrize("norm", ["none", "joint", "separate"])
def test_the_encoder_raises_the_discriminator_s_belief_in_its_codes(norm: str) -> None:
    model, batch = made(discriminator_norm=norm), some(16)
    draws = model.draw("generate", batch, torch.Generator().manual_seed(0))
    assert ("prior" in draws) == (norm == "joint")

    def believed() -> float:
        with torch.no_grad():
            return float(model.discriminator(model.encoder(batch.x), draws.get("prior")).sigmoid().log().mean())

    before = believed()
    terms = step(model, "generate", batch, rate=5.0, draws=draws)
    assert float(terms["generator_nats"]) == pytest.approx(-before, rel=1e-5)
    assert believed() > before


@pytest.mark.parametrize("norm", ["none", "joint", "separate"])
def test_the_discriminator_widens_the_gap_between_prior_and_codes(norm: str) -> None:
    model, batch = made(discriminator_norm=norm), some(16)
    draws = model.draw("discriminate", batch, torch.Generator().manual_seed(0))
    assert draws["prior"].shape == (3 * 16, 2)

    def gap() -> float:
        with torch.no_grad():
            codes_B, prior_N = model.discriminator.both(model.encoder(batch.x), draws["prior"])
            return float(prior_N.mean() - codes_B.mean())

    before, encoder = gap(), loops.copied(dict(model.encoder.named_parameters()))
    step(model, "discriminate", batch, rate=0.2, draws=draws)
    assert gap() > before
    assert not loops.differing(encoder, dict(model.encoder.named_parameters()))


def test_encoder_and_decoder_lower_the_reconstruction_loss() -> None:
    model, batch = made(), some(16)
    before = float(step(model, "reconstruct", batch, rate=0.5)["recon_nats_per_image"])
    assert float(model("reconstruct", batch, {}).terms["recon_nats_per_image"].detach()) < before


def test_the_discriminator_s_loss_is_one_mean_over_codes_and_draws_together() -> None:
    codes, draws = torch.randn(105, generator=torch.Generator().manual_seed(0)).split([5, 100])
    draws = draws + 3
    losses = told_apart(codes, draws)
    target = torch.cat([torch.zeros(5), torch.ones(100)])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(torch.cat([codes, draws]), target)
    torch.testing.assert_close(losses.total, expected)
    # Where both are as dense, the best logit is log 20: what lies above it is told to be the prior's.
    assert float(losses.terms["accuracy_prior"]) == pytest.approx(float((draws > math.log(20)).float().mean()))
    assert float(losses.terms["accuracy_codes"]) == pytest.approx(float((codes < math.log(20)).float().mean()))


def test_the_generator_s_loss_is_weighted_and_its_rate_multiplied() -> None:
    batch, light, full = some(8), made(adversarial_weight=0.01), made(adversarial_weight=1.0)
    torch.testing.assert_close(light("generate", batch, {}).total, 0.01 * full("generate", batch, {}).total)
    assert [p.rate for p in made(adversarial_rate=0.25, discriminator_rate=2.0).phases] == [1.0, 0.25, 2.0]


# ---- what the discriminator can see --------------------------------------------------------------------------------


@pytest.mark.parametrize(("norm", "sees"), [("none", True), ("joint", True), ("separate", False)])
def test_only_separate_batches_hide_scale_and_shift(norm: str, sees: bool) -> None:
    """A discriminator that learns for 300 steps on codes that are the prior, shrunk and moved."""
    torch.manual_seed(0)
    net = adversarial_autoencoder.Discriminator(2, (32, 16), norm)
    rng, optimiser = torch.Generator().manual_seed(0), torch.optim.Adam(net.parameters(), 3e-3)
    right = 0.0
    for turn in range(300):
        codes, prior = 0.4 * priors.uniform(256, 2, rng) + 0.5, priors.uniform(256, 2, rng)
        losses = told_apart(*net.both(codes, prior))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        right += float(losses.terms["accuracy_codes"] + losses.terms["accuracy_prior"]) / 200 if turn >= 200 else 0
    assert (right > 0.8) if sees else (right < 0.6), right


def test_waves_show_the_discriminator_what_lies_between_the_boxes() -> None:
    """Draws of a square round the boxes prior against its own draws: told apart by the gaps alone."""
    told = {}
    for octaves in (0, 4):
        torch.manual_seed(0)
        net = adversarial_autoencoder.Discriminator(2, (64, 32), "none", octaves=octaves)
        optimiser, rng = torch.optim.Adam(net.parameters(), 3e-3), torch.Generator().manual_seed(1)
        for _ in range(200):
            square_NL = torch.rand(256, 2, generator=rng) * 2.8 - 1.5
            losses = told_apart(*net.both(square_NL, priors.sample("boxes", 256, 2, rng)))
            optimiser.zero_grad()
            losses.total.backward()
            optimiser.step()
        told[octaves] = float(losses.total.detach())
    assert told[4] < told[0] - 0.05


def test_training_brings_the_codes_into_the_square() -> None:
    """Codes start far outside, at 6 in both coordinates; the players bring them in."""
    model = made(adversarial_weight=1.0, discriminator_hidden=(64, 32))
    with torch.no_grad():
        model.encoder[-1].bias.fill_(6.0)
    rng = torch.Generator().manual_seed(0)
    x_NX = torch.rand(256, *IMAGE, generator=rng)
    optimisers = {p.name: torch.optim.Adam(p.parameters(), 2e-3) for p in model.phases}
    assert not model.inside(model.encode(x_NX)).any()
    for _ in range(400):
        for phase in model.phases:
            batch = Batch(x_NX[torch.randint(256, (64,), generator=rng)])
            losses = model(phase.name, batch, model.draw(phase.name, batch, rng))
            optimisers[phase.name].zero_grad()
            losses.total.backward()
            optimisers[phase.name].step()
    inside_N = model.eval().inside(model.encode(x_NX))
    assert float(inside_N.float().mean()) > 0.8


# ---- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(priors.SAMPLERS))
def test_the_prior_is_the_one_asked_for(kind: str) -> None:
    model = made(prior=kind)
    expected = priors.sample(kind, 7, 2, torch.Generator().manual_seed(3))
    assert torch.equal(model.prior(7, torch.Generator().manual_seed(3)), expected)
    assert (model.inside(expected) is None) == (kind not in ("uniform", "boxes"))


def test_images_get_the_cross_entropy_with_any_net_and_vectors_the_squared_error() -> None:
    assert made().loss == "bce"
    assert made(loss="mse").loss == "mse"
    assert loops.make("adversarial_autoencoder", (4,)).loss == "mse"


def test_the_variant_that_hides_scale_says_so() -> None:
    assert "cannot see a difference of scale or shift" in made(discriminator_norm="separate").notes()[0]
    assert made(discriminator_norm="joint").notes() == []


@pytest.mark.parametrize("kind", ["ring", "swiss-roll", "boxes"])
def test_priors_of_the_plane_want_two_dimensions(kind: str) -> None:
    with pytest.raises(ConfigError, match="lies in the plane, so --latent-dim must be 2, got 3"):
        made(prior=kind, latent_dim=3)


# ---- priors from files ---------------------------------------------------------------------------------------------


def points_file(folder: Path, points: Any, suffix: str = ".npy") -> str:
    path = folder / f"points{suffix}"
    if suffix == ".npy":
        np.save(path, points)
    else:
        np.savetxt(path, points, delimiter=",")
    return str(path)


@pytest.mark.parametrize(("suffix", "n"), [(".npy", 3), (".npy", 10_000), (".npy", 25_000), (".csv", 3)])
def test_points_are_each_there_as_often_as_the_others(suffix: str, n: int, tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(n, 3))
    read = _prior_points.read(points_file(tmp_path, points, suffix), 3)
    assert read.shape == (10_000, 3)
    assert read.dtype == torch.float32
    rows, counts = np.unique(read.numpy(), axis=0, return_counts=True)
    assert len(rows) == min(n, 10_000)
    assert counts.max() - counts.min() <= 1
    assert {tuple(r) for r in rows} <= {tuple(r) for r in points.astype(np.float32)}


def test_bright_pixels_carry_the_mass_of_a_mask(tmp_path: Path) -> None:
    """20 high, 10 wide: it spans [−1.25, 1.25] × [−2.5, 2.5]. Top left is twice as bright as bottom right."""
    mask = np.zeros((20, 10), np.uint8)
    mask[:5, :5], mask[15:, 5:] = 200, 100
    Image.fromarray(mask).save(tmp_path / "mask.png")
    z_NL = _prior_points.read(str(tmp_path / "mask.png"), 2)
    first, second = z_NL[z_NL[:, 1] > 0], z_NL[z_NL[:, 1] <= 0]
    assert len(first) / 10_000 == pytest.approx(2 / 3, abs=0.02)
    for part, corner in ((first, (-1.25, 1.25)), (second, (0.0, -2.5))):
        low, high = torch.tensor(corner), torch.tensor(corner) + 1.25
        assert (part >= low - 1e-5).all()
        assert (part <= high + 1e-5).all()
        assert (part.mean(0) - (low + high) / 2).abs().max() < 0.03
        assert len(part.unique(dim=0)) == len(part)  # a place in the pixel, not its corner


def test_transparent_pixels_carry_no_mass(tmp_path: Path) -> None:
    mask = np.full((4, 4, 4), 255, np.uint8)
    mask[:, :2, 3] = 0
    Image.fromarray(mask, "RGBA").save(tmp_path / "mask.png")
    assert (_prior_points.read(str(tmp_path / "mask.png"), 2)[:, 0] >= 0).all()


def bad_files(folder: Path) -> dict[str, tuple[str, str]]:
    """What is wrong → (file, words of the error), for two latent dimensions."""
    black = folder / "black.png"
    Image.new("L", (4, 4)).save(black)
    texts = {"words.csv": "a,b\nc,d\n", "ragged.csv": "1,2\n3\n", "no-picture.png": "hello", "cut.npy": "\x93NUMPY"}
    for name, text in texts.items():
        (folder / name).write_text(text)
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for name, array in {
        "wide.npy": np.zeros((4, 3)),
        "flat.npy": np.zeros(4),
        "none.npy": np.zeros((0, 2)),
        "nan.npy": np.array([[0.0, np.nan]]),
    }.items():
        np.save(folder / name, array)
    return {
        "missing": (str(folder / "missing.npy"), "there is no prior file"),
        "unnamed": ("", "--prior points needs --prior-file"),
        "black": (str(black), "is black everywhere"),
        "words": (str(folder / "words.csv"), "does not hold points as numbers"),
        "ragged": (str(folder / "ragged.csv"), "does not hold points as numbers"),
        "no-picture": (str(folder / "no-picture.png"), "nor a readable picture"),
        "cut": (str(folder / "cut.npy"), "does not hold points as numbers"),
        "objects": (str(folder / "objects.npy"), "does not hold points as numbers"),
        "wide": (str(folder / "wide.npy"), "must hold rows of 2 numbers, one for each of --latent-dim, found 4×3"),
        "flat": (str(folder / "flat.npy"), "must hold rows of 2 numbers"),
        "none": (str(folder / "none.npy"), "must hold rows of 2 numbers"),
        "nan": (str(folder / "nan.npy"), "must hold finite numbers"),
    }


BAD = ("missing", "unnamed", "black", "words", "ragged", "no-picture", "cut", "objects", "wide", "flat", "none", "nan")


@pytest.mark.parametrize("what", BAD)
def test_a_prior_file_that_cannot_be_used_stops_the_run_before_it_begins(what: str, tmp_path: Path) -> None:
    file, words = bad_files(tmp_path)[what]
    settings: dict[str, Any] = {"net": "mlp", "hidden": (4,), "limit": 80, "max_steps": 1, "batch_size": 16}
    with pytest.raises(ConfigError) as error:
        training.train(
            "adversarial-autoencoder", "digits", out=tmp_path / "run", prior="points", prior_file=file, **settings
        )
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_mask_is_a_prior_of_the_plane(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 255).save(tmp_path / "mask.png")
    with pytest.raises(ConfigError, match="a picture is a prior in the plane, so --latent-dim must be 2, got 3"):
        _prior_points.read(str(tmp_path / "mask.png"), 3)


def test_a_file_without_a_prior_that_reads_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--prior-file is read with --prior points, got --prior uniform"):
        made(prior_file="points.npy")


def test_a_saved_run_needs_its_prior_file_no_more(tmp_path: Path) -> None:
    """Not to be loaded, not to be sampled, not to be trained further; the points are those of the training."""
    file = points_file(tmp_path, np.random.default_rng(0).normal(size=(50, 2)))
    settings: dict[str, Any] = {"net": "mlp", "hidden": (4,), "limit": 80, "batch_size": 16, "threads": 1}
    settings |= {"prior": "points", "prior_file": file, "ema_halflife_images": 100}
    run = training.train("adversarial-autoencoder", "digits", out=tmp_path / "run", max_steps=2, **settings)
    before = run.model.prior(20, torch.Generator().manual_seed(0))  # type: ignore[attr-defined]
    Path(file).unlink()
    loaded: Any = run.folder.load_model()
    assert torch.equal(loaded.prior(20, torch.Generator().manual_seed(0)), before)
    again: Any = training.resume(run.path, max_steps=4).model
    assert torch.equal(again.prior(20, torch.Generator().manual_seed(0)), before)
    assert loaded.inside(before) is None


def test_a_model_without_its_points_does_not_train() -> None:
    config = adversarial_autoencoder.Config(prior="points", prior_file="gone.npy")
    model = adversarial_autoencoder.Model(DataShape((5,)), config)
    with pytest.raises(ConfigError, match=r"there is no prior file gone.npy"):
        model.train()
    assert not model.eval().training
