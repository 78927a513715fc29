"""How close reconstructions are to their originals."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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
    from torchmetrics.functional.image import structural_similarity_index_measure

    side = min(x_BCHW.shape[2:])
    kernel = min(11, side if side % 2 else side - 1)
    # The Gaussian's own width sets the window in torchmetrics: 11 taps are σ = 1.5.
    return structural_similarity_index_measure(
        xhat_BCHW.clamp(0, 1), x_BCHW, sigma=1.5 * max(kernel, 1) / 11, data_range=1.0, reduction="none"
    )  # type: ignore[return-value]


def bce(x_BX: Tensor, xhat_BX: Tensor) -> Tensor:
    """Cross-entropy of grey pixels under a Bernoulli reconstruction, mean over pixels, per image, B."""
    return F.binary_cross_entropy(xhat_BX.clamp(0, 1), x_BX.clamp(0, 1), reduction="none").flatten(1).mean(1)
