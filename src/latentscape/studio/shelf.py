"""Models and data sets that are open, the least recently used put back when there are too many."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from latentscape.contract import Model
from latentscape.data import ImageSet
from latentscape.errors import RunError
from latentscape.runs import RunFolder
from latentscape.studio.places import Known
from latentscape.tasks.evaluating import load_for
from latentscape.tasks.showing import Stage
from latentscape.training.checkpoint import to_json

MODELS, SETS = 4, 3
"""Models and data sets that stay open at once."""

V = TypeVar("V")


class Opened:
    """A run's model (CPU, evaluation mode) with what was computed for it, as long as its weights stay the same."""

    def __init__(self, known: Known, model: Model, version: str, images: Callable[[], ImageSet]) -> None:
        self.known, self.model, self.version = known, model, version
        self.folder = known.folder
        self._images, self._kept, self._lock = images, {}, threading.RLock()

    @property
    def images(self) -> ImageSet:
        """The run's own data; raises `DataError` or `RunError` where they are not to be had."""
        return self._images()

    def stage(self, command: str = "") -> Stage:
        """Model and data, as the tasks want them."""
        return Stage(self.folder, self.model, self.images, command)

    def bare(self, command: str = "") -> Stage:
        """The model alone, for what needs no data."""
        return Stage(self.folder, self.model, None, command)  # type: ignore[arg-type]

    def kept(self, name: str, make: Callable[[], V]) -> V:
        """What `make` returned the first time it was asked for under this name (latents of the test set, a map)."""
        with self._lock:
            if name not in self._kept:
                self._kept[name] = make()
            return self._kept[name]


class Shelf:
    """Opens runs; call it on the worker, since loading takes time."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, Opened] = OrderedDict()
        self._sets: OrderedDict[str, ImageSet] = OrderedDict()
        self._lock = threading.RLock()

    def open(self, known: Known) -> Opened:
        """The run's model with its newest weights, read again when the run has newer ones. Raises `RunError`."""
        version = version_of(known.folder)
        with self._lock:
            opened = self._models.get(known.id)
            if opened is None or opened.version != version:
                folder = known.folder
                opened = Opened(known, folder.load_model(), version, lambda: self._images_of(folder))
                self._models[known.id] = opened
            self._models.move_to_end(known.id)
            while len(self._models) > MODELS:
                self._models.popitem(last=False)
            return opened

    def _images_of(self, folder: RunFolder) -> ImageSet:
        config = folder.config()
        name = to_json([config["run"]["data"], config["data"]], sort_keys=True)
        with self._lock:
            if name not in self._sets:
                self._sets[name] = load_for(folder)
            self._sets.move_to_end(name)
            while len(self._sets) > SETS:
                self._sets.popitem(last=False)
            return self._sets[name]


def version_of(folder: RunFolder) -> str:
    """A name for the newest weights, which changes when they do; "" where there are none yet."""
    files = [folder.model_path, *folder.checkpoints().all()[-1:]]
    marks = []
    for path in files:
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue  # not trained to the end yet, or pruned in this moment
        marks.append(f"{path.name}:{stat.st_mtime_ns}:{stat.st_size}")
    return " ".join(marks)


def newest_step(folder: RunFolder) -> int | None:
    """The step of the newest checkpoint; None where there is none."""
    found = folder.checkpoints().all()
    return int(found[-1].stem.removeprefix("step-")) if found else None


def need_weights(folder: RunFolder) -> None:
    """`RunError` for a run that has just begun."""
    if not version_of(folder):
        raise RunError(f"{folder.name} has no weights yet; they come with its first checkpoint")
