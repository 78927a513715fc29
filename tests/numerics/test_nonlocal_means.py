"""Non-local means against its formula written as loops, and on pictures where the answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from latentscape.numerics import nonlocal_means


def by_loops(x_CHW, sigma, h, reach):
    """The formula for patches of one pixel, whose distance needs no edge."""
    out = torch.zeros_like(x_CHW)
    height, width = x_CHW.shape[1:]
    for r in range(height):
        for c in range(width):
            weight, values = [], []
            for r2 in range(max(0, r - reach), min(height, r + reach + 1)):
                for c2 in range(max(0, c - reach), min(width, c + reach + 1)):
                    if (r, c) != (r2, c2):
                        d = float((x_CHW[:, r, c] - x_CHW[:, r2, c2]).square().mean())
                        weight.append(math.exp(-max(d - 2 * sigma**2, 0) / h**2))
                        values.append(x_CHW[:, r2, c2])
            weight.append(max(weight))
            values.append(x_CHW[:, r, c])
            out[:, r, c] = sum(w * v for w, v in zip(weight, values, strict=True)) / sum(weight)
    return out


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_the_formula(channels):
    x = torch.rand(2, channels, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = nonlocal_means.denoise(x, 0.1, 0.3, patch=1, reach=2)
    torch.testing.assert_close(found, torch.stack([by_loops(image, 0.1, 0.3, 2) for image in x]))


def test_a_patch_is_judged_by_its_surroundings():
    """Two stripes of one brightness, one among dark neighbours and one among bright ones, are told apart."""
    x = torch.zeros(1, 1, 12, 20)
    x[..., 10:] = 1
    x[..., 4], x[..., 15] = 0.5, 0.5
    noisy = x + 0.02 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    found = nonlocal_means.denoise(noisy, 0.02, 0.05, patch=3, reach=19)
    assert float((found - x)[..., 4].abs().max()) < 0.02
    assert float((found - x).square().mean()) < 0.1 * float((noisy - x).square().mean())


def test_edges_stay_where_a_blur_would_smear_them():
    x = torch.zeros(1, 1, 16, 16)
    x[..., 8:] = 1
    noisy = x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    found = nonlocal_means.denoise(noisy, 0.1, 0.1, patch=3, reach=5)
    blurred = torch.nn.functional.avg_pool2d(noisy, 3, 1, 1, count_include_pad=False)
    assert float((found - x).square().mean()) < 0.25 * float((blurred - x).square().mean())


def test_weights_end_at_the_extremes():
    x = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(nonlocal_means.denoise(x, 0.0, 1e-4), x)  # nothing is like anything
    torch.testing.assert_close(
        nonlocal_means.denoise(x, 0.0, 1e4, reach=9), x.mean().expand_as(x), atol=1e-5, rtol=0
    )  # everything is
    one = torch.rand(2, 3, 1, 5, generator=torch.Generator().manual_seed(4))
    assert nonlocal_means.denoise(one, 0.1, 0.2, patch=7).shape == one.shape


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="patch must be odd"):
        nonlocal_means.denoise(torch.zeros(1, 1, 4, 4), 0.1, 0.1, patch=2)
