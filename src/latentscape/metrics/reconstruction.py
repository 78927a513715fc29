"""How close reconstructions are to their originals."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

_C1, _C2 = 0.01**2, 0.03**2


def mse(x_BX: Tensor, xhat_BX: Tensor) -> Tensor:
    """Mean squared error per image, B; not clipped."""
    return (x_BX - xhat_BX).square().flatten(1).mean(1)


def psnr_db(x_BCHW: Tensor, xhat_BCHW: Tensor) -> Tensor:
    """Peak signal-to-noise ratio per image in dB, B: −10·log10(MSE) of pictures clipped to [0, 1].

    A perfect reconstruction is reported as 100 dB rather than as infinity, so that means stay finite.
    """
    error = mse(x_BCHW, xhat_BCHW.clamp(0, 1))
    return -10 * torch.log10(error.clamp_min(1e-10))


def ssim(x_BCHW: Tensor, xhat_BCHW: Tensor) -> Tensor:
    """Structural similarity per image, B, in [−1, 1] (Wang et al. 2004: 11×11 Gaussian window of σ = 1.5).

    On pictures smaller than the window the window shrinks to the largest odd size that fits.
    """
    height, width = x_BCHW.shape[2:]
    side = min(height, width)
    taps = min(11, side if side % 2 else side - 1)
    down_HH, across_WW = (_blur(size, taps).to(x_BCHW.device) for size in (height, width))
    x, y = x_BCHW, xhat_BCHW.clamp(0, 1)

    def smooth(z_BCHW: Tensor) -> Tensor:
        return down_HH @ z_BCHW @ across_WW.T

    mean_x, mean_y = smooth(x), smooth(y)
    var_x, var_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
    cov = smooth(x * y) - mean_x * mean_y
    like = (2 * mean_x * mean_y + _C1) * (2 * cov + _C2) / ((mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2))
    return like.flatten(1).mean(1)


@functools.lru_cache(maxsize=16)
def _blur(size: int, taps: int) -> Tensor:
    """size×size: Gaussian weights of `taps` round every place, the line reflected at its ends; 11 taps are σ = 1.5."""
    at = torch.arange(taps).double() - taps // 2
    weight = torch.exp(-0.5 * (at / (1.5 * taps / 11)) ** 2)
    weight, matrix = weight / weight.sum(), torch.zeros(size, size, dtype=torch.float64)
    for place in range(size):
        for tap, share in zip(range(place - taps // 2, place + taps // 2 + 1), weight.tolist(), strict=True):
            inside = -tap if tap < 0 else 2 * (size - 1) - tap if tap >= size else tap
            matrix[place, inside] += share
    return matrix.float()


def bce(x_BX: Tensor, xhat_BX: Tensor) -> Tensor:
    """Cross-entropy of grey pixels under a Bernoulli reconstruction, mean over pixels, per image, B."""
    return F.binary_cross_entropy(xhat_BX.clamp(0, 1), x_BX.clamp(0, 1), reduction="none").flatten(1).mean(1)
