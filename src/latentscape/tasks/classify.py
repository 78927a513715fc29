"""The classifier that reads a data set's labels off pictures: trained once for each set, kept in the cache."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentscape import models
from latentscape.config import ValueRange
from latentscape.contract import Classifies, Model, require
from latentscape.data import ImageSet
from latentscape.data.batches import Gatherer, in_order
from latentscape.data.cache import cache_root, writing
from latentscape.errors import DataError, RunError
from latentscape.runs import RunFolder
from latentscape.tasks import overrides, training
from latentscape.tasks.training import Console, Silent

FORMAT = 2
"""Part of every cached classifier's key: raise it when the same settings would train another net."""

STEPS, EPOCHS = 1_500, 100
"""A small set is gone over until so many steps are done, but not more often than this."""

ERROR_RATE = "share of wrong labels among the examples that have one"


# ---- values ----------------------------------------------------------------------------------------------------


def to_unit(x: Tensor, value_range: ValueRange) -> Tensor:
    """From a model's value range back to [0, 1] pixels (vectors stay as they are)."""
    return (x + 1) / 2 if value_range == "signed" else x


def inputs_for(reader: Model, x_BX: Tensor, value_range: ValueRange) -> Tensor:
    """Examples in a value range as the reader wants them; pixels are clipped to [0, 1], as a saved picture is."""
    if not reader.shape.is_image:
        return x_BX
    pixels = to_unit(x_BX, value_range).clamp(0, 1)
    return 2 * pixels - 1 if reader.value_range == "signed" else pixels


@torch.no_grad()
def error_rate(model: Model, images: ImageSet, split: str, device: torch.device | str = "cpu") -> tuple[float, int]:
    """Share of wrong labels among a split's labelled examples, and how many those are (0: the share is NaN)."""
    reads = require(model, Classifies, "this model")
    wrong = count = 0
    for batch in in_order(Gatherer(images, split, model.value_range, device)):
        if batch.y is not None:
            known = batch.y >= 0
            wrong += int(((reads.classify(batch.x).argmax(1) != batch.y) & known).sum())
            count += int(known.sum())
    return (wrong / count if count else math.nan), count


# ---- the reader ------------------------------------------------------------------------------------------------


def reader(images: ImageSet, *, console: Console | None = None, classifier: Path | str | None = None) -> Any:
    """A classifier for the set, on the CPU and in evaluation mode: see `reader_run`."""
    return reader_run(images, console=console, classifier=classifier).load_model()


def reader_run(images: ImageSet, *, console: Console | None = None, classifier: Path | str | None = None) -> RunFolder:
    """The run of a classifier for the set: the user's own, or one trained on the set's training part and cached.

    The cached one is found again by the data's fingerprint and the classifier's settings; one that was interrupted is
    gone on with; a second process waits for the first. Raises `DataError` for data without labels or a classifier
    that does not fit them, and what training raises.
    """
    console = console or Silent()
    if classifier is not None:
        return _own(RunFolder(classifier), images)
    if not images.classes or images.labels is None or not bool((images.labels[images.indices("train")] >= 0).any()):
        raise DataError(
            f"samples are read by a classifier, and {images.name} has no labels to train one with; give data with "
            "class folders or --labels TABLE, or a trained classifier with --classifier RUN"
        )
    settings = _settings(images)
    path = cache_root() / "classifiers" / _key(images, settings)
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path, console), torch.enable_grad():  # whoever asks may be measuring, without gradients
        return _made(path, images, settings, console)


def card(folder: RunFolder, images: ImageSet, split: str) -> dict[str, Any]:
    """Which classifier read, and how well it does: run, accuracy, split, n.

    The accuracy is that of the classifier's own last evaluation; without one, it is measured on the split of `images`.
    It is None where those have no labels.
    """
    kept = folder.metrics() or {}
    rate, n, part = kept.get("metrics", {}).get("error_rate"), kept.get("n", 0), kept.get("split")
    if rate is None:
        (rate, n), part = error_rate(folder.load_model(), images, split), split
    return {"run": str(folder.path), "accuracy": 1 - rate if n else None, "split": part, "n": n}


