"""Disentanglement of codes whose factors are known: perfect, mixed, and none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from latentscape.metrics import disentanglement


def factors(n: int, seed: int = 0) -> Tensor:
    """A kind of three, and two quantities of different scale."""
    rng = torch.Generator().manual_seed(seed)
    kind = torch.randint(0, 3, (n, 1), generator=rng).float()
    return torch.cat([kind, torch.rand(n, 1, generator=rng) * 90, torch.randn(n, 1, generator=rng)], 1)


def noise(n: int, seed: int, dims: int = 4) -> Tensor:
    return torch.randn(n, dims, generator=torch.Generator().manual_seed(seed))


def scores(codes: tuple[Tensor, Tensor], v: tuple[Tensor, Tensor]) -> disentanglement.Dci:
    return disentanglement.dci((codes[0], v[0]), (codes[1], v[1]))


def test_a_dimension_for_each_factor_is_perfect_whatever_its_scale_and_order() -> None:
    v = factors(2000), factors(1000, 1)
    codes = [torch.stack([-5 * x[:, 2], 1e-3 * x[:, 0], x[:, 1] ** 3, torch.zeros(len(x))], 1) for x in v]
    assert disentanglement.mutual_information_gap(codes[1], v[1]) == pytest.approx(1, abs=0.02)
    found = scores((codes[0], codes[1]), v)
    assert min(found.disentanglement, found.completeness, found.informativeness) > 0.98
    assert found.importance.argmax(0).tolist() == [1, 2, 0]


def test_noise_has_none_of_it() -> None:
    v = factors(2000), factors(1000, 1)
    codes = noise(2000, 2), noise(1000, 3)
    assert disentanglement.mutual_information_gap(codes[1], v[1]) < 0.05
    found = scores(codes, v)
    assert max(found.disentanglement, found.completeness, found.informativeness) < 0.1


def test_turned_codes_say_all_and_separate_nothing() -> None:
    v = [torch.rand(n, 2, generator=torch.Generator().manual_seed(n)) for n in (2000, 1000)]
    turn = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    codes = [x @ turn for x in v]
    assert disentanglement.mutual_information_gap(codes[1], v[1]) < 0.05
    found = scores((codes[0], codes[1]), (v[0], v[1]))
    assert found.informativeness > 0.9
    assert max(found.disentanglement, found.completeness) < 0.1


def test_two_dimensions_for_one_factor_are_disentangled_and_not_complete() -> None:
    v = factors(2000), factors(1000, 1)
    codes = [torch.cat([x, x[:, 1:2] + 0.01 * noise(len(x), len(x), 1)], 1) for x in v]
    found = scores((codes[0], codes[1]), v)
    assert found.disentanglement > 0.95
    assert found.completeness < 0.9
    assert disentanglement.mutual_information_gap(codes[1], v[1]) < 0.75


def test_the_gap_is_information_in_bits_of_the_factor() -> None:
    """A code that tells the first of two fair coins and is silent on the second: gaps 1 and 0."""
    v = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]]).repeat(100, 1)
    assert disentanglement.mutual_information_gap(v[:, :1], v) == pytest.approx(0.5)


def test_factors_that_stand_still_are_left_out_and_unknown_ones_are_found() -> None:
    v = torch.cat([factors(400), torch.ones(400, 1)], 1)
    assert disentanglement.mutual_information_gap(v[:, :3], v) == pytest.approx(1, abs=0.02)
    assert np.isnan(disentanglement.mutual_information_gap(noise(400, 0), v[:, 3:]))
    v[7, 1] = torch.nan
    assert 7 not in disentanglement.usable(v)
    assert len(disentanglement.usable(v)) == 399
