"""Negative log-likelihoods against `torch.distributions`, values and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, ContinuousBernoulli, Normal

from latentscape.errors import ConfigError
from latentscape.numerics import likelihood


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients_agree(a: Tensor, b: Tensor, by: Tensor) -> None:
    weight = torch.linspace(0.5, 2, len(a), dtype=torch.float64)
    ours, theirs = (torch.autograd.grad((weight * t).sum(), by)[0] for t in (a, b))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("grey", [False, True])
def test_bernoulli_nll_is_that_of_torch_distributions(grey: bool) -> None:
    logits = (3 * drawn(4, 2, 3, 3, seed=0)).requires_grad_()
    x = torch.sigmoid(drawn(4, 2, 3, 3, seed=1)) if grey else (drawn(4, 2, 3, 3, seed=1) > 0).double()
    ours = likelihood.bernoulli_nll(logits, x)
    theirs = -Bernoulli(logits=logits, validate_args=False).log_prob(x).sum((1, 2, 3))
    assert ours.shape == (4,)
    torch.testing.assert_close(ours, theirs)
    gradients_agree(ours, theirs, logits)
    assert torch.autograd.gradcheck(lambda a: likelihood.bernoulli_nll(a, x), (logits,))


@pytest.mark.parametrize("std", [0.1, 1.0, 2.5])
def test_gaussian_nll_is_that_of_torch_distributions(std: float) -> None:
    mean, x = drawn(4, 6, seed=2).requires_grad_(), drawn(4, 6, seed=3)
    ours = likelihood.gaussian_nll(mean, x, math.log(std))
    theirs = -Normal(mean, std).log_prob(x).sum(1)
    torch.testing.assert_close(ours, theirs)
    gradients_agree(ours, theirs, mean)
    assert torch.autograd.gradcheck(lambda a: likelihood.gaussian_nll(a, x, math.log(std)), (mean,))


def test_gaussian_nll_with_a_spread_per_value_and_its_gradient() -> None:
    mean, x, log_std = drawn(4, 6, seed=2), drawn(4, 6, seed=3), (0.3 * drawn(4, 6, seed=4)).requires_grad_()
    ours, theirs = likelihood.gaussian_nll(mean, x, log_std), -Normal(mean, log_std.exp()).log_prob(x).sum(1)
    torch.testing.assert_close(ours, theirs)
    gradients_agree(ours, theirs, log_std)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 8.0])
def test_continuous_bernoulli_is_that_of_torch_distributions(scale: float) -> None:
    logits = (scale * drawn(4, 9, seed=0)).requires_grad_()
    x = torch.sigmoid(drawn(4, 9, seed=1))
    law = ContinuousBernoulli(logits=logits, validate_args=False)
    ours, theirs = likelihood.continuous_bernoulli_nll(logits, x), -law.log_prob(x).sum(1)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(likelihood.continuous_bernoulli_mean(logits), law.mean, rtol=1e-5, atol=1e-6)
    assert torch.autograd.gradcheck(lambda a: likelihood.continuous_bernoulli_nll(a, x), (logits,))
    assert torch.autograd.gradcheck(likelihood.continuous_bernoulli_mean, (logits,))


def test_continuous_bernoulli_is_smooth_where_its_closed_form_is_not() -> None:
    edge = likelihood.SMALL_LOGIT
    logits = torch.tensor([0.0, edge * (1 - 1e-9), edge * (1 + 1e-9), -edge, 60.0, -60.0], dtype=torch.float64)
    norm = likelihood.continuous_bernoulli_log_norm(logits)
    mean = likelihood.continuous_bernoulli_mean(logits)
    assert norm[0] == pytest.approx(math.log(2))
    assert float(norm[1]) == pytest.approx(float(norm[2]), abs=1e-10)
    assert float(mean[1]) == pytest.approx(float(mean[2]), abs=1e-8)
    assert torch.isfinite(norm).all()
    assert ((mean > 0) & (mean < 1)).all()
    assert float(mean[4]) == pytest.approx(1 - 1 / 60, abs=1e-6)


def test_continuous_bernoulli_is_a_density_on_the_unit_interval() -> None:
    x = torch.linspace(0, 1, 20_001, dtype=torch.float64).unsqueeze(1)
    for logit in (-3.0, 0.0, 0.004, 1.5):
        density = (-likelihood.continuous_bernoulli_nll(torch.full_like(x, logit), x)).exp()
        assert float(torch.trapezoid(density, x[:, 0])) == pytest.approx(1, abs=1e-6)


def test_bernoulli_nll_stays_finite_at_extreme_logits() -> None:
    logits = torch.tensor([[1e4, -1e4]])
    torch.testing.assert_close(likelihood.bernoulli_nll(logits, torch.tensor([[1.0, 0.0]])), torch.tensor([0.0]))
    torch.testing.assert_close(likelihood.bernoulli_nll(logits, torch.tensor([[0.0, 0.0]])), torch.tensor([1e4]))


def test_squared_error_is_summed_per_example() -> None:
    x = torch.zeros(2, 1, 2, 2)
    xhat = x.clone()
    xhat[0, 0, 0, 0], xhat[1] = 3.0, -1.0
    assert likelihood.squared_error(xhat, x).tolist() == [9.0, 4.0]


def test_sum_per_example_keeps_the_batch() -> None:
    x = torch.arange(12.0).view(2, 1, 2, 3)
    assert likelihood.sum_per_example(x).tolist() == [15.0, 51.0]


def test_a_bernoulli_over_vectors_is_refused_and_all_else_allowed() -> None:
    likelihood.check_pixels(bernoulli=True, is_image=True)
    likelihood.check_pixels(bernoulli=False, is_image=False)
    likelihood.check_pixels(bernoulli=False, is_image=True)
    with pytest.raises(ConfigError, match="needs images"):
        likelihood.check_pixels(bernoulli=True, is_image=False)
