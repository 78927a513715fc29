"""Precision and recall of samples: are they among the real examples, and is everything real among them?"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

NEIGHBOURS = 3
"""A set's region is the union of balls round its points that reach to their third neighbour (Kynkäänniemi et al.)."""

BLOCK_BYTES = 64 << 20
"""Distances held at once; 10,000 × 10,000 of them would be 800 MB."""


def radii(x_NF: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """N float64: each point's distance to its k-th nearest other point. Needs more than k points (`ValueError`)."""
    if len(x_NF) <= k:
        raise ValueError(f"the {k}-th neighbour needs more than {k} points, got {len(x_NF)}")
    # Each point is its own nearest, at distance 0.
    return torch.cat([d_bN.topk(k + 1, dim=1, largest=False).values[:, k] for _, d_bN in _blocks(x_NF, x_NF)])


def precision_recall(real_NF: Tensor, fake_MF: Tensor, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019, eq. 1 and 2), both in [0, 1].

    Precision: share of fakes no farther from some real point than that point's k-th real neighbour. Recall: the same
    with the sets exchanged. Euclidean distances, exact, in float64. Both depend on the counts: compare at equal ones.
    """
    reach_N, reach_M = radii(real_NF, k), radii(fake_MF, k)
    precise, recalled = 0, torch.zeros(len(real_NF), dtype=torch.bool, device=real_NF.device)
    for start, d_bN in _blocks(fake_MF, real_NF):
        precise += int((d_bN <= reach_N).any(1).sum())
        recalled |= (d_bN <= reach_M[start : start + len(d_bN), None]).any(0)
    return precise / len(fake_MF), float(recalled.double().mean())


def _blocks(a_NF: Tensor, b_MF: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Distances of a block of rows of a to all of b, with the block's start.

    Differences are squared and summed one by one: through a matrix product, equal points would come out unequal.
    """
    a_NF, b_MF = a_NF.double(), b_MF.double()
    rows = max(1, BLOCK_BYTES // (8 * len(b_MF)))
    for start in range(0, len(a_NF), rows):
        yield start, torch.cdist(a_NF[start : start + rows], b_MF, compute_mode="donot_use_mm_for_euclid_dist")
