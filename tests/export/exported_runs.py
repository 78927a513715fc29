"""Runs to export, made without training: any model, as built, beside a small set of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from latentscape.export.about import Subject
from latentscape.runs import RunFolder
from latentscape.tasks.showing import Stage
from latentscape.training.settings import TrainSettings
from loops import ready, small_set

SMALL: dict[str, dict[str, Any]] = {
    "lossy_vae": {"latent_dim": 3},
    "vq_vae": {"codebook_size": 16, "code_dim": 4},
}


def subject(name: str, shape: tuple[int, ...], path: Path, **settings: Any) -> Subject:
    """A run of a model with weights as initialised (or fitted), with 60 examples of 3 classes."""
    model = ready(name, shape, **{**SMALL.get(name, {}), **settings})
    images = small_set(shape, 60, 20)
    config = {
        "run": {"model": name.replace("_", "-"), "data": "small", "shape": list(shape), "classes": 3},
        "train": TrainSettings().to_dict(),
        "model": model.config.to_dict(),
        "data": {},
    }
    data = {"name": "small", "labels": {"a": 20, "b": 20, "c": 20}}
    folder = RunFolder.create(path, config=config, command="latentscape train", data=data, environment={})
    folder.save_model(model)
    return Subject(Stage(folder, folder.load_model(), images, ""), True)
