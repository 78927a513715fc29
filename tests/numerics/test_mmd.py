from __future__ import annotations

import pytest
import torch

from latentscape.numerics import mmd

RNG = torch.Generator().manual_seed(0)


def normal(n: int, dims: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, dims, generator=RNG, dtype=torch.float64) + shift


@pytest.mark.parametrize("make", [mmd.inverse_multiquadratic, mmd.radial_basis])
def test_estimate_is_that_written_out(make) -> None:
    a, b, kernel = normal(5, 3), normal(5, 3), make(3)

    def k(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return kernel((x - y).square().sum())

    within = sum(k(s[i], s[j]) for s in (a, b) for i in range(5) for j in range(5) if i != j) / 20
    across = sum(k(x, y) for x in a for y in b) / 25
    torch.testing.assert_close(mmd.mmd2(a, b, kernel), within - 2 * across)


def test_kernels_are_those_of_the_paper() -> None:
    squared = torch.tensor([0.0, 3.0], dtype=torch.float64)
    c = 2 * 4 * 0.5
    torch.testing.assert_close(mmd.inverse_multiquadratic(4, (0.5,))(squared), c / (c + squared))
    torch.testing.assert_close(mmd.radial_basis(4, (0.5,))(squared), (-squared / c).exp())
    assert float(mmd.inverse_multiquadratic(4)(squared)[0]) == len(mmd.SCALES)


def test_estimate_is_unbiased_around_zero_and_sees_shift_and_scale() -> None:
    kernel = mmd.inverse_multiquadratic(2)
    same = torch.stack([mmd.mmd2(normal(60, 2), normal(60, 2), kernel) for _ in range(300)])
    assert float(same.mean().abs()) < 4 * float(same.std()) / 300**0.5
    for other in (normal(60, 2, 1.0), 0.3 * normal(60, 2), 3 * normal(60, 2)):
        assert float(mmd.mmd2(other, normal(60, 2), kernel)) > 5 * float(same.std())


def test_rbf_mmd_approaches_its_closed_form() -> None:
    """One RBF kernel of variance s: E k(x, y) of N(a, I), N(b, I) is (s/(s+2))^(d/2)·exp(−‖a−b‖²/(2(s+2)))."""
    dims, scale = 2, 1.0
    s = dims * scale  # exp(−d²/(2·dims·scale)) has variance dims·scale
    peak = (s / (s + 2)) ** (dims / 2)
    truth = 2 * peak - 2 * peak * torch.exp(torch.tensor(-2.0 / (2 * (s + 2))))
    kernel = mmd.radial_basis(dims, (scale,))
    found = torch.stack([mmd.mmd2(normal(200, 2, 1.0), normal(200, 2), kernel) for _ in range(60)])
    assert float(found.mean()) == pytest.approx(float(truth), abs=4 * float(found.std()) / 60**0.5)


def test_distances_keep_their_precision_under_autocast() -> None:
    a, b = (10 + normal(8, 3)).float(), (10 + normal(8, 3)).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = mmd.squared_distances(a, b)
    torch.testing.assert_close(found, torch.cdist(a, b).square(), rtol=1e-3, atol=1e-3)


def test_gradients_are_finite_for_equal_points() -> None:
    z = torch.zeros(4, 3, requires_grad=True)
    mmd.mmd2(z, torch.randn(4, 3, generator=RNG), mmd.inverse_multiquadratic(3)).backward()
    assert torch.isfinite(z.grad).all()
