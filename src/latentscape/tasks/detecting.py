"""Find anomalous pictures with a model trained on normal ones, at a false-alarm rate that the user names."""

from __future__ import annotations

import csv
import io
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from latentscape.contract import Decodes, Discriminates, Encodes, HasLikelihood, HasPosterior, Model, Reconstructs
from latentscape.data import ImageSet
from latentscape.data.batches import Gatherer, in_order
from latentscape.errors import AbilityError, ConfigError, DataError
from latentscape.latents import priors
from latentscape.metrics import detection, latent
from latentscape.numerics import gaussian
from latentscape.pictures import files, sheets
from latentscape.runs import RunFolder
from latentscape.tasks import restoring
from latentscape.tasks.evaluating import is_own, load_for, pick_device, to_unit
from latentscape.tasks.training import Console, Silent
from latentscape.training.checkpoint import write_atomically

FIT_IMAGES, FIT_VALUES = 10_000, 50_000_000
"""Most training examples that a score is fitted to, and most values that they have together."""

NEIGHBOURS = 5
"""Training examples that one is compared with."""

ELBO_DRAWS = 8
"""Samples of the posterior per example, the same standard normals for all."""

OVERFLOW = 1e300
"""The score of what lies beyond numbers; JSON knows no infinity."""

COLUMNS = 8
"""Heat maps side by side."""


# ---- scores ----------------------------------------------------------------------------------------------------


class Score(ABC):
    """A number for each example, high for anomalies, that depends on the example, the model and its training data."""

    unit: ClassVar[str]
    needs: ClassVar[tuple[type, ...]] = (Reconstructs,)

    def __init__(self, model: Any, train_MX: Tensor, density: str = "full") -> None:
        self.model, self.density = model, density
        self.fit(train_MX)

    def fit(self, train_MX: Tensor) -> None:
        """Learn from training examples, in the model's value range, on the CPU."""
        return

    @abstractmethod
    def __call__(self, x_NX: Tensor) -> Tensor:
        """N float64 on the CPU, from examples in the model's value range."""


class Reconstruction(Score):
    """Mean squared error between an example and its reconstruction."""

    unit = "mean squared error per value"

    def __call__(self, x_NX: Tensor) -> Tensor:
        """See `Score`."""
        return restoring.squared_error(self.model, x_NX, restoring.restored(self.model, x_NX)[0]).double()


class NegativeElbo(Score):
    """−ELBO: how many nats the model needs to tell an example, at most."""

    unit = "nats"
    needs = (HasPosterior, HasLikelihood)

    def __call__(self, x_NX: Tensor) -> Tensor:
        """See `Score`."""
        eps_SL = torch.randn(ELBO_DRAWS, self.model.latent_dim, generator=torch.Generator().manual_seed(0))
        return _in_parts(self.model, lambda x_BX, y_B: -self._elbo(x_BX, y_B, eps_SL.to(x_BX.device)), x_NX)

    def _elbo(self, x_BX: Tensor, y_B: Tensor | None, eps_SL: Tensor) -> Tensor:
        q = self.model.posterior(x_BX, y_B)
        total = torch.zeros(len(x_BX), dtype=torch.float64, device=x_BX.device)
        for eps_L in eps_SL:
            z_BL = gaussian.reparameterise(q.mean, q.log_var, eps_L)
            total += self.model.log_likelihood(x_BX, z_BL, y_B) - latent.divergence(self.model, q, z_BL, y_B)
        return total / len(eps_SL)


class LatentDensity(Score):
    """−log p(z), p fitted to training latents; of a full Gaussian half the squared Mahalanobis distance and a constant.

    density: a kind of `latents.priors` that has a density.
    """

    unit = "nats"
    needs = (Encodes,)

    def fit(self, train_MX: Tensor) -> None:
        """p(z)."""
        fitted = priors.fit(self.density, self.codes(train_MX).float())
        assert isinstance(fitted, priors.Density)
        self.prior = fitted

    def codes(self, x_NX: Tensor) -> Tensor:
        """z_NL float64."""
        return _in_parts(self.model, self.model.encode, x_NX)

    def __call__(self, x_NX: Tensor) -> Tensor:
        """See `Score`."""
        return -self.prior.log_prob(self.codes(x_NX).float()).double()


