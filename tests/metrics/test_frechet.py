"""The Fréchet distance against its closed form for Gaussians, and the rate at which it converges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from latentscape.metrics import frechet


def gaussian(n: int, mean: Tensor, factor: Tensor, seed: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return mean + torch.randn(n, len(mean), generator=rng, dtype=torch.float64) @ factor.T


def closed_form(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    roots = torch.linalg.eigvals(cov_a @ cov_b).real.sqrt()  # of a product of covariances: real and positive
    return float((mean_a - mean_b).square().sum() + (cov_a + cov_b).trace() - 2 * roots.sum())


def planted(n: int, seed: int) -> tuple[Tensor, Tensor, float]:
    """Two sets of n draws in five dimensions, and the distance of the Gaussians they are from."""
    rng = torch.Generator().manual_seed(9)
    factor_a, factor_b = (torch.randn(5, 5, generator=rng, dtype=torch.float64) for _ in range(2))
    mean_a, mean_b = torch.zeros(5, dtype=torch.float64), torch.arange(5, dtype=torch.float64) / 4
    expected = closed_form(mean_a, factor_a @ factor_a.T, mean_b, factor_b @ factor_b.T)
    return gaussian(n, mean_a, factor_a, 2 * seed), gaussian(n, mean_b, factor_b, 2 * seed + 1), expected


def test_it_is_the_closed_form_of_the_sets_own_moments() -> None:
    a_NF, b_NF, _ = planted(50, 0)
    b_NF = b_NF[:40]
    expected = closed_form(a_NF.mean(0), a_NF.T.cov(), b_NF.mean(0), b_NF.T.cov())
    assert frechet.distance(a_NF, b_NF) == pytest.approx(expected, rel=1e-9)
    assert frechet.distance(b_NF, a_NF) == pytest.approx(expected, rel=1e-9)


def test_of_axis_parallel_gaussians_it_is_the_gap_of_means_and_of_deviations() -> None:
    """Σ (μ_a − μ_b)² + (σ_a − σ_b)²: sets with these exact moments."""
    square = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64) * (3 / 4) ** 0.5  # unit variance
    a_NF, b_NF = square * torch.tensor([1.0, 2.0]), square * torch.tensor([4.0, 2.0]) + torch.tensor([0.0, 5.0])
    assert frechet.distance(a_NF, b_NF) == pytest.approx(9 + 25)


def test_the_estimate_s_bias_falls_as_one_over_n() -> None:
    errors = []
    for n in (200, 3200):
        found = [frechet.distance(*planted(n, seed)[:2]) for seed in range(40)]
        errors.append(np.mean(found) - planted(n, 0)[2])
    assert abs(errors[1]) < 0.1
    same = [np.mean([_floor(n, seed) for seed in range(20)]) for n in (100, 1600)]
    assert same[0] / same[1] == pytest.approx(16, rel=0.3)  # of two sets from one Gaussian: all bias


def _floor(n: int, seed: int) -> float:
    eye = torch.eye(5, dtype=torch.float64)
    return frechet.distance(gaussian(n, eye[0], eye, 2 * seed), gaussian(n, eye[0], eye, 2 * seed + 1))


@pytest.mark.parametrize("n", [4, 20, 200])
def test_identical_sets_are_at_zero_with_any_count(n: int) -> None:
    """20 features: with 4 rows the covariance has rank 3."""
    x_NF = torch.randn(n, 20, generator=torch.Generator().manual_seed(0)) * 10
    assert frechet.distance(x_NF, x_NF.flip(0)) == pytest.approx(0, abs=1e-4)


def test_fewer_rows_than_features_give_the_same_as_in_their_own_space() -> None:
    a_NF, b_NF, _ = planted(30, 0)
    turn, _ = torch.linalg.qr(torch.randn(80, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    inside = frechet.distance(a_NF, b_NF)
    assert frechet.distance(a_NF @ turn.T, b_NF @ turn.T) == pytest.approx(inside, rel=1e-5)


def test_dead_features_add_nothing() -> None:
    a_NF, b_NF, _ = planted(30, 0)
    dead = [torch.cat([x, torch.zeros(30, 3, dtype=torch.float64)], 1) for x in (a_NF, b_NF)]
    assert frechet.distance(*dead) == pytest.approx(frechet.distance(a_NF, b_NF), rel=1e-6)


def test_one_row_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="at least two rows"):
        frechet.distance(torch.zeros(1, 3), torch.zeros(4, 3))


def test_its_deviation_is_that_of_fresh_draws_and_holds_the_value_as_often_as_it_says() -> None:
    """Two Gaussians far enough apart that the bias is small beside the scatter."""
    found = [(frechet.distance(a, b), frechet.deviation(a, b)) for a, b, _ in (planted(400, s) for s in range(40))]
    values, deviations = map(np.array, zip(*found, strict=True))
    assert deviations.mean() == pytest.approx(values.std(ddof=1), rel=0.35)
    inside = np.abs(values - planted(400, 0)[2]) <= 1.96 * deviations
    assert inside.mean() > 0.82
    assert frechet.deviation(*planted(400, 0)[:2]) == deviations[0]
