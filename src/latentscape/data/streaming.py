"""Tar shards that are decoded while they are trained on: for sets whose decoded pictures no disk holds.

The shards are indexed once, so that the order of an epoch can be drawn on numbers alone: the shards in a random order,
and the examples moved about among their neighbours, as a buffer that is shuffled would move them. It is a function of
(seed, epoch); a position is all a checkpoint needs, and going on there reads nothing before it. Reading goes forward
through one shard after another, and several pictures are decoded at a time, ahead of the step that wants them.

What looks at a set otherwise (evaluation, priors, maps, reports) sees a part of it in the packed cache, `StreamedSet`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentscape.config import ValueRange
from latentscape.data.batches import Examples, moved
from latentscape.data.decoding import Result, decode_in_order
from latentscape.data.finish import finish, label_by
from latentscape.data.imageset import SPLITS, ImageSet, to_range
from latentscape.data.picture import Picture
from latentscape.data.raw import Raw
from latentscape.data.scan import quiet_decoding
from latentscape.data.settings import DataSettings
from latentscape.data.sources.packing import key_of, packed
from latentscape.data.sources.shards import Tars, open_tars
from latentscape.data.split import TRAIN, VALID, positions
from latentscape.errors import DataError

KEPT = 10_000
"""Examples of each part that are packed, unless `limit` says how many."""

BUFFER = 10_000
"""How far an example may be moved from its place among those of its epoch's shards."""

_SHARE = 0.1
"""Of the examples, where the shards' names give no split, so many are held out for validation, and for testing."""


@dataclass
class ShardStream:
    """The training examples of some shards.

    rows: int64 M, which of the indexed examples they are, in the shards' order. channels: 1 or 3, of every picture.
    settings: how pictures are decoded; their `target` is set. labels, attributes: of all indexed examples.
    """

    tars: Tars
    rows: np.ndarray
    channels: int
    settings: DataSettings
    labels: Tensor | None
    attributes: Tensor | None

    def __len__(self) -> int:
        return len(self.rows)

    def order(self, seed: int, epoch: int, buffer: int) -> np.ndarray:
        """int64 M: the rows as an epoch sees them."""
        rng = np.random.default_rng([seed, epoch])
        rank_S = rng.permutation(len(self.tars.starts))  # of each shard in this epoch
        shard_M = np.searchsorted(self.tars.starts, self.rows, side="right") - 1
        in_turn = self.rows[np.argsort(rank_S[shard_M], kind="stable")]
        return in_turn[np.argsort(np.arange(len(in_turn)) + buffer * rng.random(len(in_turn)), kind="stable")]


@dataclass
class StreamedSet(ImageSet):
    """A part of a set in the packed cache, and the stream that trains on all of it.

    `sizes`, `indices` and the rest speak of the part; `len(stream)` is how many examples are trained on.
    """

    stream: ShardStream = field(kw_only=True)

    @property
    def to_train(self) -> int:
        """How many examples one pass over the stream has."""
        return len(self.stream)


def load_stream(where: str | Path, settings: DataSettings, *, progress: bool = False) -> StreamedSet:
    """Index the shards (a tar file, a folder of them, a pattern) and pack a part of each split.

    The split is that of the shards' names, else a tenth of the examples is held out for validation and a tenth for
    testing (or `valid_fraction`, `test_fraction`) by a hash of their names. Raises `DataError`.
    """
    _check(settings)
    tars = open_tars(where, settings)
    raw = Raw(tars.name, torch.empty(len(tars.files), 1), split=tars.split)
    raw.labels, raw.label_names = tars.known.labels, tars.known.label_names
    raw.attributes, raw.attribute_names = tars.known.attributes, tars.known.attribute_names
    if settings.label_attribute:
        label_by(raw, settings.label_attribute)
    digests_N = np.frombuffer(
        b"".join(hashlib.blake2b(file.encode(), digest_size=16).digest() for file in tars.files), np.uint8
    ).reshape(-1, 16)
    split_N = _split(digests_N, tars.split, settings)
    if not (split_N == TRAIN).any():
        raise DataError(f"no training examples remain of {len(split_N):,} in {where}; hold fewer out")
    images = _part(where, tars, raw, split_N, digests_N, settings, progress)
    channels = images.shape.dims[0]
    known = [None if v is None else torch.from_numpy(v) for v in (raw.labels, raw.attributes)]
    decoding = settings.replace(mode="grey" if channels == 1 else "rgb")
    stream = ShardStream(tars, np.flatnonzero(split_N == TRAIN), channels, decoding, known[0], known[1])
    fields = {f.name: getattr(images, f.name) for f in dataclasses.fields(ImageSet)}
    fields["fingerprint"] = _fingerprint(images, tars, split_N, raw)
    train = len(stream)
    note = f"a stream: {train:,} examples are trained on as they are read, and {len(images):,} are packed to look at"
    images.findings.notes.append(note)
    return StreamedSet(**fields, stream=stream)


