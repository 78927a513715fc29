"""Autoencoder: an encoder and a decoder trained to give back their input.

Source: Hinton & Salakhutdinov 2006. Images get the convolutional net and the cross-entropy by default, vectors the
MLP and the squared error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from latentscape import contract
from latentscape.config import DataShape, setting
from latentscape.contract import Batch, Draws, Losses, Phase
from latentscape.nets import build
from latentscape.numerics import likelihood


@dataclass(frozen=True, kw_only=True)
class Config(build.NetSettings):
    """Settings of the autoencoder."""

    latent_dim: int = setting(24, "size of the latent vector", at_least=1)
    loss: Literal["auto", "bce", "mse"] = setting("auto", "auto: mse with mlp and on vectors, else bce")


class Model(contract.Trained, contract.Reconstructs):
    """x → z → x̂; bce puts a sigmoid behind the decoder, mse leaves its output linear."""

    Config = Config

    def __init__(self, shape: DataShape, config: Config, classes: int = 0) -> None:
        super().__init__(shape, config, classes)
        self.latent_dim = config.latent_dim
        mlp = build.kind(shape, config) == "mlp"
        self.loss = config.loss if config.loss != "auto" else ("mse" if mlp else "bce")
        likelihood.check_pixels(self.loss == "bce", shape.is_image)
        self.encoder, self.decoder = self.nets()
        self.phases = (Phase("reconstruct", (self.encoder, self.decoder)),)

    def nets(self) -> tuple[nn.Module, nn.Module]:
        """The encoder, x_BX → z_BL, and the decoder, z_BL → x̂_BX (logits with bce)."""
        encoder = build.encoder(self.shape, self.latent_dim, self.config)
        return encoder, build.decoder(self.latent_dim, self.shape, self.config)

    @classmethod
    def training_defaults(cls, shape: DataShape, config: Config) -> dict[str, Any]:
        """Spec rows B2 (mlp) and B3 (conv): Adam at 1e-3 and 1e-4."""
        return {"learning_rate": 1e-3 if build.kind(shape, config) == "mlp" else 1e-4}

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """Reconstruction loss, mean over all values of the batch."""
        return self.reconstruction(self.decoder(self.encoder(batch.x)), batch.x)

    def reconstruction(self, out_BX: Tensor, x_BX: Tensor) -> Losses:
        """The loss of a decoder output beside what it should be: mean over all values of the batch."""
        if self.loss == "bce":
            nats = likelihood.bernoulli_nll(out_BX.float(), x_BX).mean()
            return Losses(nats / self.shape.size, {"recon_nats_per_image": nats})
        mse = likelihood.squared_error(out_BX.float(), x_BX).mean() / self.shape.size
        return Losses(mse, {"recon_mse": mse})

    def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        """z_BL."""
        return self.encoder(x_BX)

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """x̂_BX, in [0, 1] with bce."""
        return self.output(self.decoder(z_BL))

    def output(self, out_BX: Tensor) -> Tensor:
        """Decoder output → x̂_BX."""
        return torch.sigmoid(out_BX) if self.loss == "bce" else out_BX
