"""Arithmetic on latents: sums of pictures (a − b + c), and moves along the direction of an attribute."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentscape.contract import Encodes, Model, Reconstructs
from latentscape.data import ImageSet
from latentscape.errors import ConfigError, DataError, UserError
from latentscape.latents import directions, encode
from latentscape.pictures import files, sheets
from latentscape.runs import RunFolder
from latentscape.tasks import attributes, inputs, using
from latentscape.tasks.embedding import NO_ENCODER, encoded, labels_of, latents_of, some_of, usable
from latentscape.tasks.evaluating import load_for
from latentscape.tasks.showing import Stage

COURSE = (("1", "9"), ("9",))
"""What is added and subtracted if nothing is said and the data has these classes: first 1 + first 9 − second 9."""

FIT = 20_000
"""Most training latents that a direction is fitted to, drawn at random."""

STRENGTHS = (-2.0, -1.0, 0.0, 1.0, 2.0)

FILM_FRAMES = 41
"""Frames of a film, evenly from the lowest strength to the highest."""

Path_ = Path | str


# ---- sums of pictures --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operand:
    """One part of a sum: what it is called, its latent L, the picture X if it is a single one, and the class."""

    name: str
    z: Tensor
    x: Tensor | None
    y: int | None


def combine(
    path: Path_,
    plus: Sequence[Path_] = (),
    minus: Sequence[Path_] = (),
    *,
    average: int = 1,
    data: Any = None,
    split: str = "test",
    label: str | int | None = None,
    out: Path_ | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Add and subtract latents, decode the sum, and draw it beside its parts.

    plus, minus: each a class of the data, or a picture file or folder (its mean latent). A class stands for the mean
    latent of its next `average` examples in the split, so that one named twice is two of them: plus 1 and 9, minus 9 is
    first 1 + first 9 − second 9. Nothing at all is that sum where there are such classes, else the same with the last
    and the first class. label: what a model that reads labels is told of files; the sum is decoded under the label of
    its first part.

    out: X.png, or X.npy for the sum's latent (float32 1×L). Answers with `distance`, how far the sum lies from the
    middle of the training latents, `distances` of the parts (see `directions.distance`), as far as there are such
    latents. Raises `UserError`.
    """
    if average < 1:
        raise ConfigError(f"--average must be at least 1, got {average}")
    folder = RunFolder(path)
    model = folder.load_model()
    target = _target(folder, model, out, "arithmetic")
    images = _try_to_load(folder, data)
    stage = Stage(folder, model, images, command)  # type: ignore[arg-type]
    able = stage.need(Reconstructs, NO_ENCODER)
    if label is not None and label != "":
        stage.need_labels()
    if not plus and not minus:
        plus, minus = _usual(images)
    if not plus:
        raise ConfigError("a sum needs something to add: give --plus, or three words A B C for A − B + C")
    found = _Finder(stage, split, average, label)
    parts = [found.operand(word) for word in (*plus, *minus)]
    z_PL = torch.stack([part.z for part in parts])
    z_L = directions.combine(z_PL[: len(plus)], z_PL[len(plus) :])
    signs = ["+"] * len(plus) + ["−"] * len(minus)
    words = " ".join(f"{sign} {part.name}" for sign, part in zip(signs, parts, strict=True)).removeprefix("+ ")
    answer: dict[str, Any] = {"run": str(folder.path), "sum": words, "average": average, "out": str(target)}
    caption = f"The latent of {words}, decoded."
    if (known := _training_latents(folder, model, images, 10_000)) is not None:
        distances = directions.distance(torch.cat([z_PL, z_L[None]]), known).tolist()
        answer |= {"distance": distances[-1], "distances": distances[:-1]}
        caption += f" {_said_distances(distances)}"
    if target.suffix == ".npy":
        using.write_array(target, z_L[None])
        return answer
    y_P = torch.tensor([p.y for p in parts]) if model.needs_labels else None
    picture = _strip(stage, able, parts, signs, z_L, y_P)
    files.save_png(target, picture, title="Latent arithmetic", caption=caption, command=command)
    return answer


