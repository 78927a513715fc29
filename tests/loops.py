"""What several tests need to run the loop without a run folder: data in memory, an execution, a loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentscape import models
from latentscape.config import DataShape
from latentscape.contract import Fitted, Model, Trained
from latentscape.data.batches import Gatherer, TrainBatches, in_order
from latentscape.data.imageset import ImageSet
from latentscape.training.checkpoint import CheckpointFolder
from latentscape.training.execution import Execution
from latentscape.training.loop import Hooks, Loop
from latentscape.training.settings import TrainSettings

TOYS = {"toy_gan": "toy_gan", "toy_aae": "toy_aae"}


@contextmanager
def toys_known() -> Iterator[None]:
    """Discovery finds the toy models too, as it finds those of other packages."""
    real = models.modules
    models.modules = lambda: {**real(), **TOYS}
    try:
        yield
    finally:
        models.modules = real


def make(name: str, shape: tuple[int, ...], seed: int = 0, classes: int = 3, **settings: Any) -> Model:
    """A fresh model by name, a real one or a toy."""
    with toys_known():
        config = models.model_class(name).Config(**settings)
        return models.build(name, DataShape(shape), config, classes, seed)


def examples(model: Model, n: int = 6, seed: int = 0) -> Tensor:
    """n examples in the model's value range."""
    x_NX = torch.rand(n, *model.shape.dims, generator=torch.Generator().manual_seed(seed))
    return 2 * x_NX - 1 if model.value_range == "signed" else x_NX


def ready(name: str, shape: tuple[int, ...], **settings: Any) -> Model:
    """A model in evaluation mode that can be used: as built, or fitted to a few examples in closed form."""
    model = make(name, shape, **settings)
    if isinstance(model, Fitted):
        x_NX = examples(model, 40, seed=1)
        model.fit(lambda: iter(x_NX.split(15)), lambda text: None)
    return model.eval()


def small_set(shape: tuple[int, ...], n: int = 40, held_out: int = 8, seed: int = 0) -> ImageSet:
    """n examples of which the last `held_out` are for validation, labels 0, 1, 2 in turn."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(n, *shape, generator=rng)
    x = (255 * x).to(torch.uint8) if len(shape) == 3 else x
    split = torch.zeros(n, dtype=torch.uint8)
    split[n - held_out :] = 1
    return ImageSet("small", x, split, f"small{seed}", torch.arange(n) % 3, ("a", "b", "c"))


def execution(model: Trained, **changes: Any) -> Execution:
    convolutional = any(isinstance(m, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)) for m in model.modules())
    plain = {"device": "cpu", "threads": 1, "bf16": False, "compiled": False, "channels_last": convolutional}
    return Execution(**{**plain, **changes})


def make_loop(
    model: Trained, data: ImageSet, folder: Path, *, batch_size: int = 8, log: Any = None, **settings: Any
) -> Loop:
    """A loop over a set in memory, with the set's validation part held out."""
    chosen = TrainSettings(**{"epochs": 1000, "batch_size": batch_size, "log_every": 10_000, **settings})
    execute = execution(model)
    placed = execute.place(model)
    memory_format = torch.channels_last if execute.channels_last else torch.contiguous_format
    source = Gatherer(data, "train", model.value_range, "cpu", memory_format)
    held = Gatherer(data, "valid", model.value_range, "cpu", memory_format) if data.sizes()["valid"] else None
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    return Loop(
        placed,
        TrainBatches(source, batch_size, chosen.seed),
        chosen,
        execute,
        CheckpointFolder(folder / "checkpoints", chosen.keep_checkpoints),
        held_out=(lambda: in_order(held, 5)) if held else None,
        probe=next(in_order(held or source, 8, 8)),
        hooks=Hooks(log=log or (lambda record: None)),
    )


def copied(state: dict[str, Any]) -> dict[str, Any]:
    """A state that later steps do not change."""
    return {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in state.items()}


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    """Names under which two states differ in any bit (NaN equals NaN)."""
    assert a.keys() == b.keys()
    return [k for k in a if a[k].shape != b[k].shape or not torch.equal(a[k].nan_to_num(1e30), b[k].nan_to_num(1e30))]
