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
from latentscape.errors import ConfigError
from latentscape.nets import build
from latentscape.numerics import likelihood


@dataclass(frozen=True, kw_only=True)
class Settings(build.NetSettings):
    """Settings of every model that reconstructs as an autoencoder does."""

    latent_dim: int = setting(24, "size of the latent vector", at_least=1)
    loss: Literal["auto", "bce", "mse"] = setting("auto", "auto: mse with mlp and on vectors, else bce")
    output: Literal["auto", "sigmoid", "linear"] = setting(
        "auto", "behind the decoder; auto: sigmoid with bce, linear with mse; a sigmoid is for images"
    )


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of the autoencoder."""

    head: Literal["linear", "none"] = setting(
        "linear", "last layer of the encoder; none: the code is its features themselves (resnet: 8 × width means ≥ 0)"
    )


class Model(contract.Trained, contract.Reconstructs):
    """x → z → x̂; bce puts a sigmoid behind the decoder, mse leaves its output linear."""

    Config = Config

    def __init__(self, shape: DataShape, config: Config, classes: int = 0) -> None:
        super().__init__(shape, config, classes)
        self.latent_dim = config.latent_dim
        self.loss = config.loss if config.loss != "auto" else self.auto_loss()
        likelihood.check_pixels(self.loss == "bce", shape.is_image)
        self.squashed = config.output == "sigmoid" or (config.output == "auto" and self.loss == "bce")
        _check_output(shape, self.loss, self.squashed)
        self.encoder, self.decoder = self.nets()
        self.phases = (Phase("reconstruct", (self.encoder, self.decoder)),)

    def auto_loss(self) -> Literal["bce", "mse"]:
        """What `--loss auto` stands for."""
        return "mse" if build.kind(self.shape, self.config) == "mlp" else "bce"

    def nets(self) -> tuple[nn.Module, nn.Module]:
        """The encoder, x_BX → z_BL, and the decoder, z_BL → x̂_BX (logits with bce)."""
        encoder = _encoder(self.shape, self.config)
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
        mse = likelihood.squared_error(self.output(out_BX.float()), x_BX).mean() / self.shape.size
        return Losses(mse, {"recon_mse": mse})

    def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        """z_BL."""
        return self.encoder(x_BX)

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """x̂_BX, in [0, 1] behind a sigmoid."""
        return self.output(self.decoder(z_BL))

    def output(self, out_BX: Tensor) -> Tensor:
        """Decoder output → x̂_BX."""
        return torch.sigmoid(out_BX) if self.squashed else out_BX


def _check_output(shape: DataShape, loss: str, squashed: bool) -> None:
    if squashed and not shape.is_image:
        raise ConfigError(f"--output sigmoid is for images, and the data is a {shape}; use --output linear")
    if loss == "bce" and not squashed:
        raise ConfigError("--loss bce is the cross-entropy of probabilities; use --output sigmoid, or --loss mse")


def _encoder(shape: DataShape, config: Any) -> nn.Module:
    """x_BX → z_BL, with the last layer that the settings ask for (all but the plain ones have a linear one)."""
    if getattr(config, "head", "linear") == "linear":
        return build.encoder(shape, config.latent_dim, config)
    trunk, features = build.trunk(shape, config)
    if features != config.latent_dim:
        raise ConfigError(
            f"--head none gives codes of {features:,} numbers with these nets; use --latent-dim {features}, or another "
            "--width"
        )
    return trunk
