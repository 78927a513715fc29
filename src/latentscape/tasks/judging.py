"""Measures of what a model makes: its samples beside real images, in the features and the eyes of a classifier."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentscape.contract import Decodes, Encodes, Model, Reconstructs, Samples, require
from latentscape.data import ImageSet
from latentscape.data.batches import Gatherer, in_order
from latentscape.errors import ConfigError
from latentscape.latents import encode, priors
from latentscape.metrics import frechet, manifold
from latentscape.tasks import classify
from latentscape.tasks.training import Console, Silent

BATCH = 500
"""Examples decoded and read at once."""

PRIOR_FIT = 10_000
"""Training latents that a prior is fitted to, for a model that has none of its own."""

TRANSFERS = 10_000
"""Pictures decoded under labels not their own."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a classifier makes of N examples: features N×F and the class it reads in each, N, on the CPU."""

    features: Tensor
    classes: Tensor


@dataclass(frozen=True, slots=True)
class Reader:
    """A classifier on the device, and the value range of the model whose pictures it reads."""

    model: Any
    value_range: Any

    @torch.no_grad()
    def read(self, batches: Iterable[Tensor]) -> Reading:
        """Examples in the judged model's value range, batch by batch, so that no picture is kept."""
        features, classes = [], []
        for x_BX in batches:
            x_BX = classify.inputs_for(self.model, x_BX.float(), self.value_range)
            features.append(self.model.features(x_BX).float().cpu())
            classes.append(self.model.classify(x_BX).argmax(1).cpu())
        return Reading(torch.cat(features), torch.cat(classes))


