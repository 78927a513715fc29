"""Where walks through latent space start: latents of pictures, of examples, of a prior, or from a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentscape.contract import Classifies, Decodes, Encodes, Model
from latentscape.data import ImageSet
from latentscape.errors import ConfigError, DataError
from latentscape.latents import encode
from latentscape.latents.importance import Importance, importance
from latentscape.metrics import reconstruction
from latentscape.runs import RunFolder
from latentscape.tasks import inputs, using
from latentscape.tasks.evaluating import is_own, load_for, to_unit
from latentscape.tasks.showing import MAP_POINTS, Stage, has_own_prior, prior_codes
from latentscape.tasks.showing.stage import MOST_CLASSES

BASES, BASE_VALUES, FEWEST_BASES = 32, 8_192, 4
"""Latents round which importance is measured: at most 32, and fewer where codes have many coordinates to move."""

PRIOR_DRAWS = 10_000
"""Draws that say where the prior of a model without an encoder lies."""

INSTEAD = (
    "walk between latents of its prior with --random, or find the pictures' latents with `project --out X.npy` and "
    "give them with --latents X.npy"
)


@dataclass(frozen=True)
class Places:
    """M latents.

    z: M×L. y: M int64, their own classes; None where they have none or the model reads none. x: M×…, the examples that
    they are of, in the model's value range; None for draws. names: what each is called. note: what is to be said of all
    of them: the prior that they were drawn from, or how unknown classes were found.
    """

    z: Tensor
    y: Tensor | None
    x: Tensor | None
    names: tuple[str, ...]
    note: str = ""

    @property
    def noted(self) -> str:
        """The note in brackets after a space, if there is one."""
        return f" ({self.note})" if self.note else ""


def open_stage(path: Path | str, command: str) -> Stage:
    """A run's model without data; what needs data loads it with `with_data`. `AbilityError` without a decoder."""
    folder = RunFolder(path)
    stage = Stage(folder, folder.load_model(), None, command)  # type: ignore[arg-type]
    stage.need(Decodes, "it cannot make pictures from latents")
    return stage


def with_data(stage: Stage, data: Any) -> Stage:
    """The same stage with the run's own data, or other data."""
    return replace(stage, images=load_for(stage.folder, data))


# ---- latents to start from -----------------------------------------------------------------------------------------


def of_pictures(stage: Stage, pictures: Sequence[Path | str]) -> Places:
    """Latents of everything that is in the user's files and folders."""
    stage.need(Encodes, INSTEAD)
    return of_inputs(stage, inputs.examples(stage.folder, stage.model, pictures))


def of_examples(stage: Stage, data: Any, split: str, positions: Sequence[int]) -> Places:
    """Latents of examples at given positions of a split, from 0; none given: the two of `two_apart`."""
    stage.need(Encodes, INSTEAD)
    images = load_for(stage.folder, data)
    rows, kind = images.indices(_part(stage, data, split)), _part(stage, data, split)
    known = inputs.known_classes(stage.folder, images)
    y_N = images.labels[rows] if known and images.labels is not None else None
    if not positions:
        positions = two_apart(images, rows, kind, labelled_only=stage.model.needs_labels and known)
    if beyond := [p for p in positions if not 0 <= p < len(rows)]:
        raise ConfigError(f"examples must be 0 to {len(rows) - 1:,}, the {kind} examples there are, got {beyond[0]}")
    picks = torch.tensor(list(positions))
    names = tuple(f"{kind} {p}{_named(images, int(rows[p]))}" for p in positions)
    x_MX = images.examples(rows[picks], stage.model.value_range)
    return of_inputs(stage, inputs.Inputs(x_MX, None if y_N is None else y_N[picks], names, ", ".join(names), images))


def _part(stage: Stage, data: Any, split: str) -> str:
    """The split asked for, or all of other data than the run's own."""
    return split if data is None or is_own(stage.folder.config(), data) else "all"


