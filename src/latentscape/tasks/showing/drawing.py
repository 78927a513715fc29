"""Which pictures are drawn, and into which files: one by name, a recipe's list, or the standard ones."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentscape.errors import AbilityError, ConfigError, DataError
from latentscape.pictures import files, sheets
from latentscape.tasks.showing.registry import PICTURES, Drawing
from latentscape.tasks.showing.stage import Stage

STANDARD = ("reconstructions", "samples", "map", "grid", "points", "latent_curve")
"""What every run shows, as far as its model can."""

NOT_OPTIONS = ("what", "beside")
"""Keys of an entry of a recipe's `show` that the picture's function does not see."""

WIDE = 1.5
"""Pictures wider than so many times their height are put below each other, others side by side."""


@dataclass(frozen=True)
class Beside:
    """Another run whose picture stands beside the run's own."""

    name: str
    stage: Stage


def check(entry: Mapping[str, Any]) -> None:
    """An entry of a recipe's `show`: unknown pictures or options raise `ConfigError`."""
    what = entry.get("what")
    if what not in PICTURES:
        raise ConfigError(f"there is no picture {what!r}; what must be one of {', '.join(PICTURES)}")
    known = list(inspect.signature(PICTURES[what]).parameters)[1:]
    for name in entry:
        if name not in (*known, *NOT_OPTIONS):
            raise ConfigError(f"the picture {what!r} has no option {name!r}; it has {', '.join(known) or 'none'}")


def draw(stage: Stage, what: str, **options: Any) -> Drawing:
    """A picture by name, not yet a file. Unknown names or options raise `ConfigError`."""
    check({"what": what, **options})
    return PICTURES[what](stage, **{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()})


def side_by_side(own: Drawing, other: Drawing, names: tuple[str, str]) -> Drawing:
    """Two runs' pictures as one, each below its run's name, with the words of both."""
    height, width = own.pixels.shape[:2]
    columns = 1 if width > WIDE * height else 2
    same = own.title if own.title == other.title else f"{own.title} · {other.title}"
    return Drawing(
        sheets.panels([own.pixels, other.pixels], names, columns),
        same,
        f"{names[0]}: {own.caption} {names[1]}: {other.caption}",
    )


def show(stage: Stage, what: str, *, beside: Beside | None = None, file: str = "", **options: Any) -> Path:
    """Draw one picture by name into the run's pictures. Unknown names or options raise `ConfigError`.

    beside: another run to draw the same for. file: the file's name without its ending; the picture's own if not given.
    """
    drawing = draw(stage, what, **options)
    if beside is not None:
        drawing = side_by_side(drawing, draw(beside.stage, what, **options), (stage.name, beside.name))
    return files.save_png(
        stage.folder.pictures_path / f"{file or what}.png",
        drawing.pixels,
        title=drawing.title,
        caption=drawing.caption,
        command=stage.command or stage.folder.command(),
    )


def file_names(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each entry: `map`, `map-beside-vae`, and `denoise-2` for a second one of the same name."""
    stems = [e["what"] + (f"-beside-{e['beside']}" if e.get("beside") else "") for e in entries]
    seen: Counter[str] = Counter()
    names = []
    for stem in stems:
        seen[stem] += 1
        names.append(stem if seen[stem] == 1 else f"{stem}-{seen[stem]}")
    return names


def show_listed(
    stage: Stage, entries: Sequence[Mapping[str, Any]], others: Mapping[str, Stage], say: Callable[[str], None]
) -> list[Path]:
    """The pictures that a recipe lists; `others` are its companions' stages.

    One that cannot be drawn (other data than the recipe's may lack labels) is told to `say`, and the rest is drawn.
    """
    made = []
    for entry, name in zip(entries, file_names(entries), strict=True):
        options = {k: v for k, v in entry.items() if k not in NOT_OPTIONS}
        other = entry.get("beside")
        beside = Beside(other, others[other]) if other else None
        try:
            made.append(show(stage, entry["what"], beside=beside, file=name, **options))
        except (AbilityError, DataError, ConfigError) as error:
            say(f"The picture {name} is not drawn: {error}.")
    return made


def show_standard(stage: Stage) -> list[Path]:
    """The standard pictures that this model can give."""
    made = []
    for what in STANDARD:
        if what == "grid" and getattr(stage.model, "latent_dim", 0) != 2:
            continue  # a plane through many dimensions says little; `grid` draws it when asked
        try:
            made.append(show(stage, what))
        except (AbilityError, DataError):
            continue
    return made
