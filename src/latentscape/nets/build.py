"""Nets as settings: any model that encodes or decodes takes these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from latentscape.config import DataShape, Settings, setting
from latentscape.errors import ConfigError
from latentscape.nets import conv, mlp


@dataclass(frozen=True, kw_only=True)
class NetSettings(Settings):
    """Which nets, and how large."""

    net: Literal["auto", "mlp", "conv"] = setting("auto", "auto: conv for images, mlp for vectors")
    hidden: tuple[int, ...] = setting((256, 128), "mlp: hidden layer sizes of the encoder, mirrored", at_least=1)
    width: int = setting(32, "conv: filters of the first layer; doubled at each halving of the picture", at_least=1)
    depth: int = setting(0, "conv: halvings of the picture; 0: until two pixels are left", at_least=0, at_most=12)
    norm: Literal["auto", "batch", "none"] = setting("auto", "BatchNorm in hidden layers; auto: conv yes, mlp no")


def kind(shape: DataShape, settings: NetSettings) -> Literal["mlp", "conv"]:
    """The net that `auto` stands for. A convolution over vectors raises `ConfigError`."""
    if settings.net == "conv" and not shape.is_image:
        raise ConfigError(f"--net conv needs images, and the data is a {shape}; use --net mlp")
    if settings.net == "auto":
        return "conv" if shape.is_image else "mlp"
    return settings.net


def has_norm(shape: DataShape, settings: NetSettings) -> bool:
    """Whether hidden layers are normalised."""
    return settings.norm == "batch" or (settings.norm == "auto" and kind(shape, settings) == "conv")


def encoder(shape: DataShape, features: int, settings: NetSettings) -> nn.Module:
    """x_BX → B×features, linear output."""
    norm = has_norm(shape, settings)
    if kind(shape, settings) == "mlp":
        return mlp.encoder(shape.size, features, settings.hidden, norm=norm)
    return conv.encoder(shape, features, width=settings.width, depth=settings.depth, norm=norm)


def decoder(features: int, shape: DataShape, settings: NetSettings) -> nn.Module:
    """B×features → B×(shape), linear output (logits or means)."""
    norm = has_norm(shape, settings)
    if kind(shape, settings) == "mlp":
        return mlp.decoder(features, shape.dims, settings.hidden, norm=norm)
    return conv.decoder(features, shape, width=settings.width, depth=settings.depth, norm=norm)
