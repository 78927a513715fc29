"""How much the examples of a batch differ from each other, by Euclidean distance over all values."""

from __future__ import annotations

import torch
from torch import Tensor


def distances(x_NX: Tensor) -> Tensor:
    """Distances between all pairs, N×N, float32 at least; 0 on the diagonal, and exactly 0 between equal examples."""
    x_NX = x_NX.flatten(1)
    x_NX = x_NX if x_NX.dtype == torch.float64 else x_NX.float()
    return torch.cdist(x_NX, x_NX, compute_mode="donot_use_mm_for_euclid_dist")


def mean_distance(distances_NN: Tensor) -> Tensor:
    """Mean distance of two different examples, 0-dim; N is at least 2."""
    n = len(distances_NN)
    return distances_NN.sum() / (n * (n - 1))


def nearest(distances_NN: Tensor) -> Tensor:
    """Each example's distance to the one nearest to it, N; N is at least 2."""
    own = torch.eye(len(distances_NN), dtype=torch.bool, device=distances_NN.device)
    return distances_NN.masked_fill(own, torch.inf).amin(1)


def duplicates(distances_NN: Tensor, within: Tensor | float) -> Tensor:
    """Share of examples that have another one nearer than `within`, 0-dim."""
    return (nearest(distances_NN) < within).float().mean()
