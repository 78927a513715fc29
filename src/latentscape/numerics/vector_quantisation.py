"""Vector quantisation: which entry of a codebook stands for a vector, how gradients pass, how evenly entries are used.

Source: van den Oord et al. 2017 (https://arxiv.org/abs/1711.00937), eq. 1 to 3.
"""

from __future__ import annotations

import torch
from torch import Tensor


def nearest(z_ND: Tensor, codebook_KD: Tensor) -> Tensor:
    """Index of the nearest entry of the codebook for each vector, N int64 (eq. 1); the lowest index where two tie."""
    # ‖z − e‖² = ‖z‖² − 2·z·e + ‖e‖², and ‖z‖² is the same for all entries.
    with torch.autocast(z_ND.device.type, enabled=False):  # in bf16 entries that are close to each other would tie
        return (codebook_KD.square().sum(1) - 2 * z_ND @ codebook_KD.T).argmin(1)


def straight_through(z: Tensor, quantised: Tensor) -> Tensor:
    """`quantised` in value; its gradient goes to `z` as if nothing had been quantised, and none to `quantised`."""
    return z + (quantised - z).detach()


def use(indices_N: Tensor, entries: int) -> Tensor:
    """How often each of the codebook's entries is taken, K float32."""
    counts_K = torch.zeros(entries, device=indices_N.device)
    return counts_K.scatter_add(0, indices_N, torch.ones_like(indices_N, dtype=torch.float32))


def perplexity(counts_K: Tensor) -> Tensor:
    """exp of the entropy of the entries' use, 0-dim: 1 if one entry does all the work, K if all do the same."""
    share_K = counts_K / counts_K.sum()
    return torch.special.entr(share_K).sum().exp()