def _check(settings: DataSettings) -> None:
    if settings.target is None:
        raise DataError("a stream needs --size, for its pictures are not looked at before they are trained on")
    for flag, given in (
        ("--only-classes", settings.only_classes),
        ("--labelled", settings.labelled),
        ("--binarise", settings.binarise != "none"),
        ("--labels", settings.labels),
    ):
        if given:
            raise DataError(f"{flag} is not for streams; leave it out, or pack the set")


def _split(digests_N: np.ndarray, own: np.ndarray | None, settings: DataSettings) -> np.ndarray:
    if own is not None:
        return own
    u_N = positions(digests_N)
    test = settings.test_fraction if settings.test_fraction >= 0 else _SHARE
    valid = settings.valid_fraction if settings.valid_fraction >= 0 else _SHARE
    split_N = np.full(len(u_N), TRAIN, np.uint8)
    split_N[u_N < test + valid] = VALID
    split_N[u_N < test] = SPLITS.index("test")
    return split_N


def _part(
    where: str | Path,
    tars: Tars,
    raw: Raw,
    split_N: np.ndarray,
    digests_N: np.ndarray,
    settings: DataSettings,
    progress: bool,
) -> ImageSet:
    """At most `limit` examples of each part, chosen by their names' hash, packed."""
    most = settings.limit or KEPT
    u_N = positions(digests_N, 1)
    parts = (np.flatnonzero(split_N == code) for code in range(len(SPLITS)))
    kept = np.sort(np.concatenate([part[np.argsort(u_N[part], kind="stable")[:most]] for part in parts]))
    rows = kept.tolist()

    def describe(part: Raw, read: list[int]) -> None:
        chosen = kept[read]
        part.split = split_N[chosen]
        part.labels = None if raw.labels is None else raw.labels[chosen]
        part.attributes = None if raw.attributes is None else raw.attributes[chosen]
        part.label_names, part.attribute_names = raw.label_names, raw.attribute_names
        part.findings.notes += raw.findings.notes + tars.known.notes

    state = [*tars.stamps, settings.label_attribute, split_N.tobytes(), kept.tobytes()]
    found = packed(
        tars.name,
        [tars.files[i] for i in rows],
        lambda i: tars.places[rows[i]].read(),
        settings,
        describe,
        key=key_of(Path(where).expanduser(), settings, state),
        where=str(where),
        progress=progress,
    )
    plain = settings.replace(label_attribute="", limit=0, valid_fraction=-1.0, test_fraction=-1.0)
    return finish(found, plain)


def _fingerprint(images: ImageSet, tars: Tars, split_N: np.ndarray, raw: Raw) -> str:
    """Of the packed part and of where everything lies in the shards, whatever the folder they are in is called."""
    state = hashlib.blake2b(images.fingerprint.encode(), digest_size=16)
    for file, place in zip(tars.files, tars.places, strict=True):
        state.update(f"{file}\0{place.offset}\0{place.size}\n".encode(errors="surrogateescape"))
    for part in (split_N, raw.labels, raw.attributes):
        state.update(b"|" if part is None else np.ascontiguousarray(part).tobytes())
    return state.hexdigest()


