"""Paths: their ends, the sphere, the speed, and the cases where no arc is defined."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from latentscape.numerics import paths


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(z: Tensor) -> Tensor:
    return z / z.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("path", [paths.linear, paths.spherical])
def test_paths_begin_and_end_where_they_are_told(path) -> None:
    a, b = drawn(3, 5), drawn(3, 5, seed=1)
    walk = path(a, b, 7)
    assert walk.shape == (7, 3, 5)
    torch.testing.assert_close(walk[0], a)
    torch.testing.assert_close(walk[-1], b)


def test_linear_steps_are_equal() -> None:
    a, b = drawn(2, 4), drawn(2, 4, seed=1)
    steps = paths.linear(a, b, 6).diff(dim=0)
    torch.testing.assert_close(steps, ((b - a) / 5).expand(5, -1, -1), atol=1e-6, rtol=1e-6)


def test_spherical_stays_on_the_sphere_and_turns_at_constant_speed() -> None:
    a, b = 2 * unit(drawn(4, 6)), 2 * unit(drawn(4, 6, seed=1))
    walk = paths.spherical(a, b, 9)
    torch.testing.assert_close(walk.norm(dim=-1), torch.full((9, 4), 2.0, dtype=torch.float64), atol=1e-6, rtol=0)
    turned = torch.arccos((unit(walk[1:]) * unit(walk[:-1])).sum(-1).clamp(-1, 1))
    whole = torch.arccos((unit(a) * unit(b)).sum(-1))
    torch.testing.assert_close(turned, (whole / 8).expand(8, -1), atol=1e-6, rtol=1e-5)


def test_spherical_has_the_quarter_circle_in_closed_form() -> None:
    walk = paths.spherical(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 4)[:, 0]
    angle = torch.linspace(0, math.pi / 2, 4)
    torch.testing.assert_close(walk, torch.stack([angle.cos(), angle.sin()], 1), atol=1e-6, rtol=0)


def test_spherical_length_goes_linearly_between_lengths() -> None:
    walk = paths.spherical(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 5.0]]), 5)
    torch.testing.assert_close(walk.norm(dim=-1)[:, 0], torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1.0, 2.0], [2.0, 4.0]),
        ([1.0, 2.0], [-1.0, -2.0]),
        ([0.0, 0.0], [1.0, 2.0]),
        ([1.0, 2.0], [0.0, 0.0]),
        ([0.0, 0.0], [0.0, 0.0]),
        ([1.0, 2.0], [1.0, 2.0]),
    ],
    ids=["parallel", "opposite", "from zero", "to zero", "both zero", "equal"],
)
def test_spherical_takes_the_straight_line_where_there_is_no_arc(a: list[float], b: list[float]) -> None:
    a_BL, b_BL = torch.tensor([a]), torch.tensor([b])
    walk = paths.spherical(a_BL, b_BL, 5)
    torch.testing.assert_close(walk, paths.linear(a_BL, b_BL, 5), atol=1e-5, rtol=1e-5)


def test_rows_of_a_batch_do_not_mix() -> None:
    a, b = torch.tensor([[1.0, 0.0], [3.0, 3.0]]), torch.tensor([[0.0, 1.0], [6.0, 6.0]])
    torch.testing.assert_close(paths.spherical(a, b, 5)[:, :1], paths.spherical(a[:1], b[:1], 5))
    torch.testing.assert_close(paths.spherical(a, b, 5)[:, 1:], paths.linear(a[1:], b[1:], 5), atol=1e-5, rtol=0)
