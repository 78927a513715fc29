"""One optimiser and one learning-rate schedule per phase."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, ReduceLROnPlateau, StepLR

from latentscape.training.settings import TrainSettings


def make_optimiser(
    parameters: list[nn.Parameter], s: TrainSettings, device: torch.device, rate: float = 1.0
) -> Optimizer:
    """The phase's optimiser, at `rate` times the run's learning rate; fused where torch has that (CPU and CUDA)."""
    fused = device.type in ("cpu", "cuda")
    common: dict[str, Any] = {"lr": rate * s.learning_rate, "weight_decay": s.weight_decay}
    if s.optimiser == "rmsprop":
        return torch.optim.RMSprop(parameters, **common)
    if s.optimiser == "sgd":
        return torch.optim.SGD(parameters, momentum=s.beta1, fused=fused, **common)
    kind = torch.optim.Adam if s.optimiser == "adam" else torch.optim.AdamW
    return kind(parameters, betas=(s.beta1, s.beta2), fused=fused, **common)


def make_schedule(optimiser: Optimizer, s: TrainSettings, epochs: int) -> LRScheduler | ReduceLROnPlateau | None:
    """The schedule over a run of `epochs` epochs, stepped once per epoch; None for a constant rate."""
    if s.schedule == "step":
        return StepLR(optimiser, s.schedule_every, s.schedule_factor)
    if s.schedule == "cosine":
        return CosineAnnealingLR(optimiser, max(1, epochs))
    if s.schedule == "plateau":
        return ReduceLROnPlateau(
            optimiser, factor=s.schedule_factor, patience=s.schedule_patience, threshold=s.schedule_threshold
        )
    return None


def lengthen(schedule: LRScheduler | ReduceLROnPlateau | None, epochs: int) -> None:
    """A run goes on over more epochs than its checkpoint knew: a cosine continues on the longer curve."""
    if not isinstance(schedule, CosineAnnealingLR) or schedule.T_max == max(1, epochs):
        return
    schedule.T_max = max(1, epochs)
    share = 0.5 * (1 + math.cos(math.pi * schedule.last_epoch / schedule.T_max))
    for group, rate in zip(schedule.optimizer.param_groups, schedule.base_lrs, strict=True):
        group["lr"] = float(rate) * share


def step_schedule(schedule: LRScheduler | ReduceLROnPlateau | None, held_out_loss: float | None) -> None:
    """One epoch has passed."""
    if isinstance(schedule, ReduceLROnPlateau):
        if held_out_loss is not None:
            schedule.step(held_out_loss)
    elif schedule is not None:
        schedule.step()