class Likelihood(LatentDensity):
    """−log p(z) − log N(x; x̂, σ²): latent density and reconstruction error on one scale.

    σ² is the training error per value that the code leaves free, D − L of D (Tipping & Bishop 1999, eq. 8): for PCA and
    a full Gaussian this is the likelihood of probabilistic PCA.
    """

    unit = "nats"
    needs = (Reconstructs,)

    def fit(self, train_MX: Tensor) -> None:
        """p(z) and σ²."""
        super().fit(train_MX)
        size, codes = train_MX[0].numel(), self.model.latent_dim
        self.free = size - codes if codes < size else size
        self.variance = max(float(self._errors(train_MX).mean()) / self.free, 1e-12)

    def _errors(self, x_NX: Tensor) -> Tensor:
        """‖x − x̂‖², N."""
        xhat_NX = restoring.restored(self.model, x_NX)[0]
        return restoring.squared_error(self.model, x_NX, xhat_NX).double() * x_NX[0].numel()

    def __call__(self, x_NX: Tensor) -> Tensor:
        """See `Score`."""
        volume = 0.5 * self.free * math.log(2 * math.pi * self.variance)
        return super().__call__(x_NX) + self._errors(x_NX) / (2 * self.variance) + volume


class Neighbours(Score):
    """How far an example's reconstruction is from those of the training examples nearest to it, mean over the nearest.

    Images: 1 − cosine of the angle between pixels in [0, 1], so that strong and faint strokes are the same. Vectors:
    Euclidean distance. The reconstruction leaves away what is noise to the model.
    """

    unit = f"mean distance to the {NEIGHBOURS} nearest training examples (images: 1 − cosine)"

    def fit(self, train_MX: Tensor) -> None:
        """Keep the training reconstructions."""
        self.train_MD = self._points(train_MX)

    def _points(self, x_NX: Tensor) -> Tensor:
        xhat_ND = to_unit(restoring.restored(self.model, x_NX)[0], self.model.value_range).flatten(1)
        return F.normalize(xhat_ND, dim=1) if self.model.shape.is_image else xhat_ND

    def __call__(self, x_NX: Tensor) -> Tensor:
        """See `Score`."""
        count = min(NEIGHBOURS, len(self.train_MD))
        return torch.cat([self._distances(part, count).double().mean(1) for part in self._points(x_NX).split(500)])

    def _distances(self, x_BD: Tensor, count: int) -> Tensor:
        """To the nearest training examples, B×count."""
        if self.model.shape.is_image:
            return 1 - (x_BD @ self.train_MD.T).topk(count, dim=1).values
        return torch.cdist(x_BD, self.train_MD).topk(count, dim=1, largest=False).values


class Discriminator(Score):
    """−D(x): what the model's own discriminator takes for generated."""

    unit = "negative logit"
    needs = (Discriminates,)

    def __call__(self, x_NX: Tensor) -> Tensor:
        """See `Score`."""
        if self.model.needs_labels:
            raise AbilityError("the discriminator of this model reads labels, which pictures to be judged have not")
        return -_in_parts(self.model, lambda x_BX, y_B: self.model.discriminate(x_BX), x_NX)


SCORES: dict[str, type[Score]] = {
    "neighbours": Neighbours,
    "reconstruction": Reconstruction,
    "likelihood": Likelihood,
    "latent": LatentDensity,
    "elbo": NegativeElbo,
    "discriminator": Discriminator,
}
"""By name; "auto" is the first that the model can give."""

DENSITIES = ("diagonal", "full", "gmm", "flow")
"""What may be fitted to latents."""


def finite(scores_N: Tensor) -> Tensor:
    """Scores with `OVERFLOW` for what is too strange to be given a number: exp of a log-variance that runs away."""
    return scores_N.nan_to_num(nan=OVERFLOW, posinf=OVERFLOW)


@torch.no_grad()
def _in_parts(model: Any, function: Callable[[Tensor, Tensor | None], Tensor], x_NX: Tensor) -> Tensor:
    """function(x_BX, y_B) of one part after the other, float64 on the CPU; labels that are read are the nearest."""
    y_N = restoring.restored(model, x_NX)[1] if model.needs_labels else None
    model.eval().to(device := pick_device(model))
    try:
        parts = []
        for picks in torch.arange(len(x_NX)).split(restoring.AT_ONCE):
            y_B = None if y_N is None else y_N[picks].to(device)
            parts.append(function(x_NX[picks].to(device), y_B).double().cpu())
    finally:
        model.to("cpu")
    return torch.cat(parts)


