"""Clean pictures with a trained model, files in and files out, and measure it where the clean ones are known."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latentscape.config import LARGEST_SEED, Settings, setting
from latentscape.contract import Model, Reconstructs
from latentscape.data import DataSettings
from latentscape.data.picture import decode
from latentscape.errors import ConfigError, DataError, LatentscapeError
from latentscape.metrics import reconstruction
from latentscape.models import pca
from latentscape.numerics import noise as corruption
from latentscape.numerics import nonlocal_means
from latentscape.pictures import files, sheets
from latentscape.runs import RunFolder
from latentscape.tasks import inputs, restoring, showing, using
from latentscape.tasks.evaluating import load_for
from latentscape.tasks.restoring import Given
from latentscape.tasks.showing.noisy import fitted_pca
from latentscape.tasks.training import Console, Silent

SHOWN, COLUMNS = 40, 10
"""Most pictures on the sheet, and how many side by side."""

TUNED_ON = 64
"""Held-out pictures that the settings of non-local means are chosen on."""

STRENGTHS, PATCHES, REACH = (0.3, 0.5, 0.7, 0.9, 1.2, 1.6), (3, 5, 7), 10
"""What is tried for non-local means: h as a multiple of the noise, the patch's side; how far it looks."""

HALF = 128
"""A mask's pixel this bright is missing."""


@dataclass(frozen=True, kw_only=True)
class Noise(Settings):
    """Noise to add to pictures that are clean."""

    noise: str = setting("none", "added to the pictures first: gaussian, salt-and-pepper or drop")
    sigma: float = setting(0.3, "gaussian: standard deviation on the scale of [0, 1], not clipped", above=0)
    amount: float = setting(0.3, "salt-and-pepper, drop: share of the values", above=0, at_most=1)
    seed: int = setting(0, "of the noise", at_least=0, at_most=LARGEST_SEED)

    def __post_init__(self) -> None:
        super().__post_init__()
        kinds = ("none", "gaussian", "salt-and-pepper", "drop")
        if self.noise not in kinds:
            raise ConfigError(f"--noise must be one of {', '.join(kinds)}; got {self.noise!r}")

    def added(self, x_NX: Tensor) -> Tensor:
        """The noise on pictures in [0, 1], drawn from the seed; `x_NX` itself for none."""
        rng = torch.Generator().manual_seed(self.seed)
        if self.noise == "none":
            return x_NX
        if self.noise == "gaussian":
            return corruption.gaussian(x_NX, torch.randn(x_NX.shape, generator=rng), self.sigma)
        uniform_NX = torch.rand(x_NX.shape, generator=rng)
        if self.noise == "drop":
            return corruption.drop(x_NX, uniform_NX, self.amount, 0.0)
        return corruption.salt_and_pepper(x_NX, uniform_NX, self.amount, 0.0, 1.0)


@dataclass
class Job:
    """N pictures to clean, all on [0, 1] for images.

    bad: what is given to the model. clean: what it should become, where known. missing: N×1×H×W bool, the pixels that
    are to be filled in, None: all are cleaned. answers: by name, the model's first.
    """

    given: Given
    bad: Tensor
    clean: Tensor | None
    missing: Tensor | None
    answers: dict[str, Tensor] = field(default_factory=dict)


