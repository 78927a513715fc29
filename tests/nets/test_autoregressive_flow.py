"""The flow inverts itself, its density is that of the change of variables, and its maps are autoregressive."""

from __future__ import annotations

import pytest
import torch

from latentscape.nets.autoregressive_flow import LARGEST_LOG_SCALE, AutoregressiveFlow, Made
from latentscape.numerics import gaussian


def rough(module: torch.nn.Module) -> None:
    """Weights far from the near-identity that a flow starts at."""
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(0.6 * torch.randn(p.shape, generator=rng))


def flow(size: int, maps: int = 3) -> AutoregressiveFlow:
    made = AutoregressiveFlow(size, maps, 16).double()
    rough(made)
    return made


@pytest.mark.parametrize("size", [1, 2, 5])
def test_coordinates_depend_on_those_before_them_only(size: int) -> None:
    made = Made(size, 16).double()
    rough(made)
    z_L = torch.randn(size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    jacobians = torch.autograd.functional.jacobian(lambda z: made(z[None]), z_L)
    for jacobian in jacobians:
        assert torch.equal(jacobian[0].triu(), torch.zeros(size, size, dtype=torch.float64))
    before = torch.ones(size, size).tril(-1).bool()
    assert (jacobians[0][0][before] != 0).double().mean() > 0.8 or size == 1


@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_two_directions_undo_each_other(size: int) -> None:
    made, eps_BL = flow(size), torch.randn(7, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(made.inverse(made(eps_BL))[0], eps_BL)
    torch.testing.assert_close(made(made.inverse(eps_BL)[0]), eps_BL)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_log_det_is_that_of_the_jacobian(size: int) -> None:
    made, z_BL = flow(size), torch.randn(4, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, log_det_B = made.inverse(z_BL)
    for z_L, log_det in zip(z_BL, log_det_B, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda z: made.inverse(z[None])[0][0], z_L)
        torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], log_det)


def test_the_density_integrates_to_one() -> None:
    made, side = flow(2, maps=1), torch.linspace(-30, 30, 1501, dtype=torch.float64)
    z_NL = torch.cartesian_prod(side, side)
    with torch.no_grad():
        eps_NL, log_det_N = made.inverse(z_NL)
        log_p_N = gaussian.log_prob(eps_NL, torch.zeros_like(eps_NL)).sum(1) + log_det_N
    assert float(log_p_N.exp().sum()) * float(side[1] - side[0]) ** 2 == pytest.approx(1, abs=0.01)


def test_it_starts_near_the_standard_normal() -> None:
    torch.manual_seed(0)
    made, eps_BL = AutoregressiveFlow(4, 3, 32), torch.randn(100, 4)
    torch.testing.assert_close(made(eps_BL), eps_BL.flip(1), atol=0.15, rtol=0)  # three maps, three reversals


def test_scales_stay_bounded() -> None:
    made = Made(3, 8)
    rough(made)
    assert made(1e4 * torch.randn(50, 3))[1].abs().max() <= LARGEST_LOG_SCALE
