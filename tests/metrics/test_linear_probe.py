"""The linear probe: it reads what lies open, and no more."""

from __future__ import annotations

import math

import pytest
import torch

from latentscape.metrics.probe import linear_r2, probe_accuracy, standardised


@pytest.fixture
def z_NL() -> torch.Tensor:
    return torch.randn(400, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 100.0, 0.01, 3.0, 1.0])


def test_a_class_that_one_coordinate_tells_is_read_whatever_the_scales(z_NL: torch.Tensor) -> None:
    y = (z_NL[:, 2] > 0).long() + 2 * (z_NL[:, 1] > 0).long()
    assert probe_accuracy(z_NL[:300], y[:300], z_NL[300:], y[300:]) > 0.95


def test_a_class_without_a_trace_is_read_by_chance(z_NL: torch.Tensor) -> None:
    y = torch.randint(4, (400,), generator=torch.Generator().manual_seed(1))
    assert 0.1 < probe_accuracy(z_NL[:300], y[:300], z_NL[300:], y[300:]) < 0.42


def test_a_product_of_signs_is_not_linear(z_NL: torch.Tensor) -> None:
    y = (z_NL[:, 0] * z_NL[:, 3] > 0).long()
    assert probe_accuracy(z_NL[:300], y[:300], z_NL[300:], y[300:]) < 0.65


def test_a_single_class_and_dead_coordinates_are_no_trouble(z_NL: torch.Tensor) -> None:
    z_NL[:, 0] = 7.0
    y = torch.full((400,), 3)
    assert probe_accuracy(z_NL[:300], y[:300], z_NL[300:], torch.tensor([3] * 75 + [1] * 25)) == 0.75
    z_NL[300:, 0] = 1e9  # never seen to vary, so it says nothing
    a = z_NL[:, 3] + 2
    assert linear_r2(z_NL[:300], a[:300], z_NL[300:], a[300:]) == pytest.approx(1, abs=1e-4)


def test_r2_is_the_share_of_variance_that_is_linear(z_NL: torch.Tensor) -> None:
    noise = torch.randn(400, generator=torch.Generator().manual_seed(2))
    a = z_NL[:, 3] + 3 * noise  # half of the variance
    assert linear_r2(z_NL[:300], a[:300], z_NL[300:], a[300:]) == pytest.approx(0.5, abs=0.12)
    assert linear_r2(z_NL[:300], noise[:300], z_NL[300:], noise[300:]) < 0.1
    assert math.isnan(linear_r2(z_NL[:300], a[:300], z_NL[300:], torch.ones(100)))


def test_standardised_by_the_training_part_alone(z_NL: torch.Tensor) -> None:
    train, test = standardised(z_NL[:300], z_NL[300:] + 50)
    assert train.mean(0).abs().max() < 1e-9
    assert (train.std(0, correction=0) - 1).abs().max() < 1e-9
    assert test.mean(0)[0] > 40
