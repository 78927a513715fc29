"""Convolutional encoder and decoder for images of any height, width and channel count.

At 28×28×1 and width 32 they are the spec's B3: encoder 28→14→7→4→2 and 2,048 features, decoder 1→2→4→8→16→32 and a
7×7 convolution to 28×28. Other sizes keep the pattern: halve until at most two pixels are left, double from the
smallest grid that wastes little, cut to size in the last layer.
"""

from __future__ import annotations

import math

from torch import nn

from latentscape.config import DataShape
from latentscape.nets.blocks import Crop, DoublingConv2d, NarrowConv2d

WIDEST = 16
"""Filters grow from `width` to at most this many times `width` (B3: 32 → 512)."""

WASTE = 1.31
"""The decoder's grid may have this many times the image's pixels before it is cut (B3: 32²/28² = 1.306)."""


def _block(conv: nn.Module, filters: int, norm: bool) -> list[nn.Module]:
    return [conv, *([nn.BatchNorm2d(filters)] if norm else []), nn.LeakyReLU(0.01, inplace=True)]


def halvings(height: int, width: int) -> int:
    """How often a picture is halved until its longer side has at most two pixels (28 → 4)."""
    return max(1, math.ceil(math.log2(max(height, width))) - 1)


def encoder(shape: DataShape, features: int, *, width: int, depth: int, norm: bool) -> nn.Sequential:
    """`depth` stride-2 convolutions (0: by the size), a 1×1 convolution to twice the filters, linear to `features`."""
    channels, height, across = shape.dims
    depth = depth or halvings(height, across)
    layers: list[nn.Module] = []
    for i in range(depth):
        filters = width * min(2**i, WIDEST)
        layers += _block(nn.Conv2d(channels, filters, 3, 2, 1), filters, norm)
        channels, height, across = filters, math.ceil(height / 2), math.ceil(across / 2)
    last = min(2 * channels, WIDEST * width)
    layers += _block(nn.Conv2d(channels, last, 1), last, norm)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(last * height * across, features))


def doublings(height: int, width: int) -> int:
    """How often the decoder's first grid is doubled: as often as wastes little, at least until it is 8 or smaller."""

    def covered(m: int) -> float:
        return math.ceil(height / 2**m) * math.ceil(width / 2**m) * 4**m / (height * width)

    longest = max(1, math.ceil(math.log2(max(height, width, 2))))
    fits = [m for m in range(1, longest + 1) if covered(m) <= WASTE]
    return max(fits[-1] if fits else 1, math.ceil(math.log2(max(height, width, 2) / 8)))


def _padding(want: int, have: int) -> int:
    """Of the last 7×7 convolution, so that `have` pixels become `want` (or one more, if the difference is odd)."""
    return min(3, max(0, (want - have + 7) // 2))


def decoder(features: int, shape: DataShape, *, width: int, depth: int, norm: bool) -> nn.Sequential:
    """Linear to a small grid, `depth` transposed convolutions (0: by the size), 7×7 convolution to the picture."""
    channels, height, across = shape.dims
    m = depth + 1 if depth else doublings(height, across)
    grid = (math.ceil(height / 2**m), math.ceil(across / 2**m))
    filters = width * min(2 ** (m - 1), WIDEST)
    layers: list[nn.Module] = [nn.Linear(features, filters * math.prod(grid)), nn.Unflatten(1, (filters, *grid))]
    for i in range(m):
        after = width * min(2 ** max(m - 2 - i, 0), WIDEST)
        layers += _block(DoublingConv2d(filters, after), after, norm)
        filters = after
    # A padding below 3 cuts pixels off inside the convolution; what no padding can cut, or cuts unevenly, is cropped.
    padding = (_padding(height, grid[0] * 2**m), _padding(across, grid[1] * 2**m))
    return nn.Sequential(*layers, NarrowConv2d(filters, channels, 7, 1, padding), Crop(height, across))
