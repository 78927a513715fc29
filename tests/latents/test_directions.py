"""Directions: planted ones are found, what must stay stays, and strengths mean what they say."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from latentscape.errors import DataError
from latentscape.latents import directions


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0))


@pytest.fixture
def z_NL() -> Tensor:
    """4,000 latents of unequal spread, with a coordinate that never varies."""
    z = torch.randn(4_000, 6, generator=rng()) * torch.tensor([1.0, 3.0, 0.2, 1.0, 1.0, 0.0])
    return z + torch.tensor([5.0, 0, 0, -2.0, 0, 7.0])


def test_sums_are_the_plain_sums() -> None:
    a, b, c = torch.randn(3, 4, generator=rng())
    torch.testing.assert_close(directions.combine(torch.stack([a, c]), b[None]), a - b + c)
    torch.testing.assert_close(directions.combine(a[None], torch.empty(0, 4)), a)


def test_of_a_yes_and_no_it_is_the_difference_of_the_groups_means(z_NL: Tensor) -> None:
    yes = z_NL[:, 1] > 2
    expected = z_NL[yes].mean(0) - z_NL[~yes].mean(0)
    torch.testing.assert_close(directions.mean_difference(z_NL, yes.float()), expected, rtol=1e-4, atol=1e-5)


def test_of_a_number_it_is_the_slope_of_the_mean_latent() -> None:
    age, slope = 50 + 20 * torch.randn(20_000, generator=rng(1)), torch.tensor([0.5, -0.1, 0.0])
    z = age[:, None] * slope + torch.randn(20_000, 3, generator=rng(2))
    torch.testing.assert_close(directions.mean_difference(z, age), slope, atol=0.002, rtol=0)


@pytest.mark.parametrize("binary", [False, True])
def test_the_linear_direction_counts_less_what_only_goes_along(binary: bool) -> None:
    """Coordinate 1 follows coordinate 0, which alone decides: the means differ in both, the reading needs one."""
    a = torch.randn(20_000, generator=rng(1))
    z = torch.stack([a, 0.8 * a + 0.6 * torch.randn(20_000, generator=rng(2))], 1)
    noisy = a + 0.3 * torch.randn(20_000, generator=rng(3))
    told = (noisy > 0).float() if binary else noisy
    assert cosine(directions.linear(z, told), torch.tensor([1.0, 0.0])) > 0.9
    assert cosine(directions.mean_difference(z, told), torch.tensor([1.0, 0.8])) > 0.99


def test_it_is_not_drawn_to_what_hardly_varies() -> None:
    """The small difference of two coordinates tells the attribute exactly, and their sum tells it roughly."""
    both, own = torch.randn(2, 20_000, generator=rng(1))
    z, a = torch.stack([both + 0.05 * own, both - 0.05 * own], 1), both + own
    assert cosine(directions.linear(z, a), torch.tensor([1.0, 1.0])) > 0.9
    assert cosine(directions.linear(z, (a > 0).float()), torch.tensor([1.0, 1.0])) > 0.9


@pytest.mark.parametrize("method", directions.METHODS)
def test_coordinates_that_never_vary_are_never_moved(method: str, z_NL: Tensor) -> None:
    to_L = directions.METHODS[method](z_NL, z_NL[:, 0] + z_NL[:, 3])
    assert abs(float(to_L[5])) < 1e-6
    assert cosine(to_L, torch.tensor([1.0, 0, 0, 1.0, 0, 0])) > 0.97


def test_what_is_kept_keeps_its_linear_reading(z_NL: Tensor) -> None:
    age, gender = z_NL[:, 0] + z_NL[:, 1], (z_NL[:, 1] + z_NL[:, 4] > 0).float()
    readings = torch.stack([directions.reading(z_NL, gender), directions.reading(z_NL, z_NL[:, 3])])
    to_L = directions.mean_difference(z_NL, age)
    kept_L = directions.keep(to_L, z_NL, readings)
    assert kept_L is not None
    inverse = 1 / z_NL.std(0).clamp_min(1e-9) * (torch.arange(6) < 5)
    assert (readings @ (to_L * inverse).double())[0].abs() > 0.1
    assert (readings @ (kept_L * inverse).double()).abs().max() < 1e-4
    moved = directions.moved(z_NL, directions.step(kept_L, z_NL), (2.0,))
    assert (moved[:, 0] + moved[:, 1]).mean() > age.mean() + 1, "age still rises"


def test_nothing_is_left_of_a_direction_that_is_kept_itself(z_NL: Tensor) -> None:
    a = z_NL[:, 0]
    assert directions.keep(directions.linear(z_NL, a), z_NL, directions.reading(z_NL, a)[None]) is None


def test_one_unit_of_strength_is_a_standard_deviation(z_NL: Tensor) -> None:
    step_L = directions.step(torch.tensor([0, 0.001, 0, 0, 0, 0]), z_NL)
    torch.testing.assert_close(step_L[1], z_NL[:, 1].std(correction=0))
    assert (step_L[[0, 2, 3, 4, 5]] == 0).all()
    codes = directions.moved(z_NL[:2], step_L, (-1.0, 0.0, 2.0))
    torch.testing.assert_close(codes[:3, 1] - z_NL[0, 1], torch.tensor([-1.0, 0, 2]) * step_L[1])
    torch.testing.assert_close(codes[4], z_NL[1])


def test_a_coordinate_that_varies_much_does_not_drown_the_others(z_NL: Tensor) -> None:
    """Coordinates 1 and 2 say as much of the attribute, one varying fifteen times as much as the other."""
    wide = z_NL * torch.tensor([1.0, 100.0, 1.0, 1.0, 1.0, 1.0])
    a = z_NL[:, 1] / 3 + z_NL[:, 2] / 0.2
    step_L = directions.step(directions.mean_difference(wide, a), wide)
    assert directions.correlation(step_L, wide, wide, a) > 0.99
    torch.testing.assert_close(step_L[1:3], torch.tensor([300.0, 0.2]) / 2**0.5, rtol=0.05, atol=0)


def test_correlation_is_pearsons(z_NL: Tensor) -> None:
    a = z_NL[:, 1] + 3 * torch.randn(len(z_NL), generator=rng(5))
    step_L = torch.tensor([0, 2.0, 0, 0, 0, 0])
    expected = float(torch.corrcoef(torch.stack([z_NL[:, 1], a]))[0, 1])
    assert directions.correlation(step_L, z_NL, z_NL, a) == pytest.approx(expected, abs=1e-5)
    assert directions.correlation(-step_L, z_NL, z_NL[:2], torch.tensor([0.0, 1.0])) in (
        pytest.approx(1),
        pytest.approx(-1),
    )
    assert math.isnan(directions.correlation(step_L, z_NL, z_NL, torch.ones(len(z_NL))))


def test_the_gain_is_what_a_linear_model_reads_after_the_step(z_NL: Tensor) -> None:
    a = 4 * z_NL[:, 0] - z_NL[:, 1] + 10
    step_L = directions.step(torch.tensor([1.0, 0, 0, 0, 0, 0]), z_NL)
    assert directions.gain(step_L, z_NL, a) == pytest.approx(4 * float(z_NL[:, 0].std()), rel=0.01)
    assert directions.gain(-step_L, z_NL, (a > 30).float()) < 0


def test_sums_of_three_lie_outside_of_the_shell() -> None:
    mean, factor = torch.tensor([3.0, -1.0] * 20), torch.randn(40, 40, generator=rng(1))
    known = mean + torch.randn(20_000, 40, generator=rng(2)) @ factor.T
    a, b, c = (mean + torch.randn(500, 40, generator=rng(i)) @ factor.T for i in (3, 4, 5))
    assert directions.distance(a, known).mean() == pytest.approx(1, abs=0.02)
    assert directions.distance(a - b + c, known).mean() == pytest.approx(3**0.5, abs=0.03)
    assert directions.distance(mean[None], known).item() < 0.05


def test_an_attribute_without_a_difference_is_refused() -> None:
    for values in (torch.ones(5), torch.ones(1), torch.ones(0)):
        with pytest.raises(DataError, match="differ in glasses"):
            directions.check(values, "glasses")
    directions.check(torch.tensor([0.0, 1.0]), "glasses")
    assert directions.is_binary(torch.tensor([0.0, 1.0]))
    assert not directions.is_binary(torch.tensor([0.0, 2.0]))
