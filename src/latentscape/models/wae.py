"""Wasserstein autoencoder (MMD): codes of the whole set follow the prior, while each code stays deterministic.

Source: Tolstikhin, Bousquet, Gelly & Schölkopf 2018 (https://arxiv.org/abs/1711.01558), algorithm 2: reconstruction +
λ·MMD²(codes, draws of N(0, I)). A VAE presses every posterior towards the prior; this presses their average only, so
codes of different images need not overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from latentscape import contract
from latentscape.config import setting
from latentscape.contract import Batch, Draws, Losses
from latentscape.models import autoencoder
from latentscape.numerics import mmd


@dataclass(frozen=True, kw_only=True)
class Config(autoencoder.Config):
    """Settings of the WAE."""

    latent_dim: int = setting(8, "size of the latent vector", at_least=1)
    mmd_weight: float = setting(10.0, "λ beside a reconstruction loss summed over an example's values", at_least=0)
    kernel: Literal["imq", "rbf"] = setting("imq", "inverse multiquadratic, or Gaussian; seven widths each, added up")


class Model(autoencoder.Model, contract.Samples):
    """x → z → x̂; a batch of z is compared with a batch of prior draws."""

    Config = Config

    def notes(self) -> list[str]:
        """The weight in both units."""
        weight, size = self.config.mmd_weight, self.shape.size
        return [
            f"λ = {weight:g} beside a sum over an example's values, {weight / size:.4g} beside a mean over {size:,}; "
            "the estimate compares batches, so larger ones (--batch-size 256) see the distribution better"
        ]

    def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> Draws:
        """prior: B×L standard normal."""
        return {"prior": self.prior(len(batch.x), rng)}

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """Reconstruction, mean over values, plus λ·MMD² in the same unit."""
        z_BL = self.encoder(batch.x).float()
        recon = self.reconstruction(self.decoder(z_BL), batch.x)
        make = mmd.inverse_multiquadratic if self.config.kernel == "imq" else mmd.radial_basis
        distance = mmd.mmd2(z_BL, draws["prior"], make(self.latent_dim))
        return Losses(
            recon.total + self.config.mmd_weight / self.shape.size * distance, recon.terms | {"mmd2": distance}
        )

    def prior(self, n: int, rng: torch.Generator) -> Tensor:
        """N(0, I), z_NL."""
        return torch.randn(n, self.latent_dim, generator=rng, device=rng.device)