def _said_distances(distances: list[float]) -> str:
    listed = "that of its parts " + ", ".join(f"{d:.2f}" for d in distances[:-1])
    return f"Its distance from the middle of the training latents, 1 being usual, is {distances[-1]:.2f} ({listed})."


def _try_to_load(folder: RunFolder, data: Any) -> ImageSet | None:
    """The data, or None where the run's own is gone, since a sum of files needs none."""
    if data is not None:
        return load_for(folder, data)
    try:
        return load_for(folder)
    except UserError:
        return None


def _usual(images: ImageSet | None) -> tuple[Sequence[str], Sequence[str]]:
    names = () if images is None or images.labels is None else images.label_names
    if len(names) < 2:
        raise ConfigError("give three pictures A B C for A − B + C, since the data has no classes to choose some from")
    return COURSE if {"1", "9"} <= set(names) else ((names[0], names[-1]), (names[-1],))


class _Finder:
    """Turns words into operands and remembers which examples of a class are taken."""

    def __init__(self, stage: Stage, split: str, average: int, label: str | int | None) -> None:
        self.stage, self.split, self.average = stage, split, average
        self.taken: Counter[str] = Counter()
        self.label = label

    def operand(self, word: Path_) -> Operand:
        """A class of the data by its name, else what lies at a path."""
        images = self.stage.images
        if images is not None and images.labels is not None and str(word) in images.label_names:
            return self._of_class(images, str(word))
        if not Path(word).expanduser().exists():
            classes = ", ".join(images.label_names[:20]) if images is not None and images.labels is not None else ""
            raise DataError(f"there is no file{classes and f' and no class ({classes})'} called {str(word)!r}")
        given = inputs.examples(self.stage.folder, self.stage.model, [word])
        y_N = labels_of(self.stage, given, self.label)
        return self._mean(given.said, given.x, y_N, None if y_N is None else int(y_N[0]))

    def _of_class(self, images: ImageSet, name: str) -> Operand:
        assert images.labels is not None
        model, k = self.stage.model, images.label_names.index(name)
        rows = images.indices(self.split)
        rows = rows[images.labels[rows] == k]
        first = self.taken[name]
        self.taken[name] += self.average
        if len(rows) < self.taken[name]:
            raise DataError(
                f"{images.name} has {len(rows):,} {self.split} examples of {name}, and {self.taken[name]:,} are asked "
                "for; take fewer, or another --split"
            )
        if model.needs_labels and not inputs.known_classes(self.stage.folder, images):
            raise DataError(f"{self.stage.name} reads labels, and those of {images.name} are not its classes")
        x_NX = images.examples(rows[first : first + self.average], model.value_range)
        y_N = torch.full((len(x_NX),), k) if model.needs_labels else None
        said = f"{name} ({first + 1})" if self.average == 1 else f"mean of {self.average:,} × {name}"
        return self._mean(said, x_NX, y_N, k)

    def _mean(self, name: str, x_NX: Tensor, y_N: Tensor | None, k: int | None) -> Operand:
        z_NL = encoded(self.stage.model, x_NX, y_N)
        return Operand(name, z_NL.mean(0), x_NX[0] if len(x_NX) == 1 else None, k)


def _strip(
    stage: Stage, able: Any, parts: list[Operand], signs: list[str], z_L: Tensor, y_P: Tensor | None
) -> sheets.Picture:
    """The parts as they are given, if each is a picture, and below them what their latents and the sum decode to."""
    z_NL = torch.cat([torch.stack([p.z for p in parts]), z_L[None]])
    y_N = None if y_P is None else torch.cat([y_P, y_P[:1]])
    decoded = stage.unit(encode.decode_all(able, z_NL, y_N))
    names = [f"{sign} {part.name}" for sign, part in zip(signs, parts, strict=True)]
    names[0] = names[0].removeprefix("+ ")
    rows = [("decoded", decoded, [*names, "= the sum"])]
    singles = [p.x for p in parts if p.x is not None]
    if len(singles) == len(parts):
        rows.insert(0, ("given", stage.unit(torch.stack(singles)), [""] * len(parts)))
    return sheets.titled_rows(rows)


