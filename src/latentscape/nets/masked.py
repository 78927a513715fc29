"""Convolutions that see only what comes before a pixel, for autoregressive models.

Source: van den Oord et al. 2016 (https://arxiv.org/abs/1601.06759, sections 3.1 and 3.4, figure 2). Pixels come in
reading order, and within a pixel the colours come in order. A net whose first layer is of type A and all others of
type B has outputs that depend on earlier values only, never on their own.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _mask(kind: str, into: int, out: int, kernel: int, colours: int) -> Tensor:
    """1 where a weight (out×in×kernel×kernel) looks at what comes before, else 0."""
    middle = kernel // 2
    mask = torch.zeros(out, into, kernel, kernel)
    mask[:, :, :middle] = 1
    mask[:, :, middle, :middle] = 1
    of_out, of_in = torch.arange(out) * colours // out, torch.arange(into) * colours // into
    before = of_in < of_out[:, None] if kind == "A" else of_in <= of_out[:, None]
    mask[:, :, middle, middle] = before.float()
    return mask


class MaskedConv2d(nn.Conv2d):
    """A convolution of stride 1 that keeps the size and sees pixels above, and to the left in the same row.

    At the pixel itself, type A sees the colours before its own, type B its own too. Channels are `colours` groups of
    equal size, one after the other; with one colour, type A does not see the pixel at all and type B does. The kernel
    must be odd and the channels divide into the colours, else `ValueError`. Parameters are those of `nn.Conv2d`.
    """

    mask: Tensor

    def __init__(
        self,
        kind: Literal["A", "B"],
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        colours: int = 1,
        bias: bool = True,
    ) -> None:
        if kernel_size % 2 == 0:
            raise ValueError(f"a masked convolution needs a pixel in the middle, so an odd kernel; got {kernel_size}")
        if in_channels % colours or out_channels % colours:
            raise ValueError(f"{in_channels} and {out_channels} channels must be multiples of the {colours} colours")
        super().__init__(in_channels, out_channels, kernel_size, 1, kernel_size // 2, bias=bias)
        mask = _mask(kind, in_channels, out_channels, kernel_size, colours)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """B×C×H×W → B×C'×H×W."""
        return F.conv2d(input, self.weight * self.mask, self.bias, 1, self.padding)
