"""Generators and discriminators as settings, and how a label enters them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from latentscape.config import DataShape, setting
from latentscape.errors import AbilityError, ConfigError
from latentscape.nets import build, dcgan, mlp
from latentscape.nets.blocks import Activation

GanKind = Literal["dcgan", "upsampling", "mlp", "conv", "resnet"]


@dataclass(frozen=True, kw_only=True)
class GanNets(build.NetSize):
    """Which nets a GAN has, and how large."""

    net: Literal["auto", "dcgan", "upsampling", "mlp", "conv", "resnet"] = setting(
        "auto",
        "auto: dcgan for images, mlp for vectors; conv, resnet: the decoder and encoder that autoencoders have, so "
        "that --init-from can take theirs",
    )
    hidden: tuple[int, ...] = setting((256, 128), "mlp: hidden layer sizes of the discriminator", at_least=1)
    generator_hidden: tuple[int, ...] = setting(
        (), "mlp: hidden layer sizes of the generator; none: the discriminator's, mirrored", at_least=1
    )
    width: int | None = setting(
        None,
        "filters of the discriminator's first convolution, doubled at each halving; unset: 64 (conv: 32)",
        at_least=1,
    )
    norm: Literal["auto", "batch", "none"] = setting("auto", "BatchNorm in the generator; auto: as the model has it")
    discriminator_norm: Literal["auto", "batch", "none"] = setting("auto", "the same in the discriminator")
    slope: float = setting(0.2, "leaky-relu: its slope below zero", at_least=0, below=1)
    label_dim: int = setting(32, "conditional: numbers that a label becomes beside the generator's noise", at_least=1)


def kind(shape: DataShape, settings: GanNets) -> GanKind:
    """The nets that `auto` stands for. Convolutions over vectors raise `ConfigError`."""
    if settings.net == "auto":
        return "dcgan" if shape.is_image else "mlp"
    if settings.net != "mlp" and not shape.is_image:
        raise ConfigError(f"--net {settings.net} needs images, and the data is a {shape}; use --net mlp")
    return settings.net


def _width(shape: DataShape, settings: GanNets) -> int:
    return settings.width or (32 if kind(shape, settings) == "conv" else 64)


def _plain(settings: GanNets, shape: DataShape, *, norm: bool, hidden: tuple[int, ...]) -> build.NetSettings:
    """The same nets as autoencoders have them."""
    net = kind(shape, settings)
    return build.NetSettings(
        net=net,  # type: ignore[arg-type]
        hidden=hidden,
        width=_width(shape, settings),
        depth=settings.depth,
        norm="batch" if norm else "none",
        activation=settings.activation,
        slope=settings.slope,
        first_conv=settings.first_conv,
        maxpool1=settings.maxpool1,
    )


def _generator(features: int, shape: DataShape, settings: GanNets, norm: bool) -> nn.Sequential:
    net = kind(shape, settings)
    if net in ("dcgan", "upsampling"):
        make = dcgan.dcgan_generator if net == "dcgan" else dcgan.upsampling_generator
        act = build.activation_of(settings, "relu" if net == "dcgan" else "leaky-relu")
        return make(features, shape, width=_width(shape, settings), norm=norm, activation=act)
    hidden = settings.generator_hidden or tuple(reversed(settings.hidden))
    if net == "mlp":
        act = build.activation_of(settings, "leaky-relu")
        return mlp.decoder(features, shape.dims, tuple(reversed(hidden)), norm=norm, activation=act)
    return build.decoder(features, shape, _plain(settings, shape, norm=norm, hidden=hidden))


def _body(shape: DataShape, settings: GanNets, norm: bool) -> tuple[nn.Sequential, int]:
    net = kind(shape, settings)
    if net in ("dcgan", "upsampling"):
        make = dcgan.dcgan_body if net == "dcgan" else dcgan.upsampling_body
        act: Activation = build.activation_of(settings, "leaky-relu")
        return make(shape, width=_width(shape, settings), norm=norm, activation=act)
    plain = _plain(settings, shape, norm=norm, hidden=settings.hidden)
    if not settings.hidden and net == "mlp":
        return nn.Sequential(nn.Flatten()), shape.size
    return build.trunk(shape, plain)


class Generator(nn.Module):
    """z_BL and, in a conditional model, a label → x_BX, linear output; `net` is the Sequential, `label` the embedding.

    The label's embedding stands beside the noise (Mirza & Osindero 2014, https://arxiv.org/abs/1411.1784).
    """

    def __init__(self, latent_dim: int, shape: DataShape, settings: GanNets, *, classes: int, norm: bool) -> None:
        super().__init__()
        self.label = nn.Embedding(classes, settings.label_dim) if classes else None
        self.net = _generator(latent_dim + (settings.label_dim if classes else 0), shape, settings, norm)
        if kind(shape, settings) in ("dcgan", "upsampling"):
            (dcgan.initialise if norm else dcgan.initialise_generator_without_norm)(self.net)

    def forward(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """z_BL, y_B → x_BX."""
        if self.label is None:
            return self.net(z_BL)
        return self.net(torch.cat([z_BL, self.label(_known(y_B))], 1))


class Discriminator(nn.Module):
    """x_BX and, in a conditional model, a label → one logit per example, B; `body` and `head` are its two parts.

    The label enters by projection: ⟨embedding(y), features(x)⟩ is added to the logit (Miyato & Koyama 2018,
    https://arxiv.org/abs/1802.05637, equation 3).
    """

    def __init__(self, shape: DataShape, settings: GanNets, *, classes: int, norm: bool) -> None:
        super().__init__()
        self.body, features = _body(shape, settings, norm)
        self.head = nn.Linear(features, 1)
        self.label = nn.Embedding(classes, features) if classes else None
        if kind(shape, settings) in ("dcgan", "upsampling"):
            (dcgan.initialise if norm else dcgan.initialise_without_norm)(self.body)
        if self.label is not None:
            nn.init.normal_(self.label.weight, 0, features**-0.5)

    def forward(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        """x_BX, y_B → logits B."""
        features_BF = self.body(x_BX)
        logit_B = self.head(features_BF)[:, 0]
        if self.label is None:
            return logit_B
        return logit_B + (self.label(_known(y_B)) * features_BF).sum(1)


def _known(y_B: Tensor | None) -> Tensor:
    if y_B is None:
        raise AbilityError("this model needs a label for each example; give data with labels, or a label to make")
    return y_B.clamp(min=0)  # an example without a label counts as class 0 rather than failing in the embedding
