"""A run folder from weights that were trained elsewhere, so that every command that takes a run works on them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from latentscape import models
from latentscape.config import DataShape, flag
from latentscape.data import DataSettings, ImageSet, describe, load_data
from latentscape.errors import ConfigError
from latentscape.runs import RunFolder, free_name
from latentscape.tasks import adopting, overrides
from latentscape.tasks.training import Console, Silent, environment, source_of


def import_weights(
    model: str,
    weights: adopting.Sources,
    *,
    shape: str | tuple[int, ...] | DataShape | None = None,
    classes: int = 0,
    data: Any = None,
    out: Path | str | None = None,
    command: str = "",
    console: Console | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Make a run folder of `model` with these weights, untrained; says where it is and what was taken.

    weights: see `adopting.Sources`. shape and classes: of the data that the weights are from, `"1x28x28"` (C×H×W);
    with data (a name, a path, an array or an `ImageSet`) they are the data's. settings: of the model, and of the data
    if there is any, by name. Raises `UserError` before anything is written.
    """
    console = console or Silent()
    given = overrides.sort(model, settings)
    if given.train:
        raise ConfigError(f"nothing is trained here; leave {flag(next(iter(given.train)))} out")
    if data is None and given.data:
        raise ConfigError(
            f"{flag(next(iter(given.data)))} is about data, and there is none; give --data, or leave it out"
        )
    data_settings = DataSettings.from_dict(given.data)
    images = None if data is None else load_data(data, data_settings, progress=not isinstance(console, Silent))
    form, classes = _form(shape, classes, images)
    config = overrides.model_settings(model, given.model)
    train_settings = overrides.train_settings(model, form, config, {})
    net = models.build(model, form, config, classes, train_settings.seed)
    took = adopting.adopt(net, weights)
    notes = [a.said for a in took]
    if left := adopting.untouched(net, took):
        notes.append(
            f"No weights were given for {' and '.join(left)}: as drawn at random from seed {train_settings.seed}."
        )
    folder = RunFolder.create(
        out or free_name(Path("runs"), f"{model}-imported"),
        config={
            "run": {
                "model": model,
                "data": source_of(data),
                "shape": list(form.dims),
                "classes": classes,
                "init_from": adopting.as_text(weights),
                "imported": True,
                "recipe": "",
            },
            "train": train_settings.to_dict(),
            "model": config.to_dict(),
            "data": data_settings.to_dict(),
        },
        command=command or f"latentscape.import_weights({model!r}, {adopting.as_text(weights)!r})",
        data=describe(images) if images else {},
        environment=environment(train_settings),
    )
    with folder.locked():
        folder.save_model(net)
        for note in notes:
            console.say(note)
            folder.append({"kind": "note", "step": 0, "text": note})
        folder.append({"kind": "done", "step": 0, "reason": "weights from elsewhere, not trained here"})
    return {"run": str(folder.path), "model": model, "taken": [asdict(a) for a in took], "left": left}


def _form(
    shape: str | tuple[int, ...] | DataShape | None, classes: int, images: ImageSet | None
) -> tuple[DataShape, int]:
    """The shape of one example and the number of classes; `ConfigError` unless they come from one place."""
    if classes < 0:
        raise ConfigError(f"--classes must be at least 0, got {classes}")
    if images is not None:
        if shape is not None or classes:
            raise ConfigError("--data says the shape and the classes itself; leave --shape and --classes out")
        return images.shape, images.classes
    if shape is None:
        raise ConfigError("give --data, or the shape of what the weights were trained on: --shape 1x28x28")
    if isinstance(shape, str):
        return DataShape.parse(shape), classes
    return shape if isinstance(shape, DataShape) else DataShape(tuple(shape)), classes
