"""A film of the learning: one picture drawn again and again while a run trains, put together at its end."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from latentscape.contract import Model
from latentscape.data import DataSettings, ImageSet, load_data
from latentscape.pictures import files, sheets
from latentscape.runs import RunFolder
from latentscape.tasks.evaluating import load_for
from latentscape.tasks.showing import drawing
from latentscape.tasks.showing.registry import PICTURES
from latentscape.tasks.showing.stage import Stage

FEW = 1_000
"""Examples a frame is drawn from, where a picture would take more."""

SIDE = 720
"""Pixels of a frame's longer side at most."""

FRAME_MS, LAST_MS = 120, 2_000
"""Milliseconds that a frame is shown, and that the last one stays."""


class Films:
    """The films of one run. Called with (model, step) while it trains, it keeps the frames that are due.

    path: the run folder, which need not exist before the first call. entries: a recipe's `film`, tables of `what`,
    `every_steps` and `options`. data: the set where the run's own settings do not name one (arrays in memory).
    Frames lie in the run's pictures until the films are made and after, so that a resumed run goes on with them.
    """

    def __init__(self, path: Path | str, entries: Sequence[Mapping[str, Any]], data: Any = None) -> None:
        self.path, self.data = Path(path), data
        self.entries = dict(zip(drawing.file_names(entries), entries, strict=True))
        self._images: ImageSet | None = None
        for entry in entries:
            drawing.check({"what": entry["what"], **entry.get("options", {})})

    @property
    def every(self) -> int:
        """Steps between calls that serve all films; 0 without any."""
        return math.gcd(*(e["every_steps"] for e in self.entries.values()))

    def __call__(self, model: Model, step: int) -> None:
        """Keep the frames of this step that are due."""
        for name, entry in self.entries.items():
            # A step that is no multiple of `every` is the run's last.
            if step % entry["every_steps"] == 0 or step % self.every:
                self._keep(name, model, step)

    def _keep(self, name: str, model: Model, step: int) -> None:
        folder = RunFolder(self.path)
        if self._images is None:
            settings = DataSettings.from_dict(folder.config()["data"])
            given: Any = None if isinstance(self.data, (str, Path)) else self.data
            self._images = load_for(folder) if given is None else load_data(given, settings)
        entry = self.entries[name]
        frame = drawing.draw(Stage(folder, model, self._images), entry["what"], **_cheap(entry)).pixels
        frame = sheets.panels([sheets.fitted(frame, SIDE)], [f"step {step:,}"])
        files.save_png(self._frames(name) / f"{step:09d}.png", frame)

    def _frames(self, name: str) -> Path:
        return RunFolder(self.path).pictures_path / ".frames" / name

    def finish(self, model: Model, step: int) -> list[Path]:
        """Draw the last frames and put every film together as a GIF in the run's pictures."""
        made = []
        for name, entry in self.entries.items():
            if not (self._frames(name) / f"{step:09d}.png").exists():
                self._keep(name, model, step)
            found = sorted(self._frames(name).glob("*.png"))
            made.append(self._assemble(name, entry, [p for p in found if int(p.stem) <= step]))
        return made

    def _assemble(self, name: str, entry: Mapping[str, Any], found: list[Path]) -> Path:
        folder = RunFolder(self.path)
        frames = [np.asarray(Image.open(p).convert("RGB")) for p in found]
        steps = [int(p.stem) for p in found]
        return files.save_gif(
            folder.pictures_path / f"film-{name}.gif",
            [*_same_size(frames), *_same_size(frames)[-1:] * (LAST_MS // FRAME_MS)],
            FRAME_MS,
            title=f"Film: {name.replace('_', ' ')}",
            caption=f"{len(frames)} frames of the learning, from step {steps[0]:,} to {steps[-1]:,}, one every "
            f"{entry['every_steps']:,} steps.",
            command=folder.command(),
        )


def _cheap(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry's options; a picture of many examples takes fewer of them unless told how many."""
    options = dict(entry.get("options", {}))
    n = inspect.signature(PICTURES[entry["what"]]).parameters.get("n")
    if n is not None and n.default > FEW:
        options.setdefault("n", FEW)
    return options


def _same_size(frames: list[np.ndarray]) -> list[np.ndarray]:
    """Frames on white canvases of one size: a plot's legend may have changed its width."""
    height, width = (max(f.shape[i] for f in frames) for i in (0, 1))
    return [np.pad(f, ((0, height - f.shape[0]), (0, width - f.shape[1]), (0, 0)), constant_values=255) for f in frames]
