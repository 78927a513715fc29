"""Classifier: a small net that reads an example's label; its features also measure how real samples look.

It is trained on any labelled set by the cross-entropy. Images get a convolutional net of its own, vectors a multi-layer
perceptron. What it computes before its last layer are the features on which sets of pictures are compared (FID,
precision and recall), in place of a net trained on other people's photographs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentscape import contract
from latentscape.config import DataShape, Settings, setting
from latentscape.contract import Batch, Draws, Losses, Phase
from latentscape.errors import ConfigError
from latentscape.nets import mlp

SMALL = 7
"""Pictures are halved until their longer side has at most so many pixels; a linear layer reads what is left.

It sees where things are. Averaged over places, such filters tell digits by their texture: they read 98 % of the real
ones, yet take most soft 3s and 5s, as a VAE decodes them, for an 8."""

FEATURES = 128
"""Values of the layer before the last, on which sets of pictures are compared."""

LARGE = 32
"""Pictures with a longer side than this are halved by the first layer already: full size costs much and adds little."""

WIDEST = 16
"""Filters grow from `width` to at most so many times `width`."""


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of the classifier."""

    net: Literal["auto", "conv", "mlp"] = setting("auto", "auto: conv for images, mlp for vectors")
    width: int = setting(16, "conv: filters of the first layer; doubled at each halving of the picture", at_least=1)
    hidden: tuple[int, ...] = setting(
        (256, 128), "mlp: hidden layer sizes; the last one's values are the features", at_least=1
    )
    norm: Literal["batch", "none"] = setting("batch", "BatchNorm in hidden layers")
    input_mean: float = setting(0.0, "subtracted from the input values")
    input_std: float = setting(1.0, "what the input is divided by after that", above=0)
    shift: int = setting(0, "training images are moved by up to so many pixels each way", at_least=0)


class Model(contract.Trained, contract.Classifies):
    """x → features → logits."""

    Config = Config
    needs_labels = True

    def __init__(self, shape: DataShape, config: Config, classes: int = 0) -> None:
        super().__init__(shape, config, classes)
        conv = _kind(shape, config) == "conv"
        norm = config.norm == "batch"
        self.shift = _shift(shape, config)
        self.body, size = _conv(shape, config.width, norm) if conv else _mlp(shape, config.hidden, norm)
        self.head = nn.Linear(size, classes)
        self.phases = (Phase("classify", (self.body, self.head)),)

    @classmethod
    def training_defaults(cls, shape: DataShape, config: Config) -> dict[str, Any]:
        """Four epochs of Adam under a cosine schedule read MNIST with under 1 % of errors."""
        rate = {"learning_rate": 3e-3 if _kind(shape, config) == "conv" else 1e-3}
        return {"epochs": 4, "batch_size": 128, "schedule": "cosine", **rate}

    def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> Draws:
        """shift: B×2 in [0, 1), how far down and right an image is moved; nothing where images stay in place."""
        if not self.shift:
            return {}
        return {"shift": torch.rand(len(batch.x), 2, generator=rng, device=rng.device)}

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """Cross-entropy in nats over the examples that have a label; those with y = −1 do not count."""
        x_BX = self._moved(batch.x, draws["shift"]) if self.training and self.shift else batch.x
        assert batch.y is not None
        logits_BK = self.classify(x_BX).float()
        known_B = batch.y >= 0
        count = known_B.sum().clamp_min(1)  # a batch without any label costs nothing
        nats = F.cross_entropy(logits_BK, batch.y, ignore_index=-1, reduction="sum") / count
        wrong = ((logits_BK.argmax(1) != batch.y) & known_B).sum() / count
        return Losses(nats, {"cross_entropy_nats": nats, "error_rate": wrong})

    def _moved(self, x_BCHW: Tensor, share_B2: Tensor) -> Tensor:
        """Each image moved by −shift…shift pixels in both directions; its border is repeated where it leaves a gap."""
        by_B2 = (share_B2 * (2 * self.shift + 1)).long() - self.shift
        _, channels, height, width = x_BCHW.shape
        rows_BH = (torch.arange(height, device=x_BCHW.device) - by_B2[:, :1]).clamp(0, height - 1)
        columns_BW = (torch.arange(width, device=x_BCHW.device) - by_B2[:, 1:]).clamp(0, width - 1)
        x_BCHW = x_BCHW.gather(2, rows_BH[:, None, :, None].expand(-1, channels, -1, width))
        return x_BCHW.gather(3, columns_BW[:, None, None, :].expand(-1, channels, height, -1))

    def classify(self, x_BX: Tensor) -> Tensor:
        """Logits B×K."""
        return self.head(self.features(x_BX))

    def features(self, x_BX: Tensor) -> Tensor:
        """B×F: the values of the last hidden layer."""
        return self.body((x_BX - self.config.input_mean) / self.config.input_std)


def _kind(shape: DataShape, config: Config) -> str:
    if config.net == "conv" and not shape.is_image:
        raise ConfigError(f"--net conv needs images, and the data is a {shape}; use --net mlp")
    return ("conv" if shape.is_image else "mlp") if config.net == "auto" else config.net


def _shift(shape: DataShape, config: Config) -> int:
    """Pixels that training images are moved by; vectors cannot be moved (`ConfigError`)."""
    if config.shift and not shape.is_image:
        raise ConfigError(f"--shift moves images, and the data is a {shape}; leave it out")
    if config.shift and config.shift >= min(shape.dims[1:]):
        raise ConfigError(f"--shift must be less than the {min(shape.dims[1:])} pixels of an image, got {config.shift}")
    return config.shift


def _conv(shape: DataShape, width: int, norm: bool) -> tuple[nn.Module, int]:
    """Two 3×3 convolutions at each size, the first of which halves (28 → 14 → 7 pixels), then a linear layer."""
    channels, height, across = shape.dims
    halve = 2 if max(height, across) > LARGE else 1
    layers, filters = _block(channels, width, halve, norm), width
    height, across = math.ceil(height / halve), math.ceil(across / halve)
    while max(height, across) > SMALL:
        wider = min(2 * filters, WIDEST * width)
        layers += [*_block(filters, wider, 2, norm), *_block(wider, wider, 1, norm)]
        filters, height, across = wider, math.ceil(height / 2), math.ceil(across / 2)
    last = [nn.Flatten(), nn.Linear(filters * height * across, FEATURES), nn.ReLU()]
    return nn.Sequential(*layers, *last), FEATURES


def _block(before: int, after: int, stride: int, norm: bool) -> list[nn.Module]:
    bn = [nn.BatchNorm2d(after)] if norm else []
    return [nn.Conv2d(before, after, 3, stride, 1, bias=not norm), *bn, nn.ReLU(inplace=True)]


def _mlp(shape: DataShape, hidden: tuple[int, ...], norm: bool) -> tuple[nn.Module, int]:
    """Linear, ReLU, BatchNorm for each hidden layer; without any, the features are the values themselves."""
    sizes = [shape.size, *hidden]
    return nn.Sequential(nn.Flatten(), *mlp.layers(sizes, norm=norm)), sizes[-1]
