"""What the pages Latent, Mix and Check ask of one run: its model, its data, and what is computed of them once.

Everything here is called on the studio's one worker, so that nothing needs a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from latentscape.contract import (
    Classifies,
    Decodes,
    Discriminates,
    Encodes,
    Model,
    Reconstructs,
    Samples,
    abilities,
)
from latentscape.data import ImageSet
from latentscape.errors import AbilityError, ConfigError, DataError, UserError
from latentscape.pictures import sheets
from latentscape.runs import RunFolder
from latentscape.tasks import inputs, places
from latentscape.tasks.showing import MAP_POINTS, Stage, prior_codes

DRAWS = 2_000
"""Draws of the prior that the map of a model without an encoder shows."""

FEW = 4
"""Pictures that are decoded on one thread, as one under the pointer is.

A single picture is too little for several: on two cores that other programs use, the convolutional decoder of a VAE of
2.2 million weights takes 84 ms on two threads, which wait for each other, and 11 ms on one (medians; idle: 2 ms).
"""

T = TypeVar("T")


@dataclass(frozen=True)
class Dots:
    """What the map shows: latents z N×L and, of examples, their positions in the set (rows) and within the split.

    said: what they are, in words. y: the classes they were encoded or are decoded under, where the model reads any.
    """

    z: Tensor
    y: Tensor | None
    rows: Tensor | None
    positions: Tensor | None
    said: str


class Explorer:
    """One run. `images` is None where its data cannot be had, and `missing` says why in a sentence."""

    def __init__(self, folder: RunFolder, model: Model, images: Callable[[], ImageSet]) -> None:
        self.folder, self.model, self._load = folder, model, images
        self._kept: dict[Any, Any] = {}

    # ---- the run -------------------------------------------------------------------------------------------------

    @cached_property
    def _data(self) -> tuple[ImageSet | None, str]:
        try:
            return self._load(), ""
        except UserError as error:
            return None, str(error)

    @property
    def images(self) -> ImageSet | None:
        """The run's own data, loaded when it is first asked for."""
        return self._data[0]

    @property
    def missing(self) -> str:
        """Why there is no data; nothing where there is."""
        return self._data[1]

    @cached_property
    def stage(self) -> Stage:
        """The model with its data, as the tasks want them; `images` may be None."""
        return Stage(self.folder, self.model, self.images)  # type: ignore[arg-type]

    def kept(self, key: Any, make: Callable[[], T]) -> T:
        """What `make` gives, computed once for a key."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    @property
    def latent_dim(self) -> int:
        """L; `AbilityError` for a model without latents."""
        if not isinstance(self.model, (Encodes, Decodes)):
            name = self.folder.config()["run"]["model"]
            raise AbilityError(f"a {name} has no latents, so there is nothing to look at here; its page Run shows it")
        return self.model.latent_dim

    @property
    def labels(self) -> list[str]:
        """The names of the classes that the model reads; none for a model that reads none."""
        if not self.model.needs_labels:
            return []
        return [places.class_name(self.folder, k) for k in range(self.model.classes)]

    def stage_for_decoding(self) -> None:
        """`AbilityError` for a model without a decoder."""
        if not isinstance(self.model, Decodes):
            self.stage.need(Decodes, "so that there is nothing to look at here; its page Run shows what it learned")

    def can(self) -> dict[str, bool]:
        """What the pages may offer, by name."""
        m, whole = self.model, isinstance(self.model, Reconstructs)
        channels = m.shape.dims[0] if m.shape.is_image else 0
        return {
            "decode": isinstance(m, Decodes),
            "encode": isinstance(m, Encodes) and isinstance(m, Decodes),
            "upload": channels in (1, 3) and (isinstance(m, (Encodes, Discriminates, Classifies))),
            "labels": m.needs_labels and isinstance(m, Decodes),
            "sample": isinstance(m, Samples) or (whole and bool(self.folder.config()["run"]["data"])),
            "score": whole,
            "denoise": whole,
            "discriminate": isinstance(m, Discriminates),
            "classify": isinstance(m, Classifies),
        }

    def abilities(self) -> list[str]:
        """In the words of `latentscape models`."""
        return abilities(type(self.model))

    # ---- labels --------------------------------------------------------------------------------------------------

    def label(self, number: int | None) -> int | None:
        """A class by its number; None for a model that reads none, class 0 where nothing is asked.

        `ConfigError` for a class that it does not know, `AbilityError` where one is asked of a model without any.
        """
        if not self.model.needs_labels:
            if number is not None:
                raise AbilityError("this model reads no labels; conditional models do")
            return None
        if number is not None and not 0 <= number < self.model.classes:
            raise ConfigError(f"a label is 0 to {self.model.classes - 1}, the model's classes, got {number}")
        return number or 0

    def own_label(self, x_1X: Tensor, known: int | None = None) -> tuple[int | None, str]:
        """The class of one example for a model that reads them, and how it was found."""
        y = None if known is None or known < 0 else torch.tensor([known])
        y_1, how = places.own_labels(self.model, x_1X, y)
        return (None if y_1 is None else int(y_1[0])), how

    # ---- examples ------------------------------------------------------------------------------------------------

    def data(self) -> ImageSet:
        """The run's data; `DataError` with the reason where there is none."""
        if self.images is None:
            raise DataError(f"this needs the run's data, which cannot be had: {self.missing}")
        return self.images

    def example(self, position: int) -> tuple[Tensor, int | None, str]:
        """One example of the split that is looked at: x 1×…, its class (None: unknown), and what it is called."""
        images, split = self.data(), self.stage.split
        rows = images.indices(split)
        if not 0 <= position < len(rows):
            raise ConfigError(f"the number of a {split} example must be 0 to {len(rows) - 1:,}, got {position}")
        row = rows[position : position + 1]
        label = None if images.labels is None or int(images.labels[row]) < 0 else int(images.labels[row])
        named = "" if label is None else f" ({images.label_names[label]})"
        x_1X = images.examples(row, self.model.value_range)
        return x_1X, label if inputs.known_classes(self.folder, images) else None, f"{split} {position}{named}"

    def bytes_of(self, x_NX: Tensor) -> bytes:
        """Examples in the model's value range as the browser draws them: see `as_bytes`."""
        return as_bytes(self.model, x_NX)

    # ---- latents -------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def decode(self, z_NL: Tensor, label: int | None) -> Tensor:
        """N×… in the model's value range."""
        if not isinstance(self.model, Decodes):
            raise AbilityError("this model has no decoder, so that it makes no pictures")
        y_N = None if label is None else torch.full((len(z_NL),), label)
        if len(z_NL) > FEW:
            return self.model.decode(z_NL, y_N).float()
        with _one_thread():
            return self.model.decode(z_NL, y_N).float()

    @torch.inference_mode()
    def encode(self, x_NX: Tensor, label: int | None) -> Tensor:
        """Latents N×L."""
        if not isinstance(self.model, Encodes):
            raise AbilityError("this model has no encoder, so that a picture has no place here; draw one with Random")
        return self.model.encode(x_NX, None if label is None else torch.full((len(x_NX),), label)).float()

    def cloud(self) -> places.Cloud:
        """Where the model's latents lie: training latents, or draws of the prior where there is no encoder or data."""
        return self.kept("cloud", self._cloud)

    def _cloud(self) -> places.Cloud:
        stage = self.stage
        if isinstance(self.model, Encodes) and self.images is not None:
            z_NL, y_N = stage.latents(MAP_POINTS, "train")
            return places.Cloud(z_NL, y_N if self.model.needs_labels else None, f"{len(z_NL):,} training latents")
        if not isinstance(self.model, Samples):
            raise DataError(f"where this model's latents lie is known from its data alone: {self.missing}")
        n = places.PRIOR_DRAWS if not isinstance(self.model, Encodes) else DRAWS
        z_NL, source = prior_codes(stage, n, 0, "own")
        y_N = torch.arange(len(z_NL)) % self.model.classes if self.model.needs_labels else None
        return places.Cloud(z_NL, y_N, f"{len(z_NL):,} draws of {source}")

    def dots(self) -> Dots:
        """What the map shows."""
        return self.kept("dots", self._dots)

    def _dots(self) -> Dots:
        stage = self.stage
        if isinstance(self.model, Encodes) and self.images is not None:
            split, picks = stage.split, stage.picks(MAP_POINTS)
            z_NL, y_N = stage.latents(MAP_POINTS)
            rows = self.images.indices(split)[picks]
            said = f"{len(rows):,} {split} {'pictures' if self.model.shape.is_image else 'examples'}"
            return Dots(z_NL, y_N if self.model.needs_labels else None, rows, picks, said)
        around = self.cloud()
        y_N = None if around.y is None else around.y[:DRAWS]
        return Dots(around.z[:DRAWS], y_N, None, None, f"{min(DRAWS, len(around.z)):,} draws of the model's own prior")

    def pictures_of_dots(self, picks: Tensor) -> Tensor:
        """The pictures of dots in the model's value range: the examples themselves, or what the draws decode to."""
        dots = self.dots()
        if dots.rows is not None:
            return self.data().examples(dots.rows[picks], self.model.value_range)
        parts = [
            self.decode(dots.z[part], None) if dots.y is None else self._decode_each(dots.z[part], dots.y[part])
            for part in picks.split(100)
        ]
        return torch.cat(parts)

    @torch.inference_mode()
    def _decode_each(self, z_NL: Tensor, y_N: Tensor) -> Tensor:
        assert isinstance(self.model, Decodes)
        return self.model.decode(z_NL, y_N).float()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on this thread alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def short(values: Tensor, digits: int = 6) -> list[float]:
    """Numbers for JSON and addresses, with so many digits that count."""
    return [float(f"{v:.{digits}g}") for v in values.tolist()]


def as_bytes(model: Model, x_NX: Tensor) -> bytes:
    """Images as uint8 N×H×W×C (clipped, rounded), vectors as little-endian float32 N×D."""
    stage = Stage(None, model, None)  # type: ignore[arg-type]
    if not model.shape.is_image:
        return x_NX.detach().float().contiguous().numpy().astype("<f4", copy=False).tobytes()
    return np.ascontiguousarray(sheets.to_uint8(stage.unit(x_NX)).transpose(0, 2, 3, 1)).tobytes()


def explorer_of(opened: Any) -> Explorer:
    """The explorer of an open run (`shelf.Opened`): made once, and made anew when the run has newer weights."""
    return opened.kept("explorer", lambda: Explorer(opened.folder, opened.model, lambda: opened.images))
