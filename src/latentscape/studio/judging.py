"""The page Check: pictures of one's own through the model, what it gives back, and how far from normal they are."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentscape.contract import Classifies, Discriminates, Reconstructs
from latentscape.errors import AbilityError, ConfigError
from latentscape.metrics import detection, reconstruction
from latentscape.studio.explorer import Explorer
from latentscape.studio.maps import as_text
from latentscape.tasks import detecting, places, restoring
from latentscape.tasks.denoising import Noise
from latentscape.tasks.evaluating import to_unit
from latentscape.tasks.showing import verdicts

NORMAL = 2_000
"""Most held-out examples that the threshold is set on: a normal score is known to a percent of its rank then."""

LABELLED = 500
"""The same for models that read labels, which try each of them on every example."""

BINS = 40

SOURCES = 500
"""Pictures of each kind that a discriminator is asked about."""

DEFAULT_RATE = 0.05


# ---- how normal ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Calibration:
    """A score and what held-out normal examples get. said: what these are, in words."""

    name: str
    score: detecting.Score
    held_N: Tensor
    said: str


def score_names(explorer: Explorer) -> list[str]:
    """Scores that the model can give, the best first; none without an encoder and a decoder."""
    if not isinstance(explorer.model, Reconstructs) or explorer.images is None:
        return []
    return [n for n, kind in detecting.SCORES.items() if all(isinstance(explorer.model, need) for need in kind.needs)]


def calibration(explorer: Explorer, asked: str = "") -> Calibration:
    """The score asked for ("": the best) with its values on held-out examples. Raises `UserError`."""
    able = score_names(explorer)
    if not able:
        why = f": {explorer.missing}" if explorer.missing else ""
        raise AbilityError(f"a score of how normal a picture is needs a model that reconstructs, and its data{why}")
    name = asked or able[0]
    if name not in able:
        raise ConfigError(f"the score must be one of {', '.join(able)}, got {name!r}")
    return explorer.kept(("calibration", name), lambda: _calibrated(explorer, name))


def _calibrated(explorer: Explorer, name: str) -> Calibration:
    images, model = explorer.data(), explorer.model
    sizes = images.sizes()
    part = next((s for s in ("valid", "test") if sizes[s]), "train")
    rows = images.indices(part)
    n = min(len(rows), LABELLED if model.needs_labels else NORMAL)
    picks = torch.arange(n) * len(rows) // n
    found, score = detecting.scorer(explorer.folder, model, name, "full", images)
    held_N = detecting.finite(score(images.examples(rows[picks], model.value_range)))
    kind = "training examples, since none were held out" if part == "train" else f"held-out examples ({part} part)"
    return Calibration(found, score, held_N, f"{n:,} {kind}")


def normal(explorer: Explorer, asked: str = "", rate: float = DEFAULT_RATE) -> dict[str, Any]:
    """The distribution of normal scores with the threshold of a false-alarm rate, for a chart."""
    found = calibration(explorer, asked)
    threshold = _threshold(found, rate)
    values = found.held_N.double().numpy()
    low, high = np.quantile(values, [0.0, 0.995])
    high = high if high > low else low + 1.0
    bins, _ = np.histogram(np.clip(values, low, high), BINS, (low, high))
    return {
        "score": found.name,
        "unit": found.score.unit,
        "said": found.said,
        "rate": rate,
        "threshold": threshold,
        "low": float(low),
        "high": float(high),
        "bins": bins.tolist(),
    }


def _threshold(found: Calibration, rate: float) -> float:
    """The score that a share `rate` of normal examples lies above; `ConfigError` for rates that cannot be kept."""
    if not 0 < rate < 1:
        raise ConfigError(f"the share of false alarms must be above 0 and below 1, got {rate:g}")
    if len(found.held_N) < (fewest := detection.fewest_for(rate)):
        raise ConfigError(
            f"a false-alarm rate of {rate:g} needs {fewest:,} held-out examples, and there are {len(found.held_N):,}; "
            "allow more false alarms"
        )
    return detection.conformal_threshold(found.held_N, rate)


# ---- one picture ---------------------------------------------------------------------------------------------------


def judged(
    explorer: Explorer,
    x_1X: Tensor,
    *,
    score: str = "",
    rate: float = DEFAULT_RATE,
    sigma: float = 0.0,
    seed: int = 0,
) -> dict[str, Any]:
    """What the model makes of one example, as far as it can; pictures as base64 (`Explorer.bytes_of`).

    sigma: standard deviation of noise that is added first, on the scale of [0, 1]; the noisy picture then stands
    beside, and the reconstruction is of that one.
    """
    model = explorer.model
    answer: dict[str, Any] = {"picture": as_text(explorer, x_1X)}
    given_1X = _noisy(explorer, x_1X, sigma, seed)
    if sigma:
        answer["noisy"] = as_text(explorer, given_1X)
    if isinstance(model, Reconstructs):
        answer |= _reconstructed(explorer, x_1X, given_1X, bool(sigma))
    if score_names(explorer):
        answer |= _scored(explorer, given_1X, score, rate)
    if isinstance(model, Discriminates):
        answer["discriminator"] = _asked(explorer, given_1X)
    if isinstance(model, Classifies):
        answer["classes"] = _read(explorer, given_1X)
    if len(answer) == 1:
        raise AbilityError("this model neither reconstructs nor tells apart, so that there is nothing to check with it")
    return answer


def _noisy(explorer: Explorer, x_1X: Tensor, sigma: float, seed: int) -> Tensor:
    """With Gaussian noise on the scale of [0, 1], not clipped."""
    if not sigma:
        return x_1X
    if not 0 < sigma <= 2:
        raise ConfigError(f"the noise's standard deviation must be above 0 and at most 2, got {sigma:g}")
    how = Noise(noise="gaussian", sigma=sigma, seed=seed)
    if explorer.model.value_range != "signed":
        return how.added(x_1X)
    return 2 * how.added((x_1X + 1) / 2) - 1


@torch.no_grad()
def _reconstructed(explorer: Explorer, x_1X: Tensor, given_1X: Tensor, noise: bool) -> dict[str, Any]:
    """The reconstruction and the squared error of each pixel; with noise, how far both are from the clean one."""
    model = explorer.model
    xhat_1X, y_1 = restoring.restored(model, given_1X)
    error_1X = (to_unit(x_1X, model.value_range) - to_unit(xhat_1X, model.value_range)).square()
    answer: dict[str, Any] = {"reconstruction": as_text(explorer, xhat_1X), "mse": _short(float(error_1X.mean()))}
    if y_1 is not None:
        answer["label"] = places.class_name(explorer.folder, int(y_1[0]))
    if model.shape.is_image:
        error_HW = error_1X[0].mean(0).double().numpy()
        answer |= {"heat": heat(error_HW), "largest": _short(float(error_HW.max()))}
    if noise and model.shape.is_image:
        unit = to_unit(x_1X, model.value_range)
        pair = (to_unit(x, model.value_range) for x in (given_1X, xhat_1X))
        before, after = (_short(float(reconstruction.psnr_db(unit, x)[0])) for x in pair)
        answer |= {"psnr_noisy": before, "psnr": after}
    return answer


def heat(error_HW: np.ndarray) -> str:
    """Errors as base64 of uint8 H×W×3: black 0, over purple and orange, to pale yellow, the largest one there is."""
    import base64

    from matplotlib import colormaps

    scaled = error_HW / max(float(error_HW.max()), 1e-12)
    rgb = (255 * colormaps["inferno"](scaled)[..., :3]).round().astype(np.uint8)
    return base64.b64encode(np.ascontiguousarray(rgb).tobytes()).decode("ascii")


def _scored(explorer: Explorer, x_1X: Tensor, asked: str, rate: float) -> dict[str, Any]:
    found = calibration(explorer, asked)
    score_1 = detecting.finite(found.score(x_1X))
    threshold = _threshold(found, rate)
    return {
        "score": float(score_1[0]),
        "p": _short(float(detection.conformal_p_values(score_1, found.held_N)[0])),
        "anomalous": bool(score_1[0] > threshold),
    }


@torch.no_grad()
def _asked(explorer: Explorer, x_1X: Tensor) -> list[dict[str, Any]]:
    """What the discriminator says of the picture, under each label of a model that reads them."""
    model: Any = explorer.model
    count = model.classes if model.needs_labels else 1
    y_K = torch.arange(count) if model.needs_labels else None
    logits_K = model.discriminate(x_1X.expand(count, *x_1X.shape[1:]), y_K).float()
    values = (torch.sigmoid(logits_K) if model.probabilities else logits_K).tolist()
    names = explorer.labels or [""]
    return [{"label": name, "value": _short(v)} for name, v in zip(names, values, strict=True)]


@torch.no_grad()
def _read(explorer: Explorer, x_1X: Tensor, most: int = 5) -> list[dict[str, Any]]:
    """The classes that the model reads in the picture, the likeliest first."""
    model: Any = explorer.model
    share_K = torch.softmax(model.classify(x_1X).float()[0], 0)
    top = share_K.topk(min(most, len(share_K)))
    return [
        {"label": places.class_name(explorer.folder, int(k)), "value": _short(float(v))}
        for v, k in zip(top.values, top.indices, strict=True)
    ]


def _short(value: float) -> float:
    """With four digits, since nobody reads more; what is not finite becomes the largest number."""
    return float(f"{value:.4g}") if math.isfinite(value) else detecting.OVERFLOW


# ---- the discriminator -----------------------------------------------------------------------------------------------


def discriminator(explorer: Explorer) -> dict[str, Any]:
    """What it says of real, generated and noise: {says, low, high, sources: [{name, n, median, bins}]}."""
    if not isinstance(explorer.model, Discriminates):
        raise AbilityError("this model has no discriminator to ask; GANs have one")
    explorer.data()
    return explorer.kept("discriminator", lambda: _of_sources(explorer))


def _of_sources(explorer: Explorer) -> dict[str, Any]:
    model: Any = explorer.model
    stage = explorer.stage
    found = verdicts.judge(stage, verdicts.own_sources(stage, SOURCES, 0, stage.split))
    values = torch.cat([v.values for v in found])
    low, high = (0.0, 1.0) if model.probabilities else (float(values.min()), float(values.max()))
    high = high if high > low else low + 1.0
    sources = []
    for v in found:
        bins, _ = np.histogram(v.values.numpy(), BINS, (low, high))
        middle = _short(float(v.values.quantile(0.5)))
        sources.append({"name": v.source.name, "n": len(v.values), "median": middle, "bins": bins.tolist()})
    says = "probability of being real" if model.probabilities else "the critic's score"
    return {"says": says, "low": low, "high": high, "sources": sources}


def command_for(explorer: Explorer, run: str, file: str, *, score: str, rate: float, sigma: float, seed: int) -> str:
    """The command that judges the same file; of a GAN, that asks the discriminator; with noise, that cleans it.

    Empty for a classifier, which no command asks about a file.
    """
    if sigma:
        words = ["denoise", run, file, "--noise", "gaussian", "--sigma", f"{sigma:g}", "--seed", str(seed)]
    elif score_names(explorer):
        words = ["detect", run, file, "--score", score or score_names(explorer)[0], "--false-alarm-rate", f"{rate:g}"]
    elif isinstance(explorer.model, Discriminates):
        words = ["probe", run, file]
    else:
        return ""
    return shlex.join(["latentscape", *words, "--out", "checked.png"])
