"""Sparse autoencoder: a code with more units than are active for any one example.

Sources: Ng 2011 (lecture notes CS294A) for the Bernoulli KL, Olshausen & Field 1996 for the L1 penalty. The code z is
real; a(z) = 2·(sigmoid(|z|) − ½) in [0, 1) says how active a unit is. Penalties on z itself (z-l1, z-l2, z-elastic)
only rescale the latent space, since the decoder undoes the scale: they are there to be seen failing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from latentscape.config import setting
from latentscape.contract import Batch, Draws, Losses
from latentscape.models import autoencoder
from latentscape.numerics import sparsity

WEIGHTS = {"l1": 0.01, "kl-unit": 1.0, "kl-example": 0.01, "z-l1": 0.01, "z-l2": 0.01, "z-elastic": 0.01}
"""Weight of each penalty beside a mean over values, where the settings name none."""


@dataclass(frozen=True, kw_only=True)
class Config(autoencoder.Config):
    """Settings of the sparse autoencoder."""

    latent_dim: int = setting(900, "units of the code; more than the data needs", at_least=1)
    penalty: Literal["l1", "kl-unit", "kl-example", "z-l1", "z-l2", "z-elastic"] = setting(
        "l1",
        "mean activation; KL of ρ to a unit's mean over the batch, or an example's mean over units; or norms of z",
    )
    penalty_weight: float | None = setting(None, "beside a mean over values; unset: 0.01, kl-unit: 1", at_least=0)
    rho: float = setting(0.1, "kl: the mean activation that is asked for", above=0, below=1)
    elastic_mix: float = setting(0.5, "z-elastic: share of L1, the rest L2", at_least=0, at_most=1)


class Model(autoencoder.Model):
    """x → z → x̂ with a penalty on how active z is."""

    Config = Config

    @property
    def weight(self) -> float:
        """Of the penalty, beside a reconstruction loss averaged over values."""
        given = self.config.penalty_weight
        return WEIGHTS[self.config.penalty] if given is None else given

    def notes(self) -> list[str]:
        """The penalty's weight in nats per image, converted in the open."""
        nats = self.weight * self.shape.size
        return [
            f"penalty {self.config.penalty} with weight {self.weight:g} beside a mean over {self.shape.size:,} values, "
            f"which is {nats:.4g} beside a sum over them"
        ]

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """Reconstruction, mean over values, plus the weighted penalty."""
        z_BL = self.encoder(batch.x).float()
        recon = self.reconstruction(self.decoder(z_BL), batch.x)
        a_BL = sparsity.activation(z_BL)
        penalty = self.penalty(z_BL, a_BL)
        return Losses(
            recon.total + self.weight * penalty,
            recon.terms | {"penalty": penalty, "mean_activation": a_BL.mean()},
        )

    def penalty(self, z_BL: Tensor, a_BL: Tensor) -> Tensor:
        """The penalty of a batch, 0-dim, unweighted."""
        kind, rho = self.config.penalty, self.config.rho
        if kind == "l1":
            return a_BL.mean()
        if kind == "kl-unit":
            return sparsity.bernoulli_kl(rho, a_BL.mean(0)).mean()
        if kind == "kl-example":
            return sparsity.bernoulli_kl(rho, a_BL.mean(1)).sum()
        share = {"z-l1": 1.0, "z-l2": 0.0, "z-elastic": self.config.elastic_mix}[kind]
        return share * z_BL.abs().mean() + (1 - share) * z_BL.square().mean()

    def activations(self, z_BL: Tensor) -> Tensor:
        """How active each unit of a code is, B×L in [0, 1)."""
        return sparsity.activation(z_BL)
