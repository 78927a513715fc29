"""Distributions over latents that were not trained with the model: what an autoencoder is sampled from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GaussianPrior:
    """N(mean, factor·factorᵀ); `factor` is L×L lower triangular."""

    mean_L: Tensor
    factor_LL: Tensor

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """n draws z_NL."""
        return self.mean_L + torch.randn(n, len(self.mean_L), generator=rng) @ self.factor_LL.T


def fit_gaussian(z_NL: Tensor, *, diagonal: bool = False) -> GaussianPrior:
    """Maximum-likelihood Gaussian of latents, full or diagonal; a small ridge keeps dead dimensions factorable."""
    z = z_NL.double()
    mean, centred = z.mean(0), z - z.mean(0)
    if diagonal:
        return GaussianPrior(mean.float(), centred.square().mean(0).sqrt().diag().float())
    covariance = centred.T @ centred / len(z)
    ridge = 1e-6 * covariance.diagonal().mean().clamp_min(1e-12)
    factor = torch.linalg.cholesky(covariance + ridge * torch.eye(len(mean), dtype=torch.float64))
    return GaussianPrior(mean.float(), factor.float())
