"""Conditional autoencoder: the label enters encoder and decoder, so the code need not tell it.

Source: spec row B8; the label enters as in Sohn et al. 2015: one number for two classes, one-hot for more, as further
values of a vector or further constant channels of an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from latentscape.config import setting
from latentscape.contract import Batch, Draws, Losses
from latentscape.models import autoencoder
from latentscape.nets import conditioning


@dataclass(frozen=True, kw_only=True)
class Config(autoencoder.Settings):
    """Settings of the conditional autoencoder."""

    label_code: Literal["auto", "number", "one-hot"] = setting("auto", "auto: one number for two classes, else one-hot")


class Model(autoencoder.Model):
    """(x, y) → z, (z, y) → x̂."""

    Config = Config
    needs_labels = True

    def nets(self) -> tuple[nn.Module, nn.Module]:
        """Encoder and decoder that take the label's code beside x and z."""
        size = conditioning.code_size(self.classes, self.config.label_code)
        encoder = conditioning.ConditionalEncoder(self.shape, self.latent_dim, self.config, size)
        return encoder, conditioning.ConditionalDecoder(self.latent_dim, self.shape, self.config, size)

    def _code(self, y_B: Tensor | None) -> Tensor:
        return conditioning.label_code(y_B, self.classes, self.config.label_code)

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """Reconstruction loss, mean over all values of the batch."""
        c_BK = self._code(batch.y)
        return self.reconstruction(self.decoder(self.encoder(batch.x, c_BK), c_BK), batch.x)

    def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        """z_BL; `y_B` must be given."""
        return self.encoder(x_BX, self._code(y_B))

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """x̂_BX, in [0, 1] with bce; `y_B` must be given."""
        return self.output(self.decoder(z_BL, self._code(y_B)))
