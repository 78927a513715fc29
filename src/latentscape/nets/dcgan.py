"""Nets of generative adversarial networks for images of any height, width and channel count.

`dcgan_*` follow Radford et al. 2016 (https://arxiv.org/abs/1511.06434) as spec row B16 lays them out for 28×28:
generator 1→5→9→21→25→28 without padding, discriminator 28→14→7→3 and a global mean. `upsampling_*` are row B17's:
convolutions and nearest upsampling 4→7→14→28, and a discriminator without a global mean. Other sizes keep the pattern.
Generators end linear (the model puts its output activation behind them), discriminators in a vector of features.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from latentscape.config import DataShape
from latentscape.nets.blocks import Activation, Crop, Resize

WIDEST = 8
"""Filters grow from `width` to at most this many times `width` (B16: 64 → 512)."""


class FirstConvTranspose2d(nn.ConvTranspose2d):
    """The transposed convolution that grows a single pixel to its kernel's size, same parameters as the plain one.

    On a 1×1 grid it is exactly a linear layer, which is much faster as one, forward and backward.
    """

    def __init__(self, before: int, after: int, size: tuple[int, int], *, bias: bool) -> None:
        super().__init__(before, after, size, bias=bias)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """B×C×1×1 → B×C'×h×w."""
        taps = self.weight.permute(0, 2, 3, 1).reshape(self.in_channels, -1)
        size = (*self.kernel_size, self.out_channels)
        out = (input.flatten(1) @ taps).unflatten(1, size).permute(0, 3, 1, 2)
        return out if self.bias is None else out + self.bias.view(1, -1, 1, 1)


def _block(layer: nn.Module, filters: int, norm: bool, act: Activation) -> list[nn.Module]:
    return [layer, *([nn.BatchNorm2d(filters)] if norm else []), act()]


# ---- row B16 ---------------------------------------------------------------------------------------------------


def _strided(height: int, width: int) -> int:
    """Stride-2 layers of the generator: one at 28×28, two at 56 and 64, none below 20."""
    return max(0, round(math.log2(max(height, width) / 14)))


def _first_grid(side: int, strided: int) -> int:
    """The grid of the first layer along one side: the later layers' growth undone (28 → 25 → 21 → 9 → 5)."""
    side -= 3 + 4
    for _ in range(strided):
        side = math.ceil((side - 3) / 2)
    return max(1, side - 4)


def dcgan_generator(
    features: int, shape: DataShape, *, width: int, norm: bool, activation: Activation
) -> nn.Sequential:
    """B×features → x_BCHW of exactly `shape`, linear output, from transposed convolutions without padding.

    5×5 to 8·width filters from one pixel, 5×5, one 5×5 of stride 2 per doubling, 5×5, then 4×4 to the picture.
    """
    channels, height, across = shape.dims
    strided = _strided(height, across)
    sizes = [width * min(2**i, WIDEST) for i in range(strided + 2, -1, -1)]
    grid = (_first_grid(height, strided), _first_grid(across, strided))
    bias = not norm
    layers = _block(FirstConvTranspose2d(features, sizes[0], grid, bias=bias), sizes[0], norm, activation)
    for i, (before, after) in enumerate(pairwise(sizes)):
        stride = 2 if 1 <= i <= strided else 1
        layers += _block(nn.ConvTranspose2d(before, after, 5, stride, bias=bias), after, norm, activation)
    last = nn.ConvTranspose2d(sizes[-1], channels, 4, bias=bias)
    return nn.Sequential(nn.Unflatten(1, (features, 1, 1)), *layers, last, Crop(height, across))


def dcgan_body(shape: DataShape, *, width: int, norm: bool, activation: Activation) -> tuple[nn.Sequential, int]:
    """x_BCHW → B×F, and F: 4×4 convolutions of stride 2 to four pixels or fewer, and the mean over the picture.

    BatchNorm follows all convolutions but the first. There are two at least: before a mean over the picture, a single
    one would see strokes and no shapes.
    """
    before, height, across = shape.dims
    layers: list[nn.Module] = []
    for i in range(_halvings(height, across)):
        after = width * min(2**i, WIDEST)
        rows, columns = _thin(height), _thin(across)
        kernel, padding = (rows[0], columns[0]), (rows[1], columns[1])
        layers += _block(nn.Conv2d(before, after, kernel, 2, padding, bias=False), after, norm and i > 0, activation)
        before, height, across = after, _halved(height), _halved(across)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), before


def _halvings(height: int, width: int) -> int:
    """Convolutions of a discriminator: until four pixels are left, and at least two."""
    return max(2, math.ceil(math.log2(max(height, width) / 4)))


