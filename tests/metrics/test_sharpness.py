"""Sharpness by hand, and the order of blurred, plain and noisy pictures."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from latentscape.metrics import sharpness


def test_it_is_the_variance_of_the_laplacian() -> None:
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 1, 1] = 1.0  # the four inner values: −4, 1, 1, 0
    mean = -2 / 4
    expected = sum((v - mean) ** 2 for v in (-4, 1, 1, 0)) / 4
    assert float(sharpness.laplacian_variance(x)) == pytest.approx(expected)
    assert float(sharpness.laplacian_variance(x.expand(1, 3, 4, 4))) == pytest.approx(expected)  # grey, three times
    slope = torch.linspace(0, 1, 8).expand(1, 1, 8, 8)
    assert float(sharpness.laplacian_variance(slope)) == pytest.approx(0, abs=1e-12)


def test_blur_lowers_it_noise_raises_it_and_values_outside_do_not_count() -> None:
    rng = torch.Generator().manual_seed(0)
    x = (F.avg_pool2d(torch.rand(20, 1, 18, 18, generator=rng), 3, 1) > 0.5).float()
    blurred = F.avg_pool2d(x, 3, 1, 1)
    noisy = x + 0.3 * torch.rand(x.shape, generator=rng) * (1 - 2 * x)
    found = [sharpness.laplacian_variance(y) for y in (blurred, x, noisy)]
    assert (found[0] < found[1]).all()
    assert float(found[2].mean()) != pytest.approx(float(found[1].mean()), rel=1e-3)
    torch.testing.assert_close(sharpness.laplacian_variance(3 * x - 1), found[1])


def test_vectors_and_slivers_have_none() -> None:
    assert sharpness.can_measure((3, 4, 9))
    assert not sharpness.can_measure((1, 3, 9))
    assert not sharpness.can_measure((5,))
