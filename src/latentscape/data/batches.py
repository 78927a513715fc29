"""Seeded batches on the device: pixels stay uint8 until they are there.

The order of every epoch is a function of (seed, epoch), and what is drawn for a batch one of (seed, batches taken), so
that a position is all a checkpoint needs.
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
"""A part of a set up to this size is copied to an accelerator once; a larger one is gathered batch by batch."""

_CHUNK = 4096  # examples copied to the device at a time, so that no second copy of the set is made on the way


def resides(nbytes: int, device: torch.device) -> bool:
    """Whether a part of a set is copied to the device: the processor reads it where it is, mapped or in memory."""
    return device.type != "cpu" and nbytes <= RESIDENT_BYTES


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
        self.flip, self.shift = data.flip, data.max_shift
        self.x: Tensor = data.x
        self.y = data.labels[self.rows].to(self.device) if data.labels is not None else None
        self.attributes = data.attributes[self.rows].to(self.device) if data.attributes is not None else None
        self.resident = resides(self.x[0].nbytes * len(self.rows), self.device)
        if self.resident:
            self.x = self._copied()

    def __len__(self) -> int:
        return len(self.rows)

    def _copied(self) -> Tensor:
        """The rows of the split, on the device."""
        copied = torch.empty((len(self.rows), *self.x.shape[1:]), dtype=self.x.dtype, device=self.device)
        for start in range(0, len(self.rows), _CHUNK):
            copied[start : start + _CHUNK] = self.x.index_select(0, self.rows[start : start + _CHUNK])
        return copied

    def _raw(self, picks: Tensor) -> Tensor:
        """The examples as they are stored, on the device. `picks` may be on the device or not."""
        if self.resident:
            return self.x.index_select(0, picks.to(self.device))
        rows = self.rows.index_select(0, picks.cpu())
        if self.device.type == "cpu":
            return self.x.index_select(0, rows)
        # From pinned memory the copy runs while the device still computes and this thread goes on.
        pinned = self.device.type == "cuda"
        host = torch.empty((len(rows), *self.x.shape[1:]), dtype=self.x.dtype, pin_memory=pinned)
        return torch.index_select(self.x, 0, rows, out=host).to(self.device, non_blocking=pinned)

    @property
    def augments(self) -> bool:
        """Whether training batches show their images mirrored or moved."""
        return self.flip != "none" or self.shift > 0

    def take(self, picks: Tensor, rng: torch.Generator | None = None, *, augment: bool = False) -> Examples:
        """The examples at positions `picks` of the split; `rng`, on the device, redraws binarised pixels.

        augment: mirror and move the images as the set's settings say, also by draws of `rng`.
        """
        here, raw = picks.to(self.device), self._raw(picks)
        if augment and self.augments:
            raw = moved(raw, self.flip, self.shift, rng)
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


def moved(x_BCHW: Tensor, flip: str, shift: int, rng: torch.Generator | None) -> Tensor:
    """Each image mirrored with probability ½ along each axis that `flip` names, and moved by −shift…shift pixels.

    Every whole number of pixels is as likely as any other, on each axis by itself; what comes in at an edge repeats the
    border. One gather, whatever is asked. `rng` is on the device of `x_BCHW`.
    """
    batch, channels, height, width = x_BCHW.shape
    rows_BH = _places(x_BCHW, height, shift, flip in ("vertical", "both"), rng)
    columns_BW = _places(x_BCHW, width, shift, flip in ("horizontal", "both"), rng)
    source_BN = (rows_BH[:, :, None] * width + columns_BW[:, None, :]).view(batch, 1, -1)
    return x_BCHW.flatten(2).gather(2, source_BN.expand(-1, channels, -1)).view(x_BCHW.shape)


def _places(x_BCHW: Tensor, side: int, shift: int, mirror: bool, rng: torch.Generator | None) -> Tensor:
    """Where each place of an axis takes its value from, int64 B×side."""
    size, device = (len(x_BCHW), 1), x_BCHW.device
    place_BS = torch.arange(side, device=device).expand(len(x_BCHW), -1)
    if shift:
        by_B1 = torch.randint(-shift, shift + 1, size, generator=rng, device=device)
        place_BS = (place_BS - by_B1).clamp(0, side - 1)
    if mirror:
        place_BS = torch.where(torch.rand(size, generator=rng, device=device) < 0.5, side - 1 - place_BS, place_BS)
    return place_BS


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
        if self.source.binarise or self.source.augments:
            self._rng.manual_seed((self.seed * 1_000_003 + self.taken) * 2 + 1)
        self.taken += 1
        return self.source.take(picks, self._rng, augment=True)

    def state(self) -> dict[str, Any]:
        """The position; the order follows from seed and epoch."""
        state = {"taken": self.taken, "n": len(self.source), "batch_size": self.batch_size, "seed": self.seed}
        if self.source.augments:
            state |= {"flip": self.source.flip, "max_shift": self.source.shift}
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Go on at a position. Other data, another batch size or other augmentation raises `ValueError`."""
        if state != self.state() | {"taken": state["taken"]}:
            raise ValueError(f"the data stream was {state}, now {self.state()}")
        self.taken, self._order = state["taken"], None


def in_order(
    source: Gatherer, batch_size: int = 500, limit: int = 0, *, picks: Tensor | None = None
) -> Iterator[Examples]:
    """One pass in the set's own order, tail included; `limit` stops after so many examples.

    picks: go over these positions of the split instead. Nothing is mirrored or moved, and pixels that are binarised
    anew are drawn from seed 0, so that every pass sees the same.
    """
    if picks is None:
        picks = torch.arange(min(len(source), limit) if limit else len(source))
    rng = torch.Generator(source.device).manual_seed(0)
    for part in picks.split(batch_size):
        yield source.take(part, rng)
