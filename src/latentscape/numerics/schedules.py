"""Weights that change while a model trains, as functions of the step (a 0-dim tensor, so that they compile)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def linear(step: Tensor, steps: int) -> Tensor:
    """From 0 to 1 over `steps`, then 1 (Bowman et al. 2016; Sønderby et al. 2016)."""
    return (step / steps).clamp(0, 1)


def cosine(step: Tensor, steps: int) -> Tensor:
    """From 0 to 1 over `steps` along half a cosine, flat at both ends, then 1."""
    return 0.5 - 0.5 * torch.cos(math.pi * linear(step, steps))


def cyclical(step: Tensor, steps: int, cycles: int) -> Tensor:
    """`cycles` times: from 0 to 1 over `steps`, then 1 for as many; 1 after the last (Fu et al. 2019, R = ½)."""
    return torch.where(step < 2 * steps * cycles, linear(step % (2 * steps), steps), torch.ones_like(step))


def exponential(step: Tensor, steps: int, start: float, end: float) -> Tensor:
    """From `start` to `end`, both above 0, over `steps` at a constant ratio, then `end`."""
    return start * (end / start) ** linear(step, steps)
