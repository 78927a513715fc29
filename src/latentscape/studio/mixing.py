"""Walks between slots and rows of latents as files: what the page Mix decodes and saves."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentscape.contract import Decodes
from latentscape.errors import AbilityError, ConfigError
from latentscape.latents import encode
from latentscape.numerics import paths
from latentscape.pictures import files, sheets
from latentscape.studio.explorer import Explorer
from latentscape.tasks import places, using

MOST_STEPS = 240
"""Pictures of a walk."""

FORMATS = {
    "png": "image/png",
    "gif": "image/gif",
    "mp4": "video/mp4",
    "npy": "application/octet-stream",
}
"""What can be saved, and its media type; npy holds the latents."""

MS = 40


def walk(a_L: Tensor, b_L: Tensor, steps: int, spherical: bool) -> Tensor:
    """Latents from one to the other, both among them, S×L. `ConfigError` for a number of steps that is not possible."""
    if not 2 <= steps <= MOST_STEPS:
        raise ConfigError(f"a walk has 2 to {MOST_STEPS} steps, got {steps}")
    return (paths.spherical if spherical else paths.linear)(a_L.view(1, -1), b_L.view(1, -1), steps)[:, 0]


def decoded(explorer: Explorer, z_ML: Tensor, labels: Sequence[int | None]) -> Tensor:
    """Latents M×L as examples M×…, all under one label or each under its own."""
    model = explorer.model
    if not isinstance(model, Decodes):
        raise AbilityError("this model has no decoder, so that it makes no pictures")
    if len(labels) not in (1, len(z_ML)):
        raise ConfigError(f"give one label, or one for each of {len(z_ML)} latents, got {len(labels)}")
    if labels[0] is None:
        return encode.decode_all(model, z_ML, None)
    y_M = torch.tensor([k or 0 for k in labels]).expand(len(z_ML))
    return encode.decode_all(model, z_ML, y_M)


def saved(
    explorer: Explorer, z_ML: Tensor, labels: Sequence[int | None], form: str, *, caption: str, command: str
) -> bytes:
    """Latents as a file of one of `FORMATS`, its bytes: pictures in a sheet or a film, or the latents themselves."""
    if form not in FORMATS:
        raise ConfigError(f"pictures are saved as {', '.join(FORMATS)}, got {form!r}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"mixed.{form}"
        if form == "npy":
            using.write_array(path, z_ML)
            return path.read_bytes()
        if not explorer.model.shape.is_image:
            raise AbilityError("vectors are no pictures; save their latents, and decode them from the command line")
        pixels = sheets.to_uint8(explorer.stage.unit(decoded(explorer, z_ML, labels)))
        # A film that only goes there would jump at its end: it comes back the way it went.
        pixels = np.concatenate([pixels, pixels[-2:0:-1]]) if form in ("gif", "mp4") and len(pixels) > 2 else pixels
        files.save_images(path, pixels, ms=_ms(len(z_ML)), title="Mix", caption=caption, command=command)
        return path.read_bytes()


def _ms(steps: int) -> int:
    """Milliseconds a picture: a walk of few steps is shown slower, in tens as a GIF counts."""
    return max(MS, min(300, 1600 // steps // 10 * 10))


@dataclass(frozen=True)
class Slot:
    """What a command may call an end of a walk: an example's position, a file's name, or neither."""

    example: int | None = None
    file: str = ""


def walk_command(
    explorer: Explorer, run: str, ends: Sequence[Slot], steps: int, spherical: bool, label: int | None
) -> str:
    """The command that makes the walk again; ends that are neither examples nor files are read from `ends.npy`."""
    words = ["latentscape", "interpolate", run]
    if all(end.example is not None for end in ends):
        words += ["--examples", *(str(end.example) for end in ends)]
        words += [] if explorer.stage.split == "test" else ["--split", explorer.stage.split]
    elif all(end.file for end in ends):
        words[3:] = [end.file for end in ends]
    else:
        words += ["--latents", "ends.npy"]
    words += ["--spherical"] if spherical else []
    words += [] if label is None else ["--label", places.class_name(explorer.folder, label)]
    return shlex.join([*words, "--steps", str(steps), "--out", "walk.png"])
