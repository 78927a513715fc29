"""What sets of pictures are compared on: a trained classifier, a random net, the model itself, or Inception."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentscape.contract import Encodes, Model, require
from latentscape.data import ImageSet
from latentscape.data.batches import Gatherer, in_order
from latentscape.errors import ConfigError, RunError
from latentscape.metrics import inception
from latentscape.metrics.random_net import RandomNet
from latentscape.tasks.classify import to_unit
from latentscape.training import foreign

KINDS = ("auto", "classifier", "random", "latents", "inception")
"""Names on the command line; auto: the classifier where there are labels or one was given, else the random net."""

SETTLED = 1_000
"""Training images on which the random net's features are brought to one scale."""


@dataclass(frozen=True)
class Features:
    """`of`: a batch in the judged model's value range and its labels → B×F. `said`: what they are, in words."""

    kind: str
    said: str
    of: Callable[[Tensor, Tensor | None], Tensor]


def check(kind: str, weights: Path | str | None, *, labelled: bool) -> str:
    """The kind that is meant, or `ConfigError`. labelled: whether there is a classifier to take them from."""
    if kind not in KINDS:
        raise ConfigError(f"--features must be one of {', '.join(KINDS)}, got {kind!r}")
    if weights and kind != "inception":
        raise ConfigError("--inception-weights goes with --features inception; give both")
    if kind == "inception" and not weights:
        raise ConfigError(
            f"--features inception needs --inception-weights FILE, pytorch-fid's {inception.FILE}; fetch it from "
            "https://github.com/mseitzer/pytorch-fid/releases, or choose --features random"
        )
    return ("classifier" if labelled else "random") if kind == "auto" else kind


def pixels_of(x_BX: Tensor, model: Model) -> Tensor:
    """Examples in the model's value range as a saved picture has them: on [0, 1] and clipped; vectors as they are."""
    x_BX = x_BX.float()
    return to_unit(x_BX, model.value_range).clamp(0, 1) if model.shape.is_image else x_BX


def make(
    kind: str, model: Model, name: str, images: ImageSet, device: torch.device, weights: Path | str | None
) -> Features:
    """The features of every kind but the classifier's, which come with its reading. Raises `UserError`."""
    if kind == "latents":
        return _latents(model, name)
    if kind == "inception":
        return _inception(model, Path(weights or ""), device)
    return _random(model, images, device)


def _random(model: Model, images: ImageSet, device: torch.device) -> Features:
    """A random net's, brought to one scale on training images (all there are, in a set without a training part)."""
    if not model.shape.is_image:
        return Features("random", "the values themselves", lambda x_BX, y_B: x_BX.float().flatten(1))
    net = RandomNet(model.shape.dims[0]).to(device)
    source = Gatherer(images, "train" if images.sizes()["train"] else "all", "unit", device)
    picks = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:SETTLED]
    net.settle([batch.x for batch in in_order(source, 250, picks=picks)])
    said = f"a random net, brought to one scale on {len(picks):,} training images"
    return Features("random", said, lambda x_BX, y_B: net(pixels_of(x_BX, model)))


def _latents(model: Model, name: str) -> Features:
    encoder = require(model, Encodes, name, "so that --features latents has nothing to compare; choose another kind")

    def encoded(x_BX: Tensor, y_B: Tensor | None) -> Tensor:
        x_BX = pixels_of(x_BX, model)
        return encoder.encode(2 * x_BX - 1 if model.value_range == "signed" else x_BX, y_B).float()

    return Features("latents", "the model's own latents, which are those of no other model", encoded)


def _inception(model: Model, path: Path, device: torch.device) -> Features:
    shape = model.shape
    if not shape.is_image or shape.dims[0] not in (1, 3):
        raise ConfigError(f"--features inception reads grey or colour pictures, and these are {shape}; choose another")
    net = load_inception(path).to(device)
    return Features("inception", f"InceptionV3 with the weights in {path}", lambda x, y: net(pixels_of(x, model)))


def load_inception(path: Path) -> inception.Inception:
    """Inception with the weights of a file, which must have its names and shapes. Raises `RunError`."""
    weights = foreign.read(path).tensors
    with torch.random.fork_rng(devices=[]):
        net = inception.Inception().eval().requires_grad_(False)
    own: dict[str, Any] = net.state_dict()
    for name, tensor in own.items():
        if name.endswith(foreign.COUNTER):
            continue
        found = weights.get(name)
        if found is None or found.shape != tensor.shape:
            there = f"is {list(found.shape)}" if found is not None else "is missing"
            raise RunError(
                f"{path} does not hold FID's Inception: {name} {there}, and must be {list(tensor.shape)}; give "
                f"pytorch-fid's {inception.FILE}"
            )
    net.load_state_dict({name: weights.get(name, tensor) for name, tensor in own.items()})
    return net
