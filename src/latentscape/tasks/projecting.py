"""Find the latents of real pictures for any model with a decoder, above all for those without an encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from latentscape.config import LARGEST_SEED, Settings, setting
from latentscape.contract import Decodes, Discriminates, HasPosterior, Model, Reconstructs
from latentscape.errors import AbilityError, ConfigError
from latentscape.latents import encode
from latentscape.latents.projection import Frame, search
from latentscape.metrics import reconstruction
from latentscape.pictures import files, sheets
from latentscape.runs import RunFolder
from latentscape.tasks import inputs, showing, using
from latentscape.tasks.evaluating import load_for, pick_device, to_unit
from latentscape.tasks.training import Console, Silent

FRAME_DRAWS = 10_000
"""Draws of the prior that say where it lies."""

STARTS = 500
"""Draws of the prior that are decoded for each picture to start from the nearest of them."""

AT_ONCE = 256
"""Most searches in one batch."""

COLUMNS = 8
"""Pictures side by side on the sheet."""


@dataclass(frozen=True, kw_only=True)
class Search(Settings):
    """How to look."""

    steps: int = setting(500, "of each search", at_least=0)
    restarts: int = setting(4, "searches for each picture, from different latents", at_least=1, at_most=STARTS)
    seed: int = setting(0, "of the prior's draws to start from, and of the noise", at_least=0, at_most=LARGEST_SEED)
    learning_rate: float = setting(0.1, "largest, in standard deviations of the prior", above=0)
    prior_weight: float = setting(
        1e-3, "of −log p(z) in nats per latent dimension, beside the mean squared error on [0, 1]", at_least=0
    )
    feature_weight: float = setting(
        0.0, "of the relative squared error of the features that the model's own discriminator reads", at_least=0
    )


@dataclass(frozen=True)
class Found:
    """For N pictures: the latents z_NL, the labels they are decoded under, what they decode to, and the squared error.

    All on the CPU; x_NX in the model's value range, the errors (N) means over values on [0, 1].
    """

    z: Tensor
    y: Tensor | None
    x: Tensor
    errors: Tensor


def project(
    path: Path | str,
    pictures: Sequence[Path | str] = (),
    *,
    data: Any = None,
    split: str = "test",
    n: int = 8,
    label: str | int | None = None,
    out: Path | str | None = None,
    command: str = "",
    console: Console | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Find the latents of pictures, write them (.npy: float32 N×L) or what they decode to, and say the error of each.

    pictures: files or folders of the user's own, all that is in them. Without any, n examples of the run's data, or of
    every part of `data`, as `reconstruct` takes them. options: the settings of `Search`.
    label: what a model that reads labels decodes under; None: the data's, and for pictures without one every label is
    tried and the best kept. Raises `UserError`.
    """
    how = Search.from_dict(options)
    if n < 1:
        raise ConfigError(f"--n must be at least 1, got {n}")
    folder = RunFolder(path)
    model = folder.load_model()
    target = _target(folder, model, out)
    _check_abilities(folder, model, how)
    given = inputs.examples(folder, model, pictures, data=data, split=split, n=n)
    x_NX, y_N, images = given.x, given.y, given.images
    stage = showing.Stage(folder, model, images, command)
    if label is not None and label != "":
        stage.need_labels()
        y_N = torch.full((len(x_NX),), using.find_label(stage, label)[0])
    z_NL, _ = showing.prior_codes(_stage_of_prior(stage), FRAME_DRAWS, how.seed)
    (console or Silent()).say(
        f"Looking for the latents of {len(x_NX)} examples: {how.restarts} searches of {how.steps} steps for each"
        + (f" under each of {model.classes} labels." if model.needs_labels and y_N is None else ".")
    )
    found = find(model, x_NX, y_N, z_NL, how)
    errors = found.errors.tolist()
    mean = sum(errors) / len(errors)
    if target.suffix == ".npy":
        using.write_array(target, found.z)
    else:
        caption = (
            f"{len(errors)} pictures, and below each the nearest found of those that the model makes, with its mean "
            f"squared error (mean {mean:.5f}): best of {how.restarts} searches of {how.steps} steps, seed {how.seed}."
        )
        files.save_png(target, _sheet(stage, x_NX, found), title="Projections", caption=caption, command=command)
    answer = {"run": str(folder.path), "n": len(errors), "out": str(target), "mse": mean, "errors": errors}
    answer |= {"seed": how.seed, "restarts": how.restarts, "steps": how.steps}
    return answer | ({"labels": [_class_name(folder, int(k)) for k in found.y]} if found.y is not None else {})


