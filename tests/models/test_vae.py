"""The VAE's loss is the negative ELBO in nats with its weights; the collapse detector speaks when it should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, ContinuousBernoulli, Normal, kl_divergence

import loops
from latentscape import api, models
from latentscape.config import DataShape
from latentscape.contract import Batch
from latentscape.models import vae
from latentscape.runs import RunFolder

IMAGE, VECTOR = (1, 6, 5), (4,)


def make(shape: tuple[int, ...], **settings: Any) -> vae.Model:
    return loops.make("vae", shape, **{"net": "mlp", "hidden": (7,), "latent_dim": 3, **settings}).train()


def setting(shape: tuple[int, ...], step: float | None = None) -> tuple[Batch, dict[str, Tensor]]:
    rng = torch.Generator().manual_seed(0)
    x_BX = torch.rand(5, *shape, generator=rng)
    eps_BL = torch.randn(5, 3, generator=rng)
    return Batch(x_BX, step=None if step is None else torch.tensor(step)), {"eps": eps_BL}


def by_hand(model: vae.Model, batch: Batch, draws: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mean −log p(x|z) and KL in nats per image, with `torch.distributions`."""
    mean_BL, scale_BL = model.encoder(batch.x).chunk(2, 1)
    sigma_BL = scale_BL.exp() if model.config.log_scale == "std" else (scale_BL / 2).exp()
    z_BL = mean_BL + sigma_BL * draws["eps"]
    out_BX = model.decoder(z_BL)
    if model.likelihood.kind == "bernoulli":
        log_p = Bernoulli(logits=out_BX, validate_args=False).log_prob(batch.x)
    else:
        out_BX = torch.sigmoid(out_BX) if len(batch.x.shape) == 4 else out_BX
        log_p = Normal(out_BX, model.config.noise_std).log_prob(batch.x)
    kl = kl_divergence(Normal(mean_BL, sigma_BL), Normal(0.0, 1.0)).sum(1).mean()
    return -log_p.flatten(1).sum(1).mean(), kl


CASES = [
    (IMAGE, {}, 0.005 * 30),
    (IMAGE, {"beta": 2.5}, 2.5),
    (IMAGE, {"beta_per_pixel": 0.1}, 3.0),
    (IMAGE, {"beta": 0.0}, 0.0),
    (IMAGE, {"likelihood": "gaussian", "noise_std": 0.3, "beta": 1.0}, 1.0),
    (IMAGE, {"log_scale": "std", "beta": 1.0}, 1.0),
    (VECTOR, {"noise_std": 0.7, "beta": 1.0}, 1.0),
    (VECTOR, {}, 1.0),  # a vector has no pixels: the ELBO as it is
    (VECTOR, {"beta_per_pixel": 0.5}, 2.0),
]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(("shape", "settings", "beta"), CASES, ids=lambda v: str(v) if isinstance(v, dict) else None)
def test_loss_is_the_weighted_elbo_in_nats(
    shape: tuple[int, ...], settings: dict[str, Any], beta: float, reduction: str
) -> None:
    model = make(shape, reduction=reduction, **settings)
    batch, draws = setting(shape)
    losses = model("elbo", batch, draws)
    recon, kl = by_hand(model, batch, draws)
    torch.testing.assert_close(losses.terms["recon_nats_per_image"], recon)
    torch.testing.assert_close(losses.terms["kl_nats_per_image"], kl)
    assert model.beta == pytest.approx(beta)
    size = batch.x[0].numel()
    torch.testing.assert_close(losses.total, (recon + beta * kl) / (size if reduction == "mean" else 1))


def test_mean_reduction_is_a_mean_over_pixels_beside_the_course_s_weight() -> None:
    """Spec row B9: BCE(mean) + 0.005·KL(sum over L, mean over batch)."""
    model = make(IMAGE)
    batch, draws = setting(IMAGE)
    q = model.posterior(batch.x)
    out_BX = model.decoder(q.mean + (q.log_var / 2).exp() * draws["eps"])
    bce = torch.nn.functional.binary_cross_entropy_with_logits(out_BX, batch.x)
    kl = -0.5 * (1 + q.log_var - q.mean.square() - q.log_var.exp()).sum(1).mean()
    torch.testing.assert_close(model("elbo", batch, draws).total, bce + 0.005 * kl)


def test_recon_weight_scales_the_reconstruction_alone() -> None:
    batch, draws = setting(IMAGE)
    model = make(IMAGE, recon_weight=0.25, beta=2.0, reduction="sum")
    recon, kl = by_hand(model, batch, draws)
    losses = model("elbo", batch, draws)
    torch.testing.assert_close(losses.total, 0.25 * recon + 2 * kl)
    torch.testing.assert_close(losses.terms["recon_nats_per_image"], recon)  # logged as it is, unweighted


