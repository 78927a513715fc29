"""Denoising autoencoder: a corrupted input, the clean one as the target.

Source: Vincent et al. 2008 and 2010 (https://jmlr.org/papers/v11/vincent10a.html). The input alone is corrupted,
afresh in every batch and on the device; encoding and reconstructing take examples as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from latentscape.config import DataShape, setting
from latentscape.contract import Batch, Draws, Losses
from latentscape.errors import ConfigError
from latentscape.models import autoencoder
from latentscape.numerics import noise


@dataclass(frozen=True, kw_only=True)
class Config(autoencoder.Config):
    """Settings of the denoising autoencoder."""

    noise: Literal["gaussian", "salt-and-pepper", "drop", "square"] = setting(
        "gaussian", "the corruption; square: one region of each picture is blanked (inpainting)"
    )
    noise_std: float = setting(
        0.3, "gaussian: standard deviation in data units (pixels in [0, 1]), not clipped", above=0
    )
    noise_amount: float = setting(0.3, "salt-and-pepper, drop: share of the values", above=0, at_most=1)
    square_side: int = setting(0, "square: its side in pixels; 0: a third of the picture's shorter side", at_least=0)


class Model(autoencoder.Model):
    """corrupted x → z → x̂, compared with the clean x."""

    Config = Config

    def __init__(self, shape: DataShape, config: Config, classes: int = 0) -> None:
        super().__init__(shape, config, classes)
        if config.noise == "square" and not shape.is_image:
            raise ConfigError(f"--noise square needs images, and the data is a {shape}; use gaussian or drop")

    def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> Draws:
        """eps: standard normal like x; or uniform: U[0, 1) like x; or corner: U[0, 1), B×2."""
        shape = batch.x.shape
        if self.config.noise == "gaussian":
            return {"eps": torch.randn(shape, generator=rng, device=rng.device)}
        if self.config.noise == "square":
            return {"corner": torch.rand(shape[0], 2, generator=rng, device=rng.device)}
        return {"uniform": torch.rand(shape, generator=rng, device=rng.device)}

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """Reconstruction loss of the clean example, mean over all values of the batch."""
        return self.reconstruction(self.decoder(self.encoder(self.corrupt(batch.x, draws))), batch.x)

    def corrupt(self, x_BX: Tensor, draws: Draws) -> Tensor:
        """x_BX as the encoder sees it in training; `draws` are those of `draw`."""
        config, blank = self.config, 0.0
        if config.noise == "gaussian":
            return noise.gaussian(x_BX, draws["eps"], config.noise_std)
        if config.noise == "salt-and-pepper":
            return noise.salt_and_pepper(x_BX, draws["uniform"], config.noise_amount, 0.0, 1.0)
        if config.noise == "drop":
            return noise.drop(x_BX, draws["uniform"], config.noise_amount, blank)
        side = config.square_side or max(1, min(self.shape.dims[1:]) // 3)
        return noise.mask_square(x_BX, draws["corner"], side, blank)
