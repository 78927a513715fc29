"""The Fréchet distance between two sets of features: how far samples are from real examples, as Gaussians."""

from __future__ import annotations

import torch
from torch import Tensor

Moments = tuple[Tensor, Tensor]
"""Mean, F, and covariance, F×F."""

RESAMPLES, WIDE, WIDE_RESAMPLES = 50, 512, 10
"""Bootstrap draws of the deviation, and how many where there are more than so many features."""


def distance(a_NF: Tensor, b_MF: Tensor) -> float:
    """‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2(Σ_a Σ_b)^½) of Gaussians fitted to two sets (Heusel et al. 2017, eq. 6).

    At least two rows each (`ValueError`); fewer rows than features are in order. Computed in float64. Finite sets bias
    it upwards, and the more the fewer they are: compare distances at equal counts only.
    """
    if len(a_NF) < 2 or len(b_MF) < 2:
        raise ValueError(f"a covariance needs at least two rows, got {len(a_NF)} and {len(b_MF)}")
    return _between(_moments(a_NF.double()), _moments(b_MF.double()))


def deviation(a_NF: Tensor, b_MF: Tensor, seed: int = 0) -> float:
    """Bootstrap standard deviation of `distance` over draws of both sets.

    A draw's own distance is biased upwards as the estimate is, only more; its scatter is what is wanted, so that an
    interval is the estimate ± 1.96 deviations and not the quantiles of the draws. Products are float32.
    """
    center_F = b_MF.double().mean(0)
    a, b = ((x_NF.double() - center_F).float() for x_NF in (a_NF, b_MF))
    rng, found = torch.Generator().manual_seed(seed), []
    for _ in range(resamples(a.shape[1])):
        drawn = (x_NF[torch.randint(len(x_NF), (len(x_NF),), generator=rng)] for x_NF in (a, b))
        found.append(_between(*(_moments(x_NF) for x_NF in drawn)))
    return float(torch.tensor(found, dtype=torch.float64).std())


def resamples(features: int) -> int:
    """How many draws `deviation` makes: a draw costs three decompositions of F×F."""
    return RESAMPLES if features <= WIDE else WIDE_RESAMPLES


def _between(a: Moments, b: Moments) -> float:
    (mean_a, cov_a), (mean_b, cov_b) = a, b
    # tr (Σ_a Σ_b)^½ = tr (R_a Σ_b R_a)^½ with R = Σ^½ symmetric, and that is the sum of the singular values of R_a R_b:
    # real, never negative, defined for singular covariances, and without the square root of a product that has
    # lost half of its digits.
    cross = torch.linalg.svdvals(_root(cov_a) @ _root(cov_b)).sum()
    gap = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return max(float(gap), 0.0)


def _moments(x_NF: Tensor) -> Moments:
    """Mean and unbiased covariance, summed in the type of `x_NF`, as float64."""
    mean_F = x_NF.mean(0)
    centred_NF = x_NF - mean_F
    return mean_F.double(), (centred_NF.T @ centred_NF).double() / (len(x_NF) - 1)


def _root(cov_FF: Tensor) -> Tensor:
    """The symmetric square root of a covariance; eigenvalues that rounding made negative count as zero."""
    values_F, vectors_FF = torch.linalg.eigh(cov_FF)
    return (vectors_FF * values_F.clamp_min(0).sqrt()) @ vectors_FF.T
