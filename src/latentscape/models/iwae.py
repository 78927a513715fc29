"""Importance-weighted autoencoder: a VAE trained on a tighter bound, from k posterior samples per image.

Source: Burda, Grosse & Salakhutdinov 2016 (https://arxiv.org/abs/1509.00519), eq. 8: the loss is
−log (1/k)·Σᵢ p(x|zᵢ)·p(zᵢ)/q(zᵢ|x) in nats per image; k = 1 is the VAE's bound, estimated by sampling throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from latentscape.config import setting
from latentscape.contract import Batch, Draws, Losses
from latentscape.models import vae
from latentscape.numerics import gaussian, importance


@dataclass(frozen=True, kw_only=True)
class Config(vae.GaussianSettings):
    """Settings of the IWAE."""

    samples: int = setting(5, "posterior samples k per image in training", at_least=1)
    reduction: Literal["mean", "sum"] = setting("sum", "the loss that is stepped: per value, or per example")


class Model(vae.Model):
    """x → k × z ~ q(z|x) → log-mean of importance weights."""

    Config = Config

    def notes(self) -> list[str]:
        """What a step costs."""
        return [f"every image is decoded {self.config.samples} times per step"]

    def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> Draws:
        """eps: k×B×L standard normal."""
        return {
            "eps": torch.randn(self.config.samples, len(batch.x), self.latent_dim, generator=rng, device=rng.device)
        }

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """Negative importance-weighted bound; the ELBO of the same samples is logged beside it."""
        log_w_KB = self.log_weights(batch, draws["eps"])
        bound, elbo = importance.bound(log_w_KB).mean(), log_w_KB.mean()
        return self.losses(-bound, {"bound_nats_per_image": -bound, "elbo_nats_per_image": -elbo})

    def log_weights(self, batch: Batch, eps_KBL: Tensor) -> Tensor:
        """log p(x|z) + log p(z) − log q(z|x) of each sample, k×B nats."""
        q = self.posterior(batch.x, batch.y)
        z_KBL = gaussian.reparameterise(q.mean, q.log_var, eps_KBL)
        k = len(eps_KBL)
        x_NX = batch.x.repeat(k, *[1] * (batch.x.dim() - 1))
        y_N = batch.y.repeat(k) if batch.y is not None else None
        recon_KB = self.log_likelihood(x_NX, z_KBL.flatten(0, 1), y_N).view(k, -1)
        inside_KB = gaussian.log_prob(z_KBL, torch.zeros_like(z_KBL)).sum(2)
        return recon_KB + inside_KB - gaussian.log_prob(z_KBL, q.mean, q.log_var).sum(2)
