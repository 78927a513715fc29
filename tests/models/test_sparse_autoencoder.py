from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, kl_divergence

import loops
from latentscape.contract import Batch
from latentscape.models import sparse_autoencoder

IMAGE = (1, 6, 5)


def made(**settings: Any) -> sparse_autoencoder.Model:
    chosen = {"net": "mlp", "hidden": (8,), "latent_dim": 40, "loss": "bce", **settings}
    return loops.make("sparse_autoencoder", IMAGE, **chosen).train()


def parts(model: sparse_autoencoder.Model) -> tuple[Batch, Tensor, Tensor]:
    """A batch, its code and its reconstruction loss per value."""
    x_BX = loops.examples(model, 7)
    z_BL = model.encoder(x_BX)
    recon = torch.nn.functional.binary_cross_entropy_with_logits(model.decoder(z_BL), x_BX)
    return Batch(x_BX), z_BL, recon


def bernoulli_kl(rho: float, q: Tensor) -> Tensor:
    return kl_divergence(Bernoulli(torch.full_like(q, rho)), Bernoulli(q))


def by_hand(penalty: str, z: Tensor, a: Tensor) -> Tensor:
    return {
        "l1": a.mean(),
        "kl-unit": bernoulli_kl(0.2, a.mean(0)).mean(),
        "kl-example": bernoulli_kl(0.2, a.mean(1)).sum(),
        "z-l1": z.abs().mean(),
        "z-l2": z.square().mean(),
        "z-elastic": 0.3 * z.abs().mean() + 0.7 * z.square().mean(),
    }[penalty]


@pytest.mark.parametrize("penalty", list(sparse_autoencoder.WEIGHTS))
@pytest.mark.parametrize("weight", [None, 0.5])
def test_loss_is_reconstruction_plus_the_weighted_penalty(penalty: str, weight: float | None) -> None:
    model = made(penalty=penalty, penalty_weight=weight, rho=0.2, elastic_mix=0.3)
    batch, z, recon = parts(model)
    a = 2 * (torch.sigmoid(z.abs()) - 0.5)
    expected = by_hand(penalty, z, a)
    losses = model("reconstruct", batch, {})
    torch.testing.assert_close(losses.terms["penalty"], expected)
    torch.testing.assert_close(losses.terms["mean_activation"], a.mean())
    factor = sparse_autoencoder.WEIGHTS[penalty] if weight is None else weight
    torch.testing.assert_close(losses.total, recon + factor * expected)
    torch.testing.assert_close(model.activations(z), a)


def test_the_default_is_the_course_s_weight() -> None:
    """Spec row B5: BCE(mean) + 0.01·mean a(z), L = 900."""
    model = loops.make("sparse_autoencoder", IMAGE)
    assert model.latent_dim == 900
    assert model.weight == 0.01
    (note,) = model.notes()
    assert "0.3 beside a sum" in note


@pytest.mark.parametrize("penalty", ["kl-unit", "kl-example"])
def test_the_kl_brings_the_mean_activation_to_rho(penalty: str) -> None:
    """Within 20 % even from an encoder that starts far away."""
    model = made(penalty=penalty, rho=0.1, penalty_weight=1.0 if penalty == "kl-unit" else 0.1)
    x_BX = loops.examples(model, 64)
    with torch.no_grad():
        for p in model.encoder.parameters():
            p.mul_(6)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    start = float(model("reconstruct", Batch(x_BX), {}).terms["mean_activation"].detach())
    for _ in range(300):
        optimiser.zero_grad()
        model("reconstruct", Batch(x_BX), {}).total.backward()
        optimiser.step()
    end = float(model("reconstruct", Batch(x_BX), {}).terms["mean_activation"].detach())
    assert start > 0.3
    assert end == pytest.approx(0.1, rel=0.2)
