from __future__ import annotations

import math

import pytest
import torch

from latentscape.metrics import reconstruction as r


def images(n=3, c=1, h=16, w=16, seed=0):
    return torch.rand(n, c, h, w, generator=torch.Generator().manual_seed(seed))


def test_mse_is_a_mean_over_pixels_per_image_and_is_not_clipped():
    x = torch.zeros(2, 1, 2, 2)
    xhat = x.clone()
    xhat[0, 0, 0, 0], xhat[1] = 2.0, 0.5
    assert r.mse(x, xhat).tolist() == [1.0, 0.25]


def test_psnr_of_a_known_error_and_of_clipped_pixels():
    x = torch.zeros(2, 1, 4, 4)
    xhat = torch.full_like(x, 0.1)
    xhat[1] = -5.0  # clipped to 0: perfect
    assert r.psnr_db(x, xhat)[0].item() == pytest.approx(20.0, abs=1e-4)
    assert r.psnr_db(x, xhat)[1].item() == pytest.approx(100.0)


@pytest.mark.parametrize("size", [(3, 3), (5, 5), (8, 8), (7, 20), (28, 28)])
def test_ssim_is_one_for_equal_pictures_and_falls_with_noise_at_any_size(size):
    x = images(h=size[0], w=size[1])
    assert r.ssim(x, x).tolist() == pytest.approx([1.0] * 3, abs=1e-5)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    little, much = r.ssim(x, x + 0.05 * noise), r.ssim(x, x + 0.5 * noise)
    assert (little < 1).all()
    assert (much < little).all()


def test_ssim_agrees_with_the_formula_on_constant_pictures():
    a, b = 0.2, 0.6  # no variance: only the luminance term is left
    expected = (2 * a * b + 0.01**2) / (a * a + b * b + 0.01**2)
    got = r.ssim(torch.full((1, 1, 12, 12), a), torch.full((1, 1, 12, 12), b))
    assert got.item() == pytest.approx(expected, abs=1e-4)


def test_bce_is_the_entropy_at_a_perfect_grey_reconstruction():
    x = torch.tensor([[[[0.3, 0.3]]], [[[1.0, 0.0]]]])
    entropy = -(0.3 * math.log(0.3) + 0.7 * math.log(0.7))
    assert r.bce(x, x).tolist() == pytest.approx([entropy, 0.0], abs=1e-6)
    assert r.bce(x, torch.full_like(x, 0.5)).tolist() == pytest.approx([math.log(2)] * 2)
