"""Straight and curved walks through latent space: from one place to another, and along single coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentscape.config import LARGEST_SEED, Settings, setting
from latentscape.contract import Encodes
from latentscape.errors import ConfigError
from latentscape.latents.importance import Importance
from latentscape.metrics import reconstruction
from latentscape.numerics import paths
from latentscape.tasks import places, strips
from latentscape.tasks.places import Places
from latentscape.tasks.showing import Stage


@dataclass(frozen=True, kw_only=True)
class Interpolation(Settings):
    """How to walk from one place to another."""

    spherical: bool = setting(False, "along the great circle about the origin, which keeps to the lengths of the ends")
    steps: int = setting(10, "pictures on the way, both ends among them", at_least=2)
    frames: int = setting(200, "the same for .gif and .mp4, 40 ms each", at_least=2)
    cross_fade: bool = setting(False, "show the ends' pixels mixed as well, for comparison")
    examples: tuple[int, ...] = setting(
        (), "two examples by position, from 0; unset: the first 7 and the first 6, or two of different classes"
    )
    random: bool = setting(False, "walk between two random latents of the prior")
    seed: int = setting(0, "of the random latents", at_least=0, at_most=LARGEST_SEED)


def interpolate(
    path: Path | str,
    ends: Sequence[Path | str] = (),
    *,
    data: Any = None,
    split: str = "test",
    latents: Path | str | None = None,
    label: str | int | None = None,
    out: Path | str | None = None,
    command: str = "",
    **options: Any,
) -> dict[str, Any]:
    """Decode a walk between two places in latent space into a file, and say from where to where it went.

    ends: two pictures of the user's own; without any, two examples of the run's data or of `data` (see
    `Interpolation.examples`), or with `random` two draws of the prior, or the first two of an .npy file `latents`.
    options: the settings of `Interpolation`.
    label: what a model that reads labels decodes the whole walk under. None: under the class of each end, a row for
    each, so that nothing switches half-way; under every class where the ends have none.
    A .npy file holds steps×…, or rows×steps×… where there are several rows (in the answer's order). Raises `UserError`.
    """
    how = Interpolation.from_dict(options)
    stage = places.open_stage(path, command)
    target = strips.target(stage, out, "interpolated")
    found = _ends(stage, ends, data, split, latents, how)
    labels = places.labels_to_show(stage, label, found.y)
    steps = how.frames if strips.is_film(target) else how.steps
    walk = (paths.spherical if how.spherical else paths.linear)(found.z[:1], found.z[1:], steps)[:, 0]
    named = [(_as(stage, k), places.decoded(stage, walk, k)) for k in labels]
    rows = [*named, ("pixels mixed", _cross_fade(found, named[0][1]))] if how.cross_fade else named
    rows = rows if len(rows) > 1 else [("", rows[0][1])]
    kind = "spherical" if how.spherical else "linear"
    strips.write_rows(target, stage, rows, strips.Words("Interpolation", _said(stage, found, labels, kind, steps, how)))
    lengths = walk.norm(dim=1)
    answer = {
        "run": str(stage.folder.path),
        "from": found.names[0],
        "to": found.names[1],
        "path": kind,
        "steps": steps,
        "out": str(target),
        "distance": float((found.z[0] - found.z[1]).norm()),
        "lengths": {"from": float(lengths[0]), "shortest": float(lengths.min()), "to": float(lengths[-1])},
        "rows": [name or "walk" for name, _ in rows],
    }
    return answer | _end_errors(stage, found, labels, [x for _, x in named])


def _ends(
    stage: Stage,
    pictures: Sequence[Path | str],
    data: Any,
    split: str,
    latents: Path | str | None,
    how: Interpolation,
) -> Places:
    """The two places to walk between."""
    _one_source(pictures, latents, how.examples, how.random)
    if pictures:
        found = places.of_pictures(stage, pictures)
        if len(found.z) != 2:
            raise ConfigError(f"a walk goes between two pictures, got {len(found.z)}; give two files")
        return found
    if latents:
        return places.of_file(stage, latents, 2)
    if how.random:
        return places.of_prior(stage, data, 2, how.seed)
    if len(how.examples) not in (0, 2):
        raise ConfigError(f"--examples takes two positions, got {len(how.examples)}")
    return places.of_examples(stage, data, split, how.examples)


def _one_source(pictures: Sequence, latents: Path | str | None, examples: Sequence[int], random: bool) -> None:
    given = {"pictures": bool(pictures), "--latents": bool(latents), "--examples": bool(examples), "--random": random}
    named = [name for name, here in given.items() if here]
    if len(named) > 1:
        raise ConfigError(f"give {named[0]} or {named[1]}, not both")


def _as(stage: Stage, label: int | None) -> str:
    """What a row is called."""
    return "decoded" if label is None else f"as {places.class_name(stage.folder, label)}"


def _cross_fade(ends: Places, walk_SX: Tensor) -> Tensor:
    """The pictures at both ends mixed, S×…: the originals, or what draws of a prior decode to."""
    first, last = (walk_SX[0], walk_SX[-1]) if ends.x is None else (ends.x[0], ends.x[1])
    mixed = paths.linear(first.flatten()[None], last.flatten()[None], len(walk_SX))
    return mixed.view(walk_SX.shape)


def _said(stage: Stage, ends: Places, labels: list[int | None], kind: str, steps: int, how: Interpolation) -> str:
    names = ", ".join(places.class_name(stage.folder, k) for k in labels if k is not None)
    under = f" as {names}" + (", a row each" if len(labels) > 1 else "") if names else ""
    mixed = "the originals'" if ends.x is not None else "the end pictures'"
    return (
        f"From {ends.names[0]} to {ends.names[1]}{ends.noted}: the {kind} path between the two latents, "
        f"{float((ends.z[0] - ends.z[1]).norm()):.3g} apart, in {steps} steps, decoded{under}"
        + (f"; for comparison, {mixed} pixels mixed" if how.cross_fade else "")
        + "."
    )


def _end_errors(stage: Stage, ends: Places, labels: list[int | None], decoded: list[Tensor]) -> dict[str, Any]:
    """Mean squared errors of the two ends' reconstructions, each under its own class where that was decoded."""
    if ends.x is None:
        return {}
    own: list[int | None] = [None, None] if ends.y is None else ends.y.tolist()
    if any(k not in labels for k in own):
        return {}
    at = torch.stack([decoded[labels.index(k)][end] for k, end in zip(own, (0, -1), strict=True)])
    return {"errors": reconstruction.mse(stage.as_unit(ends.x), stage.as_unit(at)).tolist()}


# ---- along coordinates -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Traversal(Settings):
    """How to walk along coordinates."""

    reach: float = setting(3.0, "how far to either side, in standard deviations of the coordinate", above=0)
    low: float | None = setting(None, "the coordinate's own value at the left, with --high, in place of --reach")
    high: float | None = setting(None, "the same at the right")
    rows: int = setting(10, "how many coordinates, from the one that matters most", at_least=1)
    coordinates: tuple[int, ...] = setting((), "these ones, counted from 1, in place of the most important")
    steps: int = setting(11, "pictures along each", at_least=2)
    frames: int = setting(100, "frames of .gif and .mp4, there and back, 40 ms each", at_least=4)
    example: int | None = setting(None, "walk from the latent of this example, by position from 0", at_least=0)
    random: bool = setting(False, "walk from a random latent of the prior, as models without an encoder always do")
    seed: int = setting(0, "of the random latent", at_least=0, at_most=LARGEST_SEED)


def traverse(
    path: Path | str,
    pictures: Sequence[Path | str] = (),
    *,
    data: Any = None,
    split: str = "test",
    latents: Path | str | None = None,
    label: str | int | None = None,
    out: Path | str | None = None,
    command: str = "",
    **options: Any,
) -> dict[str, Any]:
    """Move one latent coordinate after another and write what is decoded; say how much each coordinate matters.

    The others stay at the mean of the training latents, at the latent of a picture or an example, at the first latent
    of an .npy file, or at a draw of the prior, as always for a model without an encoder. Coordinates are ordered by
    `latents.importance`: the mean squared change of the decoded example, pixels on [0, 1], when the coordinate moves by
    one standard deviation. options: the settings of `Traversal`.
    label: what a model that reads labels decodes under; None: the picture's or example's own class, else the first.
    A .npy file holds rows×steps×…, or steps×… of one row. Raises `UserError`.
    """
    how = Traversal.from_dict(options)
    _unread(how, options)
    stage = places.open_stage(path, command)
    target = strips.target(stage, out, "traversed")
    offsets_S = _offsets(how, strips.is_film(target))
    picked = places.check_coordinates(how.coordinates, stage.model)
    asked = places.labels_to_show(stage, label)[0] if label not in (None, "") else None
    cloud = places.cloud(stage, data)
    center = _center(stage, pictures, data, split, latents, how, cloud)
    measured, bases = places.importance_of(stage, cloud, asked)
    order = measured.order()
    shown = picked or order[: how.rows]
    under = asked if asked is not None else places.labels_to_show(stage, None, center.y)[0]
    std_L = cloud.z.std(0, correction=0)
    rows = [
        (
            f"z{i + 1}: {float(measured.mean_L[i]):.2g}",
            places.decoded(stage, _along(center.z[0], i, offsets_S, std_L[i], how), under),
        )
        for i in shown
    ]
    words = _told(stage, how, cloud, center, bases, under, f"{len(shown)} of {len(order)}")
    strips.write_rows(target, stage, rows, words, _headings(how))
    answer = {"run": str(stage.folder.path), "out": str(target), "about": _where(center), "bases": bases}
    answer |= {"shown": [i + 1 for i in shown], "importances": [_entry(measured, std_L, i) for i in order]}
    return answer | ({} if under is None else {"label": places.class_name(stage.folder, under)})


def _entry(measured: Importance, std_L: Tensor, i: int) -> dict[str, Any]:
    """What is said of a coordinate."""
    mean, error = float(measured.mean_L[i]), float(measured.error_L[i])
    return {"coordinate": i + 1, "importance": mean, "standard_error": error, "std": float(std_L[i])}


def _told(
    stage: Stage, how: Traversal, cloud: places.Cloud, center: Places, bases: int, label: int | None, count: str
) -> strips.Words:
    over = f"over ±{how.reach:g} standard deviations of {cloud.said}"
    if how.low is not None:
        over = f"from {how.low:g} to {how.high:g}"
    values = "pixels, on [0, 1]," if stage.model.shape.is_image else "values"
    return strips.Words(
        "Latent coordinates one by one",
        f"Each row moves one latent coordinate {over}; the others stay at {_where(center)}"
        + ("" if label is None else f", decoded as {places.class_name(stage.folder, label)}")
        + f". Beside each its importance: the mean squared change of the decoded {values} when it moves by one "
        f"standard deviation, over {bases} of {cloud.said}; {count} coordinates, "
        + ("as asked for." if how.coordinates else "the most important first."),
    )


def _center(
    stage: Stage,
    pictures: Sequence[Path | str],
    data: Any,
    split: str,
    latents: Path | str | None,
    how: Traversal,
    cloud: places.Cloud,
) -> Places:
    """The place that every row passes through, M = 1."""
    _one_source(pictures, latents, [] if how.example is None else [how.example], how.random)
    if pictures:
        found = places.of_pictures(stage, pictures)
        if len(found.z) != 1:
            raise ConfigError(f"coordinates are walked from one picture, got {len(found.z)}; give one file")
        return found
    if latents:
        return places.of_file(stage, latents, 1)
    if how.example is not None:
        return places.of_examples(stage, data, split, [how.example])
    # The mean of a generator's noise has length 0, and no noise that it was trained on comes near it.
    if how.random or not isinstance(stage.model, Encodes):
        return places.of_prior(stage, data, 1, how.seed)
    return Places(cloud.z.mean(0, keepdim=True), None, None, (f"the mean of {cloud.said}",))


def _where(center: Places) -> str:
    return center.names[0] + center.noted


def _ends_of(how: Traversal) -> tuple[float, float]:
    """Where a row begins and ends: standard deviations from the centre, or values of the coordinate."""
    if how.low is None and how.high is None:
        return -how.reach, how.reach
    if how.low is None or how.high is None:
        raise ConfigError("--low and --high go together; give both, or --reach")
    if how.low >= how.high:
        raise ConfigError(f"--low must be below --high, got {how.low:g} and {how.high:g}")
    return how.low, how.high


def _unread(how: Traversal, options: dict[str, Any]) -> None:
    """`ConfigError` for settings given together of which one would be passed over."""
    if "reach" in options and how.low is not None:
        raise ConfigError("give --reach, or --low and --high, not both")
    if "rows" in options and how.coordinates:
        raise ConfigError("give --rows or --coordinates, not both")


def _offsets(how: Traversal, film: bool) -> Tensor:
    """Places along a row, S; in a film there and back, so that the last frame leads on to the first."""
    low, high = _ends_of(how)
    if not film:
        return torch.linspace(low, high, how.steps)
    turn_S = torch.arange(how.frames) / how.frames
    return low + (high - low) * (1 - (2 * turn_S - 1).abs())


def _along(center_L: Tensor, dim: int, offsets_S: Tensor, std: Tensor, how: Traversal) -> Tensor:
    """S codes that differ in one coordinate."""
    z_SL = center_L.repeat(len(offsets_S), 1)
    z_SL[:, dim] = offsets_S if how.low is not None else center_L[dim] + offsets_S * std
    return z_SL


def _headings(how: Traversal) -> list[str]:
    values, unit = np.linspace(*_ends_of(how), how.steps), "σ" if how.low is None else ""
    texts = ["0" if abs(v) < 1e-9 else f"{v:+.2g}".replace("-", "−") for v in values]
    return [text + unit for text in texts]
