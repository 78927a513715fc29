"""Measure a trained model on a split."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentscape.contract import (
    Classifies,
    Decodes,
    Encodes,
    HasLikelihood,
    HasPosterior,
    Model,
    Reconstructs,
    Samples,
    require,
)
from latentscape.data import DataSettings, ImageSet, load_data
from latentscape.data.batches import Gatherer, in_order
from latentscape.errors import ConfigError, DataError, RunError
from latentscape.latents import encode
from latentscape.metrics import latent, reconstruction
from latentscape.numerics import energy, gaussian
from latentscape.runs import RunFolder
from latentscape.tasks import classify, judging
from latentscape.tasks.classify import to_unit
from latentscape.tasks.training import Console

KNN_TRAIN = 10_000
"""Most training latents that the nearest-neighbour reading uses."""

ENERGY_POINTS, ENERGY_VALUES = 10_000, 2_000_000
"""Most latents that the energy distance compares, and most numbers that they have together: wide codes are fewer."""

BOUND_IMAGES, BOUND_BATCH = 1_000, 100
"""Images that the importance-weighted bound is measured on unless more are asked for; and how many at once."""

_FLOOR = "the same with real images of another part for samples: of the training part, unless that was measured"

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
    "style_accuracy": "a fresh MLP 256-256 reads the label off the latent: trained on all training latents for "
    f"{latent.READER_EPOCHS} epochs, Adam, seed 0",
    "inside_fraction": "share of latents where the model's prior has mass; for priors with a sharp edge",
    "energy_distance": "2·E‖a−b‖ − E‖a−a′‖ − E‖b−b′‖, latents (samples of the posterior where there is one) against as "
    f"many draws of the model's prior; at most {ENERGY_POINTS:,} at random, seed 0",
    "energy_distance_floor": "the same between two sets of prior draws of that size",
    "error_rate": classify.ERROR_RATE,
    "fid": "Heusel et al. 2017, samples of the prior against as many images of the part measured, in the features of "
    "the classifier named beside; pictures clipped to [0, 1]; counts beside",
    "fid_floor": _FLOOR,
    "precision": "Kynkäänniemi et al. 2019, 3 neighbours: samples in the region of real images; compared as for fid",
    "precision_floor": _FLOOR,
    "recall": "Kynkäänniemi et al. 2019, 3 neighbours: real images in the region of samples; compared as for fid",
    "recall_floor": _FLOOR,
    "class_histogram": "share of all samples that the classifier reads as each class",
    "label_agreement": "share of all samples read as the label asked for; labels asked as often as in training",
    "transfer_agreement": "images encoded with their own label, decoded under every other; share read as asked; up to "
    f"{judging.TRANSFERS:,} pictures, images drawn at random",
}


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
    settings = settings.replace(labels="", label_column="", labelled=0, limit=0)  # they belong to the run's own data
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
        return _passed(model, Gatherer(images, split, model.value_range, device))[0]
    finally:
        model.to("cpu")


def _passed(model: Model, source: Gatherer) -> tuple[dict[str, Tensor], Tensor | None]:
    """One pass over a split: the values of `per_image`, and the latents z_NL where the model encodes."""
    values: dict[str, list[Tensor]] = defaultdict(list)
    latents: list[Tensor] = []
    rng = torch.Generator(source.device).manual_seed(0)
    for batch in in_order(source, 500):
        for name, of_B in _batch_metrics(model, batch, rng, latents):
            values[name].append(of_B.double().cpu())
    return {name: torch.cat(parts) for name, parts in values.items()}, torch.cat(latents) if latents else None


@torch.no_grad()
def evaluate_model(model: Model, images: ImageSet, split: str = "test") -> tuple[dict[str, Any], int]:
    """Every metric of `PROTOCOL` that the model and the data allow without sampling, and the number of examples."""
    device = pick_device(model)
    model = model.eval().to(device)
    try:
        source = Gatherer(images, split, model.value_range, device)
        values, z_NL = _passed(model, source)
        metrics = {name: float(of_N.mean()) for name, of_N in values.items()}
        if z_NL is not None:
            metrics |= _latent_metrics(model, images, z_NL, source.y, device, split)
            metrics |= _prior_metrics(model, source, z_NL)
        if isinstance(model, Classifies) and images.labels is not None:
            rate, labelled = classify.error_rate(model, images, split, device)
            metrics |= {"error_rate": rate} if labelled else {}
    finally:
        model.to("cpu")
    return metrics, len(source)


def _batch_metrics(model: Model, b: Any, rng: torch.Generator, latents: list[Tensor]) -> Iterator[tuple[str, Tensor]]:
    if not isinstance(model, Encodes):
        return
    z_BL = model.encode(b.x, b.y).float()
    latents.append(z_BL.cpu())
    if isinstance(model, Reconstructs) and isinstance(model, Decodes):
        x = to_unit(b.x, model.value_range)
        xhat = to_unit(model.decode(z_BL, b.y).float(), model.value_range)
        yield "mse", reconstruction.mse(x, xhat)
        if model.shape.is_image:
            yield "psnr_db", reconstruction.psnr_db(x, xhat)
            yield "bce", reconstruction.bce(x, xhat)
            if min(model.shape.dims[1:]) >= 3:
                yield "ssim", reconstruction.ssim(x, xhat)
    if isinstance(model, HasPosterior):
        kl_B, elbo_B = latent.kl_and_elbo_nats(model, b.x, b.y, rng)
        yield "kl_nats", kl_B
        if elbo_B is not None:
            yield "elbo_nats", elbo_B
    activations: Any = getattr(model, "activations", None)  # of sparse codes
    if callable(activations):
        yield "mean_activation", activations(z_BL).float().mean(1)  # type: ignore[attr-defined]


def _latent_metrics(
    model: Model, images: ImageSet, z_NL: Tensor, y_N: Tensor | None, device: torch.device, split: str
) -> dict[str, float]:
    out: dict[str, float] = {}
    if isinstance(model, HasPosterior):
        out["active_units"] = latent.active_units(z_NL)
    if y_N is not None and images.sizes()["train"] and split not in ("train", "all") and isinstance(model, Encodes):
        reader = model.needs_labels or isinstance(model, Classifies)  # latents that are meant to hold no label
        train = Gatherer(images, "train", model.value_range, device)
        z_train, y_train = encode.encode_all(model, in_order(train, 500, 0 if reader else KNN_TRAIN))
        assert y_train is not None
        known, asked = (y_train >= 0).nonzero()[:, 0], y_N.cpu() >= 0  # -1: no label
        if len(known) and asked.any():
            near, test = known[known < KNN_TRAIN], (z_NL[asked], y_N.cpu()[asked])
            if len(near):
                out["knn_accuracy"] = latent.knn_accuracy(z_train[near], y_train[near], *test)
            if reader:
                out["style_accuracy"] = latent.fresh_accuracy(z_train[known], y_train[known], *test)
    return out


def _prior_metrics(model: Model, source: Gatherer, z_NL: Tensor) -> dict[str, float]:
    """How well the latents of a split fill the model's prior; nothing for a model that lacks one of the two."""
    if not (isinstance(model, Encodes) and isinstance(model, Samples)):
        return {}
    out: dict[str, float] = {}
    inside: Any = getattr(model, "inside", lambda z_NL: None)
    inside_N: Tensor | None = inside(z_NL)
    if inside_N is not None:
        out["inside_fraction"] = float(inside_N.double().mean())
    n = max(1, min(len(z_NL), ENERGY_POINTS, ENERGY_VALUES // z_NL.shape[1]))
    picks = torch.randperm(len(z_NL), generator=torch.Generator().manual_seed(0))[:n]
    codes_NL = _posterior_draws(model, source, picks) if isinstance(model, HasPosterior) else z_NL[picks]
    rng = torch.Generator(source.device).manual_seed(0)
    one_NL, other_NL = (model.prior(n, rng).float().cpu() for _ in range(2))
    out["energy_distance"] = energy.distance(codes_NL, one_NL)
    out["energy_distance_floor"] = energy.distance(one_NL, other_NL)
    return out


def _posterior_draws(model: HasPosterior, source: Gatherer, picks: Tensor) -> Tensor:
    """One sample z_NL of the posterior of each picked example, seed 0, on the CPU."""
    rng, drawn = torch.Generator(source.device).manual_seed(0), []
    for b in in_order(source, 500, picks=picks):
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
    rng, bound, elbo = torch.Generator(device).manual_seed(0), 0.0, 0.0
    try:
        for b in in_order(source, BOUND_BATCH, picks=picks):
            bound += float(latent.iwae_nats(encoder, b.x, b.y, samples, rng).sum())
            elbo_B = latent.kl_and_elbo_nats(encoder, b.x, b.y, rng)[1]
            assert elbo_B is not None
            elbo += float(elbo_B.double().sum())
    finally:
        model.to("cpu")
    beside = {"samples": samples, "images": len(picks), "elbo_nats": elbo / len(picks)}
    return {"iwae_nats": bound / len(picks)}, {"importance": beside}


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
    console: Console | None = None,
) -> dict[str, Any]:
    """Evaluate a run; the answer is kept in the run's metrics.json when it is of the run's own data.

    split: train, valid, test or all. The rest as in `evaluated`. Raises `UserError`.
    """
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
    console: Console | None = None,
) -> dict[str, Any]:
    """The answer of `evaluate` for a model and data at hand.

    samples: how many to draw and judge, 0: none. importance_samples: of the importance-weighted bound per image, on
    at most `importance_images` (0: all); 0: no bound. classifier: a run that reads the samples instead of one trained
    on the data. A metric is a number; `class_histogram` is a dict from class to share.
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
    metrics, n = evaluate_model(model, images, split)
    beside: dict[str, Any] = {}
    parts = []
    if importance_samples:
        parts.append(_bound(model, called, images, split, importance_samples, importance_images))
    if samples:
        parts.append(_judged(model, called, images, split, samples, console=console, classifier=classifier))
    for more, about in parts:
        metrics |= more
        beside |= about
    answer = {
        "run": str(folder.path),
        "model": name,
        "data": images.name,
        "split": split,
        "n": n,
        "of": len(images),
        "metrics": metrics,
        **beside,
        "protocol": {k: PROTOCOL[k] for k in metrics},
        "seconds": round(time.monotonic() - start, 2),
    }
    if keep:
        folder.write_metrics(answer)
    return answer


def _judged(model: Model, name: str, images: ImageSet, split: str, samples: int, **rest: Any) -> tuple[Any, Any]:
    device = pick_device(model)
    try:
        return judging.judge(model.eval().to(device), name, images, split, samples, device, **rest)
    finally:
        model.to("cpu")
