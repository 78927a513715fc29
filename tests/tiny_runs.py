"""Runs that take milliseconds a step, five steps an epoch, and their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from latentscape.training.checkpoint import load_state

TINY: dict[str, Any] = {
    "net": "mlp",
    "hidden": (8,),
    "latent_dim": 2,
    "limit": 80,
    "batch_size": 16,
    "threads": 1,
}


def weights(run: Path) -> dict[str, Tensor]:
    """The tensors of a finished run."""
    return load_state(run / "model.safetensors")[0]
