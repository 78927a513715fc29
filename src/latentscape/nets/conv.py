"""Convolutional encoder and decoder for images of any height, width and channel count.

At 28×28×1 and width 32 they are the spec's B3: encoder 28→14→7→4→2 and 2,048 features, decoder 1→2→4→8→16→32 and a
7×7 convolution to 28×28. Other sizes keep the pattern: halve until at most two pixels are left, double from the
smallest grid that wastes little, cut to size in the last layer.

`grid_encoder` and `grid_decoder` stop at a grid of features instead of a vector: the nets of van den Oord et al. 2017
(https://arxiv.org/abs/1711.00937, section 4.1).
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from latentscape.config import DataShape
from latentscape.errors import ConfigError
from latentscape.nets.blocks import Activation, Crop, DoublingConv2d, NarrowConv2d, Pad, activation

LEAKY = activation("leaky-relu", 0.01, inplace=True)

WIDEST = 16
"""Filters grow from `width` to at most this many times `width` (B3: 32 → 512)."""

WASTE = 1.31
"""The decoder's grid may have this many times the image's pixels before it is cut (B3: 32²/28² = 1.306)."""


def _block(conv: nn.Module, filters: int, norm: bool, act: Activation) -> list[nn.Module]:
    return [conv, *([nn.BatchNorm2d(filters)] if norm else []), act()]


def halvings(height: int, width: int) -> int:
    """How often a picture is halved until its longer side has at most two pixels (28 → 4)."""
    return max(1, math.ceil(math.log2(max(height, width))) - 1)


def _check_depth(depth: int, height: int, width: int) -> None:
    """Deeper, the encoder would halve single pixels, and the decoder's grid outgrow the picture without bound."""
    most = halvings(height, width)
    if depth > most:
        raise ConfigError(f"--depth must be at most {most} for pictures of {height}×{width} pixels, got {depth}")


def encoder(
    shape: DataShape, features: int, *, width: int, depth: int, norm: bool, activation: Activation = LEAKY
) -> nn.Sequential:
    """`depth` stride-2 convolutions (0: by the size), a 1×1 convolution to twice the filters, linear to `features`.

    A depth beyond `halvings` raises `ConfigError`.
    """
    channels, height, across = shape.dims
    _check_depth(depth, height, across)
    depth = depth or halvings(height, across)
    layers: list[nn.Module] = []
    for i in range(depth):
        filters = width * min(2**i, WIDEST)
        layers += _block(nn.Conv2d(channels, filters, 3, 2, 1), filters, norm, activation)
        channels, height, across = filters, math.ceil(height / 2), math.ceil(across / 2)
    last = min(2 * channels, WIDEST * width)
    layers += _block(nn.Conv2d(channels, last, 1), last, norm, activation)
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


def decoder(
    features: int, shape: DataShape, *, width: int, depth: int, norm: bool, activation: Activation = LEAKY
) -> nn.Sequential:
    """Linear to a small grid, `depth` + 1 transposed convolutions (0: by the size), 7×7 convolution to the picture.

    A depth beyond `halvings` raises `ConfigError`.
    """
    channels, height, across = shape.dims
    _check_depth(depth, height, across)
    m = depth + 1 if depth else doublings(height, across)
    grid = (math.ceil(height / 2**m), math.ceil(across / 2**m))
    filters = width * min(2 ** (m - 1), WIDEST)
    layers: list[nn.Module] = [nn.Linear(features, filters * math.prod(grid)), nn.Unflatten(1, (filters, *grid))]
    for i in range(m):
        after = width * min(2 ** max(m - 2 - i, 0), WIDEST)
        layers += _block(DoublingConv2d(filters, after), after, norm, activation)
        filters = after
    # A padding below 3 cuts pixels off inside the convolution; what no padding can cut, or cuts unevenly, is cropped.
    padding = (_padding(height, grid[0] * 2**m), _padding(across, grid[1] * 2**m))
    return nn.Sequential(*layers, NarrowConv2d(filters, channels, 7, 1, padding), Crop(height, across))


# ---- to a grid and back ------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """x + (activation, 3×3 convolution, activation, 1×1 convolution), van den Oord et al. 2017, section 4.1."""

    def __init__(self, filters: int, *, norm: bool, activation: Activation) -> None:
        super().__init__()
        norms = [[nn.BatchNorm2d(filters)] if norm else [] for _ in range(2)]
        first, second = nn.Conv2d(filters, filters, 3, 1, 1), nn.Conv2d(filters, filters, 1)
        self.branch = nn.Sequential(*norms[0], activation(), first, *norms[1], activation(), second)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B×C×H×W → B×C×H×W."""
        return x_BCHW + self.branch(x_BCHW)


def grid_size(shape: DataShape, halvings: int) -> tuple[int, int]:
    """Height and width of the grid that a picture halved so often becomes: ⌈H/2ᵐ⌉, ⌈W/2ᵐ⌉.

    More halvings than lead to a single pixel raise `ConfigError`.
    """
    height, width = shape.dims[1:]
    most = math.ceil(math.log2(max(height, width)))
    if halvings > most:
        raise ConfigError(f"pictures of {height}×{width} pixels can be halved at most {most} times, got {halvings}")
    return math.ceil(height / 2**halvings), math.ceil(width / 2**halvings)


def grid_encoder(
    shape: DataShape,
    channels: int,
    *,
    width: int,
    halvings: int,
    norm: bool = False,
    activation: Activation = nn.ReLU,
) -> nn.Sequential:
    """x_BCHW → B×channels×h×w, linear output, with (h, w) = `grid_size(shape, halvings)`.

    `halvings` (0 or more) 4×4 convolutions of stride 2, a 3×3 convolution, two residual blocks, all of `width` filters,
    and a 1×1 convolution to `channels`. Pictures that do not halve evenly are first laid into the centre of zeros.
    `activation` must not work in place: the residual blocks need their input again.
    """
    grid = grid_size(shape, halvings)
    before = shape.dims[0]
    layers: list[nn.Module] = [Pad(grid[0] * 2**halvings, grid[1] * 2**halvings)]
    for _ in range(halvings):
        layers += _block(nn.Conv2d(before, width, 4, 2, 1), width, norm, activation)
        before = width
    blocks = [Residual(width, norm=norm, activation=activation) for _ in range(2)]
    return nn.Sequential(
        *layers, nn.Conv2d(before, width, 3, 1, 1), *blocks, activation(), nn.Conv2d(width, channels, 1)
    )


def grid_decoder(
    channels: int,
    shape: DataShape,
    *,
    width: int,
    halvings: int,
    norm: bool = False,
    activation: Activation = nn.ReLU,
) -> nn.Sequential:
    """B×channels×h×w → x_BCHW of exactly `shape`, linear output; the mirror of `grid_encoder` with equal arguments.

    A 3×3 convolution, two residual blocks, `halvings` transposed 4×4 convolutions of stride 2, and the centre cut out
    where the picture does not halve evenly. Without halvings the last layer is a 3×3 convolution.
    """
    grid_size(shape, halvings)
    out, height, across = shape.dims
    blocks = [Residual(width, norm=norm, activation=activation) for _ in range(2)]
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, 1, 1), *blocks, activation()]
    for _ in range(halvings - 1):
        layers += _block(nn.ConvTranspose2d(width, width, 4, 2, 1), width, norm, activation)
    last = nn.ConvTranspose2d(width, out, 4, 2, 1) if halvings else NarrowConv2d(width, out, 3, 1, 1)
    return nn.Sequential(*layers, last, Crop(height, across))