def denoise(
    path: Path | str,
    asked: Sequence[Path | str] = (),
    *,
    data: Any = None,
    split: str = "test",
    n: int = 10,
    clean: Path | str | None = None,
    mask: Path | str | None = None,
    keep_size: bool = False,
    rivals: bool = True,
    out: Path | str | None = None,
    command: str = "",
    console: Console | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Put noisy pictures through a model and write what comes back; says what changed, and how good it is.

    asked: files, folders or arrays. Without any, n examples of the run's data (or of `data`; 0: all), to which noise
    is added: `options` are the settings of `Noise`. clean: the folder with the clean pictures, by the same file names.
    mask: a picture whose bright pixels are missing in all, or a folder of such pictures by the same file names; then
    those pixels alone are taken from the model. keep_size: give pictures back in the size that they came in.
    rivals: where the clean pictures are known, clean with PCA and non-local means too.
    out: a folder (a .png for each picture, by its name), .png (a sheet) or .npy (uint8 N×C×H×W). Raises `UserError`.
    """
    how = Noise.from_dict(options)
    folder = RunFolder(path)
    model = folder.load_model()
    stage = showing.Stage(folder, model, None, command)  # type: ignore[arg-type]
    stage.need(Reconstructs, "`project` finds the nearest picture that it makes")
    target = Path(out) if out else folder.pictures_path / ("denoised.png" if model.shape.is_image else "denoised.npy")
    _check(model, asked, target, how, clean, mask, keep_size)
    job = _job(folder, model, asked, data, split, n, how, clean, mask)
    console = console or Silent()
    job.answers[stage.name] = _cleaned(model, job)
    if rivals and job.clean is not None and model.shape.is_image:
        _add_rivals(replace(stage, images=_own_data(folder, console)), job, how, console)
    answer = {"run": str(folder.path), "n": len(job.bad), "out": str(target), "said": job.given.inputs.said}
    answer |= _figures(job, model.shape.is_image)
    answer["unreadable"] = [list(pair) for pair in job.given.unreadable]
    answer["size"] = _sizes_said(model, job.given)
    return answer | _written(stage, job, target, keep_size, answer)


def _check(model: Model, asked: Any, target: Path, how: Noise, clean: Any, mask: Any, keep_size: bool) -> None:
    if not asked and how.noise == "none" and mask is None:
        raise ConfigError(
            "say which pictures to clean, latentscape denoise RUN FILE …; or add noise to the run's own: --noise …"
        )
    if clean is not None and (not asked or how.noise != "none"):
        raise ConfigError("--clean belongs to noisy pictures of your own; with --noise the clean ones are known anyway")
    if not model.shape.is_image and (mask is not None or clean is not None or keep_size or target.suffix != ".npy"):
        raise ConfigError("the model works on vectors: they are written to --out X.npy, without --mask or --clean")
    if keep_size and (target.suffix or not asked):
        raise ConfigError("--keep-size is for files that go to a folder; give pictures, and --out FOLDER")
    if target.suffix not in ("", ".png", ".npy"):
        raise ConfigError(f"denoise writes a folder, X.png or X.npy, got --out {target}")


# ---- what is cleaned -------------------------------------------------------------------------------------------


def _job(
    folder: RunFolder, model: Any, asked: Any, data: Any, split: str, n: int, how: Noise, clean: Any, mask: Any
) -> Job:
    if asked:
        if data is not None:
            raise ConfigError("give pictures or --data, not both")
        given = restoring.pictures(restoring.AnyClass(folder.path), model, asked)
    else:
        found = inputs.examples(folder, model, data=data, split=split, n=n)
        given = Given(found, (None,) * len(found))
    unit_NX = showing.Stage(folder, model, given.inputs.images).as_unit(given.inputs.x)
    missing = None if mask is None else _masks(folder, model, given, mask)
    known = unit_NX if how.noise != "none" or (mask is not None and not asked) else None
    if clean is not None:
        known = _partners(folder, model, given, clean)
    bad_NX = how.added(unit_NX)
    return Job(given, bad_NX if missing is None else torch.where(missing, 0.0, bad_NX), known, missing)


def _partners(folder: RunFolder, model: Any, given: Given, place: Path | str) -> Tensor:
    """The pictures of a folder that are called like the inputs, on [0, 1], in their order."""
    found = restoring.pictures(restoring.AnyClass(folder.path), model, [place])
    unit_NX = showing.Stage(folder, model, found.inputs.images).as_unit(found.inputs.x)
    return unit_NX[_rows(found.inputs.names, given.inputs.names, f"--clean {place}")]


def _masks(folder: RunFolder, model: Any, given: Given, place: Path | str) -> Tensor:
    """N×1×H×W bool. The pictures are brought to the model's size as the inputs are, whose pixels they stand for."""
    if not Path(place).exists():
        raise DataError(
            f"there is no mask {place}; give a picture whose bright pixels are missing, or a folder of them"
        )
    found = restoring.pictures(restoring.AnyClass(folder.path), model, [place]).inputs
    pixels_NCHW = showing.Stage(folder, model, found.images).as_unit(found.x)
    missing = (255 * pixels_NCHW.amax(1, keepdim=True)).round() >= HALF
    if not Path(place).is_dir():
        return missing[:1].expand(len(given.inputs), -1, -1, -1)
    return missing[_rows(found.names, given.inputs.names, f"--mask {place}")]


def _rows(there: Sequence[str], wanted: Sequence[str], place: str) -> list[int]:
    """Where each name stands; one that is not there is found by its last part, or its stem, if that is unique."""
    row = {name: i for i, name in enumerate(there)}
    stems: dict[str, list[int]] = {}
    for i, name in enumerate(there):
        stems.setdefault(Path(name).stem, []).append(i)
    rows = []
    for name in wanted:
        i = row.get(name, row.get(Path(name).name))
        near = stems.get(Path(name).stem, [])
        if i is None and len(near) != 1:
            raise DataError(f"{place} must hold a picture called {name}, as the noisy one is")
        rows.append(near[0] if i is None else i)
    return rows


# ---- cleaning --------------------------------------------------------------------------------------------------


def _cleaned(model: Any, job: Job) -> Tensor:
    """The model's answer on [0, 1], not clipped."""
    signed = model.value_range == "signed"
    xhat_NX, _ = restoring.restored(model, 2 * job.bad - 1 if signed else job.bad, job.given.inputs.y)
    return _filled((xhat_NX + 1) / 2 if signed else xhat_NX, job)


def _filled(xhat_NX: Tensor, job: Job) -> Tensor:
    return xhat_NX if job.missing is None else torch.where(job.missing, xhat_NX, job.bad)


def _own_data(folder: RunFolder, console: Console) -> Any:
    """The data that the run was trained on, for the rivals to learn from; None where the run names none."""
    try:
        return load_for(folder)
    except LatentscapeError as error:
        console.say(f"PCA and non-local means are left out: {error}.")
        return None


def _add_rivals(stage: showing.Stage, job: Job, how: Noise, console: Console) -> None:
    """PCA (90 % of the training images' variance), and for noise non-local means, on the same pictures."""
    if stage.images is None:
        return
    if not isinstance(stage.model, pca.Model):
        name, rival = fitted_pca(stage)
        job.answers[name] = _filled(torch.cat([rival.reconstruct(part) for part in job.bad.split(500)]), job)
    if job.missing is None:
        sigma, h, patch = _tuned(stage, job, how)
        console.say(f"Non-local means: h = {h:.3g}, patches of {patch}×{patch} pixels, chosen on held-out pictures.")
        parts = [nonlocal_means.denoise(part, sigma, h, patch, REACH) for part in job.bad.split(500)]
        job.answers[f"non-local means, h {h:.2g}, {patch}×{patch}"] = torch.cat(parts)


def _tuned(stage: showing.Stage, job: Job, how: Noise) -> tuple[float, float, int]:
    """Noise's strength and the best h and patch on held-out pictures of the run, with noise like that of the inputs.

    Of noise that is in files already the strength is known, and that a file holds nothing below 0 or above 1.
    """
    assert job.clean is not None
    sigma = max(float((job.bad - job.clean).square().mean().sqrt()), 1e-3)
    split = next(s for s in ("valid", "train") if stage.images.sizes()[s])
    clean = stage.as_unit(stage.examples(TUNED_ON, split).x)
    fresh = how.replace(seed=(how.seed + 1) % LARGEST_SEED)
    bad = _clipped_noise(clean, sigma, fresh) if how.noise == "none" else fresh.added(clean)

    def psnr(choice: tuple[float, int]) -> float:
        found = nonlocal_means.denoise(bad, sigma, choice[0] * sigma, choice[1], REACH)
        return float(reconstruction.psnr_db(clean, found).mean())

    strength, patch = max(itertools.product(STRENGTHS, PATCHES), key=psnr)
    return sigma, strength * sigma, patch


def _clipped_noise(clean: Tensor, rms: float, how: Noise) -> Tensor:
    """Pictures with Gaussian noise, clipped to [0, 1], so strong that the root mean squared change is `rms`."""
    low, high, bad = 0.0, 4.0, clean
    for _ in range(20):
        middle = (low + high) / 2
        bad = how.replace(noise="gaussian", sigma=middle).added(clean).clamp(0, 1)
        low, high = (middle, high) if float((bad - clean).square().mean().sqrt()) < rms else (low, middle)
    return bad


# ---- figures ---------------------------------------------------------------------------------------------------


def _figures(job: Job, images: bool) -> dict[str, Any]:
    """What was taken away, and where the clean pictures are known how far each version is from them."""
    taken = reconstruction.mse(job.bad, _first(job).clamp(0, 1) if images else _first(job))
    figures: dict[str, Any] = {"removed_mse": float(taken.mean())}
    if job.clean is not None:
        versions = {"noisy" if job.missing is None else "with the gaps": job.bad, **job.answers}
        figures["versions"] = {name: _measured(job.clean, x, images) for name, x in versions.items()}
    return figures


def _first(job: Job) -> Tensor:
    return next(iter(job.answers.values()))


def _measured(clean: Tensor, x: Tensor, images: bool) -> dict[str, float]:
    """Means over pictures; PSNR and SSIM of pictures clipped to [0, 1], as a saved one is; the error is not clipped."""
    out = {"mse": float(reconstruction.mse(clean, x).mean())}
    if images:
        out["psnr_db"] = float(reconstruction.psnr_db(clean, x).mean())
        if min(clean.shape[2:]) >= 3:
            out["ssim"] = float(torch.cat([reconstruction.ssim(a, b).view(-1) for a, b in _parts(clean, x)]).mean())
    return out


def _parts(*tensors: Tensor) -> Any:
    return zip(*(t.split(500) for t in tensors), strict=True)


def _sizes_said(model: Model, given: Given) -> str:
    """A sentence, if pictures were of another size than the model's."""
    if not model.shape.is_image:
        return ""
    own = f"{model.shape.dims[1]}x{model.shape.dims[2]}"
    other = [size for size in given.sizes if size != own]
    return f"pictures of {', '.join(other[:3])} pixels were brought to the model's {own}" if other else ""


# ---- writing ---------------------------------------------------------------------------------------------------


def _written(stage: showing.Stage, job: Job, target: Path, keep_size: bool, answer: dict[str, Any]) -> dict[str, Any]:
    caption = _caption(stage, job, answer)
    if not stage.model.shape.is_image:
        using.write_array(target, _first(job))
    elif target.suffix == ".npy":
        files.save_images(target, _first(job).numpy())
    elif target.suffix == ".png":
        files.save_png(target, _sheet(job), title="Denoised", caption=caption, command=stage.command)
    else:
        return {"files": _singles(stage, job, target, keep_size, caption)}
    return {}


def _caption(stage: showing.Stage, job: Job, answer: dict[str, Any]) -> str:
    what = "cleaned" if job.missing is None else "with the missing pixels filled in"
    words = f"{answer['said']}, {what} by {stage.name}"
    if "versions" in answer:
        figures = "; ".join(f"{name}: PSNR {v['psnr_db']:.2f} dB" for name, v in answer["versions"].items())
        words += f". Against the clean ones: {figures}"
    return words + "."


def _sheet(job: Job) -> sheets.Picture:
    """Lines of up to ten inputs, each above what became of them, and the clean ones where known."""
    rows = {"input": job.bad, **{_short(name): x for name, x in job.answers.items()}}
    if job.clean is not None:
        rows["clean"] = job.clean
    shown = min(len(job.bad), SHOWN)
    lines = [
        sheets.rows([(name, x[start : min(start + COLUMNS, shown)].clamp(0, 1).numpy()) for name, x in rows.items()])
        for start in range(0, shown, COLUMNS)
    ]
    return sheets.stacked(lines)


def _short(name: str) -> str:
    return name.split(",")[0]


def _singles(stage: showing.Stage, job: Job, target: Path, keep_size: bool, caption: str) -> dict[str, str]:
    """A PNG for each picture, called as it was; says input → output."""
    cleaned_NHWC = sheets.to_uint8(_first(job).numpy()).transpose(0, 2, 3, 1)
    written: dict[str, str] = {}
    taken: set[Path] = set()
    sources = {place.resolve() for place in job.given.places if place is not None}
    goals = [_free(target / Path(name.replace(" ", "-")).with_suffix(".png"), taken) for name in job.given.inputs.names]
    if any(goal.resolve() in sources for goal in goals):
        raise ConfigError(f"--out {target} would write over the pictures that are cleaned; give another folder")
    fit = stage.folder.config()["data"].get("fit", "crop")
    for picture, goal, name, place in zip(cleaned_NHWC, goals, job.given.inputs.names, job.given.places, strict=True):
        whole = _in_its_size(picture, place, fit) if keep_size and place is not None else picture
        files.save_png(goal, whole, title="Denoised", caption=f"{name}. {caption}", command=stage.command)
        written[str(place or name)] = str(goal)
    return written


def _free(goal: Path, taken: set[Path]) -> Path:
    """The path itself, or with -2, -3, … behind its name where another input has that."""
    found = goal
    for i in itertools.count(2):
        if found not in taken:
            break
        found = goal.with_name(f"{goal.stem}-{i}.png")
    taken.add(found)
    return found


def _in_its_size(picture_HWC: np.ndarray, place: Path, fit: str) -> np.ndarray:
    """A cleaned picture in the size of the file that it came from: what `fit` did to that is undone.

    What a centre crop had cut off is taken from the file as it is.
    """
    mode = "grey" if picture_HWC.shape[2] == 1 else "rgb"
    source = decode(place, DataSettings(mode=mode)).pixels
    source_HWC = (
        np.repeat(source, 3, 0).transpose(1, 2, 0) if mode == "rgb" and len(source) == 1 else source.transpose(1, 2, 0)
    )
    height, width = source_HWC.shape[:2]
    tall, wide = picture_HWC.shape[:2]
    ratios = wide / width, tall / height
    cleaned = Image.fromarray(picture_HWC[..., 0] if mode == "grey" else picture_HWC)
    lanczos = Image.Resampling.LANCZOS
    if fit == "pad":
        inner = [max(1, round(side * min(ratios))) for side in (width, height)]
        left, top = (wide - inner[0]) // 2, (tall - inner[1]) // 2
        cleaned = cleaned.crop((left, top, left + inner[0], top + inner[1]))
    part = (width, height) if fit != "crop" else (round(wide / max(ratios)), round(tall / max(ratios)))
    resized = np.asarray(cleaned.resize(part, lanczos)).reshape(part[1], part[0], -1)
    left, top = (width - part[0]) // 2, (height - part[1]) // 2
    whole = np.array(source_HWC)
    whole[top : top + part[1], left : left + part[0]] = resized
    return whole