def _thin(side: int) -> tuple[int, int]:
    """Kernel and padding along one side: 4 and 1; 3 and 1 where only one pixel is left."""
    return (4, 1) if side > 1 else (3, 1)


def _halved(side: int) -> int:
    kernel, padding = _thin(side)
    return (side + 2 * padding - kernel) // 2 + 1


# ---- row B17 ---------------------------------------------------------------------------------------------------


def _grids(shape: DataShape) -> list[tuple[int, int]]:
    """Grids from the smallest, of at most four pixels a side, to the picture: 4, 7, 14, 28."""
    _, height, width = shape.dims
    count = max(1, math.ceil(math.log2(max(height, width) / 4)))
    return [(math.ceil(height / 2**i), math.ceil(width / 2**i)) for i in range(count, -1, -1)]


def upsampling_generator(
    features: int, shape: DataShape, *, width: int, norm: bool, activation: Activation
) -> nn.Sequential:
    """B×features → x_BCHW of exactly `shape`, linear output: convolutions 3×3, each followed by nearest upsampling.

    No bias but in the last convolution, unless there is no BatchNorm. Layer numbers are row B17's.
    """
    grids, bias = _grids(shape), not norm
    sizes = [width * min(2**i, WIDEST) for i in range(len(grids) - 1, -1, -1)]
    first, (height, across) = sizes[0], grids[0]
    layers: list[nn.Module] = [nn.Linear(features, first * height * across, bias=bias)]
    layers += [nn.BatchNorm1d(first * height * across)] if norm else []
    layers += [activation(), nn.Unflatten(1, (first, height, across))]
    for (before, after), grid in zip(pairwise(sizes), grids[1:], strict=True):
        layers += _block(nn.Conv2d(before, after, 3, 1, 1, bias=bias), after, norm, activation)
        layers.append(Resize(*grid))
    return nn.Sequential(*layers, nn.Conv2d(sizes[-1], shape.dims[0], 3, 1, 1))


def upsampling_body(shape: DataShape, *, width: int, norm: bool, activation: Activation) -> tuple[nn.Sequential, int]:
    """x_BCHW → B×F, and F: 3×3 convolutions of stride 2, flattened.

    The first has no BatchNorm, the second its BatchNorm behind the activation, the others before it (row B17). The last
    has it before: what BatchNorm gives has the same mean for real and for generated batches, and so has then any linear
    layer behind it.
    """
    before, height, across = shape.dims
    layers: list[nn.Module] = []
    count = _halvings(height, across)
    for i in range(count):
        after = width * min(2**i, WIDEST)
        layers.append(nn.Conv2d(before, after, 3, 2, 1))
        normed = [nn.BatchNorm2d(after)] if norm and i > 0 else []
        layers += [activation(), *normed] if i < min(2, count - 1) else [*normed, activation()]
        before, height, across = after, math.ceil(height / 2), math.ceil(across / 2)
    return nn.Sequential(*layers, nn.Flatten()), before * height * across


# ---- weights ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def initialise(module: nn.Module) -> None:
    """Radford et al.'s weights: convolutions N(0, 0.02), BatchNorm N(1, 0.02) with bias 0; linear layers stay."""
    for m in module.modules():
        if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)):
            m.weight.normal_(0, 0.02)
        elif isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
            m.weight.normal_(1, 0.02)
            m.bias.zero_()


@torch.no_grad()
def initialise_without_norm(module: nn.Module) -> None:
    """He et al.'s weights (https://arxiv.org/abs/1502.01852) where no BatchNorm rescales: N(0, √(2 / inputs)).

    A transposed convolution's output pixel meets `in · k² / stride²` of its inputs, a first one on a single pixel `in`.
    """
    for m in module.modules():
        if isinstance(m, FirstConvTranspose2d):
            inputs: float = m.in_channels
        elif isinstance(m, nn.ConvTranspose2d):
            inputs = m.in_channels * math.prod(m.kernel_size) / math.prod(m.stride)
        elif isinstance(m, nn.Conv2d):
            inputs = m.in_channels * math.prod(m.kernel_size)
        elif isinstance(m, nn.Linear):
            inputs = m.in_features
        else:
            continue
        m.weight.normal_(0, math.sqrt(2 / inputs))
        if m.bias is not None:
            m.bias.zero_()


SMALL = 0.1
"""What the last layer of a generator without BatchNorm is multiplied by at first."""


@torch.no_grad()
def initialise_generator_without_norm(generator: nn.Module) -> None:
    """As `initialise_without_norm`, with a small last layer.

    At full size the first pictures fill the output's range; the first few steps then drive a tanh or sigmoid to its
    end, where it has no slope left to come back by.
    """
    initialise_without_norm(generator)
    convs = [m for m in generator.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    convs[-1].weight.mul_(SMALL)