class StreamBatches:
    """Endless batches of one size out of a stream, as `batches.TrainBatches` gives them out of a packed set.

    Every batch is a function of (seed, batches taken). A picture that cannot be read is replaced by one of its batch,
    so that all batches have one size; `unreadable` counts them. `close` ends what decodes ahead; so does deletion.
    """

    def __init__(
        self,
        images: StreamedSet,
        batch_size: int,
        seed: int,
        value_range: ValueRange,
        device: torch.device | str,
        memory_format: torch.memory_format = torch.contiguous_format,
        *,
        buffer: int = BUFFER,
    ) -> None:
        self.stream, self.flip, self.shift = images.stream, images.flip, images.max_shift
        self.value_range: ValueRange = value_range
        self.device, self.memory_format = torch.device(device), memory_format
        self.seed, self.buffer = seed, buffer
        self.batch_size = min(batch_size, len(self.stream))
        self.per_epoch = len(self.stream) // self.batch_size
        self.taken = self.unreadable = 0
        self._order: np.ndarray = np.empty(0, np.int64)
        self._pictures: Generator[Result] | None = None
        self._rng = torch.Generator(self.device)

    def next(self) -> Examples:
        """The next batch."""
        epoch, place = divmod(self.taken, self.per_epoch)
        if self._pictures is None or place == 0:
            self._start(epoch, place)
        assert self._pictures is not None
        rows = self._order[place * self.batch_size : (place + 1) * self.batch_size]
        with quiet_decoding():
            found = [next(self._pictures) for _ in rows]
        pixels, picks = self._whole(found)
        here = torch.from_numpy(rows[picks])
        raw = torch.from_numpy(pixels).to(self.device)
        if self.flip != "none" or self.shift:
            self._rng.manual_seed((self.seed * 1_000_003 + self.taken) * 2 + 1)
            raw = moved(raw, self.flip, self.shift, self._rng)
        self.taken += 1
        labels, attributes = self.stream.labels, self.stream.attributes
        return Examples(
            to_range(raw, self.value_range).contiguous(memory_format=self.memory_format),
            labels[here].to(self.device) if labels is not None else None,
            attributes[here].to(self.device) if attributes is not None else None,
        )

    def _start(self, epoch: int, place: int) -> None:
        """Decode ahead from a place in an epoch on."""
        self.close()
        self._order = self.stream.order(self.seed, epoch, self.buffer)[: self.per_epoch * self.batch_size]
        rows = self._order[place * self.batch_size :].tolist()
        places = self.stream.tars.places
        self._pictures = decode_in_order(
            lambda i: places[rows[i]].read(), len(rows), self.stream.settings, lambda: None
        )

    def _whole(self, found: list[Result]) -> tuple[np.ndarray, np.ndarray]:
        """(uint8 B×C×H×W, positions B in the batch that they are of)."""
        readable = [i for i, picture in enumerate(found) if isinstance(picture, Picture)]
        if not readable:
            raise DataError(f"no picture of a batch of {len(found)} can be read ({found[0]}); get the shards again")
        self.unreadable += len(found) - len(readable)
        missing = iter(range(len(found)))
        picks = [i if isinstance(p, Picture) else readable[next(missing) % len(readable)] for i, p in enumerate(found)]
        pictures = [found[i].pixels for i in picks]  # type: ignore[union-attr]
        channels = self.stream.channels
        return np.stack([p if len(p) == channels else np.repeat(p, channels, 0) for p in pictures]), np.array(picks)

    def state(self) -> dict[str, Any]:
        """The position; the order follows from seed and epoch."""
        state = {"taken": self.taken, "n": len(self.stream), "batch_size": self.batch_size, "seed": self.seed}
        state["buffer"] = self.buffer
        if self.flip != "none" or self.shift:
            state |= {"flip": self.flip, "max_shift": self.shift}
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Go on at a position. Other data, another batch size or other augmentation raises `ValueError`."""
        if state != self.state() | {"taken": state["taken"]}:
            raise ValueError(f"the data stream was {state}, now {self.state()}")
        self.close()
        self.taken = state["taken"]

    def close(self) -> None:
        """End what decodes ahead."""
        if self._pictures is not None:
            self._pictures.close()
            self._pictures = None

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()
