"""Whole sets through a model, in batches.

bf16: multiply in bfloat16, convolutions with their channels last; a processor that multiplies it is twice as fast, and
what comes out differs from float32 by some thousandths of its size. Off, the figures are those of float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from latentscape.contract import Decodes, Encodes


@torch.no_grad()
def encode_all(model: Encodes, batches: Iterable[Any], *, bf16: bool = False) -> tuple[Tensor, Tensor | None]:
    """Latents z_NL (posterior means, float32) and labels y_N of every batch, on the CPU."""
    device = _ready(model, bf16)
    zs, ys = [], []
    for batch in batches:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            z_BL = model.encode(_laid(batch.x, bf16), batch.y)
        zs.append(z_BL.float().cpu())
        if batch.y is not None:
            ys.append(batch.y.cpu())
    return torch.cat(zs), torch.cat(ys) if ys else None


@torch.no_grad()
def decode_all(
    model: Decodes,
    z_NL: Tensor,
    y_N: Tensor | None = None,
    batch_size: int = 250,
    *,
    bf16: bool = False,
    keep: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Decoded x_NX, float32 on the CPU, in the model's value range; z may be on any device.

    keep: what is kept of each batch instead of all of it, such as its pixels in bytes, made while it is in the
    processor's cache.
    """
    device = _ready(model, bf16)
    parts = []
    for start in range(0, len(z_NL), batch_size):
        y = y_N[start : start + batch_size].to(device) if y_N is not None else None
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            x_BX = model.decode(z_NL[start : start + batch_size].to(device), y)
        x_BX = x_BX.float().cpu().contiguous()
        parts.append(keep(x_BX) if keep else x_BX)
    return torch.cat(parts)


def _ready(model: Any, bf16: bool) -> torch.device:
    """Where the model is; its weights are laid out for bf16 where that is asked for."""
    if bf16:
        model.to(memory_format=torch.channels_last)
    return next(iter(model.state_dict().values())).device


def _laid(x_BX: Tensor, bf16: bool) -> Tensor:
    return x_BX.contiguous(memory_format=torch.channels_last) if bf16 and x_BX.dim() == 4 else x_BX
