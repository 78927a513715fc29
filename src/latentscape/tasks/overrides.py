"""Settings given by name, in one flat set: sorted into training, model and data settings."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from latentscape import models
from latentscape.config import DataShape, Settings
from latentscape.data.settings import DataSettings
from latentscape.errors import ConfigError
from latentscape.training.settings import TrainSettings


@dataclasses.dataclass(frozen=True)
class Overrides:
    """What a user set, by group; everything else stays at the model's or the package's default."""

    train: dict[str, Any]
    model: dict[str, Any]
    data: dict[str, Any]


def names(settings: type[Settings]) -> set[str]:
    """The settings' field names."""
    return {f.name for f in dataclasses.fields(settings)}


def sort(model: str, given: Mapping[str, Any]) -> Overrides:
    """Sort flat names into groups; a name that no group has raises `ConfigError` with the near ones."""
    groups = {"train": TrainSettings, "model": models.model_class(model).Config, "data": DataSettings}
    out: dict[str, dict[str, Any]] = {"train": {}, "model": {}, "data": {}}
    known = {name: group for group, settings in groups.items() for name in names(settings)}
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise ConfigError(
                f"{model} has no setting {name!r}"
                + (f"; did you mean {near[0]}?" if near else f"; `latentscape train {model} --help` lists them")
            )
        out[known[name]][name] = value
    return Overrides(**out)


def model_settings(model: str, given: Mapping[str, Any]) -> Any:
    """The model's settings."""
    return models.model_class(model).Config.from_dict(given)


STEPS_AN_EPOCH = 100
"""What a set must leave in an epoch for a model's larger batch to be taken."""


def train_settings(
    model: str, shape: DataShape, config: Any, given: Mapping[str, Any], examples: int = 0
) -> TrainSettings:
    """The package's defaults, then the model's for such data, then what was given.

    examples: how many there are to train on; 0: unknown, which leaves the batch at the package's default.
    """
    defaults = models.model_class(model).training_defaults(shape, config)
    largest, usual = defaults.pop("batch_size_at_most", 0), TrainSettings.batch_size
    fits = min(largest, 1 << max(0, (examples // STEPS_AN_EPOCH).bit_length() - 1))  # a power of two
    if fits > usual and not given.keys() & {"batch_size", "learning_rate"}:
        defaults["batch_size"] = fits
        defaults["learning_rate"] *= (fits / usual) ** (1 / 3)
    if given.get("max_steps") and "epochs" not in given:
        defaults["epochs"] = 0  # an asked number of steps is not cut short by the default number of epochs
    return TrainSettings.from_dict({**defaults, **given})
