"""What a person does with a trained model: sample, reconstruct."""

from __future__ import annotations

import hashlib
import io
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentscape.config import LARGEST_SEED, DataShape
from latentscape.contract import Decodes, Reconstructs
from latentscape.errors import ConfigError, DataError
from latentscape.latents import encode
from latentscape.latents.priors import Report
from latentscape.metrics import reconstruction
from latentscape.pictures import files, sheets
from latentscape.runs import RunFolder
from latentscape.tasks import showing
from latentscape.tasks.evaluating import load_for, to_unit
from latentscape.training import heap
from latentscape.training.checkpoint import write_atomically


@heap.kept("cpu")
def sample(
    path: Path | str,
    *,
    n: int = 64,
    seed: int = 0,
    prior: str = "auto",
    temperature: float = 1.0,
    label: str | int | None = None,
    precision: str = "float32",
    out: Path | str | None = None,
    command: str = "",
    report: Report | None = None,
) -> dict[str, Any]:
    """Decode n draws of a prior into a file; says how many, from where and to where, and their `sha256`.

    prior: "own", "auto" (the model's own, else a full Gaussian), or one of `latents.priors.KINDS`, which is fitted to
    the training latents and kept in the run folder: the next call finds it there and needs no data.
    label: what a model that reads labels decodes under, a class's name or its number from 0; None: all classes in
    turn. A model that reads none refuses one (`AbilityError`).
    precision: "float32" or "bf16", see `latents.encode`. report: takes sentences about the progress of a fit.
    sha256: of the bytes of the array that `--out X.npy` holds, whatever is written: uint8 N×C×H×W for images, else
    float32 N×D. The same seed gives the same one on the same machine with the same versions.
    """
    if n < 1:
        raise ConfigError(f"--n must be at least 1, got {n}")
    if not 0 <= temperature < math.inf:
        raise ConfigError(f"--temperature must be at least 0 and finite, got {temperature:g}")
    if not 0 <= seed <= LARGEST_SEED:
        raise ConfigError(f"--seed must be at least 0 and at most {LARGEST_SEED}, got {seed}")
    folder = RunFolder(path)
    model = folder.load_model()
    stage = showing.Stage(folder, model, None, command)  # type: ignore[arg-type]
    decoder = stage.need(Decodes, "it cannot make pictures from latents")
    z_NL, source = showing.prior_codes(stage, n, seed, prior, temperature, report)
    y_N, under = labels_under(stage, label, n)
    pixels = partial(to_pixels, stage) if model.shape.is_image else None
    x = encode.decode_all(decoder, z_NL, y_N, bf16=in_bf16(precision), keep=pixels)
    target = Path(out) if out else folder.pictures_path / "samples.png"
    caption = f"{n} latents from {source}, seed {seed}, decoded{under and f' under {under}'}."
    write(target, x, stage, DataShape(tuple(x.shape[1:])), "Samples", caption)
    answer = {"run": str(folder.path), "n": n, "seed": seed, "prior": source, "out": str(target)}
    digest = hashlib.sha256(x.numpy().data).hexdigest()
    return answer | {"sha256": digest} | ({"label": under} if under else {})


def to_pixels(stage: showing.Stage, x_NCHW: Tensor) -> Tensor:
    """Pictures in the model's value range as uint8."""
    return torch.from_numpy(sheets.to_uint8(stage.unit(x_NCHW)))


def in_bf16(precision: str) -> bool:
    """Whether --precision asks for bf16; `ConfigError` for what is neither that nor float32."""
    if precision not in ("float32", "bf16"):
        raise ConfigError(f"--precision must be float32 or bf16, got {precision!r}")
    return precision == "bf16"


def labels_under(stage: showing.Stage, label: str | int | None, n: int) -> tuple[Tensor | None, str]:
    """Labels to decode n codes under, and what they are in words; None and nothing for a model that reads none."""
    if label is None or label == "":
        in_turn = stage.model.needs_labels
        return (torch.arange(n) % stage.model.classes, "each class in turn") if in_turn else (None, "")
    stage.need_labels()
    number, name = find_label(stage, label)
    return torch.full((n,), number), f"label {name}"


