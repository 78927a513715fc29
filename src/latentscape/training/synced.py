"""Sums over the processes of a run, and BatchNorm whose batch is all processes' shares together.

`nn.SyncBatchNorm` does not run on CPUs and has no second derivative. Here the statistics travel through a sum that
autograd sees, so any number of derivatives are those of one process with the whole batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from latentscape.errors import RunFailed


class Lost(RunFailed):
    """Another process of the run is gone."""


@contextlib.contextmanager
def connected() -> Iterator[None]:
    """Turns what torch raises when processes cannot reach each other into `Lost`."""
    try:
        yield
    except RuntimeError as error:
        raise Lost(
            "another process of this run ended or cannot be reached; start as many again and go on with: "
            "latentscape resume RUN"
        ) from error


def add_up(tensor: Tensor) -> None:
    """Replace a tensor by its sum over the processes."""
    with connected():
        dist.all_reduce(tensor)


class _Sum(torch.autograd.Function):
    """Σ over the processes. Each one's loss is part of the total, so the gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        add_up(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return _Sum.apply(gradient)  # type: ignore[return-value]


class Synced(_BatchNorm):
    """In training, normalises by the statistics of all processes' rows; elsewhere as its parent does.

    Every process has as many rows. Parameters, buffers and their names are the parent's.
    """

    def forward(self, input: Tensor) -> Tensor:
        """B×C or B×C×… of this process → the same shape and type."""
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        x = input if input.dtype == torch.float64 else input.float()
        own = torch.stack(torch.var_mean(x, [0, *range(2, x.dim())], correction=0))
        # Each process's own go into its row of a table that starts at zero: the sum of the tables holds all of them.
        rank, size = dist.get_rank(), dist.get_world_size()
        all_W2C = _Sum.apply(nn.functional.pad(own[None], (0, 0, 0, 0, rank, size - 1 - rank)))
        var_WC, mean_WC = all_W2C.unbind(1)  # type: ignore[union-attr]
        mean_C = mean_WC.mean(0)
        var_C = var_WC.mean(0) + (mean_WC - mean_C).square().mean(0)
        self._follow(mean_C.detach(), var_C.detach(), size * x.numel() // x.shape[1])
        scale_C = torch.rsqrt(var_C + self.eps)
        scale_C = scale_C * self.weight if self.affine else scale_C
        shift_C = self.bias - mean_C * scale_C if self.affine else -mean_C * scale_C
        shape = (1, -1, *[1] * (x.dim() - 2))
        return torch.addcmul(shift_C.view(shape), x, scale_C.view(shape)).to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean_C: Tensor, var_C: Tensor, count: int) -> None:
        """Move the running statistics; their variance is the unbiased one of `count` values."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        factor = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.mul_(1 - factor).add_(mean_C, alpha=factor)
        self.running_var.mul_(1 - factor).add_(var_C * (count / max(1, count - 1)), alpha=factor)


_kinds: dict[type[_BatchNorm], type[Synced]] = {}


def looks_at_batch(module: nn.Module) -> bool:
    """Whether a layer is one that `join` changes."""
    return isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm)


def join(model: nn.Module) -> None:
    """Let every BatchNorm of the model see all processes' rows. It stays the same object with the same tensors."""
    for module in model.modules():
        if looks_at_batch(module) and not isinstance(module, Synced):
            kind: Any = type(module)
            if kind not in _kinds:
                _kinds[kind] = type(f"Synced{kind.__name__}", (Synced, kind), {"alone": kind})
            module.__class__ = _kinds[kind]


def part(model: nn.Module) -> None:
    """Undo `join`."""
    for module in model.modules():
        if isinstance(module, Synced):
            module.__class__ = module.alone  # type: ignore[assignment]