@pytest.mark.parametrize(("step", "share"), [(0.0, 0.0), (5.0, 0.5), (10.0, 1.0), (99.0, 1.0), (None, 1.0)])
def test_beta_rises_linearly(step: float | None, share: float) -> None:
    model = make(IMAGE, beta=4.0, beta_warmup_steps=10, reduction="sum")
    batch, draws = setting(IMAGE, step)
    recon, kl = by_hand(model, batch, draws)
    torch.testing.assert_close(model("elbo", batch, draws).total, recon + 4 * share * kl)


@pytest.mark.parametrize(
    ("schedule", "step", "share"),
    [
        ("cosine", 5.0, 0.5),
        ("cosine", 2.5, 0.5 - 0.5 * 2**-0.5),
        ("cosine", 12.0, 1.0),
        ("cyclical", 5.0, 0.5),
        ("cyclical", 15.0, 1.0),
        ("cyclical", 22.5, 0.25),
        ("cyclical", 40.0, 1.0),  # two cycles of 20 steps are over
    ],
)
def test_beta_follows_its_schedule(schedule: str, step: float, share: float) -> None:
    model = make(IMAGE, beta=4.0, beta_warmup_steps=10, beta_schedule=schedule, beta_cycles=2, reduction="sum")
    batch, draws = setting(IMAGE, step)
    recon, kl = by_hand(model, batch, draws)
    torch.testing.assert_close(model("elbo", batch, draws).total, recon + 4 * share * kl)


def test_free_bits_leave_the_first_nats_of_each_dimension_alone() -> None:
    model = make(IMAGE, beta=2.0, reduction="sum")
    batch, draws = setting(IMAGE)
    q = model.posterior(batch.x)
    kl_L = kl_divergence(Normal(q.mean, (q.log_var / 2).exp()), Normal(0.0, 1.0)).mean(0)
    floor = float(kl_L.detach().sort().values[1]) + 1e-4  # two dimensions below, one above
    freed = make(IMAGE, beta=2.0, reduction="sum", free_nats=floor)
    recon, kl = by_hand(model, batch, draws)
    losses = freed("elbo", batch, draws)
    torch.testing.assert_close(losses.total, recon + 2 * (2 * floor + kl_L.max()))
    torch.testing.assert_close(losses.terms["kl_nats_per_image"], kl)  # logged as it is
    everything_free = make(IMAGE, beta=2.0, reduction="sum", free_nats=1e3)
    everything_free("elbo", batch, draws).total.backward()
    recon, _ = by_hand(model, batch, draws)
    recon.backward()
    ours, theirs = everything_free.encoder, model.encoder
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_the_weight_in_nats_goes_before_the_one_per_value() -> None:
    assert make(IMAGE, beta=1.5, beta_per_pixel=0.005).beta == 1.5


@torch.no_grad()
def typical_noise(model: vae.Model, z_BL: Tensor) -> float:
    _, log_std = model.likelihood.split(model.decoded(z_BL, None))
    return float(torch.as_tensor(log_std).median().exp())


@pytest.mark.parametrize("learn_noise", ["shared", "per-value"])
@pytest.mark.parametrize("shape", [IMAGE, VECTOR])
def test_learned_noise_begins_at_the_setting_and_reaches_the_data_s(shape: tuple[int, ...], learn_noise: str) -> None:
    """Data of one mean and a known spread: the likelihood's σ must become that spread."""
    model = make(shape, likelihood="gaussian", learn_noise=learn_noise, noise_std=0.5, beta=1.0, reduction="sum")
    rng = torch.Generator().manual_seed(0)
    x_BX = 0.5 + 0.07 * torch.randn(256, *shape, generator=rng)
    batch, draws = Batch(x_BX), {"eps": torch.randn(256, 3, generator=rng)}
    assert typical_noise(model, draws["eps"]) == pytest.approx(0.5, rel=0.25)
    optimiser = torch.optim.Adam(model.parameters(), 2e-2)
    for _ in range(500):
        optimiser.zero_grad()
        model("elbo", batch, draws).total.backward()
        optimiser.step()
    assert typical_noise(model, draws["eps"]) == pytest.approx(0.07, rel=0.15)


@pytest.mark.parametrize(
    ("shape", "output", "squashed"), [(IMAGE, "auto", True), (IMAGE, "linear", False), (VECTOR, "sigmoid", True)]
)
def test_a_gaussian_s_mean_is_squashed_as_set(shape: tuple[int, ...], output: str, squashed: bool) -> None:
    model = make(shape, likelihood="gaussian", output=output).eval()
    z_BL = torch.randn(4, 3)
    raw_BX = model.decoder(z_BL)
    torch.testing.assert_close(model.decode(z_BL), torch.sigmoid(raw_BX) if squashed else raw_BX)


