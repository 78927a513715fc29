"""What a model is made of, before training: layers, output shapes, parameters and FLOPs for a data shape (C18)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from latentscape import models
from latentscape.config import DataShape
from latentscape.contract import Batch, Trained

EXAMPLES = 2
"""BatchNorm in training mode wants more than one example."""


@dataclass(frozen=True)
class Layer:
    """One layer of one phase's forward pass; shape and FLOPs are per example."""

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    flops: int


@dataclass(frozen=True)
class Summary:
    """All layers, the model's parameters, and the FLOPs of one forward pass per example (a step costs about 3×)."""

    layers: list[Layer]
    parameters: int
    flops: int
    notes: list[str]


class _Untracked:
    """Stands in for the counter's own tracker of modules, which the hooks here do better.

    Its hooks on gradients refuse losses that take a derivative themselves, as gradient penalties do.
    """

    parents = ("Global",)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


def summarise(name: str, shape: DataShape, settings: Any, classes: int = 0) -> Summary:
    """Build the model and run every phase once on noise. PCA and the like have no layers."""
    model = models.build(name, shape, settings, classes)
    count = sum(p.numel() for p in model.parameters())
    if not isinstance(model, Trained):
        return Summary([], count, 0, ["fitted in closed form: no layers, no gradient steps"])
    layers: list[Layer] = []
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _Untracked()  # type: ignore[assignment]
    started: dict[str, int] = {}

    def before(key: str) -> Any:
        return lambda module, inputs: started.__setitem__(key, counter.get_total_flops())

    def after(key: str, module: nn.Module) -> Any:
        def note(module_: nn.Module, inputs: Any, output: Any) -> None:
            flops = (counter.get_total_flops() - started[key]) // EXAMPLES
            own = sum(p.numel() for p in module.parameters())
            layers.append(Layer(key, type(module).__name__, tuple(output.shape[1:]), own, flops))

        return note

    for key, module in model.named_modules():
        if key and not list(module.children()):
            module.register_forward_pre_hook(before(key))
            module.register_forward_hook(after(key, module))
    _run_phases(model, shape, classes, counter)
    return Summary(layers, count, counter.get_total_flops() // EXAMPLES, model.notes())


def _run_phases(model: Trained, shape: DataShape, classes: int, counter: FlopCounterMode) -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(EXAMPLES, *shape.dims, generator=rng)
    y = torch.zeros(EXAMPLES, dtype=torch.int64) if classes else None
    batch = Batch(x, y, step=torch.zeros(()))
    with counter:
        shared = model.run_shared(batch, rng)
        for phase in model.phases:
            model(phase.name, batch, model.draw(phase.name, batch, rng) | shared)
