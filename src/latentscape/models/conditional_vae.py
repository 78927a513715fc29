"""Conditional VAE: the label joins z at the decoder, so z holds what the label does not say, the style.

Source: Kingma et al. 2014 (model M2's decoder) and Sohn et al. 2015. The label may enter the encoder too
(`--label-encoder`); by default, as in spec row B22, it enters the decoder only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from latentscape.config import DataShape, setting
from latentscape.models import vae
from latentscape.nets import build, conditioning


@dataclass(frozen=True, kw_only=True)
class Config(vae.Config):
    """Settings of the conditional VAE."""

    latent_dim: int = setting(2, "size of the latent vector", at_least=1)
    label_code: Literal["auto", "number", "one-hot"] = setting("one-hot", "auto: one number for two classes")
    label_encoder: bool = setting(False, "whether the label enters the encoder too")


class Model(vae.Model):
    """x → q(z|x) → (z, y) → p(x|z, y)."""

    Config = Config
    needs_labels = True

    def nets(self) -> tuple[nn.Module, nn.Module]:
        """Encoder (with or without the label) and a decoder that takes the label's code beside z."""
        size = conditioning.code_size(self.classes, self.config.label_code)
        decoder = conditioning.ConditionalDecoder(self.latent_dim, self.likelihood.output, self.config, size)
        if self.config.label_encoder:
            return conditioning.ConditionalEncoder(self.shape, 2 * self.latent_dim, self.config, size), decoder
        return build.encoder(self.shape, 2 * self.latent_dim, self.config), decoder

    @classmethod
    def training_defaults(cls, shape: DataShape, config: vae.GaussianSettings) -> dict[str, Any]:
        """Spec row B22: as the VAE, with Adam at 1e-2 for convolutional nets."""
        mlp = build.kind(shape, config) == "mlp"
        return super().training_defaults(shape, config) | ({} if mlp else {"learning_rate": 1e-2})

    def _code(self, y_B: Tensor | None) -> Tensor:
        return conditioning.label_code(y_B, self.classes, self.config.label_code)

    def encoded(self, x_BX: Tensor, y_B: Tensor | None) -> Tensor:
        """The encoder's output, B×2L float32."""
        if self.config.label_encoder:
            return self.encoder(x_BX, self._code(y_B)).float()
        return self.encoder(x_BX).float()

    def decoded(self, z_BL: Tensor, y_B: Tensor | None) -> Tensor:
        """The decoder's output, float32; `y_B` must be given."""
        return self.decoder(z_BL, self._code(y_B)).float()
