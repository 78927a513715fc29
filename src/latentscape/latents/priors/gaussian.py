"""One Gaussian, diagonal or full."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from latentscape.latents.priors.base import Density


@dataclass(frozen=True)
class GaussianPrior(Density):
    """N(mean, factor·factorᵀ); `factor` is L×L lower triangular with a positive diagonal."""

    kind: ClassVar[str] = "full"
    mean_L: Tensor
    factor_LL: Tensor
    figures: dict[str, Any] = field(default_factory=dict)

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """n draws z_NL."""
        return self.mean_L + torch.randn(n, len(self.mean_L), generator=rng) @ self.factor_LL.T

    def log_prob(self, z_NL: Tensor) -> Tensor:
        """log N(z; mean, factor·factorᵀ), N."""
        factor = self.factor_LL.double()
        centred = z_NL.double() - self.mean_L.double()
        u_LN = torch.linalg.solve_triangular(factor, centred.T, upper=False)
        norm = factor.diagonal().log().sum() + 0.5 * len(factor) * math.log(2 * math.pi)
        return (-0.5 * u_LN.square().sum(0) - norm).float()

    def packed(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Prior`."""
        return {"mean": self.mean_L, "factor": self.factor_LL}, {"figures": self.figures}

    @classmethod
    def unpacked(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> GaussianPrior:
        """See `Prior`."""
        return cls(tensors["mean"], tensors["factor"], dict(settings["figures"]))


class DiagonalPrior(GaussianPrior):
    """N(mean, diag(σ²))."""

    kind: ClassVar[str] = "diagonal"


def fit_gaussian(z_NL: Tensor, *, diagonal: bool = False) -> GaussianPrior:
    """Maximum-likelihood Gaussian of latents, full or diagonal; a small ridge keeps dead dimensions factorable."""
    z = z_NL.double()
    mean, centred = z.mean(0), z - z.mean(0)
    variance = centred.square().mean(0)
    ridge = 1e-6 * variance.mean().clamp_min(1e-12)
    if diagonal:
        return DiagonalPrior(mean.float(), variance.clamp_min(ridge).sqrt().diag().float())
    covariance = centred.T @ centred / len(z)
    factor = torch.linalg.cholesky(covariance + ridge * torch.eye(len(mean), dtype=torch.float64))
    return GaussianPrior(mean.float(), factor.float())
