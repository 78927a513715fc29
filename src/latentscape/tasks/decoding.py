"""Latents that somebody has, as pictures: numbers of the command line, or the rows of a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentscape.contract import Decodes
from latentscape.errors import ConfigError
from latentscape.tasks import places, strips, using
from latentscape.tasks.places import Places
from latentscape.tasks.showing import Stage


def decode(
    path: Path | str,
    latents: Path | str | None = None,
    *,
    z: Sequence[float] = (),
    label: str | int | None = None,
    out: Path | str | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Decode latents into a file: one given by its numbers z, or every row of an .npy file, N×L.

    label: what a model that reads labels decodes under; None: its first class. out: X.png (a sheet), X.gif, X.mp4,
    X.npy (uint8 N×C×H×W, of vectors float32 N×D) or a folder; None: the run's pictures. Raises `UserError`.
    """
    stage = places.open_stage(path, command)
    target = strips.target(stage, out, "decoded")
    if bool(z) == bool(latents):
        raise ConfigError("give the numbers of one latent with --z, or a file of latents with --latents X.npy")
    found = _given(stage, z) if z else _of_file(stage, Path(latents or ""))
    under = places.labels_to_show(stage, label)[0]
    x_NX = places.decoded(stage, found.z, under)
    name = "" if under is None else places.class_name(stage.folder, under)
    said = found.names[0] if len(found.names) == 1 else f"{len(found.names):,} latents of {Path(latents or '').name}"
    using.write(target, x_NX, stage, stage.model.shape, "Decoded", f"{said}, decoded{name and f' as {name}'}.")
    answer = {"run": str(stage.folder.path), "n": len(x_NX), "out": str(target)}
    return answer | ({"label": name} if name else {})


def _given(stage: Stage, z: Sequence[float]) -> Places:
    size = stage.need(Decodes).latent_dim
    if len(z) != size or not all(math.isfinite(v) for v in z):
        raise ConfigError(f"--z takes {size} finite numbers, one for each latent coordinate, got {len(z)}")
    listed = ", ".join(f"{v:.3g}".replace("-", "−") for v in z[:6]) + (", …" if size > 6 else "")
    return Places(torch.tensor([list(z)], dtype=torch.float32), None, None, (f"The latent ({listed})",))


def _of_file(stage: Stage, path: Path) -> Places:
    places.of_file(stage, path, 1)  # says what is wrong with it
    return places.of_file(stage, path, len(np.load(path, mmap_mode="r", allow_pickle=False)))