def scorer(folder: RunFolder, model: Model, name: str, density: str, images: ImageSet) -> tuple[str, Score]:
    """A score by name or "auto", which one it is, fitted to training examples of `images`. Raises `UserError`."""
    for option, value, known in (("score", name, ("auto", *SCORES)), ("density", density, DENSITIES)):
        if value not in known:
            raise ConfigError(f"--{option} must be one of {', '.join(known)}; got {value!r}")
    able = [key for key, kind in SCORES.items() if all(isinstance(model, need) for need in kind.needs)]
    called = folder.config()["run"]["model"]
    if not able:
        raise AbilityError(f"nothing in {called} says how normal a picture is; use an autoencoder, a VAE or PCA")
    if name != "auto" and name not in able:
        raise AbilityError(f"{called} cannot give --score {name}; it can give {', '.join(able)}")
    name = able[0] if name == "auto" else name
    return name, SCORES[name](model, _training(images, model), density)


def _training(images: ImageSet, model: Model) -> Tensor:
    """Training examples in the model's value range, spread over the set."""
    source = Gatherer(images, "train", model.value_range, "cpu")
    n = min(len(source), FIT_IMAGES, max(500, FIT_VALUES // images.shape.size))
    return torch.cat([b.x for b in in_order(source, picks=torch.arange(n) * len(source) // n)])


# ---- the task --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """N examples to judge. x_NX in the model's value range; labels: the class of each, "" unknown, if there are any."""

    x: Tensor
    names: tuple[str, ...]
    labels: tuple[str, ...] | None
    unreadable: tuple[tuple[str, str], ...] = ()


def detect(
    path: Path | str,
    asked: Sequence[Path | str] = (),
    *,
    score: str = "auto",
    density: str = "full",
    false_alarm_rate: float = 0.05,
    calibration: Any = None,
    data: Any = None,
    split: str = "test",
    n: int = 0,
    normal: Sequence[str] = (),
    heat_maps: int = 8,
    out: Path | str | None = None,
    command: str = "",
    console: Console | None = None,
) -> dict[str, Any]:
    """Score pictures, call those above a threshold anomalous, and write a table and heat maps.

    asked: files, folders or arrays. Without any, n examples (0: all) of the run's data, whatever their class, or of all
    parts of `data`. score: a name of `SCORES`, or auto. density: of `DENSITIES`, where one is fitted to latents.
    false_alarm_rate: the share of normal pictures that may lie above the threshold, which is the conformal one of
    normal pictures that the model was not trained on: `calibration` (files or a set), else the run's validation part,
    else its test part, if that is not what is judged.
    normal: names of normal classes, for sets with labels; without any, those that the run was trained on by
    --only-classes. Then the answer has AUROC, average precision, and the false-alarm rate that was reached.
    out: X.csv, X.png or a folder. Raises `UserError`.
    """
    if not 0 < false_alarm_rate < 1:
        raise ConfigError(f"--false-alarm-rate must be above 0 and below 1, got {false_alarm_rate:g}")
    if n < 0 or heat_maps < 0:
        raise ConfigError("--n and --heat-maps must be at least 0")
    folder = RunFolder(path)
    model, table = folder.load_model(), _targets(folder, out)
    judged = _judged(folder, model, asked, data, split, n)
    normal_N = _normal(folder, judged, normal, data)
    own = not asked and (data is None or is_own(folder.config(), data))
    held, said = _held_out(folder, model, calibration, split if own else "")
    if len(held) < (fewest := detection.fewest_for(false_alarm_rate)):
        raise DataError(
            f"a false-alarm rate of {false_alarm_rate:g} needs at least {fewest:,} normal pictures that were held "
            f"out, and there are {len(held):,} ({said}); give more with --calibration, or ask for a higher rate"
        )
    name, scores = scorer(folder, model, score, density, load_for(folder))
    (console or Silent()).say(f"Scoring {len(judged.x):,} examples by {name}; threshold from {said}.")
    held_M, scores_N = finite(scores(held)), finite(scores(judged.x))
    threshold = detection.conformal_threshold(held_M, false_alarm_rate)
    p_N, alarm_N = detection.conformal_p_values(scores_N, held_M), scores_N > threshold
    _write_table(table[0], judged, scores_N, threshold, p_N, alarm_N)
    answer: dict[str, Any] = {"run": str(folder.path), "n": len(judged.x), "score": name, "unit": scores.unit}
    answer |= {"threshold": threshold, "false_alarm_rate": false_alarm_rate, "calibration": said}
    answer |= {"calibrated_on": len(held), "anomalous": int(alarm_N.sum()), "csv": str(table[0])}
    answer["heat_maps"] = _heat_maps(folder, model, judged, scores_N, p_N, heat_maps, table[1], command)
    answer["unreadable"] = [list(pair) for pair in judged.unreadable]
    answer["examples"] = [
        {"file": file, "score": s, "p_value": p, "anomalous": a}
        for file, s, p, a in zip(judged.names, scores_N.tolist(), p_N.tolist(), alarm_N.tolist(), strict=True)
    ]
    return answer | (_measured(scores_N, alarm_N, normal_N) if normal_N is not None else {})


def _targets(folder: RunFolder, out: Path | str | None) -> tuple[Path, Path]:
    """Where the table and the heat maps go."""
    place = Path(out) if out else folder.pictures_path
    if place.suffix in (".csv", ".png"):
        return place.with_suffix(".csv"), place.with_suffix(".png")
    if place.suffix and not place.is_dir():
        raise ConfigError(f"detect writes X.csv with X.png beside it, or both into a folder; got --out {place}")
    return place / "anomalies.csv", place / "anomalies.png"


def _judged(folder: RunFolder, model: Model, asked: Any, data: Any, split: str, n: int) -> Judged:
    free = restoring.AnyClass(folder.path)
    if asked:
        if data is not None:
            raise ConfigError("give pictures or --data, not both")
        given = restoring.pictures(free, model, asked)
        return Judged(given.inputs.x, given.inputs.names, None, given.unreadable)
    images = load_for(free, data)
    split = "all" if data is not None and not is_own(folder.config(), data) else split
    rows = images.indices(split)
    picks = torch.arange(min(n or len(rows), len(rows))) * len(rows) // min(n or len(rows), len(rows))
    rows = rows[picks]
    names = (
        tuple(images.files[i] for i in rows.tolist())
        if images.files is not None
        else tuple(f"{split} {i}" for i in picks.tolist())
    )
    labels = None
    if images.labels is not None:
        labels = tuple(images.label_names[k] if k >= 0 else "" for k in images.labels[rows].tolist())
    return Judged(images.examples(rows, model.value_range), names, labels)


def _normal(folder: RunFolder, judged: Judged, normal: Sequence[str], data: Any) -> Tensor | None:
    """1 for examples known to be normal, 0 for those known not to be, -1 where the class is unknown; else None."""
    if not normal and data is not None and not is_own(folder.config(), data):
        return None
    names = list(normal) or [c.strip() for c in folder.config()["data"].get("only_classes", "").split(",") if c.strip()]
    if not names or (judged.labels is None and not normal):
        return None
    if judged.labels is None:
        raise ConfigError(
            "--normal names classes of a set with labels, and there are none; give such a set with --data"
        )
    if unknown := [name for name in names if name not in judged.labels]:
        there = ", ".join(sorted(set(judged.labels) - {""})[:20])
        raise ConfigError(f"--normal must name classes of what is judged ({there}), got {unknown[0]!r}")
    return torch.tensor([-1 if not label else int(label in names) for label in judged.labels])


def _held_out(folder: RunFolder, model: Model, calibration: Any, judged: str) -> tuple[Tensor, str]:
    """Normal examples that the model was not trained on, and what they are in words.

    judged: the part of the run's own data that is to be judged, "" for other pictures.
    """
    if calibration is not None:
        given = restoring.pictures(restoring.AnyClass(folder.path), model, [calibration]).inputs
        return given.x, f"{len(given):,} normal pictures of {calibration}"
    images = load_for(folder)
    part = "valid" if images.sizes()["valid"] else "test"
    if not images.sizes()[part] or (part == "test" and judged in ("test", "all")):
        raise ConfigError(
            f"{folder.path} kept no normal pictures aside to set a threshold on; train with --valid-fraction 0.1, or "
            "give normal pictures that it was not trained on with --calibration"
        )
    rows = images.indices(part)
    return images.examples(rows, model.value_range), f"{len(rows):,} held-out examples of {images.name} ({part} part)"


def _measured(scores_N: Tensor, alarm_N: Tensor, normal_N: Tensor) -> dict[str, Any]:
    """AUROC and average precision, and how often each kind was called anomalous, with 95 % binomial intervals."""
    known = normal_N >= 0
    scores_N, alarm_N, odd_N = scores_N[known], alarm_N[known], normal_N[known] == 0
    out: dict[str, Any] = {}
    if odd_N.any() and not odd_N.all():
        out["auroc"] = detection.auroc(scores_N, odd_N)
        out["average_precision"] = detection.average_precision(scores_N, odd_N)
    for name, part in (("false_alarms", alarm_N[~odd_N]), ("found", alarm_N[odd_N])):
        if len(part):
            hits = int(part.sum())
            interval = list(detection.binomial_interval(hits, len(part)))
            out[name] = {"rate": hits / len(part), "of": len(part), "interval": interval}
    return out


# ---- writing ---------------------------------------------------------------------------------------------------


def _write_table(
    target: Path, judged: Judged, scores_N: Tensor, threshold: float, p_N: Tensor, alarm_N: Tensor
) -> None:
    """One line per example: file, score, threshold, p_value, anomalous, and its label where there are labels."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "score", "threshold", "p_value", "anomalous"] + (["label"] if judged.labels else []))
    for i, name in enumerate(judged.names):
        row = [name, f"{float(scores_N[i]):.9g}", f"{threshold:.9g}", f"{float(p_N[i]):.6g}", int(alarm_N[i])]
        writer.writerow(row + ([judged.labels[i]] if judged.labels else []))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, text.getvalue().encode())


def _heat_maps(
    folder: RunFolder,
    model: Model,
    judged: Judged,
    scores_N: Tensor,
    p_N: Tensor,
    count: int,
    target: Path,
    command: str,
) -> str:
    """The highest scores: input, reconstruction, and their squared error on one scale; "" for models without."""
    if not count or not model.shape.is_image or not isinstance(model, Reconstructs) or not isinstance(model, Decodes):
        return ""
    top = scores_N.argsort(descending=True, stable=True)[:count]
    x, xhat = judged.x[top], restoring.restored(model, judged.x[top])[0]
    x, xhat = (to_unit(part, model.value_range).clamp(0, 1).numpy() for part in (x, xhat))
    error_NHW = np.square(x - xhat).mean(1)
    most = max(float(error_NHW.max()), 1e-12)
    heat = _coloured(error_NHW / most)
    x, xhat = (sheets.to_rgb(part).transpose(0, 3, 1, 2) for part in (x, xhat))
    lines = []
    for start in range(0, len(top), COLUMNS):
        part = slice(start, start + COLUMNS)
        words = [
            f"{_short(judged.names[i])}\n{float(scores_N[i]):.4g}\np {float(p_N[i]):.2g}" for i in top[part].tolist()
        ]
        blank = [""] * len(words)
        rows = [("input", x[part], words), ("reconstruction", xhat[part], blank), ("error", heat[part], blank)]
        lines.append(sheets.titled_rows(rows))
    bar = np.broadcast_to(_coloured(np.linspace(0, 1, 256)[None, None])[0].transpose(1, 2, 0), (14, 256, 3))
    lines.append(sheets.panels([np.ascontiguousarray(bar)], [f"squared error, 0 to {most:.2g}"]))
    caption = (
        f"The {len(top)} of {len(scores_N):,} with the highest scores (score and p-value below each), what the model "
        "gives back, and the squared error of each pixel, mean over channels, on one scale from 0 (black) to "
        f"{most:.3g} (bright)."
    )
    files.save_png(
        target, sheets.stacked(lines), title="Anomalies", caption=caption, command=command or folder.command()
    )
    return str(target)


def _coloured(values_NHW: np.ndarray) -> np.ndarray:
    """uint8 N×3×H×W: 0 black, over purple and orange, to 1 pale yellow."""
    from matplotlib import colormaps

    return (255 * colormaps["inferno"](values_NHW)[..., :3]).round().astype(np.uint8).transpose(0, 3, 1, 2)


def _short(name: str, most: int = 16) -> str:
    return name if len(name) <= most else "…" + name[1 - most :]
