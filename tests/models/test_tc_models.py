"""β-TCVAE and FactorVAE: losses as in their papers, and the directions of the two players."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import loops
from latentscape.contract import Batch
from latentscape.numerics import gaussian, total_correlation

IMAGE = (1, 6, 5)


def made(name: str, **settings: Any) -> Any:
    return loops.make(name, IMAGE, **{"net": "mlp", "hidden": (7,), "latent_dim": 3, **settings}).train()


def parts(model: Any, draws: dict[str, Tensor], x_BX: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    q = model.posterior(x_BX)
    z_BL = gaussian.reparameterise(q.mean, q.log_var, draws["eps"])
    recon = -model.log_likelihood(x_BX, z_BL).mean()
    return q.mean, q.log_var, z_BL, recon


@pytest.mark.parametrize("weight", [1.0, 6.0])
def test_tcvae_loss_weighs_total_correlation_alone(weight: float) -> None:
    model = made("beta_tcvae", tc_weight=weight)
    x_BX = loops.examples(model, 9)
    draws = model.draw("elbo", Batch(x_BX), torch.Generator().manual_seed(0))
    losses = model("elbo", Batch(x_BX), draws)
    mean, log_var, z_BL, recon = parts(model, draws, x_BX)
    information, correlation, spread = total_correlation.decompose(z_BL, mean, log_var)
    torch.testing.assert_close(losses.total, recon + information + weight * correlation + spread)
    if weight == 1:  # the VAE's bound with a sampled KL
        sampled = gaussian.log_prob(z_BL, mean, log_var) - gaussian.log_prob(z_BL, torch.zeros_like(z_BL))
        torch.testing.assert_close(losses.total, recon + sampled.sum(1).mean())


def test_factor_vae_losses_are_those_of_the_paper() -> None:
    model = made("factor_vae", tc_weight=7.0)
    x_BX = loops.examples(model, 9)
    rng = torch.Generator().manual_seed(0)
    shared = model.run_shared(Batch(x_BX), torch.Generator().manual_seed(0))
    mean, log_var, z_BL, recon = parts(model, model.draw("shared", Batch(x_BX), rng), x_BX)
    kl = gaussian.kl_to_standard(mean, log_var).sum(1).mean()
    losses = model("elbo", Batch(x_BX), shared)
    torch.testing.assert_close(losses.total, recon + kl + 7.0 * model.discriminator(z_BL).mean())
    draws = model.draw("discriminate", Batch(x_BX), rng)
    apart = total_correlation.permute_dimensions(z_BL, draws["order"])
    logits = torch.cat([model.discriminator(z_BL), model.discriminator(apart)])[:, 0]
    target = torch.cat([torch.ones(9), torch.zeros(9)])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(model("discriminate", Batch(x_BX), draws | shared).total, expected)


def test_the_discriminator_leaves_the_encoder_alone_and_the_encoder_flees_it() -> None:
    model = made("factor_vae")
    x_BX, rng = loops.examples(model, 9), torch.Generator().manual_seed(0)
    shared = model.run_shared(Batch(x_BX), rng)
    loss = model("discriminate", Batch(x_BX), model.draw("discriminate", Batch(x_BX), rng) | shared).total
    grads = torch.autograd.grad(loss, list(model.encoder.parameters()), allow_unused=True)
    assert all(g is None for g in grads)
    correlation = model("elbo", Batch(x_BX), shared).terms["total_correlation_nats"]
    (pull,) = torch.autograd.grad(correlation, shared["z"], retain_graph=True)
    with torch.no_grad():
        lower = model.discriminator(shared["z"] - 0.1 * pull).mean()
    assert lower < correlation


def test_the_discriminator_s_logit_becomes_the_total_correlation() -> None:
    """Correlated Gaussians with TC = −½ log(1 − ρ²) = 0.83 nats."""
    model = made("factor_vae", latent_dim=2, discriminator_hidden=(64, 64))
    rng, rho = torch.Generator().manual_seed(0), 0.9
    optimiser = torch.optim.Adam(model.discriminator.parameters(), 3e-3)

    def pairs(n: int) -> dict[str, Tensor]:
        e = torch.randn(n, 2, generator=rng)
        return {"z": torch.stack([e[:, 0], rho * e[:, 0] + (1 - rho**2) ** 0.5 * e[:, 1]], 1)}

    for _ in range(400):
        shared = pairs(512)
        batch = Batch(torch.zeros(512, *IMAGE))
        optimiser.zero_grad()
        model("discriminate", batch, model.draw("discriminate", batch, rng) | shared).total.backward()
        optimiser.step()
    with torch.no_grad():
        found = float(model.discriminator(pairs(20_000)["z"]).mean())
    assert found == pytest.approx(-0.5 * torch.tensor(1 - rho**2).log().item(), abs=0.15)
