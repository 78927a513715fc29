"""Gaussian formulas against `torch.distributions`, autograd, the specification's figures and a rate."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from latentscape.numerics import gaussian


def drawn(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Means and log variances in float64 that require gradients."""
    rng = torch.Generator().manual_seed(seed)
    mean = torch.randn(*shape, generator=rng, dtype=torch.float64) * 2
    log_var = torch.randn(*shape, generator=rng, dtype=torch.float64)
    return mean.requires_grad_(), log_var.requires_grad_()


def normal(mean: Tensor, log_var: Tensor) -> Normal:
    return Normal(mean, torch.exp(0.5 * log_var))


def same_with_gradients(ours: Callable[..., Tensor], theirs: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Equal values, equal gradients, and a gradient that finite differences confirm."""
    a, b = ours(*inputs), theirs(*inputs)
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    weight = torch.linspace(0.5, 2, a.numel(), dtype=torch.float64).view_as(a)
    for x, y in zip(
        torch.autograd.grad((weight * a).sum(), inputs), torch.autograd.grad((weight * b).sum(), inputs), strict=True
    ):
        torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-12)
    assert torch.autograd.gradcheck(ours, inputs)


def test_kl_to_standard_is_that_of_torch_distributions() -> None:
    def theirs(mean: Tensor, log_var: Tensor) -> Tensor:
        return kl_divergence(normal(mean, log_var), Normal(torch.zeros_like(mean), torch.ones_like(mean)))

    same_with_gradients(gaussian.kl_to_standard, theirs, *drawn(4, 3))


def test_kl_is_that_of_torch_distributions() -> None:
    def theirs(*p_and_q: Tensor) -> Tensor:
        return kl_divergence(normal(*p_and_q[:2]), normal(*p_and_q[2:]))

    same_with_gradients(gaussian.kl, theirs, *drawn(4, 3, seed=1), *drawn(4, 3, seed=2))


def test_log_prob_is_that_of_torch_distributions() -> None:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()
    same_with_gradients(gaussian.log_prob, lambda x, m, v: normal(m, v).log_prob(x), x, *drawn(4, 3, seed=4))


def test_log_prob_without_a_variance_is_that_of_unit_variance() -> None:
    x = torch.tensor([0.0, 1.0, -2.0])
    expected = Normal(torch.tensor(0.5), torch.tensor(1.0)).log_prob(x)
    torch.testing.assert_close(gaussian.log_prob(x, torch.tensor(0.5)), expected)


@pytest.mark.parametrize(
    ("p", "q", "nats"),
    [
        ((0, 1), (3, 9), 1.154),
        ((0, 1), (2, 1), 2.0),
        ((3, 9), (0, 1), 7.401),
        ((2, 1), (0, 1), 2.0),
    ],
)
def test_kl_has_the_tutorial_figures(p: tuple[float, float], q: tuple[float, float], nats: float) -> None:
    (mp, vp), (mq, vq) = (map(torch.tensor, map(float, pair)) for pair in (p, q))
    assert float(gaussian.kl(mp, vp.log(), mq, vq.log())) == pytest.approx(nats, abs=5e-4)


def test_kl_to_standard_has_the_tutorial_figures() -> None:
    mean, variance = torch.tensor([3.0, 2.0, 0.0]), torch.tensor([9.0, 1.0, 1.0])
    kl = gaussian.kl_to_standard(mean, variance.log())
    torch.testing.assert_close(kl, torch.tensor([7.4014, 2.0, 0.0]), atol=5e-5, rtol=0)


def test_kl_of_a_distribution_to_itself_is_zero_and_otherwise_positive() -> None:
    mean, log_var = drawn(50)
    assert gaussian.kl(mean, log_var, mean, log_var).abs().max() < 1e-12
    assert gaussian.kl(mean, log_var, mean + 0.1, log_var).min() > 0
    assert gaussian.kl(mean, log_var, mean, log_var + 0.1).min() > 0


def test_reparameterised_sampling_has_the_known_derivatives() -> None:
    mean, log_std = drawn(5, 2, seed=5)
    eps = torch.randn(5, 2, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    z = gaussian.reparameterise(mean, 2 * log_std, eps)
    by_mean, by_log_std = torch.autograd.grad(z.sum(), (mean, log_std))
    torch.testing.assert_close(z, mean + log_std.exp() * eps)
    torch.testing.assert_close(by_mean, torch.ones_like(mean))
    torch.testing.assert_close(by_log_std, log_std.exp() * eps)


def test_reparameterised_draws_have_the_asked_moments() -> None:
    eps = torch.randn(200_000, 1, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    z = gaussian.reparameterise(torch.tensor([[1.5]]), torch.tensor([[math.log(4.0)]]), eps)
    assert float(z.mean()) == pytest.approx(1.5, abs=0.02)
    assert float(z.var()) == pytest.approx(4.0, rel=0.02)


def test_monte_carlo_estimate_of_the_kl_converges_at_rate_one_half() -> None:
    """KL = E_q[log q − log p]: the root-mean-square error of its estimate from n draws falls as n^-½."""
    mean, log_var = torch.tensor(1.3, dtype=torch.float64), torch.tensor(-0.7, dtype=torch.float64)
    zero = torch.zeros((), dtype=torch.float64)
    exact = gaussian.kl_to_standard(mean, log_var)
    rng = torch.Generator().manual_seed(8)
    sizes, errors = [2**k for k in range(4, 13)], []
    for n in sizes:
        z = gaussian.reparameterise(mean, log_var, torch.randn(400, n, generator=rng, dtype=torch.float64))
        estimate = (gaussian.log_prob(z, mean, log_var) - gaussian.log_prob(z, zero)).mean(1)
        errors.append((estimate - exact).square().mean().sqrt())
    x, y = torch.tensor(sizes, dtype=torch.float64).log(), torch.stack(errors).log()
    x, y = x - x.mean(), y - y.mean()
    slope = float((x * y).sum() / x.square().sum())
    assert slope == pytest.approx(-0.5, abs=0.05)


def test_variance_of_means_is_the_population_variance_over_examples() -> None:
    means = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    torch.testing.assert_close(gaussian.variance_of_means(means), torch.tensor([1.0, 0.0]))
