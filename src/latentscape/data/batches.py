"""Seeded batches on the device: pixels stay uint8 until they are there.

The order of every epoch is a function of (seed, epoch), so that a position is all a checkpoint needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentscape.config import ValueRange
from latentscape.data.imageset import ImageSet, to_range
from latentscape.errors import DataError

RESIDENT_BYTES = 8 << 30
"""A training set up to this size is copied to the device once; a larger one is gathered batch by batch."""


@dataclass(frozen=True, slots=True)
class Examples:
    """A gathered batch: x in the asked value range on the device, labels and attributes where the set has them."""

    x: Tensor
    y: Tensor | None = None
    attributes: Tensor | None = None


class Gatherer:
    """Takes rows of one split of a set, scaled to a value range, on a device.

    labelled: only the rows that have a label.
    """

    def __init__(
        self,
        data: ImageSet,
        split: str,
        value_range: ValueRange,
        device: torch.device | str,
        memory_format: torch.memory_format = torch.contiguous_format,
        *,
        labelled: bool = False,
    ) -> None:
        self.value_range: ValueRange = value_range
        self.device, self.memory_format = torch.device(device), memory_format
        self.rows = data.indices(split)
        if labelled:
            self.rows = self.rows[data.labels[self.rows] >= 0] if data.labels is not None else self.rows[:0]
        self.binarise = data.binarise == "dynamic" and split == "train"
        self.x: Tensor = data.x
        self.y = data.labels[self.rows].to(self.device) if data.labels is not None else None
        self.attributes = data.attributes[self.rows].to(self.device) if data.attributes is not None else None
        self.resident = self.x[0].nbytes * len(self.rows) <= RESIDENT_BYTES
        if self.resident:
            self.x = torch.index_select(self.x, 0, self.rows).to(self.device)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, picks: Tensor, rng: torch.Generator | None = None) -> Examples:
        """The examples at positions `picks` of the split; `rng` redraws binarised pixels."""
        if self.resident:
            here = picks.to(self.device)
            raw = torch.index_select(self.x, 0, here)
        else:
            here = picks.to(self.device)
            raw = torch.index_select(self.x, 0, self.rows[picks]).to(self.device)
        x = to_range(raw, self.value_range)
        if self.binarise:
            chance = to_range(raw, "unit")
            bits = torch.bernoulli(chance, generator=rng)
            x = bits if self.value_range != "signed" else 2 * bits - 1
        if x.dim() == 4:
            x = x.contiguous(memory_format=self.memory_format)
        return Examples(
            x,
            self.y[here] if self.y is not None else None,
            self.attributes[here] if self.attributes is not None else None,
        )


class TrainBatches:
    """Endless shuffled batches of one fixed size; an epoch's tail is dropped, and a small set is one batch."""

    def __init__(self, source: Gatherer, batch_size: int, seed: int) -> None:
        if not len(source):
            raise DataError("there are no training images; give a set with some, or a smaller share held out")
        self.source, self.seed = source, seed
        self.batch_size = min(batch_size, len(source))
        self.per_epoch = len(source) // self.batch_size
        self.taken = 0
        self._order: Tensor | None = None
        self._rng = torch.Generator(source.device)

    def next(self) -> Examples:
        """The next batch."""
        epoch, place = divmod(self.taken, self.per_epoch)
        if self._order is None or place == 0:
            order_seed = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._order = torch.randperm(len(self.source), generator=order_seed)
            self._order = self._order.to(self.source.device) if self.source.resident else self._order
        picks = self._order[place * self.batch_size : (place + 1) * self.batch_size]
        if self.source.binarise:
            self._rng.manual_seed((self.seed * 1_000_003 + self.taken) * 2 + 1)
        self.taken += 1
        return self.source.take(picks, self._rng)

    def state(self) -> dict[str, Any]:
        """The position; the order follows from seed and epoch."""
        return {"taken": self.taken, "n": len(self.source), "batch_size": self.batch_size, "seed": self.seed}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on at a position. Other data or another batch size raises `ValueError`."""
        if state != self.state() | {"taken": state["taken"]}:
            raise ValueError(f"the data stream was {state}, now {self.state()}")
        self.taken, self._order = state["taken"], None


def in_order(
    source: Gatherer, batch_size: int = 500, limit: int = 0, *, picks: Tensor | None = None
) -> Iterator[Examples]:
    """One pass in the set's own order, tail included; `limit` stops after so many examples.

    picks: go over these positions of the split instead. Pixels that are binarised anew are drawn from seed 0, so that
    every pass sees the same.
    """
    if picks is None:
        picks = torch.arange(min(len(source), limit) if limit else len(source))
    rng = torch.Generator(source.device).manual_seed(0)
    for part in picks.split(batch_size):
        yield source.take(part, rng)
