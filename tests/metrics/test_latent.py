"""What latents say: neighbours in planted clusters, active units, KL and ELBO of a model known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from latentscape.contract import HasLikelihood, HasPosterior, Posterior
from latentscape.metrics import latent


def clusters(n: int, spread: float, seed: int) -> tuple[Tensor, Tensor]:
    """n points round three corners that lie ten apart."""
    rng = torch.Generator().manual_seed(seed)
    y_N = torch.arange(n) % 3
    corners = 10 * torch.eye(3)[:, :2]
    return corners[y_N] + spread * torch.randn(n, 2, generator=rng), y_N


def test_neighbours_read_planted_clusters() -> None:
    train, test = clusters(90, 0.5, 0), clusters(60, 0.5, 1)
    assert latent.knn_accuracy(*train, *test) == 1.0
    z_NL, y_N = test
    assert latent.knn_accuracy(*train, z_NL, (y_N + 1) % 3) == 0.0
    wrong = y_N.clone()
    wrong[:15] = (wrong[:15] + 1) % 3
    assert latent.knn_accuracy(*train, z_NL, wrong) == pytest.approx(0.75)


def test_neighbours_without_information_read_by_chance() -> None:
    train, test = clusters(600, 200.0, 0), clusters(600, 200.0, 1)
    assert latent.knn_accuracy(*train, *test) == pytest.approx(1 / 3, abs=0.08)


def test_the_majority_of_five_neighbours_counts_and_fewer_when_there_are_fewer() -> None:
    z_NL = torch.tensor([[0.0], [0.1], [0.2], [0.3], [0.4], [9.0]])
    y_N = torch.tensor([0, 0, 1, 1, 1, 0])
    asked, answer = torch.tensor([[0.0]]), torch.tensor([1])
    assert latent.knn_accuracy(z_NL, y_N, asked, answer) == 1.0
    assert latent.knn_accuracy(z_NL, y_N, asked, answer, k=1) == 0.0
    assert latent.knn_accuracy(z_NL[:2], y_N[:2], asked, torch.tensor([0])) == 1.0


def test_active_units_have_means_that_vary_with_the_image() -> None:
    """Var over x of E[z|x] above 0.01: standard deviations above 0.1."""
    rng = torch.Generator().manual_seed(0)
    means = torch.randn(5000, 4, generator=rng) * torch.tensor([1.0, 0.12, 0.08, 0.0]) + torch.tensor([0, 5, 9, 3.0])
    assert latent.active_units(means) == 2


class Linear(HasPosterior, HasLikelihood):
    """q(z|x) = N(x, 4), p(x|z) = N(z, 1): every term is known."""

    latent_dim = 2

    def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        return x_BX

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        return z_BL

    def posterior(self, x_BX: Tensor, y_B: Tensor | None = None) -> Posterior:
        return Posterior(x_BX, torch.full_like(x_BX, math.log(4)))

    def log_likelihood(self, x_BX: Tensor, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        return (-0.5 * (x_BX - z_BL).square() - 0.5 * math.log(2 * math.pi)).sum(1)


def test_kl_is_summed_over_latents() -> None:
    x_BX = torch.tensor([[0.0, 0.0], [1.0, -2.0]])
    per_latent = 0.5 * (4 - math.log(4) - 1)
    expected = torch.tensor([2 * per_latent, 2 * per_latent + 0.5 * 5])
    torch.testing.assert_close(latent.kl_nats(Linear(), x_BX, None), expected)


def test_elbo_is_likelihood_less_kl_and_seeded() -> None:
    x_BX = torch.tensor([[1.0, -2.0]]).expand(40_000, -1)
    rng = torch.Generator().manual_seed(0)
    found = latent.elbo_nats(Linear(), x_BX, None, rng)
    kl = 2 * 0.5 * (4 - math.log(4) - 1) + 0.5 * 5
    expected = -0.5 * 4 * 2 - math.log(2 * math.pi) - kl  # E(x − z)² = 4 in each of two latents
    assert float(found.mean()) == pytest.approx(expected, abs=0.1)
    again = latent.elbo_nats(Linear(), x_BX, None, torch.Generator().manual_seed(0))
    assert torch.equal(found, again)
