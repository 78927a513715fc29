from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import latentscape
from latentscape import models
from latentscape.config import DataShape
from latentscape.contract import Batch
from latentscape.errors import ConfigError


def build(dims=(1, 8, 8), **settings):
    config = models.model_class("vae").Config(**{"latent_dim": 3, "net": "mlp", "hidden": (16,)} | settings)
    return models.build("vae", DataShape(dims), config).eval()


def parts(model, x, seed=0):
    """By hand, from the nets: reconstruction and KL in nats per image, and the draws they belong to."""
    draws = model.draw("elbo", Batch(x), torch.Generator().manual_seed(seed))
    q = model.posterior(x)
    std = (q.log_var / 2).exp()
    out = model.decoder(q.mean + std * draws["eps"])
    recon = F.binary_cross_entropy_with_logits(out, x, reduction="none").flatten(1).sum(1).mean()
    normal = torch.distributions.Normal
    kl = torch.distributions.kl_divergence(normal(q.mean, std), normal(0.0, 1.0)).sum(1).mean()
    return recon.item(), kl.item(), draws


@pytest.fixture
def x():
    return torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("settings", "beta", "per"),
    [
        ({"beta": 2.5, "reduction": "sum"}, 2.5, 1),
        ({"beta": 2.5, "reduction": "mean"}, 2.5, 64),
        ({"beta_per_pixel": 0.005, "reduction": "mean"}, 0.32, 64),
        ({"beta_per_pixel": 0.005, "reduction": "sum"}, 0.32, 1),
    ],
)
def test_the_loss_is_the_weighted_negative_elbo_in_both_units(x, settings, beta, per):
    model = build(**settings)
    recon, kl, draws = parts(model, x)
    losses = model("elbo", Batch(x), draws)
    assert losses.total.item() == pytest.approx((recon + beta * kl) / per, rel=1e-5)
    assert losses.terms["recon_nats_per_image"].item() == pytest.approx(recon, rel=1e-5)
    assert losses.terms["kl_nats_per_image"].item() == pytest.approx(kl, rel=1e-5)


def test_a_weight_beside_a_pixel_mean_is_converted_in_the_open():
    note = build((1, 28, 28), beta_per_pixel=0.005).notes()[0]
    assert "3.92" in note
    assert "0.005" in note
    assert build((1, 28, 28), beta=3.92).notes()[0] == note
    assert build((5,), net="mlp").beta == 1.0  # vectors have no pixels


def test_warm_up_raises_beta_linearly(x):
    model = build(beta=2.0, beta_warmup_steps=100, reduction="sum")
    recon, kl, draws = parts(model, x)
    for step, weight in ((0, 0.0), (25, 0.5), (100, 2.0), (5000, 2.0)):
        total = model("elbo", Batch(x, step=torch.tensor(float(step))), draws).total.item()
        assert total == pytest.approx(recon + weight * kl, rel=1e-5)


def test_the_encoder_may_give_log_variance_or_log_std(x):
    variance, std = build(log_scale="variance"), build(log_scale="std")
    std.load_state_dict(variance.state_dict())
    assert torch.equal(2 * variance.posterior(x).log_var, std.posterior(x).log_var)
    assert torch.equal(variance.posterior(x).mean, std.posterior(x).mean)


def test_gaussian_likelihood_is_a_density():
    model = build((4,), noise_std=0.3)
    x, z = torch.randn(7, 4), torch.randn(7, 3)
    expected = torch.distributions.Normal(model.decode(z), 0.3).log_prob(x).sum(1)
    assert torch.allclose(model.log_likelihood(x, z), expected, atol=1e-4)
    with pytest.raises(ConfigError, match="vectors need"):
        build((4,), likelihood="bernoulli")


def test_evaluation_uses_means_and_samples_follow_the_prior(x):
    model = build()
    assert torch.equal(model.encode(x), model.posterior(x).mean)
    z = model.prior(20_000, torch.Generator().manual_seed(0))
    assert z.mean().abs() < 0.02
    assert z.std().item() == pytest.approx(1.0, abs=0.02)


@pytest.mark.slow
def test_collapse_is_told_of_a_run_without_reconstruction_and_not_of_a_normal_one(tmp_path):
    common = {"net": "mlp", "hidden": (64,), "latent_dim": 2, "learning_rate": 3e-3, "finish": False, "epochs": 20}
    dead = latentscape.train("vae", "digits", out=tmp_path / "dead", recon_weight=0.0, beta=1.0, **common)
    assert any("posterior collapse" in text for text in dead.warnings)
    x = dead.data.examples(dead.data.indices("test"), "unit")
    q = dead.model.posterior(x)
    assert q.mean.abs().mean() < 0.05
    assert (q.log_var.mul(0.5).exp() - 1).abs().mean() < 0.05
    alive = latentscape.train("vae", "digits", out=tmp_path / "alive", beta=1.0, **common)
    assert not alive.warnings
