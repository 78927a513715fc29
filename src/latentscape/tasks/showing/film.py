"""A film of the learning: one picture drawn again and again while a run trains, put together at its end."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from latentscape.contract import Model, Trained
from latentscape.data import DataSettings, ImageSet, load_data
from latentscape.pictures import files, sheets
from latentscape.runs import RunFolder
from latentscape.tasks.evaluating import load_for
from latentscape.tasks.showing import drawing
from latentscape.tasks.showing.registry import PICTURES
from latentscape.tasks.showing.stage import Stage
from latentscape.training.settings import TrainSettings

FEW = 1_000
"""Examples a frame is drawn from, where a picture would take more."""

SIDE = 720
"""Pixels of a frame's longer side at most."""

FRAME_MS, LAST_MS = 120, 2_000
"""Milliseconds that a frame is shown, and that the last one stays."""


class Films:
    """The films of one run. Called with (model, step) while it trains, it keeps the frames that are due.

    path: the run folder, which need not exist before the first call. entries: a recipe's `film`, tables of `what`,
    `options`, `every_steps` or `every_epochs` or both, and `collage`: [rows, columns] of frames that stand in one
    picture beside the film. data: the set where the run's own settings do not name one (arrays in memory).
    Frames lie in the run's pictures until the films are made and after, so that a resumed run goes on with them.
    """

    def __init__(self, path: Path | str, entries: Sequence[Mapping[str, Any]], data: Any = None) -> None:
        self.path, self.data = Path(path), data
        self.entries = dict(zip(drawing.file_names(entries), entries, strict=True))
        for entry in entries:
            drawing.check({"what": entry["what"], **entry.get("options", {})})

    @property
    def every(self) -> int:
        """Steps between calls that serve all films; 0: the ends of epochs are enough.

        Where both are asked for it is 1, since an epoch may end at any step.
        """
        steps = [e["every_steps"] for e in self.entries.values() if "every_steps" in e]
        if steps and any("every_epochs" in e for e in self.entries.values()):
            return 1
        return math.gcd(*steps)

    def __call__(self, model: Model, step: int) -> None:
        """Keep the frames of this step that are due."""
        for name, entry in self.entries.items():
            if self._is_due(entry, model, step):
                self._keep(name, model, step)

    def _is_due(self, entry: Mapping[str, Any], model: Model, step: int) -> bool:
        if step % entry.get("every_steps", step + 1) == 0:
            return True
        if "every_epochs" not in entry or not isinstance(model, Trained):
            return False
        batches = max(p.repeat for p in model.phases)  # that a step takes
        now, before = (s * batches // self._batches_per_epoch // entry["every_epochs"] for s in (step, step - 1))
        return now > before

    @cached_property
    def _images(self) -> ImageSet:
        folder = RunFolder(self.path)
        if self.data is None or isinstance(self.data, (str, Path)):
            return load_for(folder)
        return load_data(self.data, DataSettings.from_dict(folder.config()["data"]))

    @cached_property
    def _batches_per_epoch(self) -> int:
        settings, size = TrainSettings.from_dict(RunFolder(self.path).config()["train"]), self._images.to_train
        return size // (size if settings.full_batch else min(settings.batch_size, size))

    def _keep(self, name: str, model: Model, step: int) -> None:
        entry = self.entries[name]
        frame = drawing.draw(Stage(RunFolder(self.path), model, self._images), entry["what"], **_cheap(entry)).pixels
        files.save_png(self._frames(name) / f"{step:09d}.png", sheets.fitted(frame, SIDE))

    def _frames(self, name: str) -> Path:
        return RunFolder(self.path).frames_path / name

    def finish(self, model: Model, step: int) -> list[Path]:
        """Draw the last frames and put every film together as a GIF in the run's pictures, and its collage as a PNG."""
        made = []
        for name, entry in self.entries.items():
            if not (self._frames(name) / f"{step:09d}.png").exists():
                self._keep(name, model, step)
            found = sorted(self._frames(name).glob("*.png"))
            found = [p for p in found if int(p.stem) <= step]
            made.append(self._assemble(name, entry, found))
            if "collage" in entry:
                made.append(self._collage(name, entry["collage"], found))
        return made

    def _assemble(self, name: str, entry: Mapping[str, Any], found: list[Path]) -> Path:
        folder, steps = RunFolder(self.path), [int(p.stem) for p in found]
        frames = [sheets.panels([_read(p)], [f"step {step:,}"]) for p, step in zip(found, steps, strict=True)]
        return files.save_gif(
            folder.pictures_path / f"film-{name}.gif",
            [*_same_size(frames), *_same_size(frames)[-1:] * (LAST_MS // FRAME_MS)],
            FRAME_MS,
            title=f"Film: {name.replace('_', ' ')}",
            caption=f"{len(frames)} frames of the learning, from step {steps[0]:,} to {steps[-1]:,}, "
            f"one {_interval(entry)}.",
            command=folder.command(),
        )

    def _collage(self, name: str, shape: Sequence[int], found: list[Path]) -> Path:
        """Frames at even distances, row by row, as they were drawn; fewer rows where there are too few frames."""
        folder, (lines, columns) = RunFolder(self.path), shape
        picks = np.linspace(0, len(found) - 1, min(lines * columns, len(found))).round().astype(int)
        frames = np.stack(_same_size([_read(found[i]) for i in picks]))
        steps = ", ".join(str(int(found[i].stem)) for i in picks)  # without commas inside the numbers
        return files.save_png(
            folder.pictures_path / f"collage-{name}.png",
            sheets.sheet(frames.transpose(0, 3, 1, 2), columns, scale=1),
            title=f"Collage: {name.replace('_', ' ')}",
            caption=f"{len(picks)} of {len(found)} frames of the learning, row by row from the top left, at the steps "
            f"{steps}.",
            command=folder.command(),
        )


def _interval(entry: Mapping[str, Any]) -> str:
    """every 25 steps and after every epoch."""
    parts = []
    if steps := entry.get("every_steps"):
        parts.append(f"every {steps:,} steps")
    if epochs := entry.get("every_epochs"):
        parts.append("after every epoch" if epochs == 1 else f"after every {epochs:,} epochs")
    return " and ".join(parts)


def _cheap(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry's options; a picture of many examples takes fewer of them unless told how many."""
    options = dict(entry.get("options", {}))
    n = inspect.signature(PICTURES[entry["what"]]).parameters.get("n")
    if n is not None and n.default > FEW:
        options.setdefault("n", FEW)
    return options


def _read(path: Path) -> sheets.Picture:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _same_size(frames: list[np.ndarray]) -> list[np.ndarray]:
    """Frames on white canvases of one size: a plot's legend may have changed its width."""
    height, width = (max(f.shape[i] for f in frames) for i in (0, 1))
    return [np.pad(f, ((0, height - f.shape[0]), (0, width - f.shape[1]), (0, 0)), constant_values=255) for f in frames]
