"""The energy distance against its closed forms, and how it behaves as the sets grow."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from latentscape.numerics import energy


def normal(n: int, dims: int, seed: int, shift: float = 0.0) -> Tensor:
    z_NL = torch.randn(n, dims, generator=torch.Generator().manual_seed(seed))
    z_NL[:, 0] += shift
    return z_NL


def test_two_points_are_twice_their_distance_apart() -> None:
    assert energy.distance(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])) == pytest.approx(10.0)


def test_in_one_dimension_it_is_twice_the_squared_gap_of_the_distribution_functions() -> None:
    """D² = 2 ∫ (F_a − F_b)² dx, exactly, for empirical distributions (Székely & Rizzo)."""
    a, b = normal(70, 1, 0).double(), normal(45, 1, 1, 0.4).double()
    knots = torch.cat([a, b])[:, 0].sort().values
    left = knots[:-1, None]
    gap = (a[:, 0] <= left).double().mean(1) - (b[:, 0] <= left).double().mean(1)
    assert energy.distance(a, b) == pytest.approx(float(2 * (gap.square() * knots.diff()).sum()), rel=1e-9)


def test_shifted_gaussians_come_out_as_in_closed_form() -> None:
    """x ~ N(0, 1), y ~ N(m, 1): 2·E|x − y| − 2·E|x − x'|, each the mean of a folded normal of variance 2."""
    m = 0.8
    folded = 2 / math.sqrt(math.pi) * math.exp(-(m**2) / 4) + m * math.erf(m / 2)
    expected = 2 * folded - 2 * 2 / math.sqrt(math.pi)
    assert energy.distance(normal(4000, 1, 0), normal(4000, 1, 1, m)) == pytest.approx(expected, rel=0.1)


def test_the_same_set_is_no_distance_from_itself_and_order_does_not_matter() -> None:
    a, b = normal(700, 3, 0), normal(600, 3, 1, 0.5)  # more rows than a block
    assert energy.distance(a, a) == pytest.approx(0.0, abs=1e-9)
    assert energy.distance(a, b) == pytest.approx(energy.distance(b, a), rel=1e-9)
    assert energy.distance(a, b) == pytest.approx(energy.distance(a.flip(0), b.flip(0)), rel=1e-9)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = normal(130, 2, 0), normal(90, 2, 1, 0.5)
    whole = energy.distance(a, b)
    monkeypatch.setattr(energy, "BLOCK", 7)
    assert energy.distance(a, b) == pytest.approx(whole, rel=1e-8)


def test_it_moves_with_both_sets_and_scales_with_them() -> None:
    a, b = normal(300, 2, 0), normal(300, 2, 1, 1.0)
    assert energy.distance(a + 1000, b + 1000) == pytest.approx(energy.distance(a, b), rel=1e-3)
    assert energy.distance(3 * a, 3 * b) == pytest.approx(3 * energy.distance(a, b), rel=1e-5)


def test_the_floor_falls_as_one_over_the_count() -> None:
    def floor(n: int) -> float:
        return sum(energy.distance(normal(n, 2, 2 * s), normal(n, 2, 2 * s + 1)) for s in range(20)) / 20

    assert floor(50) / floor(800) == pytest.approx(16, rel=0.35)


def test_it_sees_scale_and_shape_where_the_means_agree() -> None:
    a, b = normal(2000, 2, 0), normal(2000, 2, 1)
    floor = energy.distance(a, b)
    assert energy.distance(a, 1.5 * b) > 10 * floor
    ring = 2**0.5 * torch.nn.functional.normalize(b, dim=1)
    assert energy.distance(a, ring) > 10 * floor


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(ValueError, match="both sets need a point, got 0 and 3"):
        energy.distance(torch.zeros(0, 2), torch.zeros(3, 2))
