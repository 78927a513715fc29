"""Measure a trained model on a split."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentscape.config import ValueRange
from latentscape.contract import Decodes, Encodes, HasLikelihood, HasPosterior, Model, Reconstructs
from latentscape.data import DataSettings, ImageSet, load_data
from latentscape.data.batches import Gatherer, in_order
from latentscape.errors import DataError, RunError
from latentscape.latents import encode
from latentscape.metrics import latent, reconstruction
from latentscape.runs import RunFolder

KNN_TRAIN = 10_000
"""Most training latents that the nearest-neighbour reading uses."""

PROTOCOL = {
    "mse": "mean over values, then images; at posterior means; images on [0, 1], not clipped",
    "psnr_db": "mean of per-image values; pictures clipped to [0, 1]",
    "ssim": "Wang et al. 2004, Gaussian window 11×11 (smaller on smaller pictures), mean over images",
    "bce": "cross-entropy of grey pixels, mean over pixels, then images; at posterior means",
    "kl_nats": "KL(q(z|x) ‖ N(0, I)), mean over images",
    "elbo_nats": "log p(x|z) − KL with one posterior sample per image, seed 0, mean over images",
    "active_units": "latent dimensions with Var_x(E[z|x]) > 0.01",
    "knn_accuracy": f"5 nearest of up to {KNN_TRAIN:,} training latents, Euclidean",
}


def to_unit(x: Tensor, value_range: ValueRange) -> Tensor:
    """From a model's value range back to [0, 1] pixels (vectors stay as they are)."""
    return (x + 1) / 2 if value_range == "signed" else x


def load_for(folder: RunFolder, data: Any = None) -> ImageSet:
    """The run's own data, or other data brought to the run's shape. A shape that cannot fit raises `DataError`."""
    config = folder.config()
    settings = DataSettings.from_dict(config["data"])
    shape = tuple(config["run"]["shape"])
    if data is None:
        if not config["run"]["data"]:
            raise RunError(f"{folder.path} was trained on arrays in memory; say which data to use with --data")
        return load_data(config["run"]["data"], settings)
    if len(shape) == 3:
        settings = settings.replace(size=f"{shape[1]}x{shape[2]}", mode={1: "grey", 3: "rgb"}.get(shape[0], "auto"))
    if str(data) != config["run"]["data"]:
        settings = settings.replace(labels="", label_column="")
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
def evaluate_model(model: Model, images: ImageSet, split: str = "test") -> tuple[dict[str, float], int]:
    """Every metric of `PROTOCOL` that the model and the data allow, and the number of examples."""
    device = pick_device(model)
    model = model.eval().to(device)
    try:
        source = Gatherer(images, split, model.value_range, device)
        sums: dict[str, float] = defaultdict(float)
        latents: list[Tensor] = []
        rng = torch.Generator(device).manual_seed(0)
        for batch in in_order(source, 500):
            for name, values in _batch_metrics(model, batch, rng, latents):
                sums[name] += float(values.double().sum())
        metrics = {name: total / len(source) for name, total in sums.items()}
        if latents:
            metrics |= _latent_metrics(model, images, torch.cat(latents), source.y, device, split)
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
        yield "kl_nats", latent.kl_nats(model, b.x, b.y)
        if isinstance(model, HasLikelihood):
            yield "elbo_nats", latent.elbo_nats(model, b.x, b.y, rng)


def _latent_metrics(
    model: Model, images: ImageSet, z_NL: Tensor, y_N: Tensor | None, device: torch.device, split: str
) -> dict[str, float]:
    out: dict[str, float] = {}
    if isinstance(model, HasPosterior):
        out["active_units"] = latent.active_units(z_NL)
    if y_N is not None and images.sizes()["train"] and split != "train" and isinstance(model, Encodes):
        train = Gatherer(images, "train", model.value_range, device)
        z_train, y_train = encode.encode_all(model, in_order(train, 500, KNN_TRAIN))
        assert y_train is not None
        known, asked = y_train >= 0, y_N.cpu() >= 0  # -1: no label
        if known.any() and asked.any():
            pairs = (z_train[known], y_train[known], z_NL[asked], y_N.cpu()[asked])
            out["knn_accuracy"] = latent.knn_accuracy(*pairs)
    return out


def evaluate(path: Path | str, *, data: Any = None, split: str = "test", keep: bool = True) -> dict[str, Any]:
    """Evaluate a run; the answer is kept in the run's metrics.json when it is of the run's own data."""
    folder = RunFolder(path)
    model = folder.load_model()
    images = load_for(folder, data)
    if not images.sizes().get(split, len(images)):
        there = ", ".join(f"{name} ({n:,})" for name, n in images.sizes().items() if n)
        raise DataError(f"{images.name} has no {split} images; there are {there}")
    return evaluated(folder, model, images, split, keep=keep and data is None)


def evaluated(folder: RunFolder, model: Model, images: ImageSet, split: str, *, keep: bool) -> dict[str, Any]:
    """The answer of `evaluate` for a model and data at hand."""
    start = time.monotonic()
    metrics, n = evaluate_model(model, images, split)
    answer = {
        "run": str(folder.path),
        "model": folder.config()["run"]["model"],
        "data": images.name,
        "split": split,
        "n": n,
        "metrics": metrics,
        "protocol": {k: PROTOCOL[k] for k in metrics},
        "seconds": round(time.monotonic() - start, 2),
    }
    if keep:
        folder.write_metrics(answer)
    return answer
