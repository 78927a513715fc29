"""Exponential moving average of a model's parameters *and* buffers."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Ema:
    """A second copy of the model, θ' ← d·θ' + (1−d)·θ with d = 2^(−batch/halflife).

    Buffers that are floating point (BatchNorm statistics) are averaged too, counters are copied, so that the average
    is a model that can be evaluated as it stands.
    """

    def __init__(self, model: nn.Module, halflife_images: int) -> None:
        self.halflife_images = halflife_images
        self.model = copy.deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: nn.Module, images: int) -> None:
        """Move towards `model` after a step that saw `images` images."""
        decay = 0.5 ** (images / self.halflife_images)
        for kept, new in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)
