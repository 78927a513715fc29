"""A trained model with its data, and what every picture asks of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentscape.contract import Decodes, Encodes, Model, Samples, require
from latentscape.data import ImageSet
from latentscape.data.batches import Examples, Gatherer
from latentscape.errors import AbilityError, ConfigError, DataError
from latentscape.latents import encode, priors
from latentscape.latents.priors import Report
from latentscape.runs import RunFolder
from latentscape.tasks import fitted
from latentscape.tasks.evaluating import to_unit

MAP_POINTS = 5_000
"""Most examples of a map, a histogram or a mean error."""

MOST_CLASSES = 20
"""Most classes that get a panel or a column of their own."""

CHOICES = ("auto", "own", *priors.KINDS)
"""What latents may be drawn from; see `prior_codes`."""


@dataclass
class Stage:
    """A trained model (CPU, evaluation mode) with its data; `command` goes into the pictures' captions."""

    folder: RunFolder
    model: Model
    images: ImageSet
    command: str = ""

    @property
    def name(self) -> str:
        """The model's name on the command line."""
        return self.folder.config()["run"]["model"]

    @property
    def split(self) -> str:
        """Where pictures are taken from: the test split if there is one."""
        return next((s for s in ("test", "valid") if self.images.sizes()[s]), "train")

    # ---- examples ----------------------------------------------------------------------------------------------

    def labels(self, split: str = "") -> Tensor | None:
        """Labels of every example of a split, -1 where one is unknown; None if the set has none."""
        return None if self.images.labels is None else self.images.labels[self.images.indices(split or self.split)]

    def picks(self, n: int, split: str = "") -> Tensor:
        """Positions of at most n examples in a split: the first n, or n evenly spaced if its labels come in blocks.

        Class folders are read one after the other, so their first examples would show a single class. Examples
        without a label are left out where the model needs one.
        """
        usable = self._usable(split)
        return usable[torch.arange(n) * len(usable) // n] if self._is_spaced(n, split) else usable[:n]

    def _usable(self, split: str) -> Tensor:
        y_N = self.labels(split)
        if self.model.needs_labels:
            return (self.labelled(split) >= 0).nonzero()[:, 0]
        return torch.arange(len(self.images.indices(split or self.split) if y_N is None else y_N))

    def _is_spaced(self, n: int, split: str) -> bool:
        y_N = self.labels(split)
        if y_N is None or len(self._usable(split)) <= n:
            return False
        return int((y_N[1:] != y_N[:-1]).sum()) <= self.images.classes

    def batches(self, n: int, split: str = "") -> Iterator[Examples]:
        """The examples of `picks`, in the model's value range, 500 at a time."""
        picks = self.picks(n, split)
        source = Gatherer(self.images, split or self.split, self.model.value_range, "cpu")
        for part in picks.split(500):
            yield source.take(part)

    def examples(self, n: int, split: str = "") -> Examples:
        """The examples of `picks` in one batch."""
        return self.at(self.picks(n, split), split)

    def example(self, position: int) -> Examples:
        """The example at one position of the split, a batch of 1. Positions beyond it raise `ConfigError`."""
        size = len(self.images.indices(self.split))
        if not 0 <= position < size:
            raise ConfigError(f"example must be 0 to {size - 1:,}, the {self.split} examples there are, got {position}")
        return self.at(torch.tensor([position]))

    def at(self, picks: Tensor, split: str = "") -> Examples:
        """The examples at given positions of a split."""
        if self.model.needs_labels:
            self.labelled(split)
        return Gatherer(self.images, split or self.split, self.model.value_range, "cpu").take(picks)

    def said(self, n: int) -> str:
        """What `picks(n)` are, in words: "the first 10 test images"."""
        kind = "images" if self.model.shape.is_image else "examples"
        found, size = len(self.picks(n)), len(self.images.indices(self.split))
        if found == size:
            return f"all {size:,} {self.split} {kind}"
        if self._is_spaced(n, ""):
            return f"{found:,} of {size:,} {self.split} {kind}, evenly spaced"
        return f"the first {found:,} {self.split} {kind}"

    def latents(self, n: int, split: str = "") -> tuple[Tensor, Tensor | None]:
        """Latents z_NL (posterior means) and labels y_N of `picks(n)`."""
        return encode.encode_all(self.need(Encodes), self.batches(n, split))

    # ---- labels ------------------------------------------------------------------------------------------------

    def class_name(self, label: int) -> str:
        """What the data calls a class."""
        names = self.images.label_names if self.images is not None else ()
        return names[label] if label < len(names) else str(label)

    def check_label(self, label: int) -> int:
        """A class that the model knows, or `ConfigError`."""
        if not 0 <= label < self.model.classes:
            raise ConfigError(f"label must be 0 to {self.model.classes - 1}, the model's classes, got {label}")
        return label

    def as_label(self, label: int, n: int) -> Tensor | None:
        """A label for each of n codes to decode; None for a model that reads no labels."""
        return torch.full((n,), self.check_label(label)) if self.model.needs_labels else None

    def cycle(self, n: int) -> Tensor | None:
        """Labels 0, 1, 2, … again and again, n of them; None for a model that reads none."""
        return torch.arange(n) % self.shown_classes if self.model.needs_labels else None

    def whole_rounds(self, n: int) -> int:
        """n, raised so that `cycle(n)` ends with its last label."""
        return -(-n // self.shown_classes) * self.shown_classes if self.model.needs_labels else n

    @property
    def shown_classes(self) -> int:
        """How many classes get a panel or a column of their own."""
        return min(self.model.classes, MOST_CLASSES)

    def labelled(self, split: str = "") -> Tensor:
        """Labels of a split, or `DataError` for a set without any."""
        y_N = self.labels(split)
        if y_N is None:
            why = f"{self.name} reads them" if self.model.needs_labels else "this picture is about classes"
            raise DataError(f"{self.images.name} has no labels, and {why}; give a set with labels, or --labels TABLE")
        return y_N

    # ---- abilities and pictures --------------------------------------------------------------------------------

    def need(self, ability: type, instead: str = "") -> Any:
        """The model with the ability, or `AbilityError`."""
        return require(self.model, ability, f"{_article(self.name)} {self.name}", instead)

    def need_method(self, name: str, what: str, which: str) -> Any:
        """A method that only some models have, or `AbilityError` saying which."""
        if not callable(method := getattr(self.model, name, None)):
            raise AbilityError(f"{_article(self.name)} {self.name} has no {what}; {which}")
        return method

    def need_labels(self) -> None:
        """Pictures of what a label changes need a model that reads one (`AbilityError`)."""
        if not self.model.needs_labels:
            raise AbilityError(f"{_article(self.name)} {self.name} reads no labels; conditional models do")

    def need_images(self) -> None:
        """Pictures of vectors make no sense (`AbilityError`)."""
        if not self.model.shape.is_image:
            raise AbilityError(f"the data is a {self.model.shape}, not images; `map` and `points` show it instead")

    def as_unit(self, x_NX: Tensor) -> Tensor:
        """From the model's value range to [0, 1] pixels, not clipped."""
        return to_unit(x_NX, self.model.value_range).float()

    def unit(self, x_NX: Tensor) -> np.ndarray:
        """From the model's value range to [0, 1] pixels."""
        return self.as_unit(x_NX).clamp(0, 1).numpy()

    def decode(self, z_NL: Tensor, y_N: Tensor | None = None) -> np.ndarray:
        """Codes as pictures in [0, 1]."""
        model = self.need(Decodes, "it cannot make pictures from latents")
        return self.unit(encode.decode_all(model, z_NL, y_N))


def _article(word: str) -> str:
    return "an" if word[:1] in "aeio" else "a"


def has_own_prior(model: Model, prior: str = "auto") -> bool:
    """Whether `prior` stands for the model's own, so that no data is needed to sample."""
    return prior == "own" or (prior == "auto" and isinstance(model, Samples))


def prior_codes(
    stage: Stage, n: int, seed: int, prior: str = "auto", temperature: float = 1.0, report: Report | None = None
) -> tuple[Tensor, str]:
    """n latents to decode and where they come from: the model's own prior, or one fitted to its training latents.

    prior: "own", one of `priors.KINDS`, or "auto": the model's own, or a full Gaussian for a model that has none.
    temperature: draws stand so many times as far from the prior's mean (0 for a model's own).
    """
    rng = torch.Generator().manual_seed(seed)
    if prior not in CHOICES:
        raise ConfigError(f"prior must be one of {', '.join(CHOICES)}, got {prior!r}")
    if has_own_prior(stage.model, prior):
        why = "--prior fits one to its training latents: " + ", ".join(priors.KINDS)
        z_NL, source = stage.need(Samples, why).prior(n, rng), "the model's own prior"
        return z_NL if temperature == 1 else temperature * z_NL, source
    kind = "full" if prior == "auto" else prior
    found = fitted.fitted_prior(stage, kind, report=report)
    z_NL = found.sample(n, rng)
    if temperature != 1:
        z_NL = found.mean_L + temperature * (z_NL - found.mean_L)
    return z_NL, fitted.words(kind, found)