def find_label(stage: showing.Stage, label: str | int) -> tuple[int, str]:
    """A class of the training data by its name, or else by its number: number and name. `ConfigError` for neither."""
    names = list(stage.folder.data().get("labels", {}))
    if str(label) in names:
        number = names.index(str(label))
    elif str(label).isdecimal() and int(label) < stage.model.classes:
        number = int(label)
    else:
        listed = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
        raise ConfigError(
            f"--label must be a class of the training data{listed and f' ({listed})'} or its number, "
            f"0 to {stage.model.classes - 1}; got {label!r}"
        )
    return number, names[number] if number < len(names) else str(number)


def write(target: Path, x: Tensor, stage: showing.Stage, shape: DataShape, title: str, caption: str) -> None:
    """Write pictures x_NX (uint8, or in the model's value range) as the path's ending says; vectors as .npy only."""
    if shape.is_image:
        values = x.numpy() if x.dtype == torch.uint8 else sheets.to_uint8(stage.unit(x))
        files.save_images(target, values, title=title, caption=caption, command=stage.command)
        return
    if target.suffix != ".npy":
        raise ConfigError(f"vectors are written to .npy only, got --out {target}")
    write_array(target, x)


def write_array(target: Path, x: Tensor) -> None:
    """Write numbers as they are to a .npy file, whole or not at all."""
    buffer = io.BytesIO()
    np.save(buffer, x.numpy())
    write_atomically(target, buffer.getvalue())


def _pairs(x_NCHW: np.ndarray, xhat_NCHW: np.ndarray, columns: int = 10) -> np.ndarray:
    """Rows of originals, each above the row of its reconstructions."""
    starts = range(0, len(x_NCHW), columns)
    entries = [
        e
        for s in starts
        for e in (("original", x_NCHW[s : s + columns]), ("reconstruction", xhat_NCHW[s : s + columns]))
    ]
    return sheets.rows(entries)


def reconstruct(
    path: Path | str,
    *,
    data: Any = None,
    split: str = "test",
    n: int = 10,
    out: Path | str | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Reconstruct n examples of a set (0: all) into a file; says where, and the error of each.

    They are the first ones, or n evenly spaced where the set is sorted by class.
    """
    if n < 0:
        raise ConfigError(f"--n must be at least 0, got {n}")
    folder = RunFolder(path)
    model = folder.load_model()
    images = load_for(folder, data)
    stage = showing.Stage(folder, model, images, command)
    able = stage.need(Reconstructs, "`sample` shows what it makes")
    split = "all" if data is not None else split
    if model.needs_labels:
        stage.labelled(split)
    originals, answers = [], []
    with torch.no_grad():
        for b in stage.batches(n or len(images.indices(split)), split):
            originals.append(b.x)
            answers.append(able.reconstruct(b.x, b.y))
    x, xhat = torch.cat(originals), torch.cat(answers)
    if not len(x):
        raise DataError(f"no example of {images.name} has a label, and {stage.name} reads them; give a set with labels")
    errors = reconstruction.mse(to_unit(x, model.value_range), to_unit(xhat, model.value_range)).tolist()
    target = Path(out) if out else folder.pictures_path / "reconstructed.png"
    caption = f"{len(x)} images and what the model gives back; mean squared error {sum(errors) / len(errors):.5f}."
    if target.suffix == ".png" and model.shape.is_image:
        picture = _pairs(stage.unit(x), stage.unit(xhat))
        files.save_png(target, picture, title="Reconstructions", caption=caption, command=command)
    else:
        write(target, xhat, stage, model.shape, "Reconstructions", caption)
    return {
        "run": str(folder.path),
        "n": len(x),
        "out": str(target),
        "mse": sum(errors) / len(errors),
        "errors": errors,
    }
