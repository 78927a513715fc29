"""Multi-layer perceptrons."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from latentscape.nets.blocks import Activation, Linear


def layers(sizes: Sequence[int], *, norm: bool, activation: Activation = nn.ReLU) -> list[nn.Module]:
    """Linear, activation, then BatchNorm if asked, for each step of `sizes`."""
    out: list[nn.Module] = []
    for before, after in pairwise(sizes):
        out += [Linear(before, after), activation()]
        if norm:
            out.append(nn.BatchNorm1d(after))
    return out


def encoder(
    size: int, features: int, hidden: Sequence[int], *, norm: bool, activation: Activation = nn.ReLU
) -> nn.Sequential:
    """size-hidden…-features, linear output; images are flattened."""
    sizes = [size, *hidden]
    return nn.Sequential(nn.Flatten(), *layers(sizes, norm=norm, activation=activation), Linear(sizes[-1], features))


def decoder(
    features: int, dims: tuple[int, ...], hidden: Sequence[int], *, norm: bool, activation: Activation = nn.ReLU
) -> nn.Sequential:
    """features-reversed hidden…-size, linear output in the shape `dims`."""
    sizes = [features, *reversed(hidden)]
    size = 1
    for d in dims:
        size *= d
    return nn.Sequential(
        *layers(sizes, norm=norm, activation=activation), Linear(sizes[-1], size), nn.Unflatten(1, dims)
    )
