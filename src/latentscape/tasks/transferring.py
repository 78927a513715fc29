"""The style of a picture under another label: z stays, y changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentscape.contract import Reconstructs
from latentscape.errors import ConfigError
from latentscape.metrics import reconstruction
from latentscape.pictures import sheets
from latentscape.tasks import inputs, places, strips, using
from latentscape.tasks.places import Places
from latentscape.tasks.showing import Stage


def transfer(
    path: Path | str,
    pictures: Sequence[Path | str] = (),
    *,
    data: Any = None,
    split: str = "test",
    n: int = 10,
    to: Sequence[str | int] = (),
    out: Path | str | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Encode pictures, keep z, and decode it under every class into a file; say each one's class and error.

    pictures: files, folders or arrays of the user's own; without any, n examples as `reconstruct` takes them. The class
    of a picture without a label is the one that the model reads, or under which it is reconstructed best. to: classes
    by name or number; none: all, at most 20.
    A .npy file holds pictures×classes×…. `AbilityError` for models that read no labels, and as `inputs.examples`.
    """
    stage = places.open_stage(path, command)
    stage.need_labels()
    model = stage.need(Reconstructs, "so a picture has no latent to keep; `sample --label` shows what its classes are")
    target = strips.target(stage, out, "transferred", films=False)
    if n < 1:
        raise ConfigError(f"--n must be at least 1, got {n}")
    classes = [using.find_label(stage, k)[0] for k in to] or [
        k for k in places.labels_to_show(stage, None) if k is not None
    ]
    given = inputs.examples(stage.folder, stage.model, pictures, data=data, split=split, n=0 if pictures else n)
    found = places.of_inputs(stage, given)
    assert found.x is not None
    assert found.y is not None  # the model reads labels
    with torch.no_grad():
        xhat_NX = model.reconstruct(found.x, found.y).float()
    moved_NK = torch.stack([places.decoded(stage, found.z, k) for k in classes], 1)
    errors_N = reconstruction.mse(stage.as_unit(found.x), stage.as_unit(xhat_NX))
    names = [places.class_name(stage.folder, k) for k in classes]
    _write(target, stage, found, given.said, xhat_NX, moved_NK, names)
    return {
        "run": str(stage.folder.path),
        "n": len(found.z),
        "out": str(target),
        "pictures": list(found.names),
        "labels": [places.class_name(stage.folder, int(k)) for k in found.y],
        "to": names,
        "mse": float(errors_N.mean()),
        "errors": errors_N.tolist(),
    }


def _write(
    target: Path, stage: Stage, found: Places, said: str, xhat_NX: Tensor, moved_NK: Tensor, names: Sequence[str]
) -> None:
    """A row for each picture: original, reconstruction, and under every class; .npy and folders hold the last alone."""
    if strips.ending(target) == ".npy":
        strips.write_array(target, stage, moved_NK.flatten(0, 1), *moved_NK.shape[:2])
        return
    caption = (
        f"Of {said}{found.noted}, z ({found.z.shape[1]} numbers) is kept and decoded under each of {len(names)} "
        "classes; at the left the original and its reconstruction under its own class."
    )
    words = strips.Words("Style transfer", caption)
    if strips.ending(target) != ".png":
        strips.write_pictures(target, stage, moved_NK.flatten(0, 1), words)
        return
    assert found.x is not None
    cells = torch.cat([found.x[:, None], xhat_NX[:, None], moved_NK], 1).flatten(0, 1)
    headings = ["original", "reconstruction", *names]
    strips.write_png(target, stage, sheets.headed_sheet(stage.unit(cells), headings), words)
