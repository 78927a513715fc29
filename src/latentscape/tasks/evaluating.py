"""Measure a trained model on a split."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentscape.contract import (
    Classifies,
    Encodes,
    HasLikelihood,
    HasPosterior,
    Model,
    Posterior,
    Reconstructs,
    Samples,
    require,
)
from latentscape.data import DataSettings, ImageSet, load_data
from latentscape.data.batches import Examples, Gatherer, in_order
from latentscape.errors import ConfigError, DataError, RunError
from latentscape.latents import encode
from latentscape.metrics import difference, disentanglement, frechet, kernel, latent, probe, reconstruction, shares
from latentscape.numerics import energy, gaussian
from latentscape.runs import RunFolder
from latentscape.tasks import classify, judging
from latentscape.tasks.classify import to_unit
from latentscape.tasks.training import Console
from latentscape.training import heap

BATCH = 500
"""Examples that go through a model at once."""

KNN_TRAIN = 10_000
"""Most training latents that the nearest-neighbour reading uses."""

ENERGY_POINTS, ENERGY_VALUES = 10_000, 2_000_000
"""Most latents that the energy distance compares, and most numbers that they have together: wide codes are fewer."""

PROBE_VALUES = 2_000_000
"""Most numbers that the linear probe is trained on: wide codes are fewer."""

DCI_TRAIN, DCI_VALUES = 5_000, 500_000
"""Most training latents that forests read factors off, and most numbers that they have together."""

FEWEST_FACTORED, MOST_FACTORS = 100, 12
"""Disentanglement is measured on so many images at least, and on sets with so many attributes at most."""

RESAMPLES = 1_000
"""Bootstrap draws for the intervals of means over images."""

BOUND_IMAGES, BOUND_BATCH = 1_000, 100
"""Images that the importance-weighted bound is measured on unless more are asked for; and how many at once."""

_FLOOR = "the same with real images of another part for samples: of the training part, unless that was measured"
_COMPARED = f"compared as for fid, at most {judging.NEAR:,} of each"

PROTOCOL = {
    "mse": "mean over values, then images; at posterior means; images on [0, 1], not clipped",
    "psnr_db": "mean of per-image values; pictures clipped to [0, 1]",
    "ssim": "Wang et al. 2004, Gaussian window 11×11 (smaller on smaller pictures), mean over images",
    "bce": "cross-entropy of grey pixels, mean over pixels, then images; at posterior means",
    "kl_nats": "KL(q(z|x) ‖ p(z)), mean over images; in closed form where p(z) is N(0, I), else by the ELBO's sample",
    "elbo_nats": "log p(x|z) − KL with one posterior sample per image, seed 0, mean over images",
    "iwae_nats": "Burda et al. 2016, eq. 8, seed 0; samples per image and images (drawn at random) beside",
    "active_units": "latent dimensions with Var_x(E[z|x]) > 0.01",
    "mean_activation": "mean over units, then images; each unit's activity on [0, 1]",
    "knn_accuracy": f"5 nearest of up to {KNN_TRAIN:,} training latents, Euclidean",
    "probe_accuracy": f"logistic regression on up to {KNN_TRAIN:,} training latents ({PROBE_VALUES:,} numbers), "
    "brought to variance 1; L2 penalty, C = 1",
    "style_accuracy": "a fresh MLP 256-256 reads the label off the latent: trained on all training latents for "
    f"{latent.READER_EPOCHS} epochs, Adam, seed 0",
    "mig": f"Chen et al. 2018, eq. 6; latents and factors in {disentanglement.BINS} bins of equal counts; the data's "
    "attributes are the factors",
    "dci_disentanglement": f"Eastwood & Williams 2018; random forests of {disentanglement.TREES} trees, fitted to up "
    f"to {DCI_TRAIN:,} training latents, seed 0; the data's attributes are the factors",
    "dci_completeness": "as dci_disentanglement",
    "dci_informativeness": "share of the error that the same forests remove on the images measured, mean over factors",
    "inside_fraction": "share of latents where the model's prior has mass; for priors with a sharp edge",
    "energy_distance": "2·E‖a−b‖ − E‖a−a′‖ − E‖b−b′‖, latents (samples of the posterior where there is one) against as "
    f"many draws of the model's prior; at most {ENERGY_POINTS:,} at random, seed 0",
    "energy_distance_floor": "the same between two sets of prior draws of that size",
    "error_rate": classify.ERROR_RATE,
    "fid": "Heusel et al. 2017, samples of the prior against as many images of the part measured, in the features "
    "named beside; pictures clipped to [0, 1]; counts beside",
    "fid_floor": _FLOOR,
    "kid": f"Bińkowski et al. 2018, cubic kernel, unbiased, mean over disjoint blocks of up to {kernel.BLOCK:,}; "
    "compared as for fid",
    "kid_floor": _FLOOR,
    "precision": f"Kynkäänniemi et al. 2019, 3 neighbours: samples in the region of real images; {_COMPARED}",
    "precision_floor": _FLOOR,
    "recall": f"Kynkäänniemi et al. 2019, 3 neighbours: real images in the region of samples; {_COMPARED}",
    "recall_floor": _FLOOR,
    "density": f"Naeem et al. 2020, eq. 3, 5 neighbours: real balls that hold a sample, over 5; {_COMPARED}",
    "density_floor": _FLOOR,
    "coverage": f"Naeem et al. 2020, eq. 5, 5 neighbours: real balls that hold a sample; {_COMPARED}",
    "coverage_floor": _FLOOR,
    "class_histogram": "share of all samples that the classifier reads as each class",
    "modes": "classes that the classifier reads in at least one sample",
    "duplicate_fraction": "samples as near to another one as the nearest 0.1 % of as many real images are to each "
    f"other, in the features and in pixels ({judging.PIXELS}×{judging.PIXELS} at most); at most {judging.NEAR:,}",
    "duplicate_fraction_floor": _FLOOR,
    "memorised_fraction": "samples nearer to the nearest training image than to the nearest of as many held-out ones, "
    f"in pixels ({judging.PIXELS}×{judging.PIXELS} at most); chance is ½; at most {judging.NEAR:,} of each",
    "sharpness": "variance of the Laplacian over inner pixels of grey pictures on [0, 1], mean over samples",
    "sharpness_real": "the same of the images measured, as many",
    "label_agreement": "share of all samples read as the label asked for; labels asked as often as in training",
    "transfer_agreement": "images encoded with their own label, decoded under every other; share read as asked; up to "
    f"{judging.TRANSFERS:,} pictures, images drawn at random",
}

INTERVALS = (
    f"95 % intervals: means over images from {RESAMPLES:,} bootstrap resamples of the images, seed 0; shares by "
    f"Wilson's formula; fid ± 1.96 deviations of {frechet.RESAMPLES} bootstrap resamples of the features "
    f"({frechet.WIDE_RESAMPLES} above {frechet.WIDE} features); kid by Student's t over its blocks. They hold for this "
    "model and these images: another training seed moves figures further."
)


def is_own(config: dict[str, Any], data: Any) -> bool:
    """Whether `data` is what the run was trained on: the same name, or a path to the same place."""
    known = config["run"]["data"]
    if not known or not isinstance(data, (str, Path)):
        return False
    return str(data) == known or (Path(data).expanduser().exists() and str(Path(data).expanduser().resolve()) == known)


def load_for(folder: RunFolder, data: Any = None) -> ImageSet:
    """The run's own data, or other data brought to the run's shape. A shape that cannot fit raises `DataError`."""
    config = folder.config()
    settings = DataSettings.from_dict(config["data"])
    shape = tuple(config["run"]["shape"])
    if data is None or is_own(config, data):
        if not config["run"]["data"]:
            raise RunError(f"{folder.path} names no data on disk; say which to use with --data")
        return load_data(config["run"]["data"], settings)
    # What belongs to the run's own data alone.
    settings = settings.replace(labels="", label_column="", labelled=0, limit=0, only_classes="", label_attribute="")
    if len(shape) == 3:
        settings = settings.replace(size=f"{shape[1]}x{shape[2]}", mode={1: "grey", 3: "rgb"}.get(shape[0], "auto"))
    images = load_data(data, settings)
    if images.shape.dims != shape:
        raise DataError(
            f"{images.name} has examples of {images.shape}, and the model in {folder.path} was built for "
            f"{folder.build_model().shape}; give data of that shape"
        )
    return images


def pick_device(model: Model) -> torch.device:
    """Evaluation runs on the accelerator if there is one."""
    return (
        torch.accelerator.current_accelerator() or torch.device("cpu")
        if torch.accelerator.is_available()
        else torch.device("cpu")
    )


@torch.no_grad()
def per_image(model: Model, images: ImageSet, split: str = "test") -> dict[str, Tensor]:
    """What is measured on each image by itself, N float64 on the CPU, in the split's own order.

    Of mse, psnr_db, bce, ssim, kl_nats, elbo_nats and mean_activation those that the model and the data allow; their
    means are the metrics of these names. Two models measured on one split can be compared image by image.
    """
    device = pick_device(model)
    model = model.eval().to(device)
    try:
        return _passed(model, Gatherer(images, split, model.value_range, device)).values
    finally:
        model.to("cpu")


@dataclass
class _Pass:
    """What one pass over a split gives: the values of `per_image`, latents, and KL per dimension summed over images."""

    values: dict[str, Tensor]
    z_NL: Tensor | None
    kl_L: Tensor | None


def _passed(model: Model, source: Gatherer) -> _Pass:
    values: dict[str, list[Tensor]] = defaultdict(list)
    latents: list[Tensor] = []
    rng, kl_L = torch.Generator(source.device).manual_seed(0), None
    for batch in in_order(source, BATCH):
        if not isinstance(model, Encodes):
            break
        z_BL = model.encode(batch.x, batch.y).float()
        latents.append(z_BL.cpu())
        q = model.posterior(batch.x, batch.y) if isinstance(model, HasPosterior) else None
        for name, of_B in _batch_metrics(model, batch, z_BL, q, rng):
            values[name].append(of_B.cpu().double())
        if q is not None and isinstance(model, HasPosterior) and latent.has_standard_prior(model):
            more_L = gaussian.kl_to_standard(q.mean, q.log_var).cpu().double().sum(0)
            kl_L = more_L if kl_L is None else kl_L + more_L
    whole = {name: torch.cat(parts) for name, parts in values.items()}
    return _Pass(whole, torch.cat(latents) if latents else None, kl_L)


def _batch_metrics(
    model: Model, b: Examples, z_BL: Tensor, q: Posterior | None, rng: torch.Generator
) -> Iterator[tuple[str, Tensor]]:
    if isinstance(model, Reconstructs):
        x = to_unit(b.x, model.value_range)
        xhat = to_unit(model.decode(z_BL, b.y).float(), model.value_range)
        yield "mse", reconstruction.mse(x, xhat)
        if model.shape.is_image:
            yield "psnr_db", reconstruction.psnr_db(x, xhat)
            yield "bce", reconstruction.bce(x, xhat)
            if min(model.shape.dims[1:]) >= 3:
                yield "ssim", reconstruction.ssim(x, xhat)
    if isinstance(model, HasPosterior):
        kl_B, elbo_B = latent.kl_and_elbo_nats(model, b.x, b.y, rng, q)
        yield "kl_nats", kl_B
        if elbo_B is not None:
            yield "elbo_nats", elbo_B
    activations: Any = getattr(model, "activations", None)  # of sparse codes
    if callable(activations):
        yield "mean_activation", activations(z_BL).float().mean(1)  # type: ignore[attr-defined]


def evaluate_model(model: Model, images: ImageSet, split: str = "test") -> tuple[dict[str, Any], int]:
    """Every metric of `PROTOCOL` that the model and the data allow without sampling, and the number of examples."""
    measured = _measured(model, images, split)
    return measured.metrics, measured.n


@dataclass
class _Measured:
    """Metrics of n examples, intervals of some of them, and what else belongs into the answer."""

    metrics: dict[str, Any]
    intervals: dict[str, shares.Interval]
    beside: dict[str, Any]
    n: int


@torch.no_grad()
def _measured(model: Model, images: ImageSet, split: str) -> _Measured:
    device = pick_device(model)
    model = model.eval().to(device)
    try:
        source = Gatherer(images, split, model.value_range, device)
        found = _passed(model, source)
        metrics = {name: float(of_N.mean()) for name, of_N in found.values.items()}
        intervals, beside = mean_intervals(found.values), {}
        if found.kl_L is not None:
            beside["kl_per_dimension"] = (found.kl_L / len(source)).tolist()
        parts = []
        if found.z_NL is not None:
            parts.append(_latent_metrics(model, images, found.z_NL, source, split))
            parts.append(_prior_metrics(model, source, found.z_NL))
        if isinstance(model, Classifies) and images.labels is not None:
            rate, labelled = classify.error_rate(model, images, split, device)
            parts.append(
                ({"error_rate": rate}, {"error_rate": shares.wilson(rate, labelled)}) if labelled else ({}, {})
            )
        for more, reach in parts:
            metrics |= more
            intervals |= reach
    finally:
        model.to("cpu")
    return _Measured(metrics, intervals, beside, len(source))


def mean_intervals(values: dict[str, Tensor]) -> dict[str, shares.Interval]:
    """Bootstrap intervals of the means of several values of the same images, N each; nothing of a single image."""
    finite = {name: of_N for name, of_N in values.items() if len(of_N) > 1 and bool(of_N.isfinite().all())}
    if not finite:
        return {}
    means_RM = difference.resampled_means(torch.stack(list(finite.values()), 1), RESAMPLES)
    return {name: difference.percentile_interval(means_RM[:, i]) for i, name in enumerate(finite)}


Figures = tuple[dict[str, float], dict[str, shares.Interval]]
"""Metrics, and the intervals of those that have one."""


def _latent_metrics(model: Model, images: ImageSet, z_NL: Tensor, source: Gatherer, split: str) -> Figures:
    """What latents of a split say of themselves, and beside those of the training part of labels and factors."""
    metrics: dict[str, float] = {}
    intervals: dict[str, shares.Interval] = {}
    if isinstance(model, HasPosterior):
        metrics["active_units"] = latent.active_units(z_NL)
    told = images.labels is not None or _has_factors(images)
    if told and images.sizes()["train"] and split not in ("train", "all") and isinstance(model, Encodes):
        reader = model.needs_labels or isinstance(model, Classifies)  # latents that are meant to hold no label
        train = Gatherer(images, "train", model.value_range, source.device)
        near = judging.spread(train.y, len(train), KNN_TRAIN)
        picks = torch.arange(len(train)) if reader else near
        z_train, _ = encode.encode_all(model, in_order(train, BATCH, picks=picks))
        near = near if reader else torch.arange(len(near))
        if train.y is not None and source.y is not None:
            y_train, y_N = train.y.cpu()[picks], source.y.cpu()
            metrics |= _label_metrics((z_train, y_train), (z_NL, y_N), near, reader)
            asked = int((y_N >= 0).sum())
            intervals |= {name: shares.wilson(metrics[name], asked) for name in metrics if name.endswith("_accuracy")}
        if train.attributes is not None and source.attributes is not None and _has_factors(images):
            factors = train.attributes.cpu()[picks][near]
            metrics |= _factor_metrics((z_train[near], factors), (z_NL, source.attributes.cpu()))
    return metrics, intervals


def _label_metrics(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], near: Tensor, reader: bool
) -> dict[str, float]:
    """How well labels are read off latents, all training latents or those at `near`; -1 is no label."""
    (z_train, y_train), (z_NL, y_N) = train, test
    near, asked = near[y_train[near] >= 0], y_N >= 0
    out: dict[str, float] = {}
    if len(near) and asked.any():
        test = z_NL[asked], y_N[asked]
        out["knn_accuracy"] = latent.knn_accuracy(z_train[near], y_train[near], *test)
        few = near[: max(1, PROBE_VALUES // z_NL.shape[1])]
        out["probe_accuracy"] = probe.probe_accuracy(z_train[few], y_train[few], *test)
    known = y_train >= 0
    if reader and known.any() and asked.any():
        out["style_accuracy"] = latent.fresh_accuracy(z_train[known], y_train[known], z_NL[asked], y_N[asked])
    return out


def _has_factors(images: ImageSet) -> bool:
    return images.attributes is not None and 0 < images.attributes.shape[1] <= MOST_FACTORS


def _factor_metrics(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> dict[str, float]:
    """MIG and DCI of codes and attributes; nothing where too few images have all of them."""
    known = [disentanglement.usable(v_NK) for _, v_NK in (train, test)]
    if min(map(len, known)) < FEWEST_FACTORED:
        return {}
    few = known[0][: max(FEWEST_FACTORED, min(DCI_TRAIN, DCI_VALUES // train[0].shape[1]))]
    test = test[0][known[1]], test[1][known[1]]
    scores = disentanglement.dci((train[0][few], train[1][few]), test)
    found = {
        "mig": disentanglement.mutual_information_gap(*test),
        "dci_disentanglement": scores.disentanglement,
        "dci_completeness": scores.completeness,
        "dci_informativeness": scores.informativeness,
    }
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _prior_metrics(model: Model, source: Gatherer, z_NL: Tensor) -> Figures:
    """How well the latents of a split fill the model's prior; nothing for a model that lacks one of the two."""
    if not (isinstance(model, Encodes) and isinstance(model, Samples)):
        return {}, {}
    out: dict[str, float] = {}
    intervals: dict[str, shares.Interval] = {}
    inside: Any = getattr(model, "inside", lambda z_NL: None)
    inside_N: Tensor | None = inside(z_NL)
    if inside_N is not None:
        out["inside_fraction"] = float(inside_N.double().mean())
        intervals["inside_fraction"] = shares.wilson(out["inside_fraction"], len(z_NL))
    n = max(1, min(len(z_NL), ENERGY_POINTS, ENERGY_VALUES // z_NL.shape[1]))
    picks = torch.randperm(len(z_NL), generator=torch.Generator().manual_seed(0))[:n]
    codes_NL = _posterior_draws(model, source, picks) if isinstance(model, HasPosterior) else z_NL[picks]
    rng = torch.Generator(source.device).manual_seed(0)
    one_NL, other_NL = (model.prior(n, rng).float().cpu() for _ in range(2))
    out["energy_distance"] = energy.distance(codes_NL, one_NL)
    out["energy_distance_floor"] = energy.distance(one_NL, other_NL)
    return out, intervals


def _posterior_draws(model: HasPosterior, source: Gatherer, picks: Tensor) -> Tensor:
    """One sample z_NL of the posterior of each picked example, seed 0, on the CPU."""
    rng, drawn = torch.Generator(source.device).manual_seed(0), []
    for b in in_order(source, BATCH, picks=picks):
        q = model.posterior(b.x, b.y)
        eps = torch.randn(q.mean.shape, generator=rng, device=rng.device)
        drawn.append(gaussian.reparameterise(q.mean, q.log_var, eps).float().cpu())
    return torch.cat(drawn)


@torch.no_grad()
def _bound(model: Model, name: str, images: ImageSet, split: str, samples: int, most: int) -> tuple[Any, Any]:
    """The importance-weighted bound on at most so many images (0: all), and what belongs beside it."""
    encoder = require(model, HasPosterior, name, "so that --importance-samples has nothing to weigh; leave it out")
    require(model, HasLikelihood, name, "so that --importance-samples has nothing to weigh; leave it out")
    device = pick_device(model)
    source = Gatherer(images, split, model.value_range, device)
    picks = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[: most or None]
    model.eval().to(device)
    rng, bounds, elbo = torch.Generator(device).manual_seed(0), [], 0.0
    try:
        for b in in_order(source, BOUND_BATCH, picks=picks):
            bounds.append(latent.iwae_nats(encoder, b.x, b.y, samples, rng).cpu())
            elbo_B = latent.kl_and_elbo_nats(encoder, b.x, b.y, rng)[1]
            assert elbo_B is not None
            elbo += float(elbo_B.double().sum())
    finally:
        model.to("cpu")
    beside = {"samples": samples, "images": len(picks), "elbo_nats": elbo / len(picks)}
    bound_N = torch.cat(bounds)
    intervals = mean_intervals({"iwae_nats": bound_N})
    return {"iwae_nats": float(bound_N.mean())}, {"importance": beside, "intervals": intervals}


@heap.kept("cpu")
def evaluate(
    path: Path | str,
    *,
    data: Any = None,
    split: str = "test",
    keep: bool = True,
    samples: int = 0,
    importance_samples: int = 0,
    importance_images: int = BOUND_IMAGES,
    classifier: Path | str | None = None,
    features: str = "auto",
    inception_weights: Path | str | None = None,
    prior: str = "auto",
    console: Console | None = None,
) -> dict[str, Any]:
    """Evaluate a run; the answer is kept in the run's metrics.json when it is of the run's own data.

    split: train, valid, test or all. The rest as in `evaluated`. Raises `UserError`.
    """
    asked = {"classifier": classifier, "inception-weights": inception_weights}
    asked |= {"features": features if features != "auto" else "", "prior": prior if prior != "auto" else ""}
    if not samples and (idle := next((name for name, value in asked.items() if value), "")):
        raise ConfigError(f"--{idle} says how samples are drawn or judged; give --samples N beside it")
    folder = RunFolder(path)
    model = folder.load_model()
    images = load_for(folder, data)
    if not images.sizes().get(split, len(images)):
        there = ", ".join(f"{name} ({n:,})" for name, n in images.sizes().items() if n)
        raise DataError(f"{images.name} has no {split} images; there are {there}")
    if model.needs_labels and images.classes != model.classes:
        raise DataError(
            f"the model in {folder.path} knows {model.classes} classes, and {images.name} has {images.classes or 'no'} "
            "labels; give data labelled like the run's own"
        )
    return evaluated(
        folder,
        model,
        images,
        split,
        keep=keep and (data is None or is_own(folder.config(), data)),
        samples=samples,
        importance_samples=importance_samples,
        importance_images=importance_images,
        classifier=classifier,
        features=features,
        inception_weights=inception_weights,
        prior=prior,
        console=console,
    )


def evaluated(
    folder: RunFolder,
    model: Model,
    images: ImageSet,
    split: str,
    *,
    keep: bool,
    samples: int = 0,
    importance_samples: int = 0,
    importance_images: int = BOUND_IMAGES,
    classifier: Path | str | None = None,
    features: str = "auto",
    inception_weights: Path | str | None = None,
    prior: str = "auto",
    console: Console | None = None,
) -> dict[str, Any]:
    """The answer of `evaluate` for a model and data at hand.

    samples: how many to draw and judge, 0: none. importance_samples: of the importance-weighted bound per image, on
    at most `importance_images` (0: all); 0: no bound. classifier: a run that reads the samples instead of one trained
    on the data. features, inception_weights: what sets of pictures are compared on, see `features.KINDS`. prior: what
    samples are drawn from, see `judging.PRIORS`. A metric is a number; `class_histogram` is a dict from class to share.
    `intervals` has [low, high] for the metrics that have one, `warnings` sentences on what should give one pause.
    """
    for name, value in (
        ("samples", samples),
        ("importance-samples", importance_samples),
        ("importance-images", importance_images),
    ):
        if value < 0:
            raise ConfigError(f"--{name} must be at least 0, got {value}")
    start, name = time.monotonic(), folder.config()["run"]["model"]
    called = f"{'an' if name[:1] in 'aeio' else 'a'} {name}"
    measured = _measured(model, images, split)
    metrics, intervals, beside = measured.metrics, measured.intervals, measured.beside
    parts = []
    if importance_samples:
        parts.append(_bound(model, called, images, split, importance_samples, importance_images))
    if samples:
        how = judging.How(classifier, features, inception_weights, prior)
        parts.append(_judged(model, called, images, split, samples, how, console))
    for more, about in parts:
        metrics |= more
        intervals |= about.pop("intervals")
        beside |= about
    answer = {
        "run": str(folder.path),
        "model": name,
        "data": images.name,
        "split": split,
        "n": measured.n,
        "of": len(images),
        "metrics": metrics,
        "intervals": {name: list(intervals[name]) for name in metrics if name in intervals},
        **beside,
        "about_intervals": INTERVALS,
        "protocol": {k: PROTOCOL[k] for k in metrics},
        "seconds": round(time.monotonic() - start, 2),
    }
    if keep:
        folder.write_metrics(answer)
    return answer


def _judged(
    model: Model, name: str, images: ImageSet, split: str, samples: int, how: judging.How, console: Console | None
) -> tuple[Any, Any]:
    device = pick_device(model)
    try:
        return judging.judge(model.eval().to(device), name, images, split, samples, device, how, console=console)
    finally:
        model.to("cpu")