def find(model: Any, x_NX: Tensor, y_N: Tensor | None, prior_NL: Tensor, how: Search) -> Found:
    """The best latent of each example (x_NX in the model's value range, on the CPU).

    y_N: labels to decode under; None: every label is tried, if the model reads them. prior_NL: draws of the prior.
    Each search starts from one of the nearest of `STARTS` of them by what they decode to; the first from the example's
    encoding, if the model encodes.
    """
    device = pick_device(model)
    rng = torch.Generator().manual_seed(how.seed)
    which_M, y_M = _cases(model, len(x_NX), y_N)
    model.eval().to(device)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            starts = _starts(model, x_NX, which_M, y_M, prior_NL[:STARTS], how.restarts).flatten(0, 1)
            which_M = which_M.repeat_interleave(how.restarts)
            y_M = None if y_M is None else y_M.repeat_interleave(how.restarts)
            frame, parts = Frame.of(prior_NL).to(device), torch.arange(len(which_M)).split(AT_ONCE)
            ends = []
            for part in parts:
                objective = _Objective(model, x_NX[which_M[part]], None if y_M is None else y_M[part], frame, how)
                start = starts[part].to(device)
                ends.append(search(start, objective, frame, steps=how.steps, rate=how.learning_rate, rng=rng))
            z_ML, losses_M = (torch.cat([end[i].cpu() for end in ends]) for i in (0, 1))
            best_N = torch.stack([_lowest(losses_M, which_M == i) for i in range(len(x_NX))])
            z_NL, y_best = z_ML[best_N], None if y_M is None else y_M[best_N]
            xhat_NX = encode.decode_all(model, z_NL, y_best)
    finally:
        model.to("cpu")
    errors = reconstruction.mse(to_unit(x_NX, model.value_range), to_unit(xhat_NX, model.value_range))
    return Found(z_NL, y_best, xhat_NX, errors)


# ---- what is looked for ----------------------------------------------------------------------------------------


def _check_abilities(folder: RunFolder, model: Model, how: Search) -> None:
    """`AbilityError` for models without a decoder, or with one that no gradient comes back through."""
    stage = showing.Stage(folder, model, None)  # type: ignore[arg-type]
    decoder = stage.need(Decodes, "it cannot make pictures from latents")
    if how.feature_weight:
        stage.need(Discriminates, "leave --feature-weight out")
    y_1 = torch.zeros(1, dtype=torch.int64) if model.needs_labels else None
    if not decoder.decode(torch.zeros(1, decoder.latent_dim, requires_grad=True), y_1).requires_grad:
        raise AbilityError(
            f"{stage.name} rounds latents before it decodes them, so that no small step leads to a better one; "
            "`reconstruct` encodes pictures"
        )


def _stage_of_prior(stage: showing.Stage) -> showing.Stage:
    """Where the prior is taken from: the run's own data, if the model has no prior of its own and the run names any."""
    if showing.has_own_prior(stage.model) or not stage.folder.config()["run"]["data"]:
        return stage
    return replace(stage, images=load_for(stage.folder))


def _target(folder: RunFolder, model: Model, out: Path | str | None) -> Path:
    allowed = {".png": "pictures to X.png"} if model.shape.is_image else {}
    allowed |= {".npy": "latents to X.npy"}
    target = Path(out) if out else folder.pictures_path / f"projected{next(iter(allowed))}"
    if target.suffix not in allowed:
        raise ConfigError(f"project writes {' or '.join(allowed.values())}, got --out {target}")
    return target


def _class_name(folder: RunFolder, label: int) -> str:
    """What the data that the run was trained on calls a class."""
    names = list(folder.data().get("labels", {}))
    return names[label] if label < len(names) else str(label)


def _sheet(stage: showing.Stage, x_NX: Tensor, found: Found) -> sheets.Picture:
    """Rows of originals, each above the row of their projections with the errors below."""
    x, xhat = stage.unit(x_NX), stage.unit(found.x)
    pictures, titles = [], []
    columns = min(COLUMNS, len(x))
    blank = np.ones((-len(x) % columns, *x.shape[1:]), x.dtype)
    for start in range(0, len(x), columns):
        here = slice(start, start + columns)
        names = [f"{e:.4f}" for e in found.errors[here].tolist()]
        if found.y is not None:
            names = [f"{_class_name(stage.folder, int(k))}: {e}" for k, e in zip(found.y[here], names, strict=True)]
        rest = blank[: columns - len(names)]
        pictures += [x[here], rest, xhat[here], rest]
        titles += ["original"] * len(names) + [""] * len(rest) + names + [""] * len(rest)
    return sheets.titled_sheet(np.concatenate(pictures), titles, columns)