def _named(images: ImageSet, row: int) -> str:
    """An example's class in brackets, where it is known."""
    label = -1 if images.labels is None else int(images.labels[row])
    return f" ({images.label_names[label]})" if label >= 0 else ""


def two_apart(images: ImageSet, rows_N: Tensor, split: str, *, labelled_only: bool = False) -> tuple[int, int]:
    """Positions of two examples: the first of class "7" and of class "6", or of two classes, or the first two."""
    if len(rows_N) < 2:
        raise DataError(
            f"a walk needs two {split} examples, and there is one; choose another --split, or give pictures"
        )
    if images.labels is None:
        return 0, 1
    y_N, names = images.labels[rows_N], list(images.label_names)
    found = [(y_N == names.index(name)).nonzero() for name in ("7", "6") if name in names]
    if len(found) == 2 and all(map(len, found)):
        return int(found[0][0]), int(found[1][0])
    known = (y_N >= 0).nonzero()[:, 0]
    if len(known) < 2:
        if labelled_only:
            raise DataError(f"fewer than two {split} examples have a label, and the model reads them; give pictures")
        return 0, 1
    first = int(known[0])
    others = known[y_N[known] != y_N[first]]
    return first, int(others[0] if len(others) else known[1])


def of_inputs(stage: Stage, given: inputs.Inputs) -> Places:
    """Latents of examples, each encoded under its own class where the model reads one."""
    y_N, how = own_labels(stage.model, given.x, given.y)
    with torch.no_grad():
        z_NL = stage.need(Encodes, INSTEAD).encode(given.x, y_N).float()
    return Places(z_NL, y_N, given.x, given.names, how and f"classes: {how}")


def of_prior(stage: Stage, data: Any, n: int, seed: int) -> Places:
    """n draws of the model's own prior, or of a Gaussian fitted to its training latents."""
    if not has_own_prior(stage.model):
        stage = with_data(stage, data)
    z_NL, source = prior_codes(stage, n, seed)
    return Places(z_NL, None, None, tuple(f"draw {i}" for i in range(n)), f"from {source}, seed {seed}")


def of_file(stage: Stage, path: Path | str, n: int) -> Places:
    """The first n latents of an .npy file, N×L, as `project` and `embed` write them."""
    size = stage.need(Decodes).latent_dim
    try:
        z = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is not an .npy file of latents; `project --out X.npy` writes one") from error
    if not isinstance(z, np.ndarray) or z.ndim != 2 or z.shape[1] != size or len(z) < n or z.dtype.kind not in "fiu":
        raise DataError(
            f"{path} must hold at least {n} latents of {size} numbers each, a row each; it holds "
            f"{'×'.join(map(str, np.shape(z)))} of {getattr(z, 'dtype', 'several arrays')}"
        )
    z_NL = torch.from_numpy(z[:n].astype(np.float32))
    if not z_NL.isfinite().all():
        raise DataError(f"{path} holds latents that are not finite numbers; write it again")
    names = tuple(f"{Path(path).name}[{i}]" for i in range(n))
    return Places(z_NL, None, None, names)


# ---- labels ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def own_labels(model: Any, x_NX: Tensor, y_N: Tensor | None) -> tuple[Tensor | None, str]:
    """The class of each example for a model that reads labels, and how it was found where it was not known.

    A model that classifies says it; for another, it is the class under which the example is reconstructed best.
    """
    if not model.needs_labels or (y_N is not None and bool((y_N >= 0).all())):
        return (y_N, "") if model.needs_labels else (None, "")
    if isinstance(model, Classifies):
        found_N, how = model.classify(x_NX).argmax(1), "as the model reads them"
    else:
        unit, errors = to_unit(x_NX, model.value_range), []
        for k in range(model.classes):
            xhat_NX = model.reconstruct(x_NX, torch.full((len(x_NX),), k))
            errors.append(reconstruction.mse(unit, to_unit(xhat_NX, model.value_range)))
        found_N, how = torch.stack(errors).argmin(0), "those under which they are reconstructed best"
    return (found_N if y_N is None else torch.where(y_N >= 0, y_N, found_N)), how


