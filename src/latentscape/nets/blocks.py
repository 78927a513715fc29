"""Layers that several nets share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[], nn.Module]
"""Makes a new activation layer."""

ActivationName = Literal["relu", "leaky-relu", "elu", "silu", "gelu", "tanh"]


def activation(name: ActivationName, slope: float = 0.01, *, inplace: bool = False) -> Activation:
    """Makes layers of that name; `slope` is leaky-relu's below zero. In place where the gradient allows it."""
    if name == "relu":
        return partial(nn.ReLU, inplace=inplace)
    if name == "leaky-relu":
        return partial(nn.LeakyReLU, slope, inplace=inplace)
    return {"elu": nn.ELU, "silu": nn.SiLU, "gelu": nn.GELU, "tanh": nn.Tanh}[name]


SMALL_PRODUCT = 64 * 256 * 128
"""Multiplications of a linear layer below which bf16 costs a CPU more in casts and calls than it saves."""


class Linear(nn.Linear):
    """`nn.Linear` that stays in float32 on a CPU, under autocast too, where the product is small.

    A bf16 product goes to another library there, whose call alone takes as long as 64×32 times 32×128 in float32, and
    input, weights, output and their gradients are cast. `bench/` has the gain.
    """

    def forward(self, input: Tensor) -> Tensor:
        """B×in → B×out, in float32 where it is small on a CPU."""
        small = input.numel() * self.out_features <= SMALL_PRODUCT
        if not small or input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return F.linear(input.float(), self.weight, self.bias)


class NarrowConv2d(nn.Conv2d):
    """A stride-1 convolution to few channels (the last layer of an image decoder), same parameters as `nn.Conv2d`.

    Direct convolution kernels fill a vector register with output channels, so one channel wastes most of it: on a CPU
    B3's last 7×7 layer took over a quarter of the step. There it is rewritten exactly: a k×k kernel is k kernels of one
    row, whose k outputs are channels of one convolution, and what they give is added k rows apart. `bench/` has the
    gain. Elsewhere, and with a stride, dilation, groups, another padding than zeros or more of it than the kernel
    reaches over, it is the plain convolution.
    """

    def _is_rewritten(self, input: Tensor) -> bool:
        plain = self.stride == self.dilation == (1, 1) and self.groups == 1 and self.padding_mode == "zeros"
        fits = not isinstance(self.padding, str) and all(
            p < k for p, k in zip(self.padding, self.kernel_size, strict=True)
        )
        small = self.out_channels <= 4 and self.kernel_size[0] > 1
        return input.device.type == "cpu" and input.dim() == 4 and small and plain and fits

    def forward(self, input: Tensor) -> Tensor:
        """B×C×H×W → B×C'×H'×W'."""
        if not self._is_rewritten(input):
            return super().forward(input)
        (kh, kw), (down, across) = self.kernel_size, self.padding
        assert isinstance(down, int)
        assert isinstance(across, int)
        height = input.shape[2] + 2 * down - kh + 1
        kernels = self.weight.transpose(1, 2).reshape(-1, self.in_channels, 1, kw)  # C'·kh × C × 1 × kw
        rows = F.conv2d(input, kernels, padding=(0, across))
        rows = rows.float() if rows.dtype == torch.bfloat16 else rows  # bf16 would lose the sum of the rows
        rows = F.pad(rows, (0, 0, down, down)).unflatten(1, (self.out_channels, kh))
        out = rows[:, :, 0, :height]
        for row in range(1, kh):
            out = out + rows[:, :, row, row : row + height]
        return out if self.bias is None else out + self.bias.view(1, -1, 1, 1)


class PointConv2d(nn.Conv2d):
    """A 1×1 convolution that may have a stride, same parameters as `nn.Conv2d`.

    The pixels that it looks at are taken out first. What it computes is the same, and torch 2.13's own kernel for the
    backward pass writes beyond its memory on a CPU (float32, channels_last, stride 2, 8 to 16 filters): it ends the
    process, or worse, does not.
    """

    def __init__(self, before: int, after: int, stride: int = 1, *, bias: bool = True) -> None:
        super().__init__(before, after, 1, bias=bias)
        self.every = stride

    def forward(self, input: Tensor) -> Tensor:
        """B×C×H×W → B×C'×⌈H/stride⌉×⌈W/stride⌉."""
        return super().forward(input if self.every == 1 else input[:, :, :: self.every, :: self.every])


class DoublingConv2d(nn.ConvTranspose2d):
    """The 3×3 transposed convolution that doubles height and width, same parameters as `nn.ConvTranspose2d`.

    On a 1×1 grid (the first layer of most decoders) four of its nine taps meet the picture, so it is exactly a linear
    layer; as a convolution, its backward pass alone took a fifth of B3's step on a CPU. All nine are multiplied: the
    weights then enter the product as they lie in memory, and to cut four out, forward and backward, costs more.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 3, 2, 1, 1)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """B×C×H×W → B×C'×2H×2W."""
        if input.shape[2:] != (1, 1):
            return super().forward(input, output_size)
        taps = self.weight.permute(0, 2, 3, 1).reshape(self.in_channels, -1)
        out = (input.flatten(1) @ taps).view(-1, 3, 3, self.out_channels)[:, 1:, 1:].permute(0, 3, 1, 2)
        return out if self.bias is None else out + self.bias.view(1, -1, 1, 1)


class Crop(nn.Module):
    """Cut the centre height×width out of a larger image."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def extra_repr(self) -> str:
        """Height and width, for printing."""
        return f"({self.height}, {self.width})"

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B×C×H'×W' → B×C×height×width."""
        top, left = (x_BCHW.shape[2] - self.height) // 2, (x_BCHW.shape[3] - self.width) // 2
        return x_BCHW[:, :, top : top + self.height, left : left + self.width]


class Pad(nn.Module):
    """Lay an image into the centre of a larger one of zeros, where `Crop` finds it again."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width

    def extra_repr(self) -> str:
        """Height and width, for printing."""
        return f"({self.height}, {self.width})"

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B×C×H'×W' → B×C×height×width."""
        down, across = self.height - x_BCHW.shape[2], self.width - x_BCHW.shape[3]
        top, left = down // 2, across // 2
        return F.pad(x_BCHW, (left, across - left, top, down - top)) if down or across else x_BCHW


class Resize(nn.Module):
    """Resize to height×width; each pixel takes the value of the nearest."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = (height, width)

    def extra_repr(self) -> str:
        """Height and width, for printing."""
        return str(self.size)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B×C×H'×W' → B×C×height×width."""
        return x_BCHW if x_BCHW.shape[2:] == self.size else F.interpolate(x_BCHW, self.size, mode="nearest")
