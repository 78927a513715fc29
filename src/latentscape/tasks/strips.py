"""Rows of decoded pictures to files: sheets, films, arrays, folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentscape.errors import ConfigError
from latentscape.pictures import files, sheets
from latentscape.tasks import using
from latentscape.tasks.showing import Stage

FILMS = (".gif", ".mp4")

PANELS = 5
"""Pictures side by side in a film of several rows."""

FILM_WIDTH = 900
"""Pixels that a film of several rows should not exceed in width."""

Row = tuple[str, Tensor]
"""A name and S examples, S×… in the model's value range."""


@dataclass(frozen=True)
class Words:
    """What is said beside a picture."""

    title: str
    caption: str


def target(stage: Stage, out: Path | str | None, name: str, films: bool = True) -> Path:
    """Where to write: `out`, or `name` among the run's pictures; `ConfigError` for an ending that cannot be written.

    Vectors go to .npy only. A path without an ending, or an existing folder, stands for single pictures.
    """
    is_image = stage.model.shape.is_image
    path = Path(out) if out else stage.folder.pictures_path / f"{name}{'.png' if is_image else '.npy'}"
    if not is_image and ending(path) != ".npy":
        raise ConfigError(f"vectors are written to .npy only, got --out {path}")
    allowed = [".png", *(FILMS if films else ()), ".npy"]
    if ending(path) and ending(path) not in allowed:
        raise ConfigError(f"this is written to X{', X'.join(allowed)} or a folder, got --out {path}")
    return path


def ending(path: Path) -> str:
    """What a path's ending asks for, in small letters; nothing for a folder."""
    return "" if path.is_dir() else path.suffix.lower()


def is_film(path: Path) -> bool:
    """Whether the path's ending asks for a film."""
    return ending(path) in FILMS


def as_array(stage: Stage, x_NX: Tensor) -> Tensor:
    """Examples as .npy files hold them: uint8 pixels of images, float32 numbers of vectors."""
    return torch.from_numpy(sheets.to_uint8(stage.unit(x_NX))) if stage.model.shape.is_image else x_NX.float()


def write_array(path: Path, stage: Stage, x: Tensor, *leading: int) -> None:
    """Write examples, N×…, to a .npy file, with N split into the `leading` sizes."""
    using.write_array(path, as_array(stage, x).unflatten(0, leading))


def write_png(path: Path, stage: Stage, picture: sheets.Picture, words: Words) -> None:
    """Write a finished picture with its words."""
    files.save_png(path, picture, title=words.title, caption=words.caption, command=stage.command)


def write_pictures(path: Path, stage: Stage, x_NX: Tensor, words: Words) -> None:
    """Write pictures as `files.save_images` does: a film of them, or one by one into a folder."""
    pixels = sheets.to_uint8(stage.unit(x_NX))
    files.save_images(path, pixels, title=words.title, caption=words.caption, command=stage.command)


def write_rows(path: Path, stage: Stage, rows: Sequence[Row], words: Words, headings: Sequence[str] = ()) -> None:
    """Write rows of equal length S in the form that the path's ending asks for.

    .png: the rows below each other, headings above the columns where there is room. .gif, .mp4: S frames of 40 ms, all
    rows in each. .npy: rows×S×…, S×… for one row. A folder: the pictures one by one, row after row.
    """
    steps, x, kind = len(rows[0][1]), torch.cat([x for _, x in rows]), ending(path)
    if kind == ".npy":
        write_array(path, stage, x, *((len(rows), steps) if len(rows) > 1 else (steps,)))
    elif kind == ".png":
        write_png(path, stage, headed_rows([(name, stage.unit(x)) for name, x in rows], headings), words)
    elif kind in FILMS and len(rows) > 1:
        frames = _frames([(name, stage.unit(x)) for name, x in rows])
        save = files.save_gif if kind == ".gif" else files.save_mp4
        save(path, frames, title=words.title, caption=words.caption, command=stage.command)
    else:
        write_pictures(path, stage, x, words)


def _frames(rows: Sequence[tuple[str, np.ndarray]]) -> list[sheets.Picture]:
    """One frame for each step: the rows' pictures side by side, each above its name."""
    columns, names = min(len(rows), PANELS), [name for name, _ in rows]
    side = max(rows[0][1].shape[2:])
    scale = max(1, round(min(files.FILM_SIDE, FILM_WIDTH / columns) / side))
    steps = zip(*(x for _, x in rows), strict=True)
    return [sheets.titled_sheet(np.stack(step), names, columns, scale=scale) for step in steps]


def headed_rows(rows: Sequence[tuple[str, np.ndarray]], headings: Sequence[str]) -> sheets.Picture:
    """Named rows, with a heading above each column where every heading is narrower than a picture."""
    body = sheets.rows(rows)
    columns, (height, width) = len(rows[0][1]), rows[0][1].shape[2:]
    shown = width * sheets.visible_scale(height, width, columns)
    if not headings or max(sheets.text_size(h)[0] for h in headings) + 8 > shown:
        return body
    blank = np.ones((columns, 1, 1, shown), np.float32)
    head = sheets.headed_sheet(blank, headings, scale=1)
    return np.concatenate(
        [np.pad(head, ((0, 0), (body.shape[1] - head.shape[1], 0), (0, 0)), constant_values=255), body]
    )