@torch.no_grad()
def judge(
    model: Model,
    name: str,
    images: ImageSet,
    split: str,
    samples: int,
    device: torch.device,
    *,
    console: Console | None = None,
    classifier: Path | str | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metrics of `samples` draws of the model's prior, and what belongs beside them: counts, prior, classifier.

    Feature distances compare equally many samples, images of the split and images of another part: as many as the
    smallest of the three has. `AbilityError` for a model that makes nothing, `ConfigError` where too few are compared.
    """
    console = console or Silent()
    require(model, Decodes, name, "it makes nothing that samples could be drawn from; leave --samples out")
    other, n = _counts(images, split, samples)
    folder = classify.reader_run(images, console=console, classifier=classifier)
    console.say(f"Drawing {samples:,} samples and reading them.")
    read = Reader(folder.load_model().to(device), model.value_range)
    rng = torch.Generator(device).manual_seed(0)
    z_NL, prior = _codes(model, name, images, samples, rng, device)
    y_N = _labels(images, samples, device) if model.needs_labels else None
    fakes = read.read(_decoded(model, z_NL, y_N))
    metrics: dict[str, Any] = dict(_distances(read, images, split, other, fakes.features[:n], device))
    metrics["class_histogram"] = _histogram(fakes.classes, classify.label_names(folder))
    if y_N is not None:
        metrics["label_agreement"] = float((fakes.classes == y_N.cpu()).double().mean())
        if isinstance(model, Reconstructs) and model.classes > 1:
            metrics |= _transfers(model, read, images, split, device)
    about = {
        "samples": {"drawn": samples, "compared": n, "prior": prior},
        "classifier": classify.card(folder, images, split),
    }
    return metrics, about


def _counts(images: ImageSet, split: str, samples: int) -> tuple[str, int]:
    """The part that stands for samples when real is compared with real ("" if none), and how many are compared."""
    sizes = images.sizes()
    candidates = {"all": (), "train": ("test", "valid")}.get(split, ("train",))
    other = next((part for part in candidates if sizes[part]), "")
    n = min(samples, len(images.indices(split)), *([sizes[other]] if other else []))
    if n <= manifold.NEIGHBOURS:
        raise ConfigError(
            f"--samples must be at least {manifold.NEIGHBOURS + 1}, beside as many {split} images; there would be {n}"
        )
    return other, n


def _some(images: ImageSet, split: str, n: int, value_range: Any, device: torch.device) -> Iterator[Tensor]:
    """n examples of a split, drawn without regard to their order (folders list class after class), seed 0."""
    source = Gatherer(images, split, value_range, device)
    picks = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:n]
    return (batch.x for batch in in_order(source, BATCH, picks=picks))


def _distances(
    read: Reader, images: ImageSet, split: str, other: str, fakes_NF: Tensor, device: torch.device
) -> dict[str, float]:
    n = len(fakes_NF)
    real_NF = read.read(_some(images, split, n, read.value_range, device)).features
    metrics = _against(real_NF, fakes_NF, "")
    if other:
        metrics |= _against(real_NF, read.read(_some(images, other, n, read.value_range, device)).features, "_floor")
    return metrics


def _against(real_NF: Tensor, fakes_NF: Tensor, suffix: str) -> dict[str, float]:
    precision, recall = manifold.precision_recall(real_NF, fakes_NF)
    distance = frechet.distance(real_NF, fakes_NF)
    return {f"fid{suffix}": distance, f"precision{suffix}": precision, f"recall{suffix}": recall}


def _codes(
    model: Model, name: str, images: ImageSet, n: int, rng: torch.Generator, device: torch.device
) -> tuple[Tensor, str]:
    """n latents and where they are from: the model's own prior, else a Gaussian fitted to its training latents."""
    if isinstance(model, Samples):
        return model.prior(n, rng), "the model's own prior"
    encoder = require(model, Encodes, name, "and no prior, so that there is nothing to draw samples from")
    train = Gatherer(images, "train", model.value_range, device)
    z_NL, _ = encode.encode_all(encoder, in_order(train, BATCH, PRIOR_FIT))
    drawn = priors.fit_gaussian(z_NL).sample(n, torch.Generator().manual_seed(0))
    return drawn.to(device), f"a full Gaussian fitted to {len(z_NL):,} training latents"


def _labels(images: ImageSet, n: int, device: torch.device) -> Tensor:
    """n labels with the frequencies of the training part, seed 0."""
    assert images.labels is not None
    y_train = images.labels[images.indices("train")]
    shares_K = torch.bincount(y_train[y_train >= 0], minlength=images.classes).double()
    return torch.multinomial(shares_K, n, True, generator=torch.Generator().manual_seed(0)).to(device)


def _decoded(model: Any, z_NL: Tensor, y_N: Tensor | None) -> Iterator[Tensor]:
    for start in range(0, len(z_NL), BATCH):
        y_B = y_N[start : start + BATCH] if y_N is not None else None
        yield model.decode(z_NL[start : start + BATCH], y_B)


def _histogram(classes_N: Tensor, names: tuple[str, ...]) -> dict[str, float]:
    counts_K = torch.bincount(classes_N, minlength=len(names))
    return {name: count / len(classes_N) for name, count in zip(names, counts_K.tolist(), strict=True)}


def _transfers(model: Any, read: Reader, images: ImageSet, split: str, device: torch.device) -> dict[str, float]:
    """Images encoded with their own label and decoded under every other one: how often the asked one is read."""
    source = Gatherer(images, split, model.value_range, device)
    assert source.y is not None
    labelled = torch.nonzero(source.y.cpu() >= 0).flatten()
    order = torch.randperm(len(labelled), generator=torch.Generator().manual_seed(0))
    picks = labelled[order[: max(1, TRANSFERS // (model.classes - 1))]]
    if not len(picks):
        return {}
    right = count = 0
    for batch in in_order(source, max(1, BATCH // (model.classes - 1)), picks=picks):
        assert batch.y is not None
        z_BL = model.encode(batch.x, batch.y)
        away = torch.arange(1, model.classes, device=device).repeat(len(batch.x))  # 1…K−1 classes on, for each image
        asked_N = (batch.y.repeat_interleave(model.classes - 1) + away) % model.classes
        made = read.read(_decoded(model, z_BL.repeat_interleave(model.classes - 1, 0), asked_N))
        right += int((made.classes == asked_N.cpu()).sum())
        count += len(asked_N)
    return {"transfer_agreement": right / count}
