"""Samplers of priors: where their mass lies, how much lies where, and that only the handed generator decides."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from latentscape.errors import ConfigError
from latentscape.numerics import priors

N = 20_000


def draws(kind: str, n: int = N, dims: int = 2, seed: int = 0) -> Tensor:
    return priors.sample(kind, n, dims, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", list(priors.SAMPLERS))
def test_draws_follow_the_handed_generator_alone(kind: str) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    z_NL, again, other = draws(kind, 50), draws(kind, 50), draws(kind, 50, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert z_NL.shape == (50, 2)
    assert z_NL.dtype == torch.float32
    assert torch.equal(z_NL, again)
    assert not torch.equal(z_NL, other)


@pytest.mark.parametrize("kind", [k for k in priors.SAMPLERS if k not in priors.FLAT])
@pytest.mark.parametrize("dims", [1, 3, 10])
def test_priors_of_any_number_of_dimensions(kind: str, dims: int) -> None:
    z_NL = draws(kind, dims=dims)
    assert z_NL.shape == (N, dims)
    assert z_NL.std(0).min() > 0.05


@pytest.mark.parametrize("kind", priors.FLAT)
@pytest.mark.parametrize("dims", [1, 3])
def test_priors_of_the_plane_refuse_other_dimensions(kind: str, dims: int) -> None:
    with pytest.raises(ConfigError, match=f"--prior {kind} lies in the plane, so --latent-dim must be 2, got {dims}"):
        draws(kind, dims=dims)


def test_the_square_is_filled_evenly_to_its_edges() -> None:
    z_NL = draws("uniform", dims=3)
    assert priors.in_cube(z_NL).all()
    assert z_NL.abs().max() > 2.499
    cells = torch.histogramdd(z_NL[:, :2], bins=5, range=[-2.5, 2.5, -2.5, 2.5]).hist
    assert (cells / N - 1 / 25).abs().max() < 5 * math.sqrt(1 / 25 / N)


def test_the_gaussian_is_standard() -> None:
    z_NL = draws("gaussian", dims=4)
    assert z_NL.mean(0).abs().max() < 0.04
    assert (torch.cov(z_NL.T) - torch.eye(4)).abs().max() < 0.05


@pytest.mark.parametrize("dims", [2, 7])
def test_petals_are_long_along_their_direction_and_narrow_across(dims: int) -> None:
    z_NL, direction_KL = draws("mixture", 50_000, dims), priors.petal_directions(dims)
    torch.testing.assert_close(direction_KL.norm(dim=1), torch.ones(10))
    nearest_N = torch.cdist(z_NL, 1.4 * direction_KL).argmin(1)
    along_N = (z_NL * direction_KL[nearest_N]).sum(1)
    across_N = (z_NL - along_N[:, None] * direction_KL[nearest_N]).square().sum(1) / (dims - 1)
    outer = along_N > 1  # near the origin the petals meet
    assert float(along_N[outer].mean()) == pytest.approx(1.4 + 0.5 * 0.3682, abs=0.02)  # E[x | x > −0.8σ] = 0.3682 σ
    assert float(across_N[outer].mean()) == pytest.approx(0.1**2, rel=0.1)
    shares_K = torch.bincount(nearest_N[outer], minlength=10) / outer.sum()
    assert (shares_K - 0.1).abs().max() < 0.02


def test_the_directions_in_the_plane_are_even_and_others_stay_the_same() -> None:
    angle_K = torch.atan2(*priors.petal_directions(2).flip(1).T).remainder(2 * math.pi)
    torch.testing.assert_close(angle_K.sort().values.diff(), torch.full((9,), math.pi / 5), atol=1e-5, rtol=0)
    torch.manual_seed(5)
    before = priors.petal_directions(6)
    torch.manual_seed(6)
    assert torch.equal(before, priors.petal_directions(6))


def test_the_ring_has_its_radius_and_all_directions() -> None:
    z_NL = draws("ring")
    radius_N = z_NL.norm(dim=1)
    assert float(radius_N.mean()) == pytest.approx(2.0, abs=0.01)
    assert float(radius_N.std()) == pytest.approx(0.1, rel=0.05)
    assert z_NL.mean(0).abs().max() < 0.05


def test_the_swiss_roll_winds_twice_and_is_even_along_its_arc() -> None:
    z_NL = draws("swiss-roll")
    radius_N = z_NL.norm(dim=1)
    assert 2.4 < radius_N.max() < 2.8
    # Two turns: as the angle 4π·r/R says, points on one ray lie half the radius apart.
    angle_N = torch.atan2(z_NL[:, 1], z_NL[:, 0])
    expected_N = 4 * math.pi * radius_N / 2.5
    off_N = (angle_N - expected_N + math.pi).remainder(2 * math.pi) - math.pi
    outer = radius_N > 1
    assert float(off_N[outer].abs().mean()) < 0.3
    assert float((radius_N < 2.5 / math.sqrt(2)).float().mean()) == pytest.approx(0.5, abs=0.03)


def test_every_box_has_the_same_mass_filled_evenly() -> None:
    assert len(set(priors.BOXES)) == 10
    z_NL = draws("boxes")
    assert priors.in_boxes(z_NL).all()
    counts = []
    for left, right, bottom, top in priors.BOXES:
        here = (z_NL[:, 0] >= left) & (z_NL[:, 0] <= right) & (z_NL[:, 1] >= bottom) & (z_NL[:, 1] <= top)
        counts.append(int(here.sum()))
        middle = torch.tensor([(left + right) / 2, (bottom + top) / 2])
        assert (z_NL[here].mean(0) - middle).abs().max() < 0.05
    assert sum(counts) == N
    assert max(abs(c / N - 0.1) for c in counts) < 0.012


def test_membership_at_the_edges() -> None:
    points = torch.tensor([[0.0, 0.0], [2.5, -2.5], [2.51, 0.0], [0.4, 0.0], [-1.0, 1.0], [0.0, -2.0], [1.0, -2.0]])
    assert priors.in_cube(points).tolist() == [True, True, False, True, True, True, True]
    assert priors.in_boxes(points).tolist() == [True, False, False, False, True, True, False]
    for kind in priors.SAMPLERS:
        found = priors.inside(kind, draws(kind, 100))
        assert (found is None) == (kind not in ("uniform", "boxes"))
        assert found is None or bool(found.all())
