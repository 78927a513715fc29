"""Labels as inputs: an encoder and a decoder that are told which class an example belongs to.

Spec row B8 (the label is one number, 0 or 1) and the conditional VAE of Sohn et al. 2015
(https://papers.nips.cc/paper/5775), where the label is one-hot. A model turns labels into a code once, with
`label_code`, and hands the code to `ConditionalEncoder` and `ConditionalDecoder`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from latentscape.config import DataShape
from latentscape.errors import AbilityError, ConfigError
from latentscape.nets import build

Code = Literal["auto", "number", "one-hot"]
"""How a label enters a net. number: one number in [0, 1], y/(K−1); auto: number for two classes, else one-hot."""


def _is_number(classes: int, code: Code) -> bool:
    return code == "number" or (code == "auto" and classes == 2)


def code_size(classes: int, code: Code) -> int:
    """How many numbers the code of one label has: 1, or K."""
    return 1 if _is_number(classes, code) else classes


def label_code(y_B: Tensor | None, classes: int, code: Code) -> Tensor:
    """y_B int64 → B×code_size float32. An unknown label, −1, gives zeros in one-hot and 0.5 as a number.

    No labels at all raise `AbilityError`, a label outside −1…K−1 `ConfigError`. The latter is looked for on a CPU only,
    outside compiled code: elsewhere looking would stop the device.
    """
    if y_B is None:
        raise AbilityError("this model needs a label for each example; give data with labels, or a label to decode as")
    if y_B.device.type == "cpu" and not torch.compiler.is_compiling():
        bad_N = y_B[(y_B < -1) | (y_B >= classes)]
        if len(bad_N):
            raise ConfigError(
                f"a label must be one of the model's {classes} classes, 0 to {classes - 1}; got {bad_N[0]}"
            )
    if _is_number(classes, code):
        number_B = y_B.float() / max(classes - 1, 1)
        return torch.where(y_B < 0, 0.5, number_B)[:, None]
    return (y_B[:, None] == torch.arange(classes, device=y_B.device)).float()


class ConditionalEncoder(nn.Module):
    """x_BX and a label's code → features. A convolution sees each number of the code as a constant further channel."""

    def __init__(self, shape: DataShape, features: int, settings: build.NetSettings, label_size: int) -> None:
        super().__init__()
        self.planes = build.is_convolutional(shape, settings)
        if self.planes:
            channels, height, width = shape.dims
            joined = DataShape((channels + label_size, height, width))
        else:
            joined = DataShape((shape.size + label_size,))
        self.net = build.encoder(joined, features, settings)

    def forward(self, x_BX: Tensor, c_BK: Tensor) -> Tensor:
        """x_BX, c_BK → B×features, linear output."""
        if self.planes:
            return self.net(torch.cat([x_BX, c_BK[:, :, None, None].expand(-1, -1, *x_BX.shape[2:])], 1))
        return self.net(torch.cat([x_BX.flatten(1), c_BK], 1))


class ConditionalDecoder(nn.Module):
    """z and a label's code, side by side → x. A code on a grid meets the label at each of its places."""

    def __init__(self, latent_dim: int, shape: DataShape, settings: build.NetSettings, label_size: int) -> None:
        super().__init__()
        self.places = 1
        if build.kind(shape, settings) == "grid":
            _, height, width = build.grid(shape, latent_dim, settings)
            self.places = height * width
        self.net = build.decoder(latent_dim + self.places * label_size, shape, settings)

    def forward(self, z_BL: Tensor, c_BK: Tensor) -> Tensor:
        """z_BL, c_BK → x_BX, linear output (logits or means)."""
        return self.net(torch.cat([z_BL, c_BK.repeat_interleave(self.places, 1)], 1))
