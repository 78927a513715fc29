"""The IWAE's objective on a linear-Gaussian model, where log p(x) is known exactly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

import loops
from latentscape.contract import Batch
from latentscape.models import iwae, vae

STD, DIMS, LATENT = 0.5, 4, 2


def linear(name: str, **settings: Any) -> Any:
    """q(z|x) and p(x|z) linear in x and z; weights large enough to matter."""
    chosen = {"net": "mlp", "hidden": (), "norm": "none", "likelihood": "gaussian", "noise_std": STD}
    model = loops.make(name, (DIMS,), latent_dim=LATENT, reduction="sum", **chosen, **settings).double()
    rng = torch.Generator().manual_seed(0)
    for p in model.parameters():
        p.data = 0.35 * torch.randn(p.shape, generator=rng, dtype=torch.float64)
    return model.eval()


def linear_layer(net: torch.nn.Module) -> torch.nn.Linear:
    return next(m for m in net.modules() if isinstance(m, torch.nn.Linear))


def exact(model: vae.Model, x_BD: Tensor) -> Tensor:
    """log N(x; b, WWᵀ + σ²I)."""
    w, b = linear_layer(model.decoder).weight.detach(), linear_layer(model.decoder).bias.detach()
    return MultivariateNormal(b, w @ w.T + STD**2 * torch.eye(DIMS, dtype=torch.float64)).log_prob(x_BD)


def become_exact(model: vae.Model) -> None:
    """Give the encoder the true posterior when WᵀW is diagonal: N(M⁻¹Wᵀ(x − b)/σ², M⁻¹), M = I + WᵀW/σ²."""
    decoder, encoder = linear_layer(model.decoder), linear_layer(model.encoder)
    with torch.no_grad():
        q, _ = torch.linalg.qr(decoder.weight)
        decoder.weight.copy_(q * torch.tensor([1.3, 0.4], dtype=torch.float64))
        inverse = 1 / (1 + decoder.weight.square().sum(0) / STD**2)
        encoder.weight[:LATENT] = inverse[:, None] * decoder.weight.T / STD**2
        encoder.weight[LATENT:] = 0
        encoder.bias[:LATENT] = -encoder.weight[:LATENT] @ decoder.bias
        encoder.bias[LATENT:] = inverse.log()


def bounds(model: iwae.Model, x_BD: Tensor, k: int, rounds: int, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(rounds):
        eps = torch.randn(k, len(x_BD), LATENT, generator=rng, dtype=torch.float64)
        found.append(-model("elbo", Batch(x_BD), {"eps": eps}).total.detach())
    return torch.stack(found)


def data(n: int = 8) -> Tensor:
    return torch.randn(n, DIMS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_bound_rises_with_k_to_the_exact_log_likelihood() -> None:
    model, x_BD = linear("iwae"), data()
    become_exact(model)
    with torch.no_grad():  # a posterior that is a little too wide and off its place
        linear_layer(model.encoder).bias += torch.tensor([0.4, -0.5, 0.5, 0.6], dtype=torch.float64)
    truth, last = float(exact(model, x_BD).mean()), -float("inf")
    for k, rounds in ((1, 1500), (5, 800), (50, 300), (500, 80)):
        found = bounds(model, x_BD, k, rounds)
        mean, error = float(found.mean()), 4 * float(found.std()) / rounds**0.5
        assert mean > last
        assert mean < truth + error
        last = mean
    assert last == pytest.approx(truth, abs=0.02)


def test_with_the_true_posterior_one_sample_is_exact() -> None:
    for name in ("iwae", "vae"):
        model, x_BD = linear(name), data()
        become_exact(model)
        truth = exact(model, x_BD)
        if name == "iwae":
            torch.testing.assert_close(bounds(model, x_BD, 1, 5), truth.mean().expand(5), rtol=1e-5, atol=1e-5)
            weights = model.log_weights(Batch(x_BD), torch.randn(3, 8, LATENT, dtype=torch.float64))
            torch.testing.assert_close(weights, truth.expand(3, -1), rtol=1e-5, atol=1e-5)
        else:
            rng = torch.Generator().manual_seed(0)
            eps = [torch.randn(8, LATENT, generator=rng, dtype=torch.float64) for _ in range(4000)]
            elbo = torch.stack([-model("elbo", Batch(x_BD), {"eps": e}).total.detach() for e in eps])
            assert float(elbo.mean()) == pytest.approx(float(truth.mean()), abs=4 * float(elbo.std()) / 4000**0.5)


def test_one_sample_is_the_vae_s_bound_in_expectation() -> None:
    one, other, x_BD = linear("iwae"), linear("vae", beta=1.0), data()
    other.load_state_dict(one.state_dict())
    rng = torch.Generator().manual_seed(3)
    eps = torch.randn(4000, 8, LATENT, generator=rng, dtype=torch.float64)
    sampled = torch.stack([-one("elbo", Batch(x_BD), {"eps": e[None]}).total.detach() for e in eps])
    elbo = torch.stack([-other("elbo", Batch(x_BD), {"eps": e}).total.detach() for e in eps])
    difference = sampled - elbo
    assert float(difference.mean()) == pytest.approx(0, abs=4 * float(difference.std()) / 4000**0.5)


def test_the_gradient_weighs_samples_by_their_importance() -> None:
    """∇ log (1/k)Σw = Σ w̃ᵢ ∇ log wᵢ with normalised weights w̃ (Burda et al. 2016, eq. 13)."""
    model, x_BD = linear("iwae"), data(3)
    eps = torch.randn(5, 3, LATENT, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = linear_layer(model.encoder).weight
    ours = torch.autograd.grad(-model("elbo", Batch(x_BD), {"eps": eps}).total, weight)[0]
    log_w_KB = model.log_weights(Batch(x_BD), eps)
    by_hand = (log_w_KB.detach().softmax(0) * log_w_KB).sum(0).mean()
    torch.testing.assert_close(ours, torch.autograd.grad(by_hand, weight)[0], rtol=1e-4, atol=1e-5)
