"""The kernel distance between two sets of features: as the Fréchet distance, but unbiased at any count."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK, FEWEST_BLOCKS = 1_000, 10
"""Rows of each set that are compared at once; and how many blocks there are at least, for the interval's sake."""


def distances(a_NF: Tensor, b_NF: Tensor) -> Tensor:
    """The unbiased MMD² of each pair of disjoint blocks of two sets of equal size, float64; their mean is the KID.

    Kernel (xᵀy/F + 1)³ (Bińkowski et al. 2018, section 4). Blocks of up to `BLOCK` rows, fewer where that would leave
    less than `FEWEST_BLOCKS`, drawn without regard to the rows' order (seed 0); what is left over is not used.
    Disjoint blocks are independent, so that their scatter gives an interval. At least four rows each (`ValueError`). A
    value may be negative.
    """
    n = min(len(a_NF), len(b_NF))
    if n < 4:
        raise ValueError(f"two blocks need at least four rows, got {n}")
    size = max(2, min(BLOCK, n // FEWEST_BLOCKS))
    rng = torch.Generator().manual_seed(0)
    mixed = (x_NF[torch.randperm(len(x_NF), generator=rng)[:n]].double().split(size) for x_NF in (a_NF, b_NF))
    pairs = zip(*mixed, strict=True)
    return torch.stack([mmd2(a, b) for a, b in pairs if len(a) == size])


def mmd2(a_NF: Tensor, b_NF: Tensor) -> Tensor:
    """Unbiased MMD² of two sets of N rows under the cubic kernel, 0-dim (Gretton et al. 2012, eq. 3)."""
    n = len(a_NF)
    within = _kernel(a_NF, a_NF) + _kernel(b_NF, b_NF)
    return (within.sum() - within.diagonal().sum()) / (n * (n - 1)) - 2 * _kernel(a_NF, b_NF).mean()


def _kernel(a_NF: Tensor, b_MF: Tensor) -> Tensor:
    return (a_NF @ b_MF.T / a_NF.shape[1] + 1) ** 3
