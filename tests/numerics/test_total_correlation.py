"""The parts of the aggregate KL against Gaussians for which every part is known."""

from __future__ import annotations

import math

import pytest
import torch

from latentscape.numerics import gaussian, total_correlation

RNG = torch.Generator().manual_seed(0)


def correlated(n: int, rho: float, log_var: float) -> tuple[torch.Tensor, ...]:
    """Posteriors N(μ, σ²I) whose means are correlated Gaussians: q(z) is N(0, Σ + σ²I)."""
    e = torch.randn(n, 2, generator=RNG, dtype=torch.float64)
    mean = torch.stack([e[:, 0], rho * e[:, 0] + math.sqrt(1 - rho**2) * e[:, 1]], 1)
    log_vars = torch.full_like(mean, log_var)
    z = gaussian.reparameterise(mean, log_vars, torch.randn(n, 2, generator=RNG, dtype=torch.float64))
    return z, mean, log_vars


def test_parts_add_up_to_the_sampled_kl() -> None:
    z, mean, log_var = correlated(50, 0.5, -1.0)
    sampled = (gaussian.log_prob(z, mean, log_var) - gaussian.log_prob(z, torch.zeros_like(z))).sum(1).mean()
    torch.testing.assert_close(sum(total_correlation.decompose(z, mean, log_var)), sampled)


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_parts_approach_their_closed_forms(rho: float) -> None:
    variance = 0.5
    z, mean, log_var = correlated(3000, rho, math.log(variance))
    information, correlation, spread = total_correlation.decompose(z, mean, log_var)
    total = 1 + variance
    log_det = math.log(total**2 - rho**2)
    assert float(information) == pytest.approx(0.5 * (log_det - 2 * math.log(variance)), abs=0.08)
    assert float(correlation) == pytest.approx(math.log(total) - 0.5 * log_det, abs=0.05)
    assert float(spread) == pytest.approx(total - 1 - math.log(total), abs=0.08)


def test_shuffling_keeps_each_dimension_and_breaks_their_bond() -> None:
    z, _, _ = correlated(4000, 0.9, -9.0)
    apart = total_correlation.permute_dimensions(z, torch.rand(z.shape, generator=RNG))
    assert torch.equal(apart.sort(0).values, z.sort(0).values)
    assert abs(float(torch.corrcoef(apart.T)[0, 1])) < 0.06
    assert float(torch.corrcoef(z.T)[0, 1]) > 0.85