# ---- the search ------------------------------------------------------------------------------------------------


def _cases(model: Model, count: int, y_N: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Pairs (example, label) to search for, M each; labels None for a model that reads none."""
    if not model.needs_labels:
        return torch.arange(count), None
    if y_N is not None:
        return torch.arange(count), y_N
    return torch.arange(count).repeat_interleave(model.classes), torch.arange(model.classes).repeat(count)


@torch.no_grad()
def _starts(model: Any, x_NX: Tensor, which_M: Tensor, y_M: Tensor | None, prior_SL: Tensor, restarts: int) -> Tensor:
    """Where the searches of each case start, M×R×L, on the CPU."""
    device = next(iter(model.state_dict().values())).device
    starts = torch.empty(len(which_M), restarts, prior_SL.shape[1])
    for label in [None] if y_M is None else y_M.unique().tolist():
        cases = torch.arange(len(which_M)) if y_M is None else (y_M == label).nonzero()[:, 0]
        y_S = None if label is None else torch.full((len(prior_SL),), label)
        decoded_SD = encode.decode_all(model, prior_SL, y_S).flatten(1)
        x_MX = x_NX[which_M[cases]]
        nearest_MR = torch.cdist(x_MX.flatten(1).float(), decoded_SD).topk(restarts, largest=False).indices
        starts[cases] = prior_SL[nearest_MR]
        if isinstance(model, Reconstructs):
            y = None if label is None else torch.full((len(cases),), label, device=device)
            starts[cases, 0] = model.encode(x_MX.to(device), y).float().cpu()
    return starts


class _Objective:
    """What `search` lowers: squared error on [0, 1], the prior's pull, the error of the discriminator's features."""

    def __init__(self, model: Any, x_MX: Tensor, y_M: Tensor | None, frame: Frame, how: Search) -> None:
        self.model, self.frame, self.how = model, frame, how
        device = frame.mean_L.device
        x_MX, self.y_M = x_MX.to(device), None if y_M is None else y_M.to(device)
        self.unit_MX = to_unit(x_MX, model.value_range)
        with torch.no_grad():
            self.features_MF = self.features(x_MX) if how.feature_weight else None

    def __call__(self, z_ML: Tensor) -> Tensor:
        """M, from z_ML."""
        x_MX = self.model.decode(z_ML, self.y_M).float()
        loss_M = reconstruction.mse(to_unit(x_MX, self.model.value_range), self.unit_MX)
        if self.how.prior_weight:
            loss_M = loss_M + self.how.prior_weight * self.prior_nats(z_ML)
        if self.features_MF is not None:
            miss_M, size_M = (f.square().mean(1) for f in (self.features(x_MX) - self.features_MF, self.features_MF))
            loss_M = loss_M + self.how.feature_weight * miss_M / size_M.clamp_min(1e-12)
        return loss_M

    def prior_nats(self, z_ML: Tensor) -> Tensor:
        """−log p(z) per latent dimension, M: the model's own density if it has one, else a Gaussian's of its draws."""
        if isinstance(self.model, HasPosterior):
            return -self.model.log_prior(z_ML, self.y_M) / z_ML.shape[1]
        return self.frame.nats(z_ML)

    def features(self, x_MX: Tensor) -> Tensor:
        """What the last layer with weights of the model's discriminator reads, M×F."""
        read: list[Tensor] = []
        layers = [m for m in self.model.modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d))]
        hooks = [m.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0])) for m in layers]
        try:
            self.model.discriminate(x_MX, *([self.y_M] if self.model.needs_labels else []))
        finally:
            for hook in hooks:
                hook.remove()
        return read[-1].flatten(1).float()


def _lowest(losses_M: Tensor, among_M: Tensor) -> Tensor:
    """Position of the lowest of some losses; one that is not a number is never the lowest."""
    return losses_M.nan_to_num(math.inf).masked_fill(~among_M, math.inf).argmin()
