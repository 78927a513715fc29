"""Non-local means: each pixel becomes the mean of the pixels whose surroundings look like its own.

Source: Buades, Coll & Morel 2005 ("A non-local algorithm for image denoising", CVPR), with the noise's part of the
distances subtracted as in the same authors' 2011 paper (Image Processing On Line 1, section 3).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def denoise(x_BCHW: Tensor, sigma: float, h: float, patch: int = 3, reach: int = 5) -> Tensor:
    """x̂ at i: Σ_j w_ij·x_j / Σ_j w_ij over the pixels j at most `reach` away on each axis, B×C×H×W.

    w_ij = exp(−max(d_ij − 2σ², 0) / h²), d_ij the mean squared difference of the patch×patch squares round i and j
    over all channels. A pixel counts as much as the likest other one, as in the paper. sigma: the noise's standard
    deviation, h: how unlike a patch may be, both in the units of `x_BCHW`. patch: odd. Beyond the edges the picture is
    mirrored for patches; no pixel j is taken from there.
    """
    if patch % 2 == 0 or patch < 1 or reach < 1 or h <= 0:
        raise ValueError(f"patch must be odd, reach at least 1 and h above 0; got {patch}, {reach}, {h}")
    height, width = x_BCHW.shape[2:]
    reach_y, reach_x, rim = min(reach, height - 1), min(reach, width - 1), patch // 2
    total, weights = torch.zeros_like(x_BCHW), torch.zeros_like(x_BCHW[:, :1])
    most = torch.full_like(weights, 1e-12)  # where nothing else is like it, a pixel keeps its own value
    for dy in range(-reach_y, reach_y + 1):
        for dx in range(-reach_x, reach_x + 1):
            if dy == dx == 0:
                continue
            here, there = _overlap(dy, height), _overlap(-dy, height)
            left, right = _overlap(dx, width), _overlap(-dx, width)
            mine, other = x_BCHW[:, :, here, left], x_BCHW[:, :, there, right]
            weight = torch.exp(-(_patch_means(mine, other, rim) - 2 * sigma**2).clamp_min(0) / h**2)
            total[:, :, here, left] += weight * other
            weights[:, :, here, left] += weight
            most[:, :, here, left] = torch.maximum(most[:, :, here, left], weight)
    return (total + most * x_BCHW) / (weights + most)


def _overlap(shift: int, size: int) -> slice:
    """Where on an axis a picture and the same one moved by `shift` both have pixels."""
    return slice(max(-shift, 0), size - max(shift, 0))


def _patch_means(a_BCHW: Tensor, b_BCHW: Tensor, rim: int) -> Tensor:
    """Mean squared difference of the squares round each pixel, B×1×H×W."""
    gap = (a_BCHW - b_BCHW).square().mean(1, keepdim=True)
    if not rim:
        return gap
    rim_y, rim_x = min(rim, gap.shape[2] - 1), min(rim, gap.shape[3] - 1)
    gap = F.pad(gap, (rim_x, rim_x, rim_y, rim_y), mode="reflect")
    return F.avg_pool2d(gap, (2 * rim_y + 1, 2 * rim_x + 1), stride=1)
