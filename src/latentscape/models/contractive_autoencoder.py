"""Contractive autoencoder: a code that changes little when its input changes a little.

Source: Rifai et al. 2011 (https://icml.cc/2011/papers/455_icmlpaper.pdf): reconstruction + λ·‖∂z/∂x‖²_F. The norm is
exact for a one-layer encoder (`--net mlp --hidden` without sizes) and Hutchinson's estimate for deep ones. The code is
squashed, as in the paper: an unbounded linear code escapes the penalty by shrinking while the decoder grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from latentscape.config import DataShape, setting
from latentscape.contract import Batch, Draws, Losses, Phase
from latentscape.models import autoencoder
from latentscape.nets import build
from latentscape.numerics import jacobian


@dataclass(frozen=True, kw_only=True)
class Config(autoencoder.Config):
    """Settings of the contractive autoencoder."""

    contraction: float = setting(1e-3, "weight λ of ‖∂z/∂x‖²_F beside a loss averaged over values", at_least=0)
    code: Literal["sigmoid", "tanh", "linear"] = setting("sigmoid", "what squashes the code")
    probes: int = setting(1, "random vectors per example for the estimate (deep encoders)", at_least=1)


class Model(autoencoder.Model):
    """x → z = f(encoder) → x̂ with a penalty on ∂z/∂x."""

    Config = Config

    def __init__(self, shape: DataShape, config: Config, classes: int = 0) -> None:
        super().__init__(shape, config, classes)
        self.one_layer = build.kind(shape, config) == "mlp" and not config.hidden
        player = (self.encoder, self.decoder)
        self.phases = (Phase("reconstruct", player, double_backward=not self.one_layer, low_precision=False),)

    def notes(self) -> list[str]:
        """The penalty's weight in both units, and how its value is found."""
        how = "exact" if self.one_layer else f"estimated with {self.config.probes} random vector(s) per example"
        return [
            f"λ = {self.config.contraction:g} beside a mean over {self.shape.size:,} values, which is "
            f"{self.config.contraction * self.shape.size:.4g} beside a sum over them; the norm is {how}"
        ]

    def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> Draws:
        """signs: probes×B×L of −1 and 1; nothing where the norm is exact."""
        if self.one_layer:
            return {}
        size = (self.config.probes, len(batch.x), self.latent_dim)
        return {"signs": 2.0 * torch.randint(0, 2, size, generator=rng, device=rng.device) - 1}

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """Reconstruction, mean over values, plus λ times the mean over examples of ‖∂z/∂x‖²_F."""
        with torch.enable_grad():  # held-out losses need the input's gradient too
            x_BX = batch.x if self.one_layer else batch.x.detach().requires_grad_()
            h_BL = self.encoder(x_BX).float()
            z_BL = self.squash(h_BL)
            norm = self.norm(h_BL, z_BL, x_BX, draws).mean()
        recon = self.reconstruction(self.decoder(z_BL), batch.x)
        return Losses(recon.total + self.config.contraction * norm, recon.terms | {"jacobian_norm": norm})

    def norm(self, h_BL: Tensor, z_BL: Tensor, x_BX: Tensor, draws: Draws) -> Tensor:
        """‖∂z/∂x‖²_F per example, B."""
        if not self.one_layer:
            return jacobian.hutchinson_norm(z_BL, x_BX, draws["signs"])
        linear = next(m for m in self.encoder.modules() if isinstance(m, nn.Linear))
        slope = {"sigmoid": z_BL * (1 - z_BL), "tanh": 1 - z_BL.square(), "linear": torch.ones_like(h_BL)}
        return jacobian.one_layer_norm(linear.weight, slope[self.config.code])

    def squash(self, h_BL: Tensor) -> Tensor:
        """The code from the encoder's output."""
        return {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "linear": nn.Identity()}[self.config.code](h_BL)

    def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        """z_BL, in (0, 1) with a sigmoid code."""
        return self.squash(self.encoder(x_BX).float())
