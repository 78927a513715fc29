"""How a model is run: device, threads, precision, memory format and compilation, decided once per run.

The decision is recorded in every checkpoint and read by resume, since eager and compiled code, or other thread counts,
differ in the last bits.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from latentscape.contract import Batch, Draws, Losses, Phase, Trained
from latentscape.errors import ConfigError
from latentscape.training.settings import TrainSettings

M = TypeVar("M", bound=nn.Module)

COMPILE_PAYS_AFTER_STEPS = 40_000
"""A cold compile costs 10 to 40 s and saves about 0.7 ms a step on nets without convolutions (docs/performance.md)."""


def pick_device(name: str) -> torch.device:
    """`auto` is the accelerator if there is one. Raises `ConfigError` on a device that is not there."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return accelerator or torch.device("cpu")
    have = ["cpu", *([accelerator.type] if accelerator else [])]
    try:
        device = torch.device(name)
        there = device.type in have and torch.empty(0, device=device).device.type == device.type
    except (RuntimeError, AssertionError, NotImplementedError):
        there = False
    if not there:
        raise ConfigError(f"--device {name} is not on this machine; there is {' and '.join(have)}")
    return torch.device(name)


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the processor multiplies bf16 natively (checked, not assumed)."""
    if device.type == "cpu":
        return any(
            getattr(torch.cpu, check, lambda: False)()
            for check in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        )
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


@dataclass(frozen=True)
class Execution:
    """The decisions, as they stand in checkpoints.

    bf16: in the phases that keep their gradients in it. bf16_everywhere: in the others too, but for those that take a
    derivative of a derivative; only where the user asks for it.
    """

    device: str
    threads: int
    bf16: bool
    compiled: bool
    channels_last: bool
    bf16_everywhere: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def autocast(self, phase: Phase | None) -> contextlib.AbstractContextManager:
        """bf16 around a phase that may take it; None: the forward that phases share, only where bf16 is everywhere."""
        if self.in_bf16(phase) if phase else self.bf16_everywhere:
            return torch.autocast(torch.device(self.device).type, torch.bfloat16)
        return contextlib.nullcontext()

    def in_bf16(self, phase: Phase) -> bool:
        """Whether the phase runs in bf16."""
        return self.bf16 and (phase.low_precision or self.bf16_everywhere) and not phase.double_backward

    def place(self, model: M) -> M:
        """Move to the device and memory format."""
        model = model.to(self.device)
        return model.to(memory_format=torch.channels_last) if self.channels_last else model  # type: ignore[call-overload]

    def caller(self, model: Trained) -> Callable[[Phase, Batch, Draws], Losses]:
        """The one entry through which training calls the model: compiled where that was decided."""
        if not self.compiled:
            return lambda phase, batch, draws: model(phase.name, batch, draws)
        torch._dynamo.config.recompile_limit = 64  # shared by all phases and instances; the default 8 is too few
        compiled = torch.compile(model, fullgraph=True, dynamic=False)
        return lambda phase, batch, draws: (model if phase.double_backward else compiled)(phase.name, batch, draws)


def decide(model: Trained, s: TrainSettings, steps: int) -> Execution:
    """Settle everything that is `auto`."""
    device = pick_device(s.device)
    convolutional = any(isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)) for m in model.modules())
    # One-pixel pictures and single-channel ones gain nothing but lose nothing either: the format is the nets' own.
    bf16 = has_fast_bf16(device) if s.precision == "auto" else s.precision == "bf16"
    pays = device.type == "cuda" or not convolutional
    auto = pays and steps >= COMPILE_PAYS_AFTER_STEPS and _has_compiler(device)
    compiled = auto if s.compile == "auto" else s.compile == "on"
    threads = s.threads or torch.get_num_threads()
    return Execution(str(device), threads, bf16, compiled, convolutional, s.precision == "bf16")


def _has_compiler(device: torch.device) -> bool:
    return any(shutil.which(c) for c in ("c++", "g++", "clang++")) if device.type == "cpu" else device.type == "cuda"