def class_name(folder: RunFolder, label: int) -> str:
    """What the data that the run was trained on calls a class."""
    names = list(folder.data().get("labels", {}))
    return names[label] if label < len(names) else str(label)


def labels_to_show(stage: Stage, label: str | int | None, own: Tensor | None = None) -> list[int | None]:
    """The classes to decode under, one row or panel each: the one asked for, else the examples' own, else all.

    [None] for a model that reads no labels; it refuses one (`AbilityError`).
    """
    if label is not None and label != "":
        stage.need_labels()
        return [using.find_label(stage, label)[0]]
    if not stage.model.needs_labels:
        return [None]
    if own is not None:
        return list(dict.fromkeys(own.tolist()))
    return list(range(min(stage.model.classes, MOST_CLASSES)))


def decoded(stage: Stage, z_NL: Tensor, label: int | None) -> Tensor:
    """Codes decoded under one class, N×… in the model's value range; None for a model that reads none."""
    y_N = None if label is None else torch.full((len(z_NL),), label)
    return encode.decode_all(stage.need(Decodes), z_NL, y_N)


# ---- where the latents lie -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cloud:
    """Latents as the model uses them: z N×L, their labels if the model reads them, and what they are, in words."""

    z: Tensor
    y: Tensor | None
    said: str


def cloud(stage: Stage, data: Any) -> Cloud:
    """Training latents, or draws of the prior for a model without an encoder."""
    if not isinstance(stage.model, Encodes):
        z_NL, source = prior_codes(stage, PRIOR_DRAWS, 0)
        y_N = torch.arange(len(z_NL)) % stage.model.classes if stage.model.needs_labels else None
        return Cloud(z_NL, y_N, f"{len(z_NL):,} draws of {source}")
    stage = with_data(stage, data)
    if stage.model.needs_labels:
        stage.labelled(_part(stage, data, "train"))
        if not inputs.known_classes(stage.folder, stage.images):
            raise DataError(
                f"the classes of {stage.images.name} are not those that the run was trained with, and {stage.name} "
                "reads them; leave --data out"
            )
    part = _part(stage, data, "train")
    z_NL, y_N = stage.latents(MAP_POINTS, part)
    kind = "training latents" if part == "train" else f"latents of {stage.images.name}"
    return Cloud(z_NL, y_N if stage.model.needs_labels else None, f"{len(z_NL):,} {kind}")


def importance_of(stage: Stage, around: Cloud, label: int | None) -> tuple[Importance, int]:
    """How much each coordinate matters, on [0, 1] pixels, and over how many of the cloud's latents that is measured.

    label: decode all of them under it; None: each under its own.
    """
    size = around.z.shape[1]
    n = min(len(around.z), max(FEWEST_BASES, min(BASES, BASE_VALUES // size)))
    picks = torch.arange(n) * len(around.z) // n
    y_N = around.y[picks] if around.y is not None else None
    if label is not None:
        y_N = torch.full((n,), label)
    model = stage.need(Decodes)

    def decode(z_ML: Tensor) -> Tensor:
        return stage.as_unit(encode.decode_all(model, z_ML, None if y_N is None else y_N.repeat(2)))

    return importance(decode, around.z[picks], around.z.std(0, correction=0)), n


def check_coordinates(coordinates: Sequence[int], model: Model) -> list[int]:
    """Latent coordinates, counted from 1, as positions from 0; `ConfigError` for others and for one named twice."""
    size = getattr(model, "latent_dim", 0)
    if wrong := [c for c in coordinates if not 1 <= c <= size]:
        raise ConfigError(f"--coordinates must be 1 to {size}, the latent coordinates there are, got {wrong[0]}")
    if len(set(coordinates)) < len(coordinates):
        raise ConfigError(f"--coordinates must name each one once, got {' '.join(map(str, coordinates))}")
    return [c - 1 for c in coordinates]