def label_names(folder: RunFolder) -> tuple[str, ...]:
    """The names of the classes that a classifier's run tells apart, by their number where it does not know them."""
    names = tuple(folder.data().get("labels") or ())
    classes = folder.config()["run"]["classes"]
    return names if len(names) == classes else tuple(map(str, range(classes)))


def _own(folder: RunFolder, images: ImageSet) -> RunFolder:
    """A run that the user named; `AbilityError` or `DataError` if it cannot read this set."""
    model = folder.build_model()
    name = folder.config()["run"]["model"]
    require(model, Classifies, f"the {name} in {folder.path}", "give --classifier a run of `train classifier`")
    if model.shape != images.shape:
        raise DataError(
            f"the classifier in {folder.path} reads examples of {model.shape}, and those of {images.name} are "
            f"{images.shape}; give one trained on such data, or leave --classifier out"
        )
    if images.classes and label_names(folder) != images.label_names:
        raise DataError(
            f"the classifier in {folder.path} tells {_few(label_names(folder))} apart, and the classes of "
            f"{images.name} are {_few(images.label_names)}; give one trained on such data, or leave --classifier out"
        )
    return folder


def _few(names: tuple[str, ...], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _settings(images: ImageSet) -> dict[str, Any]:
    """Complete settings of the classifier's training on a set: the defaults, and enough steps on a small one."""
    config = overrides.model_settings("classifier", {})
    defaults = models.model_class("classifier").training_defaults(images.shape, config)
    per_epoch = max(1, images.sizes()["train"] // defaults["batch_size"])
    epochs = min(EPOCHS, max(defaults["epochs"], math.ceil(STEPS / per_epoch)))
    return {**defaults, "epochs": epochs, **config.to_dict()}


def _key(images: ImageSet, settings: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps([FORMAT, images.fingerprint, settings], sort_keys=True).encode()).hexdigest()
    return f"{images.fingerprint[:12]}-{digest[:12]}"


@contextmanager
def _alone(path: Path, console: Console) -> Iterator[None]:
    """Hold the classifier's place in the cache; where another process holds it, wait until it is done."""
    with writing(path):
        lock = open(path.with_suffix(".lock"), "a+", encoding="utf-8")  # noqa: SIM115  (closed below)
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.say("Waiting for another process that trains the same classifier.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _made(path: Path, images: ImageSet, settings: dict[str, Any], console: Console) -> RunFolder:
    try:
        folder = RunFolder(path)
    except RunError:
        folder = None  # nothing there yet, or what a process left that was killed while it made the folder
    if folder is not None and folder.metrics():
        return folder
    try:
        if folder is not None:
            console.say(f"Going on with the classifier that reads {images.name}, in {path}.")
            run = training.resume(path, data=images, console=console)
        else:
            console.say(f"Training a classifier that reads {images.name}, once, in {path}.")
            command = "latentscape evaluate: the classifier of its data"
            known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
            run = training.train("classifier", images, out=path, command=command, console=console, **known)
    except training.Stopped as stopped:
        raise training.Stopped(
            "stopped with the classifier half trained; the same command goes on with it"
        ) from stopped
    _measure(run.folder, run.model, images, console)
    return run.folder


def _measure(folder: RunFolder, model: Model, images: ImageSet, console: Console) -> None:
    """Keep and say the classifier's accuracy on held-out examples, or on training ones where there are no others."""
    start = time.monotonic()
    parts = (part for part in ("test", "valid", "train") if images.sizes()[part])
    found = ((part, *error_rate(model, images, part)) for part in parts)
    split, rate, n = next(row for row in found if row[2])  # some training example has a label
    answer = {
        "run": str(folder.path),
        "model": "classifier",
        "data": images.name,
        "split": split,
        "n": n,
        "metrics": {"error_rate": rate},
        "protocol": {"error_rate": ERROR_RATE},
        "seconds": round(time.monotonic() - start, 2),
    }
    folder.write_metrics(answer)
    console.say(f"The classifier reads {1 - rate:.2%} of {n:,} {split} examples rightly.")