def test_the_continuous_bernoulli_decodes_to_its_mean() -> None:
    model = make(IMAGE, likelihood="continuous-bernoulli").eval()
    rng = torch.Generator().manual_seed(0)
    z_BL, x_BX = torch.randn(4, 3, generator=rng), torch.rand(4, *IMAGE, generator=rng)
    law = ContinuousBernoulli(logits=model.decoder(z_BL).double())  # in float32 torch's own is coarse near λ = ½
    torch.testing.assert_close(model.decode(z_BL).double(), law.mean, rtol=0, atol=2e-4)
    expected = law.log_prob(x_BX.double()).flatten(1).sum(1)
    torch.testing.assert_close(model.log_likelihood(x_BX, z_BL).double(), expected, rtol=1e-3, atol=1e-3)


def test_weight_in_nats_is_told_in_both_units() -> None:
    model = models.build("vae", DataShape((1, 28, 28)), vae.Config())
    (note,) = model.notes()
    assert "β = 3.92 in nats per image" in note
    assert "the same as 0.005 beside a mean over 784 values" in note


@pytest.mark.parametrize("log_scale", ["variance", "std"])
def test_log_scale_says_what_the_second_half_is(log_scale: str) -> None:
    model = make(IMAGE, log_scale=log_scale)
    batch, _ = setting(IMAGE)
    mean_BL, scale_BL = model.encoder(batch.x).chunk(2, 1)
    q = model.posterior(batch.x)
    sigma_BL = (q.log_var / 2).exp()
    torch.testing.assert_close(q.mean, mean_BL)
    torch.testing.assert_close(sigma_BL, scale_BL.exp() if log_scale == "std" else (scale_BL / 2).exp())


def test_decoded_images_are_probabilities_and_vectors_means() -> None:
    image, vector, z_BL = make(IMAGE).eval(), make(VECTOR).eval(), torch.randn(4, 3)
    torch.testing.assert_close(image.decode(z_BL), torch.sigmoid(image.decoder(z_BL)))
    torch.testing.assert_close(vector.decode(z_BL), vector.decoder(z_BL))
    assert image.likelihood.kind == "bernoulli"
    assert vector.likelihood.kind == "gaussian"


@pytest.mark.parametrize("shape", [IMAGE, VECTOR])
def test_log_likelihood_is_that_of_the_loss(shape: tuple[int, ...]) -> None:
    model = make(shape)
    batch, draws = setting(shape)
    q = model.posterior(batch.x)
    z_BL = q.mean + (q.log_var / 2).exp() * draws["eps"]
    recon = model("elbo", batch, draws).terms["recon_nats_per_image"]
    torch.testing.assert_close(-model.log_likelihood(batch.x, z_BL).mean(), recon)


def test_the_prior_is_standard_normal() -> None:
    z_NL = make(IMAGE).prior(20_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(z_NL.mean(0), torch.zeros(3), atol=0.03, rtol=0)
    torch.testing.assert_close(torch.cov(z_NL.T), torch.eye(3), atol=0.04, rtol=0)


def test_gradient_steps_raise_the_elbo() -> None:
    model = make(IMAGE, beta=1.0, reduction="sum")
    batch, draws = setting(IMAGE)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    totals = []
    for _ in range(50):
        loss = model("elbo", batch, draws).total
        totals.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert totals[-1] < totals[0] - 2


# ---- posterior collapse ----------------------------------------------------------------------------------------

SMALL = {"net": "mlp", "hidden": (64,), "latent_dim": 2, "threads": 1, "learning_rate": 5e-3, "epochs": 12}


def test_without_a_reconstruction_term_the_posterior_collapses_and_the_run_says_so(tmp_path: Path) -> None:
    """Spec row B10: μ ≈ 0 and σ ≈ 1 for every image, and the warning speaks, once."""
    run = api.train(
        "vae", "digits", out=tmp_path / "run", finish=False, recon_weight=0.0, beta=0.1, reduction="sum", **SMALL
    )
    warned = [r for r in RunFolder(run.path).log() if r["kind"] == "warning"]
    assert [r["detector"] for r in warned] == ["posterior_collapse"]
    assert run.warnings == [warned[0]["text"]]
    assert "none of 2 latent dimensions carries information" in run.warnings[0]
    images = run.data.examples(run.data.indices("test"), "unit")
    q = run.model.posterior(images)
    assert q.mean.abs().max() < 0.2
    assert (q.log_var / 2).exp().sub(1).abs().max() < 0.2


def test_a_healthy_run_is_not_warned_of(tmp_path: Path) -> None:
    run = api.train("vae", "digits", out=tmp_path / "run", finish=False, **SMALL)
    assert not run.warnings
    assert not [r for r in RunFolder(run.path).log() if r["kind"] == "warning"]


def test_a_warning_can_stop_the_run(tmp_path: Path) -> None:
    settings = {**SMALL, "epochs": 30}
    run = api.train(
        "vae", "digits", out=tmp_path / "run", finish=False, recon_weight=0.0, beta=0.1, reduction="sum",
        on_warning="stop", **settings,
    )  # fmt: skip
    assert run.ended == "a detector spoke: posterior_collapse"
    assert run.steps < 30 * 20
