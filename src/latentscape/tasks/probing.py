"""Ask a discriminator about real pictures, its generator's, noise, and whatever pictures a person has."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentscape.config import LARGEST_SEED
from latentscape.contract import Discriminates, Model
from latentscape.data import DataSettings, ImageSet, load_data, to_range
from latentscape.data.names import named
from latentscape.data.recognise import recognise
from latentscape.errors import ConfigError, DataError
from latentscape.pictures import files
from latentscape.runs import RunFolder
from latentscape.tasks.evaluating import is_own, load_for
from latentscape.tasks.showing import Stage, verdicts
from latentscape.tasks.showing.verdicts import Source


def probe(
    path: Path | str,
    others: Sequence[Path | str | np.ndarray | Tensor] = (),
    *,
    n: int = 10,
    figures_n: int = 1_000,
    seed: int = 0,
    split: str = "test",
    data: Any = None,
    out: Path | str | None = None,
    command: str = "",
) -> dict[str, Any]:
    """What a run's discriminator says of real pictures, its generator's, two kinds of noise, and of others.

    others: picture files, folders, arrays (in memory, or .npy), or names of data sets. Float arrays of the model's
    shape are taken as they are, in its value range; everything else is brought to its size by plain resizing, to its
    colours and its range. n: pictures of each that are shown, the first ones; the figures are of up to figures_n. data:
    where real pictures come from (all parts of it), instead of a split of the run's own. A model that reads labels sees
    real pictures with their own and others with all labels in turn; single pictures with each of them.

    Writes histograms and pictures to a PNG. Answers `says`, "probability" or "score", and `sources`: of each, n, mean,
    median, the share judged real (of scores: above the real ones' median), the `first` n values, and for single
    pictures a value by file (a list, one for each label, if the model reads them). Raises `UserError`.
    """
    verdicts.check_counts(n, figures_n)
    if not 0 <= seed <= LARGEST_SEED:
        raise ConfigError(f"--seed must be at least 0 and at most {LARGEST_SEED}, got {seed}")
    folder = RunFolder(path)
    model = folder.load_model()
    target = Path(out) if out else folder.pictures_path / "probe.png"
    if target.suffix.lower() != ".png":
        raise ConfigError(f"probe writes its picture to X.png, got --out {target}")
    bare = Stage(folder, model, None, command)  # type: ignore[arg-type]
    critic = bare.need(Discriminates, "GANs have one")
    images = _real_images(folder, model, data)
    stage = Stage(folder, model, images, command)
    split = "all" if data is not None and not is_own(folder.config(), data) else split
    sources = [*verdicts.own_sources(stage, figures_n, seed, split), *_others(folder, model, others, figures_n, seed)]
    found = verdicts.judge(stage, sources)
    files.save_png(
        target,
        verdicts.drawn(stage, found, n),
        title="What the discriminator says",
        caption=verdicts.caption(found, critic.probabilities, seed),
        command=command,
    )
    entries = verdicts.figures(found, critic.probabilities)
    for entry, verdict in zip(entries, found, strict=True):
        entry |= {"first": verdict.values[:n].tolist(), **_by_file(verdict)}
    says = "probability" if critic.probabilities else "score"
    answer = {"run": str(folder.path), "says": says, "split": split, "seed": seed}
    return answer | {"sources": entries, "out": str(target)}


def _real_images(folder: RunFolder, model: Model, data: Any) -> ImageSet:
    images = load_for(folder, data)
    if model.needs_labels and images.classes != model.classes:
        raise DataError(
            f"the model in {folder.path} knows {model.classes} classes, and {images.name} has {images.classes or 'no'} "
            "labels; give data labelled like the run's own"
        )
    return images


def _by_file(verdict: verdicts.Verdict) -> dict[str, Any]:
    if not verdict.source.files:
        return {}
    by_file: dict[str, list[float]] = {}
    for file, value in zip(verdict.source.files, verdict.values.tolist(), strict=True):
        by_file.setdefault(file, []).append(value)
    has_labels = verdict.source.y is not None
    return {"files": {file: values if has_labels else values[0] for file, values in by_file.items()}}


# ---- other pictures --------------------------------------------------------------------------------------------


def _others(folder: RunFolder, model: Model, others: Sequence[Any], most: int, seed: int) -> list[Source]:
    """A source for each set or array, and one for all single picture files together, under their names."""
    sources, singles, names = [], [], []
    for i, other in enumerate(others):
        is_file = isinstance(other, (str, Path))
        x_NX = _read(folder, model, other)
        if is_file and not named(other) and recognise(Path(other).expanduser()) == "picture":
            singles.append(x_NX)
            names.append(str(other) if Path(other).name in {Path(name).name for name in names} else Path(other).name)
            continue
        if len(x_NX) > most:
            x_NX = x_NX[torch.randperm(len(x_NX), generator=torch.Generator().manual_seed(seed))[:most].sort().values]
        name = Path(other).name if is_file else f"array {i + 1}"
        sources.append(Source(name, x_NX, verdicts.in_turn(model, len(x_NX))))
    if singles:
        each = model.classes if model.needs_labels else 1
        x_NX = torch.cat(singles).repeat_interleave(each, 0)
        shown = tuple(name for name in names for _ in range(each))
        name = names[0] if len(names) == 1 else "pictures"
        sources.append(Source(name, x_NX, verdicts.in_turn(model, len(x_NX)), shown))
    return sources


def _read(folder: RunFolder, model: Model, other: Any) -> Tensor:
    """Examples x_NX in the model's value range."""
    ready = _as_they_are(model, other)
    if ready is not None:
        return ready
    settings = DataSettings()
    if model.shape.is_image:
        channels, height, width = model.shape.dims
        mode = {1: "grey", 3: "rgb"}.get(channels, "auto")
        settings = settings.replace(size=f"{height}x{width}", fit="stretch", mode=mode)
    try:
        images = load_data(other, settings)
    except DataError:
        images = _vectors(other)  # which no size suits
        if not model.shape.is_image or images is None:
            raise
    if images.shape != model.shape:
        raise DataError(
            f"{images.name} has examples of {images.shape}, and the model in {folder.path} was built for "
            f"{model.shape}; give examples of that shape"
        ) from None
    return to_range(images.x, model.value_range)


def _vectors(other: Any) -> ImageSet | None:
    """A set of vectors; None for whatever is none."""
    with suppress(DataError):
        images = load_data(other)
        return None if images.shape.is_image else images
    return None


def _as_they_are(model: Model, other: Any) -> Tensor | None:
    """Floats of the model's own shape, which are in its value range and may leave it; None for everything else."""
    if isinstance(other, (str, Path)):
        path = Path(other).expanduser()
        if path.suffix.lower() != ".npy" or not path.is_file():
            return None
        try:
            other = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError):
            return None  # the loader says what is wrong with it
    array = other.detach().cpu().float().numpy() if isinstance(other, Tensor) and other.is_floating_point() else other
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        return None
    if array.ndim == 3 and model.shape.dims[0] == 1:
        array = array[:, None]
    if array.shape[1:] != model.shape.dims or not len(array):
        return None
    x_NX = torch.from_numpy(np.array(array, np.float32))
    if not x_NX.isfinite().all():
        raise DataError("an array to probe must hold finite numbers, found NaN or infinity; leave such examples out")
    return x_NX
