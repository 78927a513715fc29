"""Whole sets through a model, in batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from latentscape.contract import Decodes, Encodes


@torch.no_grad()
def encode_all(model: Encodes, batches: Iterable[Any]) -> tuple[Tensor, Tensor | None]:
    """Latents z_NL (posterior means) and labels y_N of every batch, on the CPU."""
    zs, ys = [], []
    for batch in batches:
        zs.append(model.encode(batch.x, batch.y).float().cpu())
        if batch.y is not None:
            ys.append(batch.y.cpu())
    return torch.cat(zs), torch.cat(ys) if ys else None


@torch.no_grad()
def decode_all(model: Decodes, z_NL: Tensor, y_N: Tensor | None = None, batch_size: int = 250) -> Tensor:
    """Decoded x_NX on the CPU, in the model's value range; z may be on any device."""
    device = next(iter(model.state_dict().values())).device  # type: ignore[attr-defined]
    parts = []
    for start in range(0, len(z_NL), batch_size):
        y = y_N[start : start + batch_size].to(device) if y_N is not None else None
        parts.append(model.decode(z_NL[start : start + batch_size].to(device), y).float().cpu())
    return torch.cat(parts)
