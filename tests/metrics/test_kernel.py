"""The kernel distance: its formula, no bias at any count, and a known value for Gaussians."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentscape.metrics import difference, kernel


def points(n: int, seed: int, features: int = 4) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_is_its_formula() -> None:
    a, b = points(7, 0), points(7, 1) + 1

    def k(x: Tensor, y: Tensor) -> float:
        return float((x @ y / 4 + 1) ** 3)

    within = [sum(k(x[i], x[j]) for i in range(7) for j in range(7) if i != j) / 42 for x in (a, b)]
    across = sum(k(x, y) for x in a for y in b) / 49
    assert float(kernel.mmd2(a, b)) == pytest.approx(sum(within) - 2 * across)


@pytest.mark.parametrize("n", [6, 60])
def test_of_one_distribution_it_is_zero_on_average_at_any_count(n: int) -> None:
    found = torch.cat([kernel.distances(points(n, 2 * seed), points(n, 2 * seed + 1)) for seed in range(400)])
    error = float(found.std()) / len(found) ** 0.5
    assert abs(float(found.mean())) < 3.5 * error
    assert (found < 0).any()


def test_of_shifted_gaussians_it_is_that_of_the_kernel_s_moments() -> None:
    """With one feature: MMD² of (xy + 1)³ is Σ over powers p of C(3, p)·(E xᵖ − E yᵖ)²; x ~ N(0, 1), y ~ N(1, 1)."""
    expected = 3 * (0 - 1) ** 2 + 3 * (1 - 2) ** 2 + (0 - 4) ** 2
    found = torch.stack([kernel.mmd2(points(200, 2 * s, 1), points(200, 2 * s + 1, 1) + 1) for s in range(200)])
    assert float(found.mean()) == pytest.approx(expected, abs=4 * float(found.std()) / 200**0.5)


def test_blocks_are_disjoint_of_equal_size_and_ten_at_least() -> None:
    for n, blocks in ((4, 2), (7, 3), (100, 10), (10_500, 10)):
        assert len(kernel.distances(points(n, 0, 1), points(n, 1, 1))) == blocks
    with pytest.raises(ValueError, match="at least four rows, got 3"):
        kernel.distances(points(3, 0), points(9, 1))


def test_the_order_of_rows_does_not_count() -> None:
    """Sorted sets: blocks of neighbours would each be far from what they are compared with."""
    a, b = points(1000, 0, 1), points(1000, 1, 1)
    found = kernel.distances(a.sort(0).values, b)
    assert abs(float(found.mean())) < 4 * float(found.std()) / len(found) ** 0.5


def test_the_interval_over_blocks_holds_the_value_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(300):
        low, high = difference.mean_interval(
            kernel.distances(points(200, 2 * seed), points(200, 2 * seed + 1)).tolist()
        )
        inside += low <= 0 <= high
    assert 0.90 < inside / 300 < 0.985
