"""What denoising and detecting share: pictures of which some cannot be read, and reconstructions without a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentscape.data.picture import SUFFIXES
from latentscape.data.sources.folder import list_pictures
from latentscape.errors import DataError, UserError
from latentscape.metrics import reconstruction
from latentscape.runs import RunFolder
from latentscape.tasks import inputs
from latentscape.tasks.evaluating import pick_device, to_unit
from latentscape.tasks.inputs import Inputs

AT_ONCE = 250
"""Examples that go through a model together."""


class AnyClass(RunFolder):
    """A run whose settings no longer choose among the examples of its data: what is judged may be of any class.

    Pixels that were drawn anew for every training batch are drawn once, the same for every part.
    """

    def config(self) -> dict[str, Any]:
        """As the run's own, but for those settings."""
        config = super().config()
        binarise = config["data"].get("binarise", "none")
        chosen = {"only_classes": "", "labelled": 0, "binarise": "fixed" if binarise == "dynamic" else binarise}
        return config | {"data": config["data"] | chosen}


@dataclass(frozen=True)
class Given:
    """Pictures of the user's own. places: the file that each was read from, None for a row of an array.

    unreadable: (file, reason) of those that could not be read, which are not among the inputs. sizes: "height x width"
    as stored.
    """

    inputs: Inputs
    places: tuple[Path | None, ...]
    unreadable: tuple[tuple[str, str], ...] = ()
    sizes: tuple[str, ...] = ()


def pictures(folder: RunFolder, model: Any, asked: Sequence[Path | str]) -> Given:
    """Everything in files, folders and arrays, brought to the model's shape; a picture that is damaged is left out.

    Raises `DataError` where a path does not exist, nothing can be read, or the shape does not fit.
    """
    found: list[Inputs] = []
    places: list[Path | None] = []
    unreadable: list[tuple[str, str]] = []
    damaged: UserError | None = None
    for place in map(Path, asked):
        try:
            part = inputs.examples(folder, model, [place])
        except DataError as error:
            if place.suffix.lower() not in SUFFIXES or not place.is_file() or len(asked) == 1:
                raise
            unreadable.append((str(place), str(error)))
            damaged = damaged or error
            continue
        found.append(part)
        unreadable += [(str(place / name), why) for name, why in part.images.findings.unreadable]
        places += _places(place, part)
    if not found:
        assert damaged is not None
        raise damaged
    x_NX, names = torch.cat([part.x for part in found]), tuple(name for part in found for name in part.names)
    said = found[0].said if len(found) == 1 else f"{len(x_NX):,} pictures"
    sizes = dict.fromkeys(size for part in found for size in part.images.findings.sizes)
    return Given(Inputs(x_NX, None, names, said, found[0].images), tuple(places), tuple(unreadable), tuple(sizes))


def _places(place: Path, part: Inputs) -> list[Path | None]:
    if place.is_dir() and part.images.files is not None:
        there = {entry.file for entry in list_pictures(place)}
        return [place / name if name in there else None for name in part.names]
    return [place if place.suffix.lower() in SUFFIXES else None] * len(part)


@torch.no_grad()
def restored(model: Any, x_NX: Tensor, y_N: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """x̂_NX of examples in the model's value range, on the CPU, and the labels they were decoded under.

    A model that reads labels is tried with each of them where none is given, and the nearest answer is kept.
    """
    model.eval().to(device := pick_device(model))
    try:
        parts = []
        for picks in torch.arange(len(x_NX)).split(AT_ONCE):
            x_BX, y_B = x_NX[picks].to(device), None if y_N is None else y_N[picks].to(device)
            xhat_BX, y_B = _nearest(model, x_BX, y_B)
            parts.append((xhat_BX.float().cpu(), None if y_B is None else y_B.cpu()))
    finally:
        model.to("cpu")
    labels = [y_B for _, y_B in parts if y_B is not None]
    return torch.cat([xhat_BX for xhat_BX, _ in parts]), torch.cat(labels) if labels else None


def _nearest(model: Any, x_BX: Tensor, y_B: Tensor | None) -> tuple[Tensor, Tensor | None]:
    if not model.needs_labels or y_B is not None:
        return model.reconstruct(x_BX, y_B), y_B
    tried = [torch.full((len(x_BX),), k, device=x_BX.device) for k in range(model.classes)]
    answers_KBX = torch.stack([model.reconstruct(x_BX, y) for y in tried])
    best_B = torch.stack([squared_error(model, x_BX, answer) for answer in answers_KBX]).argmin(0)
    return answers_KBX[best_B, torch.arange(len(x_BX), device=x_BX.device)], best_B


def squared_error(model: Any, x_NX: Tensor, xhat_NX: Tensor) -> Tensor:
    """Mean over values, N; images on the scale of [0, 1]."""
    return reconstruction.mse(to_unit(x_NX, model.value_range), to_unit(xhat_NX, model.value_range))
