"""β-TCVAE: a VAE whose latent dimensions are pressed to be independent of each other, and nothing else.

Source: Chen, Li, Grosse & Duvenaud 2018 (https://arxiv.org/abs/1802.04942), eq. 4 with α = γ = 1: −log p(x|z) + mutual
information + β·total correlation + dimension-wise KL, in nats per image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from latentscape.config import setting
from latentscape.contract import Batch, Draws, Losses
from latentscape.models import vae
from latentscape.numerics import gaussian, total_correlation


@dataclass(frozen=True, kw_only=True)
class Config(vae.GaussianSettings):
    """Settings of the β-TCVAE."""

    latent_dim: int = setting(10, "size of the latent vector", at_least=1)
    tc_weight: float = setting(6.0, "β, weight of the total correlation; 1 is the VAE", at_least=0)
    reduction: Literal["mean", "sum"] = setting("sum", "the loss that is stepped: per value, or per example")


class Model(vae.Model):
    """The VAE with its KL taken apart."""

    Config = Config

    def notes(self) -> list[str]:
        """Where the estimate comes from."""
        return [
            f"total correlation weighs {self.config.tc_weight:g} times, in nats per image; it is estimated within each "
            "batch, so larger ones (--batch-size 256) see it better"
        ]

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """Reconstruction and the three parts of the KL, one posterior sample per image."""
        q = self.posterior(batch.x, batch.y)
        z_BL = gaussian.reparameterise(q.mean, q.log_var, draws["eps"])
        recon = self.likelihood.nll(self.decoded(z_BL, batch.y), batch.x).mean()
        information, correlation, spread = total_correlation.decompose(z_BL, q.mean, q.log_var)
        terms = {
            "recon_nats_per_image": recon,
            "kl_nats_per_image": gaussian.kl_to_standard(q.mean, q.log_var).sum(1).mean(),
            "mutual_information_nats": information,
            "total_correlation_nats": correlation,
            "dimension_kl_nats": spread,
        }
        return self.losses(recon + information + self.config.tc_weight * correlation + spread, terms)
