"""Toy adversarial autoencoder: three phases, two of which move the same encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentscape import contract
from latentscape.config import DataShape, Settings, setting
from latentscape.contract import Batch, Draws, Losses, Phase


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    latent_dim: int = setting(2, "size of the latent vector", at_least=1)


class Model(contract.Trained, contract.Reconstructs, contract.Samples):
    Config = Config

    def __init__(self, shape: DataShape, config: Config, classes: int = 0) -> None:
        super().__init__(shape, config, classes)
        self.latent_dim = config.latent_dim
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(shape.size, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, config.latent_dim)
        )
        self.decoder = nn.Sequential(nn.Linear(config.latent_dim, 8), nn.ReLU(), nn.Linear(8, shape.size))
        self.discriminator = nn.Sequential(nn.Linear(config.latent_dim, 8), nn.ReLU(), nn.Linear(8, 1))
        self.phases = (
            Phase("reconstruct", (self.encoder, self.decoder)),
            Phase("regularise", (self.encoder,), low_precision=False),
            Phase("discriminate", (self.discriminator,), low_precision=False),
        )

    def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> Draws:
        return {"prior": self.prior(len(batch.x), rng)} if phase == "discriminate" else {}

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        z_BL = self.encoder(batch.x)
        if phase == "reconstruct":
            mse = F.mse_loss(self.decode(z_BL), batch.x)
            return Losses(mse, {"recon_mse": mse})
        if phase == "regularise":
            fooled = F.softplus(-self.discriminator(z_BL)).mean()
            return Losses(fooled, {"fooled_nats": fooled})
        real, fake = self.discriminator(draws["prior"]), self.discriminator(z_BL.detach())
        told = F.softplus(-real).mean() + F.softplus(fake).mean()
        return Losses(told, {"told_nats": told})

    def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        return self.encoder(x_BX)

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        out = self.decoder(z_BL)
        return (torch.sigmoid(out) if self.shape.is_image else out).view(-1, *self.shape.dims)

    def prior(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.randn(n, self.latent_dim, generator=rng, device=rng.device)
