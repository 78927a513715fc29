"""Solutions of differential equations against closed forms, and the rate at which they get there."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from latentscape.numerics.integration import runge_kutta


def decay(x: Tensor, t: float) -> Tensor:
    """dx/dt = −x·cos t, solved by x(0)·exp(−sin t): it depends on the time as well as on the place."""
    return -x * math.cos(t)


def test_the_error_falls_with_the_fourth_power_of_the_steps() -> None:
    start = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    exact = start * math.exp(-math.sin(1.0))
    errors = [float((runge_kutta(decay, start, steps) - exact).abs().max()) for steps in (4, 8, 16)]
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.25)
    assert errors[1] / errors[2] == pytest.approx(16, rel=0.25)


def test_a_polynomial_of_third_degree_in_time_is_integrated_exactly() -> None:
    found = runge_kutta(lambda x, t: torch.full_like(x, 4 * t**3), torch.zeros(1, 1, dtype=torch.float64), 1)
    assert float(found) == pytest.approx(1.0, abs=1e-12)


def test_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one step, got 0"):
        runge_kutta(decay, torch.zeros(1, 1), 0)
