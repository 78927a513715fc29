"""ResNet-18 encoder and its mirror as decoder, for images of any height, width and channel count.

Source: He et al. 2016 (https://arxiv.org/abs/1512.03385, table 1, 18 layers); spec row B13. The stem is one 3×3
convolution of stride 1, as for small pictures; `first_conv` takes the paper's 7×7 convolution of stride 2 instead and
`maxpool1` the max-pool behind it. The decoder passes through the sizes that the encoder went through, in reverse, so
that sizes which do not halve evenly need no cutting.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from latentscape.config import DataShape
from latentscape.nets.blocks import Activation, NarrowConv2d, PointConv2d, Resize, activation

RELU = activation("relu", inplace=True)

FEATURES = 8
"""The trunk gives so many times `width` features (512 at width 64)."""


def _norm(filters: int, norm: bool) -> list[nn.Module]:
    return [nn.BatchNorm2d(filters)] if norm else []


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut: He et al. 2016, figure 2; the first may halve the picture."""

    def __init__(self, before: int, after: int, stride: int, *, norm: bool, activation: Activation) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=not norm),
            *_norm(after, norm),
            activation(),
            nn.Conv2d(after, after, 3, 1, 1, bias=not norm),
            *_norm(after, norm),
        )
        fits = before == after and stride == 1
        shortcut = () if fits else (PointConv2d(before, after, stride, bias=not norm), *_norm(after, norm))
        self.shortcut = nn.Sequential(*shortcut)
        self.activation = activation()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B×before×H×W → B×after×⌈H/stride⌉×⌈W/stride⌉."""
        return self.activation(self.branch(x_BCHW) + self.shortcut(x_BCHW))


class MirroredBlock(nn.Module):
    """A `Block` in reverse: filters change in the second convolution; before it, the picture may be enlarged.

    `size` is the height and width to resize to (nearest), None where the size stays.
    """

    def __init__(
        self, before: int, after: int, size: tuple[int, int] | None, *, norm: bool, activation: Activation
    ) -> None:
        super().__init__()
        resize = [Resize(*size)] if size else []
        self.branch = nn.Sequential(
            nn.Conv2d(before, before, 3, 1, 1, bias=not norm),
            *_norm(before, norm),
            activation(),
            *resize,
            nn.Conv2d(before, after, 3, 1, 1, bias=not norm),
            *_norm(after, norm),
        )
        fits = before == after and size is None
        # A 1×1 convolution and copying pixels commute; the smaller picture has a quarter of the work.
        convolution = () if fits else (PointConv2d(before, after, bias=not norm), *resize, *_norm(after, norm))
        self.shortcut = nn.Sequential(*convolution)
        self.activation = activation()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B×before×H×W → B×after×size."""
        return self.activation(self.branch(x_BCHW) + self.shortcut(x_BCHW))


class GlobalMean(nn.Module):
    """The mean over all pixels (unlike adaptive pooling, its gradient is deterministic on every device)."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B×C×H×W → B×C."""
        return x_BCHW.mean((2, 3))


def _stem(channels: int, width: int, norm: bool, act: Activation, first_conv: bool, maxpool1: bool) -> list[nn.Module]:
    kernel, stride, padding = (7, 2, 3) if first_conv else (3, 1, 1)
    convolution = nn.Conv2d(channels, width, kernel, stride, padding, bias=not norm)
    return [convolution, *_norm(width, norm), act(), *([nn.MaxPool2d(3, 2, 1)] if maxpool1 else [])]


def trunk(
    channels: int,
    *,
    width: int,
    norm: bool,
    activation: Activation = RELU,
    first_conv: bool = False,
    maxpool1: bool = False,
) -> nn.Sequential:
    """x_BCHW of any size → B×(8·width), non-negative with ReLU: stem, eight blocks, mean over all pixels."""
    layers = _stem(channels, width, norm, activation, first_conv, maxpool1)
    before = width
    for after, stride in ((width, 1), (2 * width, 2), (4 * width, 2), (FEATURES * width, 2)):
        layers.append(Block(before, after, stride, norm=norm, activation=activation))
        layers.append(Block(after, after, 1, norm=norm, activation=activation))
        before = after
    return nn.Sequential(*layers, GlobalMean())


def encoder(
    shape: DataShape,
    features: int,
    *,
    width: int,
    norm: bool,
    activation: Activation = RELU,
    first_conv: bool = False,
    maxpool1: bool = False,
) -> nn.Sequential:
    """x_BCHW → B×features, linear output: the trunk and a linear layer."""
    body = trunk(shape.dims[0], width=width, norm=norm, activation=activation, first_conv=first_conv, maxpool1=maxpool1)
    return nn.Sequential(body, nn.Linear(FEATURES * width, features))


def sizes(shape: DataShape, *, first_conv: bool = False, maxpool1: bool = False) -> list[tuple[int, int]]:
    """Height and width after each halving of the encoder, the picture's own first."""
    height, width = shape.dims[1:]
    out = [(height, width)]
    for _ in range(3 + first_conv + maxpool1):
        height, width = (height + 1) // 2, (width + 1) // 2
        out.append((height, width))
    return out


def decoder(
    features: int,
    shape: DataShape,
    *,
    width: int,
    norm: bool,
    activation: Activation = RELU,
    first_conv: bool = False,
    maxpool1: bool = False,
) -> nn.Sequential:
    """B×features → x_BCHW, linear output.

    Linear to 8·width filters of 4×4, resized to the encoder's smallest size, four times two mirrored blocks (4, 2, 1, 1
    times `width`; each of the first three doubles the picture, the fourth undoes `maxpool1`), a 3×3 convolution.
    """
    grids = sizes(shape, first_conv=first_conv, maxpool1=maxpool1)[::-1]
    enlarged = [*grids[1:4], grids[4] if maxpool1 else None]
    filters = [FEATURES * width, 4 * width, 2 * width, width, width]
    layers: list[nn.Module] = [nn.Linear(features, filters[0] * 16), nn.Unflatten(1, (filters[0], 4, 4))]
    layers.append(Resize(*grids[0]))
    for (before, after), size in zip(pairwise(filters), enlarged, strict=True):
        layers.append(MirroredBlock(before, after, size, norm=norm, activation=activation))
        layers.append(MirroredBlock(after, after, None, norm=norm, activation=activation))
    return nn.Sequential(*layers, Resize(*grids[-1]), NarrowConv2d(width, shape.dims[0], 3, 1, 1))
