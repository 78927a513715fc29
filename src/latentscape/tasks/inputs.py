"""The examples that a command works on: pictures of the user's own, or some of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentscape.contract import Model
from latentscape.data import ImageSet
from latentscape.errors import ConfigError, DataError
from latentscape.runs import RunFolder
from latentscape.tasks.evaluating import is_own, load_for
from latentscape.tasks.showing import Stage


@dataclass(frozen=True)
class Inputs:
    """N examples for a model.

    x: N×…, in the model's value range, on the CPU. y: N int64, their classes, -1 where one is unknown; None where the
    model reads no labels or nothing is known of them. names: what each is called: its file, or "test 12".
    said: what they are, in words. images: the set they are from (the first, where there are several).
    """

    x: Tensor
    y: Tensor | None
    names: tuple[str, ...]
    said: str
    images: ImageSet

    def __len__(self) -> int:
        return len(self.x)


def examples(
    folder: RunFolder,
    model: Model,
    pictures: Sequence[Path | str] = (),
    *,
    data: Any = None,
    split: str = "test",
    n: int = 0,
) -> Inputs:
    """The user's pictures, or n examples of a set (0: all), brought to the model's shape.

    pictures: files, folders or arrays, everything that is in them, in their order. Without any, examples of the run's
    own data, or of all parts of `data`: the first n, or n evenly spaced where a set lists class after class. Raises
    `ConfigError` for both at once, `DataError` for what cannot be read or does not fit.
    """
    if n < 0:
        raise ConfigError(f"--n must be at least 0, got {n}")
    if pictures and data is not None:
        raise ConfigError("give pictures or --data, not both")
    if pictures:
        return _own_pictures(folder, model, pictures)
    images = load_for(folder, data)
    split = "all" if data is not None and not is_own(folder.config(), data) else split
    rows = images.indices(split)
    y_N = images.labels if known_classes(folder, images) else None
    if model.needs_labels and y_N is None:  # its classes are not the model's, so that examples are taken as they come
        rows = rows[: n or None]
    else:
        rows = rows[Stage(folder, model, images).picks(n or len(rows), split)]
        if not len(rows):
            raise DataError(f"no {split} example of {images.name} has a label, and the model reads them; give pictures")
    y_N = y_N[rows] if model.needs_labels and y_N is not None else None
    x_NX, names = images.examples(rows, model.value_range), _names(images, rows, split)
    return Inputs(x_NX, y_N, names, f"{len(rows):,} {split} examples of {images.name}", images)


def known_classes(folder: RunFolder, images: ImageSet) -> bool:
    """Whether the labels of a set are the classes that the run was trained with, in the same order."""
    return images.labels is not None and list(folder.data().get("labels", {})) == list(images.label_names)


def _own_pictures(folder: RunFolder, model: Model, pictures: Sequence[Path | str]) -> Inputs:
    sets = [load_for(folder, p) for p in pictures]
    x_NX = torch.cat([s.examples(s.indices("all"), model.value_range) for s in sets])
    names = tuple(name for p, s in zip(pictures, sets, strict=True) for name in _files(Path(p), s))
    said = names[0] if len(names) == 1 else f"{len(names):,} pictures"
    return Inputs(x_NX, None, names, said, sets[0])


def _files(place: Path, images: ImageSet) -> list[str]:
    """A name for each example of a file or folder of the user's."""
    if images.files is None:
        return [place.name] if len(images) == 1 else [f"{place.name}[{i}]" for i in range(len(images))]
    return list(images.files)


def _names(images: ImageSet, rows: Tensor, split: str) -> tuple[str, ...]:
    if images.files is not None:
        return tuple(images.files[i] for i in rows.tolist())
    position = {row: i for i, row in enumerate(images.indices(split).tolist())}
    return tuple(f"{split} {position[row]}" for row in rows.tolist())
