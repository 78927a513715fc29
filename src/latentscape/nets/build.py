"""Nets as settings: any model that encodes or decodes takes these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from latentscape.config import DataShape, Settings, setting
from latentscape.errors import ConfigError
from latentscape.nets import conv, mlp, resnet
from latentscape.nets.blocks import Activation, ActivationName, activation

NetKind = Literal["mlp", "conv", "grid", "resnet"]

GRID_DEPTH = 2
"""Halvings of `--net grid` where none are set: 28×28 pixels become 7×7 places."""


@dataclass(frozen=True, kw_only=True)
class NetSize(Settings):
    """How large nets are, and what stands between their layers."""

    hidden: tuple[int, ...] = setting((256, 128), "mlp: hidden layer sizes of the encoder, mirrored", at_least=1)
    width: int | None = setting(
        None, "conv, resnet: filters of the first layer, doubled at each halving; unset: 32 and 64", at_least=1
    )
    depth: int = setting(
        0, "halvings of the picture; 0: conv, until two pixels are left; grid, two", at_least=0, at_most=12
    )
    norm: Literal["auto", "batch", "none"] = setting("auto", "BatchNorm in hidden layers; auto: all nets but mlp")
    activation: Literal["auto", "relu", "leaky-relu", "elu", "silu", "gelu", "tanh"] = setting(
        "auto", "after hidden layers; auto: leaky-relu in conv, else relu"
    )
    slope: float = setting(0.01, "leaky-relu: its slope below zero", at_least=0, below=1)
    first_conv: bool = setting(False, "resnet: first layer 7×7 of stride 2 (for large pictures), not 3×3 of stride 1")
    maxpool1: bool = setting(False, "resnet: halve the picture once more, by a max-pool after the first layer")


@dataclass(frozen=True, kw_only=True)
class NetSettings(NetSize):
    """Which nets, and how large."""

    net: Literal["auto", "mlp", "conv", "grid", "resnet"] = setting(
        "auto", "auto: conv for images, mlp for vectors; grid: convolutions only, the code is a grid of features"
    )


def kind(shape: DataShape, settings: NetSettings) -> NetKind:
    """The net that `auto` stands for. A convolution over vectors raises `ConfigError`."""
    if settings.net in ("conv", "grid", "resnet") and not shape.is_image:
        raise ConfigError(f"--net {settings.net} needs images, and the data is a {shape}; use --net mlp")
    if settings.net == "auto":
        return "conv" if shape.is_image else "mlp"
    return settings.net


def is_convolutional(shape: DataShape, settings: NetSettings) -> bool:
    """Whether the net sees pictures as pictures (conv, resnet) rather than as vectors."""
    return kind(shape, settings) != "mlp"


def has_norm(shape: DataShape, settings: NetSettings) -> bool:
    """Whether hidden layers are normalised."""
    return settings.norm == "batch" or (settings.norm == "auto" and is_convolutional(shape, settings))


def width(shape: DataShape, settings: NetSettings) -> int:
    """Filters of the first convolution: as set, else 64 for resnet (He et al. 2016) and 32 for others (spec row B3)."""
    return settings.width or (64 if kind(shape, settings) == "resnet" else 32)


def activation_of(settings: NetSize, auto: ActivationName, *, inplace: bool = False) -> Activation:
    """Makes the activation layers that the settings ask for; `auto` is what their "auto" stands for in this net."""
    name = auto if settings.activation == "auto" else settings.activation
    return activation(name, settings.slope, inplace=inplace)


def grid(shape: DataShape, features: int, settings: NetSettings) -> tuple[int, int, int]:
    """channels × h × w of a code of `features` numbers on a grid. One that does not divide raises `ConfigError`."""
    height, width = conv.grid_size(shape, settings.depth or GRID_DEPTH)
    if features % (height * width):
        raise ConfigError(
            f"--net grid lays the code on {height}×{width} places, so its size must be a multiple of {height * width}, "
            f"got {features}"
        )
    return features // (height * width), height, width


def _options(shape: DataShape, settings: NetSettings) -> dict[str, Any]:
    """What the functions of `conv` and `resnet` take beside shapes."""
    common = {"width": width(shape, settings), "norm": has_norm(shape, settings)}
    if kind(shape, settings) == "conv":
        return common | {
            "depth": settings.depth,
            "activation": activation_of(settings, "leaky-relu", inplace=True),
        }
    if kind(shape, settings) == "grid":
        return common | {"halvings": settings.depth or GRID_DEPTH, "activation": activation_of(settings, "relu")}
    return common | {
        "first_conv": settings.first_conv,
        "maxpool1": settings.maxpool1,
        "activation": activation_of(settings, "relu", inplace=True),
    }


def encoder(shape: DataShape, features: int, settings: NetSettings) -> nn.Sequential:
    """x_BX → B×features, linear output."""
    if kind(shape, settings) == "grid":
        channels, *_ = grid(shape, features, settings)
        return nn.Sequential(*conv.grid_encoder(shape, channels, **_options(shape, settings)), nn.Flatten())
    if is_convolutional(shape, settings):
        module = conv if kind(shape, settings) == "conv" else resnet
        return module.encoder(shape, features, **_options(shape, settings))
    norm, act = has_norm(shape, settings), activation_of(settings, "relu")
    return mlp.encoder(shape.size, features, settings.hidden, norm=norm, activation=act)


def decoder(features: int, shape: DataShape, settings: NetSettings) -> nn.Sequential:
    """B×features → B×(shape), linear output (logits or means)."""
    if kind(shape, settings) == "grid":
        size = grid(shape, features, settings)
        return nn.Sequential(nn.Unflatten(1, size), *conv.grid_decoder(size[0], shape, **_options(shape, settings)))
    if is_convolutional(shape, settings):
        module = conv if kind(shape, settings) == "conv" else resnet
        return module.decoder(features, shape, **_options(shape, settings))
    norm, act = has_norm(shape, settings), activation_of(settings, "relu")
    return mlp.decoder(features, shape.dims, settings.hidden, norm=norm, activation=act)


def trunk(shape: DataShape, settings: NetSettings) -> tuple[nn.Sequential, int]:
    """The encoder without its last linear layer, x_BX → B×F, and F.

    For a resnet these are the global means, 8·width of them and non-negative with ReLU: spec row B13 takes them as its
    latents, B14 and B15 put heads on them.
    """
    if kind(shape, settings) == "grid":
        raise ConfigError("--net grid gives a grid of features and no vector of them; use conv, resnet or mlp")
    *body, last = encoder(shape, 1, settings)
    assert isinstance(last, nn.Linear)
    return nn.Sequential(*body), last.in_features
