"""Layers that several nets share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NarrowConv2d(nn.Conv2d):
    """A stride-1 convolution to few channels (the last layer of an image decoder), same parameters as `nn.Conv2d`.

    Direct convolution kernels fill a vector register with output channels, so one channel wastes most of it: on a CPU
    B3's last 7×7 layer took over a quarter of the step. There it is rewritten exactly as one matrix product per image
    (every tap's contribution) and `fold` (their sum); `bench/` has the gain. Elsewhere it is the plain convolution.
    """

    def forward(self, input: Tensor) -> Tensor:
        """B×C×H×W → B×C'×H'×W'."""
        if input.device.type != "cpu" or self.out_channels > 4:
            return super().forward(input)
        (kh, kw), (ph, pw), (height, width) = self.kernel_size, self.padding, input.shape[2:]
        assert isinstance(ph, int)
        assert isinstance(pw, int)
        taps = self.weight.flip(2, 3).permute(0, 2, 3, 1).reshape(-1, self.in_channels)
        spread = torch.bmm(taps.expand(input.shape[0], -1, -1), input.flatten(2))
        spread = spread.float() if spread.dtype == torch.bfloat16 else spread  # bf16 would lose the sum of 49 taps
        size = (height + 2 * ph - kh + 1, width + 2 * pw - kw + 1)
        out = F.fold(spread, size, (kh, kw), padding=(kh - 1 - ph, kw - 1 - pw))
        return out if self.bias is None else out + self.bias.view(1, -1, 1, 1)


class DoublingConv2d(nn.ConvTranspose2d):
    """The 3×3 transposed convolution that doubles height and width, same parameters as `nn.ConvTranspose2d`.

    On a 1×1 grid (the first layer of most decoders) four of its nine taps meet the picture, so it is exactly a linear
    layer; as a convolution, its backward pass alone took a fifth of B3's step on a CPU.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 3, 2, 1, 1)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """B×C×H×W → B×C'×2H×2W."""
        if input.shape[2:] != (1, 1):
            return super().forward(input, output_size)
        taps = self.weight[:, :, 1:, 1:].permute(0, 2, 3, 1).reshape(self.in_channels, -1)
        out = (input.flatten(1) @ taps).view(-1, 2, 2, self.out_channels).permute(0, 3, 1, 2)
        return out if self.bias is None else out + self.bias.view(1, -1, 1, 1)


class Crop(nn.Module):
    """Cut the centre height×width out of a larger image."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B×C×H'×W' → B×C×height×width."""
        top, left = (x_BCHW.shape[2] - self.height) // 2, (x_BCHW.shape[3] - self.width) // 2
        return x_BCHW[:, :, top : top + self.height, left : left + self.width]
