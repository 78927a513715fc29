"""FactorVAE: a VAE whose latent dimensions are pressed to be independent, as judged by a discriminator.

Source: Kim & Mnih 2018 (https://arxiv.org/abs/1802.05983), algorithm 2: −ELBO + γ·TC, in nats per image. The
discriminator tells samples of q(z) from the same with each dimension shuffled by itself; its logit is the log of the
density ratio, and that logit's mean is the total correlation.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from latentscape.config import DataShape, setting
from latentscape.contract import Batch, Draws, Losses, Phase
from latentscape.models import vae
from latentscape.numerics import gaussian, total_correlation


@dataclass(frozen=True, kw_only=True)
class Config(vae.GaussianSettings):
    """Settings of the FactorVAE."""

    latent_dim: int = setting(10, "size of the latent vector", at_least=1)
    tc_weight: float = setting(10.0, "γ, weight of the total correlation", at_least=0)
    discriminator_hidden: tuple[int, ...] = setting((256, 256, 256), "hidden layer sizes", at_least=1)
    reduction: Literal["mean", "sum"] = setting("sum", "the loss that is stepped: per value, or per example")


class Model(vae.Model):
    """The VAE, and a discriminator of joint against shuffled latents."""

    Config = Config

    def __init__(self, shape: DataShape, config: Config, classes: int = 0) -> None:
        super().__init__(shape, config, classes)
        sizes = (self.latent_dim, *config.discriminator_hidden)
        layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.LeakyReLU(0.2))]
        self.discriminator = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))
        self.phases = (
            Phase("elbo", (self.encoder, self.decoder, self.likelihood), low_precision=False),
            Phase("discriminate", (self.discriminator,), low_precision=False),
        )

    def notes(self) -> list[str]:
        """The weight and its unit."""
        return [f"total correlation weighs {self.config.tc_weight:g} beside the ELBO, in nats per image"]

    def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> Draws:
        """shared: eps, B×L standard normal; discriminate: order, U[0, 1) B×L, whose ranks shuffle each dimension."""
        size = (len(batch.x), self.latent_dim)
        if phase == "shared":
            return {"eps": torch.randn(size, generator=rng, device=rng.device)}
        return {"order": torch.rand(size, generator=rng, device=rng.device)} if phase == "discriminate" else {}

    def shared(self, batch: Batch, draws: Draws) -> Draws:
        """Posterior and one sample of it: mean, log_var and z, B×L each."""
        q = self.posterior(batch.x, batch.y)
        z_BL = gaussian.reparameterise(q.mean, q.log_var, draws["eps"])
        return {"mean": q.mean, "log_var": q.log_var, "z": z_BL}

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """Weighted ELBO and total correlation; or the discriminator's cross-entropy."""
        if phase == "discriminate":
            z_BL = draws["z"].detach()
            shuffled_BL = total_correlation.permute_dimensions(z_BL, draws["order"])
            joint_B, apart_B = self.discriminator(z_BL)[:, 0], self.discriminator(shuffled_BL)[:, 0]
            loss = 0.5 * (F.softplus(-joint_B).mean() + F.softplus(apart_B).mean())
            right = 0.5 * ((joint_B > 0).float().mean() + (apart_B < 0).float().mean())
            return Losses(loss, {"cross_entropy_nats": loss, "accuracy": right})
        recon = self.likelihood.nll(self.decoded(draws["z"], batch.y), batch.x).mean()
        kl = gaussian.kl_to_standard(draws["mean"], draws["log_var"]).sum(1).mean()
        correlation = self.discriminator(draws["z"]).mean()
        terms = {"recon_nats_per_image": recon, "kl_nats_per_image": kl, "total_correlation_nats": correlation}
        return self.losses(recon + kl + self.config.tc_weight * correlation, terms)