# ---- directions --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Direction:
    """step: what one unit of strength adds to a latent, L. said: what it is, in words. figures: for the answer."""

    step: Tensor
    said: str
    figures: dict[str, Any]


def move(
    path: Path_,
    pictures: Sequence[Path_] = (),
    *,
    attribute: str = "",
    table: Path_ | None = None,
    having: Path_ | None = None,
    without: Path_ | None = None,
    direction: Path_ | None = None,
    method: str = "mean-difference",
    without_changing: Sequence[str] = (),
    strengths: Sequence[float] = STRENGTHS,
    data: Any = None,
    split: str = "test",
    n: int = 8,
    label: str | int | None = None,
    out: Path_ | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Move pictures along the direction of an attribute and draw them at every strength.

    The direction is that of one of these: attribute, the name of one of the data's (see `attributes.find`), or of the
    columns of `table`, fitted to training latents whose attribute is known; having and without, two folders of pictures
    with something and without it; or direction, an array of L numbers that this function wrote. method: one of
    `directions.METHODS`. without_changing: attributes whose linear reading must stay as it is.

    strengths count standard deviations of the latents' projection on the direction. pictures: those to move, else n
    examples of the split. label: what a model that reads labels is told of the pictures. out: X.png, X.gif or X.mp4 (a
    film from the lowest strength to the highest), a folder, or X.npy: what one unit of strength adds, float32 L.

    Answers with `n_fitted`, `correlation` with the attribute on held-out examples, and for numbers `per_strength`, how
    much of the attribute a unit of strength is by a linear reading. Raises `UserError`.
    """
    _check_move(method, strengths, attribute, having, without, direction, table, without_changing)
    folder = RunFolder(path)
    model = folder.load_model()
    stage = Stage(folder, model, None, command)  # type: ignore[arg-type]
    able = stage.need(Reconstructs, NO_ENCODER)
    target = _target(folder, model, out, "direction" if direction else f"direction-{_file_name(attribute or 'with')}")
    if direction:
        found = _read(Path(direction), able.latent_dim)
    else:
        images = load_for(folder, data) if attribute or without_changing else None
        images = attributes.with_table(images, table) if table and images is not None else images
        found = _fitted(stage, images, attribute, having, without, method, without_changing)
    answer = {"run": str(folder.path), "of": found.said, **found.figures, "strengths": list(map(float, strengths))}
    answer["out"] = str(target)
    if target.suffix == ".npy":
        using.write_array(target, found.step)
        return answer
    given = inputs.examples(folder, model, pictures, data=data, split=split, n=n)
    y_N = labels_of(stage, given, label)
    z_NL = encoded(model, given.x, y_N)
    _draw(stage, able, given, z_NL, y_N, found, tuple(map(float, strengths)), target)
    return answer | {"n": len(given)}


def _check_move(
    method: str,
    strengths: Sequence[float],
    attribute: str,
    having: Path_ | None,
    without: Path_ | None,
    direction: Path_ | None,
    table: Path_ | None,
    without_changing: Sequence[str],
) -> None:
    if method not in directions.METHODS:
        raise ConfigError(f"--method must be one of {', '.join(directions.METHODS)}, got {method!r}")
    if not strengths or not all(math.isfinite(s) for s in strengths):
        raise ConfigError(f"--strengths must be finite numbers, at least one, got {' '.join(map(str, strengths))}")
    if bool(having) != bool(without):
        raise ConfigError("--with DIR and --without DIR belong together; give both")
    if bool(attribute) + bool(having) + bool(direction) != 1:
        raise ConfigError("say one of --attribute NAME, --with DIR --without DIR, and --direction X.npy")
    if direction and (table or without_changing):
        raise ConfigError("--direction is taken as it is; leave --table and --without-changing out")


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


def _target(folder: RunFolder, model: Model, out: Path_ | None, stem: str) -> Path:
    """Where to write: by default a sheet for images, and numbers for vectors, which have no picture."""
    if not model.shape.is_image:
        target = Path(out) if out else folder.pictures_path / f"{stem}.npy"
        if target.suffix != ".npy":
            raise ConfigError(f"what is done to latents of vectors is written to X.npy, got --out {target}")
        return target
    target = Path(out) if out else folder.pictures_path / f"{stem}.png"
    films = ("", ".gif", ".mp4") if stem != "arithmetic" else ()
    if target.suffix.lower() not in (".png", ".npy", *films):
        listed = "X.png, X.gif, X.mp4, X.npy or a folder" if films else "X.png or X.npy"
        raise ConfigError(f"arithmetic writes {listed}, got --out {target}")
    return target


def _read(file: Path, size: int) -> Direction:
    """A direction that was written before."""
    try:
        values = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"--direction {file} cannot be read as .npy ({error.__class__.__name__})") from None
    if values.shape != (size,) or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise DataError(
            f"--direction must hold {size} finite numbers, the size of the run's latents, found {values.shape}"
        )
    return Direction(torch.from_numpy(values.astype(np.float32)), f"the direction in {file.name}", {})


def _fitted(
    stage: Stage,
    images: ImageSet | None,
    attribute: str,
    having: Path_ | None,
    without: Path_ | None,
    method: str,
    without_changing: Sequence[str],
) -> Direction:
    """Fit a direction to the attribute, or to two folders, and take out of it what must not change."""
    held: tuple[Tensor, Tensor] | None = None
    if attribute:
        assert images is not None
        name = attributes.find(images, attribute).name
        z_NL, a_N, held = _known_latents(stage, images, attribute, "--attribute")
    else:
        assert having is not None
        assert without is not None
        name, z_NL, a_N = Path(having).name, *_two_folders(stage, having, without)
    directions.check(a_N, name)
    to_L = directions.METHODS[method](z_NL, a_N)
    if without_changing:
        assert images is not None
        to_L = _kept(stage, images, to_L, name, without_changing)
    step_L = directions.step(to_L, z_NL)
    if not (step_L.isfinite().all() and step_L.norm() > 0):
        raise DataError(f"the latents of {stage.folder.path} say nothing of {name}: they do not change with it")
    figures: dict[str, Any] = {"attribute": name, "method": method, "n_fitted": len(z_NL)}
    if without_changing:
        figures["without_changing"] = list(without_changing)
    if held is not None:
        figures |= {"correlation": directions.correlation(step_L, z_NL, *held), "n_held_out": len(held[0])}
    if not directions.is_binary(a_N):
        figures["per_strength"] = directions.gain(step_L, z_NL, a_N)
    return Direction(step_L, _said(name, method, figures), figures)


def _known_latents(
    stage: Stage, images: ImageSet, name: str, flag: str
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
    """Training latents whose attribute is known with its values, and held-out ones, if there are at least two."""
    found, sizes = attributes.find(images, name, flag), images.sizes()
    fit = "train" if sizes["train"] else "all"
    held = next((s for s in ("test", "valid") if sizes[s] and fit == "train"), "")
    parts = []
    for split in (fit, held) if held else (fit,):
        rows, picks = images.indices(split), usable(stage.folder, stage.model, images, split)
        picks = some_of(picks[found.known[rows[picks]]], FIT)
        if len(picks):
            parts.append((latents_of(stage.model, images, split, picks), found.values[rows[picks]]))
        elif split == fit:
            directions.check(found.values[:0], found.name)
    return *parts[0], parts[1] if len(parts) > 1 and len(parts[1][0]) > 1 else None


def _two_folders(stage: Stage, having: Path_, without: Path_) -> tuple[Tensor, Tensor]:
    if stage.model.needs_labels:
        raise DataError(f"{stage.name} reads labels, and pictures in folders have none; use --attribute")
    groups = []
    for place in (having, without):
        images = load_for(stage.folder, place)
        groups.append(latents_of(stage.model, images, "all", some_of(torch.arange(len(images)), FIT)))
    a_N = torch.cat([torch.full((len(z),), float(value)) for z, value in zip(groups, (1, 0), strict=True)])
    return torch.cat(groups), a_N


def _kept(stage: Stage, images: ImageSet, to_L: Tensor, name: str, others: Sequence[str]) -> Tensor:
    """The direction without what would change the linear readings of other attributes."""
    readings, z_NL = [], None
    for other in others:
        z_NL, a_N, _ = _known_latents(stage, images, other, "--without-changing")
        directions.check(a_N, other)
        # each in its own examples' standard deviations; back to latents, so that they may differ
        readings.append(directions.reading(z_NL, a_N))
    assert z_NL is not None
    left_L = directions.keep(to_L, z_NL, torch.stack(readings))
    if left_L is None:
        raise ConfigError(f"--without-changing {' '.join(others)} leaves nothing of the direction of {name}")
    return left_L


def _said(name: str, method: str, figures: dict[str, Any]) -> str:
    kept = f", keeping {' and '.join(figures['without_changing'])}" if "without_changing" in figures else ""
    text = f"the direction of {name} ({method} over {figures['n_fitted']:,} examples{kept})"
    if "per_strength" in figures:
        text += f", {figures['per_strength']:+.3g} of it per unit of strength by a linear reading"
    return text


def _draw(
    stage: Stage,
    able: Any,
    given: inputs.Inputs,
    z_NL: Tensor,
    y_N: Tensor | None,
    found: Direction,
    strengths: tuple[float, ...],
    target: Path,
) -> None:
    """A sheet with a row for each picture and a column for each strength, or a film of the pictures together."""
    film = target.suffix.lower() in (".gif", ".mp4")
    if film:
        strengths = tuple(np.linspace(min(strengths), max(strengths), FILM_FRAMES).tolist())
    codes = directions.moved(z_NL, found.step, strengths)
    x = stage.unit(encode.decode_all(able, codes, None if y_N is None else y_N.repeat_interleave(len(strengths))))
    x_NSCHW = x.reshape(len(given), len(strengths), *x.shape[1:])
    words: dict[str, Any] = {
        "title": f"Along {found.said.split(' (')[0]}",
        "caption": f"{given.said} moved along {found.said}; strengths {_listed(strengths)} standard deviations of the "
        "latents' projection on it.",
        "command": stage.command,
    }
    if film:
        frames = [sheets.sheet(x_NSCHW[:, i]) for i in range(len(strengths))]
        (files.save_gif if target.suffix.lower() == ".gif" else files.save_mp4)(target, frames, **words)
    elif target.suffix.lower() == ".png":
        whole = np.concatenate([stage.unit(given.x)[:, None], x_NSCHW], 1)
        headings = ["original", *(_strength(s) for s in strengths)]
        files.save_png(target, sheets.headed_sheet(whole.reshape(-1, *x.shape[1:]), headings), **words)
    else:
        files.save_images(target, x, **words)


def _strength(s: float) -> str:
    return f"{s:+g}".replace("-", "−") if s else "0"


def _listed(strengths: tuple[float, ...]) -> str:
    if len(strengths) > 9:
        return f"{_strength(strengths[0])} to {_strength(strengths[-1])}"
    return ", ".join(map(_strength, strengths))


def _training_latents(folder: RunFolder, model: Any, images: ImageSet | None, most: int) -> Tensor | None:
    """Latents to compare with; None where the data is gone, has no training part or cannot be encoded."""
    if images is None or not images.sizes()["train"] or not isinstance(model, Encodes):
        return None
    assert isinstance(model, Model)
    try:
        picks = some_of(usable(folder, model, images, "train"), most)
    except DataError:
        return None
    return latents_of(model, images, "train", picks) if len(picks) > 1 else None
