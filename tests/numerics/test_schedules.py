from __future__ import annotations

import pytest
import torch

from latentscape.numerics import schedules


def at(*steps: float) -> torch.Tensor:
    return torch.tensor(steps)


def test_linear_rises_once() -> None:
    assert schedules.linear(at(0, 2, 4, 5), 4).tolist() == [0, 0.5, 1, 1]


def test_cosine_is_flat_at_both_ends() -> None:
    rise = schedules.cosine(at(0, 1, 50, 99, 100, 300), 100)
    assert rise[[0, 2, 4, 5]].tolist() == pytest.approx([0, 0.5, 1, 1])
    assert float(rise[1]) < 0.001
    assert float(1 - rise[3]) < 0.001


def test_cycles_rise_stay_and_begin_again() -> None:
    found = schedules.cyclical(at(0, 5, 10, 19, 20, 25, 39, 40, 1000), 10, 2)
    assert found.tolist() == [0, 0.5, 1, 1, 0, 0.5, 1, 1, 1]


def test_exponential_falls_by_a_constant_ratio() -> None:
    found = schedules.exponential(at(0, 1, 2, 3, 9), 3, 10.0, 0.01)
    assert found.tolist() == pytest.approx([10, 1, 0.1, 0.01, 0.01], rel=1e-5)
