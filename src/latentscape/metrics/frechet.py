"""The Fréchet distance between two sets of features: how far samples are from real examples, as Gaussians."""

from __future__ import annotations

import torch
from torch import Tensor


def distance(a_NF: Tensor, b_MF: Tensor) -> float:
    """‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2(Σ_a Σ_b)^½) of Gaussians fitted to two sets (Heusel et al. 2017, eq. 6).

    At least two rows each (`ValueError`); fewer rows than features are in order. Computed in float64. Finite sets bias
    it upwards, and the more the fewer they are: compare distances at equal counts only.
    """
    if len(a_NF) < 2 or len(b_MF) < 2:
        raise ValueError(f"a covariance needs at least two rows, got {len(a_NF)} and {len(b_MF)}")
    (mean_a, cov_a), (mean_b, cov_b) = _moments(a_NF), _moments(b_MF)
    # tr (Σ_a Σ_b)^½ = tr (R_a Σ_b R_a)^½ with R = Σ^½ symmetric, and that is the sum of the singular values of R_a R_b:
    # real, never negative, defined for singular covariances, and without the square root of a product that has
    # lost half of its digits.
    cross = torch.linalg.svdvals(_root(cov_a) @ _root(cov_b)).sum()
    gap = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return max(float(gap), 0.0)


def _moments(x_NF: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and unbiased covariance in float64."""
    x_NF = x_NF.double()
    mean_F = x_NF.mean(0)
    centred_NF = x_NF - mean_F
    return mean_F, centred_NF.T @ centred_NF / (len(x_NF) - 1)


def _root(cov_FF: Tensor) -> Tensor:
    """The symmetric square root of a covariance; eigenvalues that rounding made negative count as zero."""
    values_F, vectors_FF = torch.linalg.eigh(cov_FF)
    return (vectors_FF * values_F.clamp_min(0).sqrt()) @ vectors_FF.T
