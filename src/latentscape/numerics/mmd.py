"""Maximum mean discrepancy: how far two samples are apart, as seen by a kernel (Gretton et al. 2012)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Kernel = Callable[[Tensor], Tensor]
"""Squared distances → kernel values, same shape."""

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Kernels of several widths are added up, so that some is informative at every distance (Tolstikhin et al. 2018)."""


def inverse_multiquadratic(dims: int, scales: Sequence[float] = SCALES) -> Kernel:
    """Σ C/(C + d²) with C = scale·2·dims: heavy tails, for z ~ N(0, I) (Tolstikhin et al. 2018, section 4)."""
    return lambda squared: sum((2 * dims * s / (2 * dims * s + squared) for s in scales), torch.zeros_like(squared))


def radial_basis(dims: int, scales: Sequence[float] = SCALES) -> Kernel:
    """Σ exp(−d²/C) with C = scale·2·dims."""
    return lambda squared: sum(((-squared / (2 * dims * s)).exp() for s in scales), torch.zeros_like(squared))


def squared_distances(a_NL: Tensor, b_ML: Tensor) -> Tensor:
    """‖a − b‖² of all pairs, N×M, never negative and with finite gradients everywhere."""
    with torch.autocast(a_NL.device.type, enabled=False):  # a difference of large numbers: bf16 would leave nothing
        squared = a_NL.square().sum(1)[:, None] + b_ML.square().sum(1)[None] - 2 * a_NL @ b_ML.T
    return squared.clamp_min(0)


def mmd2(a_NL: Tensor, b_NL: Tensor, kernel: Kernel) -> Tensor:
    """Unbiased estimate of MMD² of two samples of equal size, 0-dim; may be negative (Gretton et al. 2012, eq. 4)."""
    n = len(a_NL)
    within = kernel(squared_distances(a_NL, a_NL)) + kernel(squared_distances(b_NL, b_NL))
    off_diagonal = within.sum() - within.diagonal().sum()
    return off_diagonal / (n * (n - 1)) - 2 * kernel(squared_distances(a_NL, b_NL)).mean()
