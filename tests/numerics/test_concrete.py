"""The concrete distribution against `torch.distributions`, its limit and finite differences."""

from __future__ import annotations

import torch
from torch.distributions import Gumbel, RelaxedOneHotCategorical

from latentscape.numerics import concrete


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_gumbel_is_the_inverse_of_its_distribution_function() -> None:
    uniform = torch.linspace(0.001, 0.999, 50, dtype=torch.float64)
    torch.testing.assert_close(Gumbel(torch.tensor(0.0).double(), 1.0).cdf(concrete.gumbel(uniform)), uniform)


def test_gumbel_is_finite_at_the_ends() -> None:
    ends = torch.tensor([0.0, 1 - 2**-24, 1.0])
    assert torch.isfinite(concrete.gumbel(ends)).all()


def test_weights_sum_to_one_and_have_the_density_of_the_source() -> None:
    """The density depends on the draw through the weights alone, so transforming its uniforms must give it back."""
    logits = torch.tensor([0.3, -1.0, 0.8], dtype=torch.float64)
    weights = concrete.relaxed(logits, torch.rand(20_000, 3, generator=generator(), dtype=torch.float64), 0.7)
    torch.testing.assert_close(weights.sum(1), torch.ones(20_000, dtype=torch.float64))
    torch.manual_seed(0)
    theirs = RelaxedOneHotCategorical(torch.tensor(0.7).double(), logits=logits).sample((20_000,))
    for moment in (lambda w: w.mean(0), lambda w: w.square().mean(0), lambda w: (w > 0.9).double().mean(0)):
        torch.testing.assert_close(moment(weights), moment(theirs), atol=0.02, rtol=0)


def test_cold_draws_are_one_hot_with_the_probabilities_of_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0])
    weights = concrete.relaxed(logits, torch.rand(20_000, 3, generator=generator()), 0.001)
    assert (weights.amax(1) > 0.999).double().mean() > 0.99
    torch.testing.assert_close(weights.mean(0), torch.softmax(logits, 0), atol=0.012, rtol=0)


def test_hot_draws_are_nearly_even() -> None:
    weights = concrete.relaxed(torch.tensor([0.0, 1.0, 2.0]), torch.rand(100, 3, generator=generator()), 1e4)
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / 3), atol=1e-2, rtol=0)


def test_gradients_reach_logits_and_temperature() -> None:
    logits = torch.randn(2, 4, generator=generator(), dtype=torch.float64).requires_grad_()
    uniform = torch.rand(2, 4, generator=generator(1), dtype=torch.float64)
    temperature = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, t: concrete.relaxed(a, uniform, t), (logits, temperature))
