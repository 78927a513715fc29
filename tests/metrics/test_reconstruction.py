"""Pixel metrics on values worked out by hand, and SSIM against its definition."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from latentscape.metrics import reconstruction


def pictures(n: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(seed))


def test_mse_is_the_mean_over_values_of_each_image_unclipped() -> None:
    x = torch.zeros(2, 1, 2, 2)
    xhat = x.clone()
    xhat[0, 0, 0, 0], xhat[1] = 0.4, -3.0
    torch.testing.assert_close(reconstruction.mse(x, xhat), torch.tensor([0.04, 9.0]))
    assert reconstruction.mse(torch.zeros(3, 5), torch.ones(3, 5)).tolist() == [1, 1, 1]


def test_psnr_is_that_of_pictures_clipped_to_the_unit_range() -> None:
    x = torch.full((3, 1, 2, 2), 0.5)
    xhat = x.clone()
    xhat[0] += 0.1
    xhat[1] += 5.0  # clipped to 1: an error of 0.5
    found = reconstruction.psnr_db(x, xhat)
    torch.testing.assert_close(found, torch.tensor([20.0, 20 * math.log10(2), 100.0]))


def test_bce_is_the_mean_cross_entropy_of_grey_pixels() -> None:
    x = torch.tensor([[[[1.0, 0.0]]], [[[0.5, 0.5]]]])
    xhat = torch.tensor([[[[0.8, 0.4]]], [[[0.5, 0.25]]]])
    expected = [-(math.log(0.8) + math.log(0.6)) / 2, (math.log(2) - (math.log(0.25) + math.log(0.75)) / 2) / 2]
    torch.testing.assert_close(reconstruction.bce(x, xhat), torch.tensor(expected))
    outside = torch.tensor([[[[1.7, -0.3]]]])  # a linear decoder may leave the range
    assert reconstruction.bce(x[:1], outside).tolist() == [0.0]


def ssim_by_definition(x_HW: Tensor, y_HW: Tensor, window: int) -> float:
    """Wang et al. 2004, eq. 13, with a Gaussian window round every pixel, the picture reflected at its borders."""
    sigma = 1.5 * window / 11
    taps = torch.exp(-((torch.arange(window).double() - window // 2) ** 2) / (2 * sigma**2))
    weight = (taps[:, None] * taps / taps.sum() ** 2).flatten()
    values = []
    height, width = x_HW.shape
    around = [window // 2] * 4
    x_HW, y_HW = (F.pad(t[None, None].double(), around, mode="reflect")[0, 0] for t in (x_HW, y_HW))
    for i in range(height):
        for j in range(width):
            a, b = (t[i : i + window, j : j + window].flatten() for t in (x_HW, y_HW))
            ma, mb = weight @ a, weight @ b
            va, vb, cov = weight @ a**2 - ma**2, weight @ b**2 - mb**2, weight @ (a * b) - ma * mb
            c1, c2 = 0.01**2, 0.03**2
            values.append(((2 * ma * mb + c1) * (2 * cov + c2)) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
    return float(torch.stack(values).mean())


@pytest.mark.parametrize(("height", "width", "window"), [(16, 13, 11), (11, 14, 11), (8, 8, 7), (5, 5, 5), (9, 6, 5)])
def test_ssim_is_that_of_its_definition(height: int, width: int, window: int) -> None:
    x = pictures(3, 1, height, width)
    xhat = (x + 0.2 * pictures(3, 1, height, width, seed=1) - 0.1).clamp(0, 1)
    expected = [ssim_by_definition(x[i, 0], xhat[i, 0], window) for i in range(3)]
    torch.testing.assert_close(reconstruction.ssim(x, xhat), torch.tensor(expected), atol=2e-4, rtol=0)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 48), (1, 8, 8), (1, 5, 5), (3, 3, 3), (2, 4, 30)])
def test_ssim_of_a_picture_with_itself_is_one_and_less_with_another(shape: tuple[int, int, int]) -> None:
    x = pictures(4, *shape)
    torch.testing.assert_close(reconstruction.ssim(x, x), torch.ones(4))
    other = reconstruction.ssim(x, x.flip(0))
    assert other.shape == (4,)
    assert (other < 0.9).all()
    assert (other >= -1).all()


def test_ssim_is_per_image_and_clips_only_the_reconstruction() -> None:
    x = pictures(3, 1, 12, 12)
    noisy = x.clone()
    noisy[1] = pictures(1, 1, 12, 12, seed=7)
    found = reconstruction.ssim(x, noisy)
    torch.testing.assert_close(found[[0, 2]], torch.ones(2))
    assert found[1] < 0.5
    white = torch.ones(1, 1, 12, 12)
    torch.testing.assert_close(reconstruction.ssim(white, white + 3), torch.ones(1))
