"""Principal directions of a covariance, exact or by randomised subspace iteration."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def top_eigenpairs(covariance_DD: Tensor) -> tuple[Tensor, Tensor]:
    """All eigenvalues (D, falling) and eigenvectors (D×D, columns) of a symmetric matrix, signs fixed.

    A vector's entry of largest magnitude is made positive, so that the same data gives the same pictures.
    """
    values, vectors = torch.linalg.eigh(covariance_DD)
    return values.flip(0).clamp_min(0), fix_signs(vectors.flip(1))


def fix_signs(vectors_DK: Tensor) -> Tensor:
    """Flip each column so that its entry of largest magnitude is positive."""
    pivot = vectors_DK.gather(0, vectors_DK.abs().argmax(0, keepdim=True))
    return vectors_DK * torch.where(pivot < 0, -1.0, 1.0)


def randomised_eigenpairs(
    apply: Callable[[Tensor], Tensor], dim: int, rank: int, rng: torch.Generator, passes: int = 4
) -> tuple[Tensor, Tensor]:
    """Leading `rank` eigenpairs of a covariance that is only given as C·V (Halko et al. 2011, algorithm 4.4).

    `apply` maps D×R float64 to C·V, one pass over the data each. Returns values (rank, falling), vectors (D×rank).
    """
    width = min(dim, rank + 16)
    basis = torch.linalg.qr(torch.randn(dim, width, generator=rng, dtype=torch.float64)).Q
    for _ in range(passes):
        basis = torch.linalg.qr(apply(basis)).Q
    small = basis.T @ apply(basis)
    values, vectors = torch.linalg.eigh((small + small.T) / 2)
    return values.flip(0)[:rank].clamp_min(0), fix_signs((basis @ vectors.flip(1))[:, :rank])
