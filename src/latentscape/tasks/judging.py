"""Measures of what a model makes: its samples beside real images, in chosen features and the eyes of a classifier."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from latentscape.contract import Decodes, Encodes, Model, Reconstructs, Samples, require
from latentscape.data import ImageSet
from latentscape.data.batches import Gatherer, in_order
from latentscape.errors import ConfigError, RunError
from latentscape.latents import encode, priors
from latentscape.metrics import copies, difference, frechet, kernel, manifold, shares, sharpness
from latentscape.tasks import classify, features
from latentscape.tasks.features import Features
from latentscape.tasks.training import Console, Silent

BATCH = 500
"""Examples decoded and read at once."""

PRIOR_FIT = 10_000
"""Training latents that a Gaussian is fitted to; other priors take as many as they can use."""

PRIORS = ("auto", "own", *priors.KINDS)
"""What samples are drawn from; auto: the model's own prior, else a full Gaussian fitted to its training latents."""

TRANSFERS = 10_000
"""Pictures decoded under labels not their own."""

NEAR = 10_000
"""Most examples of a set whose neighbours are looked for: the time is that of all pairs."""

PIXELS = 32
"""Side to which larger pictures are averaged before neighbours are looked for in pixels."""


@dataclass(frozen=True, slots=True)
class How:
    """What is asked of a judgement: a classifier's run, `features.KINDS`, Inception's weights, and `PRIORS`."""

    classifier: Path | str | None = None
    features: str = "auto"
    inception_weights: Path | str | None = None
    prior: str = "auto"


@dataclass(frozen=True, slots=True)
class Seen:
    """N examples as they are compared, on the CPU: features N×F, pixels N×P, sharpness N (None: no pictures)."""

    features: Tensor
    pixels: Tensor
    sharpness: Tensor | None


@dataclass(frozen=True, slots=True)
class Reader:
    """A classifier on the device, and the value range of the model whose pictures it reads."""

    model: Any
    value_range: Any

    def features(self, x_BX: Tensor, y_B: Tensor | None) -> Tensor:
        """B×F, before the last layer; labels are not looked at."""
        return self.model.features(classify.inputs_for(self.model, x_BX.float(), self.value_range))

    def classes(self, x_BX: Tensor) -> Tensor:
        """The class it reads in each example of the judged model's value range, B, on the CPU."""
        return self.model.classify(classify.inputs_for(self.model, x_BX.float(), self.value_range)).argmax(1).cpu()


@torch.no_grad()
def judge(
    model: Model,
    name: str,
    images: ImageSet,
    split: str,
    samples: int,
    device: torch.device,
    how: How | None = None,
    *,
    console: Console | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metrics of `samples` draws of a prior, and what belongs beside them: counts, prior, features, intervals, …

    Sets compare equally many samples, images of the split and images of another part: as many as the smallest of the
    three has. Classes are read where the set has labels or a classifier is given. `AbilityError` for a model that makes
    nothing, `ConfigError` where too few are compared or what is asked cannot be, `RunError` for samples not finite.
    """
    console, how = console or Silent(), how or How()
    require(model, Decodes, name, "it makes nothing that samples could be drawn from; leave --samples out")
    other, n = _counts(images, split, samples)
    reads = how.classifier is not None or _has_labels(images)
    kind = features.check(how.features, how.inception_weights, labelled=reads)
    z_NL, prior = _codes(model, name, images, samples, device, how.prior, console)
    folder = None
    if reads or kind == "classifier":
        folder = classify.reader_run(images, console=console, classifier=how.classifier)
    console.say(f"Drawing {samples:,} samples and judging them.")
    reader = Reader(folder.load_model().to(device), model.value_range) if folder else None
    chosen = _features(kind, reader, folder, model, name, images, device, how.inception_weights)
    y_N = _labels(images, samples, device) if model.needs_labels else None
    compared, classes_N = _samples_seen(model, z_NL, y_N, n, chosen, reader)
    metrics, intervals = _compared(model, images, split, other, compared, chosen, device)
    if folder is not None and reader is not None and classes_N is not None:
        more, reach = _read(model, reader, images, split, classes_N, y_N, classify.label_names(folder), device)
        metrics |= more
        intervals |= reach
    about = {
        "samples": {"drawn": samples, "compared": n, "neighbours": min(n, NEAR), "prior": prior},
        "features": {"kind": chosen.kind, "name": chosen.said, "size": compared.features.shape[1]},
        "classifier": classify.card(folder, images, split) if folder is not None else None,
        "intervals": intervals,
        "warnings": list(_warnings(metrics, intervals)),
    }
    return metrics, {name: value for name, value in about.items() if value is not None}


# ---- what is compared ------------------------------------------------------------------------------------------


def _has_labels(images: ImageSet) -> bool:
    """Whether a classifier can be trained on the set."""
    return images.labels is not None and bool((images.labels[images.split == 0] >= 0).any())


def _features(
    kind: str,
    reader: Reader | None,
    folder: Any,
    model: Model,
    name: str,
    images: ImageSet,
    device: torch.device,
    weights: Path | str | None,
) -> Features:
    if kind != "classifier":
        return features.make(kind, model, name, images, device, weights)
    assert reader is not None
    return Features(kind, f"the classifier in {folder.path}", reader.features)


def _counts(images: ImageSet, split: str, samples: int) -> tuple[str, int]:
    """The part that stands for samples when real is compared with real ("" if none), and how many are compared."""
    sizes = images.sizes()
    candidates = {"all": (), "train": ("test", "valid")}.get(split, ("train",))
    other = next((part for part in candidates if sizes[part]), "")
    n = min(samples, len(images.indices(split)), *([sizes[other]] if other else []))
    if n <= manifold.DENSE_NEIGHBOURS:
        raise ConfigError(
            f"--samples must be at least {manifold.DENSE_NEIGHBOURS + 1}, beside as many {split} images; there would "
            f"be {n}"
        )
    return other, n


def _some(
    images: ImageSet, split: str, n: int, value_range: Any, device: torch.device
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """n examples of a split, drawn without regard to their order (folders list class after class), seed 0."""
    source = Gatherer(images, split, value_range, device)
    picks = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:n]
    return ((batch.x, batch.y) for batch in in_order(source, BATCH, picks=picks))


def _seen(model: Model, batches: Iterable[tuple[Tensor, Tensor | None]], chosen: Features) -> Seen:
    """Examples in the model's value range, batch by batch, so that no large picture is kept."""
    found, small, sharp = [], [], []
    for x_BX, y_B in batches:
        found.append(chosen.of(x_BX, y_B).float().cpu())
        pixels = features.pixels_of(x_BX, model)
        small.append(_small(pixels).cpu())
        if sharpness.can_measure(model.shape.dims):
            sharp.append(sharpness.laplacian_variance(pixels).cpu().double())
    features_NF = torch.cat(found)
    if not features_NF.isfinite().all():
        raise RunError("the model makes samples that are not finite numbers, which cannot be judged; train it anew")
    return Seen(features_NF, torch.cat(small), torch.cat(sharp) if sharp else None)


def _small(x_BX: Tensor) -> Tensor:
    """Pixels in rows, of pictures brought to `PIXELS` a side at most; vectors as they are."""
    if x_BX.dim() == 4 and max(x_BX.shape[2:]) > PIXELS:
        shrunk = PIXELS / max(x_BX.shape[2:])
        height, width = (max(1, round(side * shrunk)) for side in x_BX.shape[2:])
        x_BX = F.adaptive_avg_pool2d(x_BX, (height, width))
    return x_BX.flatten(1)


def _samples_seen(
    model: Model, z_NL: Tensor, y_N: Tensor | None, n: int, chosen: Features, reader: Reader | None
) -> tuple[Seen, Tensor | None]:
    """The first n samples as they are compared, and the classes read in all of them."""
    classes: list[Tensor] = []

    def first_n() -> Iterator[tuple[Tensor, Tensor | None]]:
        for start, (x_BX, y_B) in zip(range(0, len(z_NL), BATCH), _decoded(model, z_NL, y_N), strict=True):
            if reader is not None:
                classes.append(reader.classes(x_BX))
            if start < n:
                yield x_BX[: n - start], y_B[: n - start] if y_B is not None else None

    seen = _seen(model, first_n(), chosen)
    return seen, torch.cat(classes) if classes else None


def _decoded(model: Any, z_NL: Tensor, y_N: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    for start in range(0, len(z_NL), BATCH):
        y_B = y_N[start : start + BATCH] if y_N is not None else None
        yield model.decode(z_NL[start : start + BATCH], y_B), y_B


# ---- where samples come from -----------------------------------------------------------------------------------


def _codes(
    model: Model, name: str, images: ImageSet, n: int, device: torch.device, prior: str, console: Console
) -> tuple[Tensor, str]:
    """n latents and where they are from: the model's own prior, or one fitted to its training latents."""
    if prior not in PRIORS:
        raise ConfigError(f"--prior must be one of {', '.join(PRIORS)}, got {prior!r}")
    if prior == "own" or (prior == "auto" and isinstance(model, Samples)):
        instead = f"draw from one fitted to its training latents, --prior {', '.join(priors.KINDS)}"
        own = require(model, Samples, name, instead)
        return own.prior(n, torch.Generator(device).manual_seed(0)), "the model's own prior"
    encoder = require(model, Encodes, name, "and no prior, so that there is nothing to draw samples from")
    kind = "full" if prior == "auto" else prior
    train = Gatherer(images, "train", model.value_range, device)
    most = PRIOR_FIT if kind in ("full", "diagonal") else priors.Budget().latents
    z_NL, _ = encode.encode_all(encoder, in_order(train, BATCH, picks=spread(train.y, len(train), most)))
    drawn = priors.fit(kind, z_NL, report=console.say).sample(n, torch.Generator().manual_seed(0))
    return drawn.to(device), f"{priors.WORDS[kind]} fitted to {len(z_NL):,} training latents"


def spread(y_N: Tensor | None, size: int, most: int) -> Tensor:
    """At most so many positions of a part: the first, or evenly spaced ones where its labels come in blocks.

    Class folders are listed one after the other, so that the first examples of a part would be of one class.
    """
    if size <= most:
        return torch.arange(size)
    in_blocks = y_N is not None and int((y_N[1:] != y_N[:-1]).sum()) <= int(y_N.max()) + 1
    return torch.arange(most) * size // most if in_blocks else torch.arange(most)


def _labels(images: ImageSet, n: int, device: torch.device) -> Tensor:
    """n labels with the frequencies of the training part, seed 0."""
    assert images.labels is not None
    y_train = images.labels[images.indices("train")]
    shares_K = torch.bincount(y_train[y_train >= 0], minlength=images.classes).double()
    return torch.multinomial(shares_K, n, True, generator=torch.Generator().manual_seed(0)).to(device)


# ---- comparing -------------------------------------------------------------------------------------------------


Figures = tuple[dict[str, Any], dict[str, shares.Interval]]
"""Metrics, and the intervals of those that have one."""


def _compared(
    model: Model, images: ImageSet, split: str, other: str, fake: Seen, chosen: Features, device: torch.device
) -> Figures:
    """All that is measured on sets: samples beside images of the split, and another part's in their place."""
    n = len(fake.features)

    def part(name: str) -> Seen:
        return _seen(model, _some(images, name, n, model.value_range, device), chosen)

    real, further = part(split), part(other) if other else None
    metrics, intervals = _sharp(fake, real)
    beside = _near(real)
    for seen, suffix in ((fake, ""), (further, "_floor")):
        if seen is not None:
            near = _near(seen)
            for found in (_distances(real, seen), _overlap(beside, near), _duplicates(beside, near)):
                metrics |= {f"{name}{suffix}": value for name, value in found[0].items()}
                intervals |= {f"{name}{suffix}": reach for name, reach in found[1].items()}
    if further is not None:
        train, held_out = (real, further) if split == "train" else (further, real)
        copied = copies.memorised(*(seen.pixels[:NEAR] for seen in (fake, train, held_out)))
        metrics["memorised_fraction"] = copied.share
        intervals["memorised_fraction"] = shares.around(copied.share, copied.deviation, 0.0, 1.0)
    return metrics, intervals


def _distances(real: Seen, fake: Seen) -> Figures:
    fid = frechet.distance(real.features, fake.features)
    reach = shares.around(fid, frechet.deviation(real.features, fake.features), 0.0)
    blocks_B = kernel.distances(real.features, fake.features)
    kid = {"kid": float(blocks_B.mean())}
    return {"fid": fid} | kid, {"fid": reach, "kid": difference.mean_interval(blocks_B.tolist())}


@dataclass(frozen=True, slots=True)
class Near:
    """The region of at most `NEAR` examples in features, and each one's squared distance to its nearest in pixels."""

    region: manifold.Region
    pixels_N: Tensor


def _near(seen: Seen) -> Near:
    return Near(manifold.region(seen.features[:NEAR]), copies.nearest_others(seen.pixels[:NEAR]))


def _overlap(real: Near, fake: Near) -> Figures:
    found = manifold.overlap(real.region, fake.region)
    each = {"precision": found.precise_M, "recall": found.recalled_N, "coverage": found.covered_N}
    metrics = {name: float(of_N.double().mean()) for name, of_N in each.items()}
    intervals = {name: shares.wilson(metrics[name], len(of_N)) for name, of_N in each.items()}
    metrics["density"] = float(found.density_M.mean())
    intervals["density"] = _mean_interval(found.density_M)
    return metrics, intervals


def _duplicates(real: Near, fake: Near) -> Figures:
    twice_M = copies.duplicates((fake.region.nearest_N, fake.pixels_N), (real.region.nearest_N, real.pixels_N))
    share = float(twice_M.double().mean())
    return {"duplicate_fraction": share}, {"duplicate_fraction": shares.wilson(share, len(twice_M))}


def _sharp(fake: Seen, real: Seen) -> Figures:
    each = {"sharpness": fake.sharpness, "sharpness_real": real.sharpness}
    found = {name: of_N for name, of_N in each.items() if of_N is not None}
    return {name: float(of_N.mean()) for name, of_N in found.items()}, {
        name: _mean_interval(of_N) for name, of_N in found.items()
    }


def _mean_interval(values_N: Tensor) -> shares.Interval:
    return difference.percentile_interval(difference.resampled_means(values_N[:, None], 1_000)[:, 0])


def _warnings(metrics: dict[str, Any], intervals: dict[str, shares.Interval]) -> Iterator[str]:
    """Sentences on figures that chance does not explain."""
    copied = metrics.get("memorised_fraction", 0.5)
    if copied > 0.5 and intervals["memorised_fraction"][0] > 0.5:
        yield (
            f"{copied:.1%} of samples lie nearer to a training image than to any of as many held-out ones, where 50 % "
            "are expected: the model repeats images that it was trained on; train it for less time or on more images"
        )
    twice, usual = metrics["duplicate_fraction"], intervals.get("duplicate_fraction_floor", (0.0, 0.01))[1]
    if intervals["duplicate_fraction"][0] > max(usual, 0.01):
        yield (
            f"{twice:.1%} of samples nearly equal another one, as real images hardly ever do: the model makes few "
            "different pictures; look at more of its samples"
        )


# ---- reading ---------------------------------------------------------------------------------------------------


def _read(
    model: Model,
    reader: Reader,
    images: ImageSet,
    split: str,
    classes_N: Tensor,
    y_N: Tensor | None,
    names: tuple[str, ...],
    device: torch.device,
) -> Figures:
    """What the classifier reads in samples, and how often that is what was asked for."""
    counts_K = torch.bincount(classes_N, minlength=len(names)).tolist()
    histogram = {name: count / len(classes_N) for name, count in zip(names, counts_K, strict=True)}
    metrics: dict[str, Any] = {"class_histogram": histogram, "modes": sum(count > 0 for count in counts_K)}
    intervals: dict[str, shares.Interval] = {}
    if y_N is not None:
        agrees = float((classes_N == y_N.cpu()).double().mean())
        metrics["label_agreement"], intervals["label_agreement"] = agrees, shares.wilson(agrees, len(classes_N))
        if isinstance(model, Reconstructs) and model.classes > 1:
            right_N = _transfers(model, reader, images, split, device)
            if len(right_N):
                metrics["transfer_agreement"] = float(right_N.mean())
            if len(right_N) > 1:
                intervals["transfer_agreement"] = _mean_interval(right_N)
    return metrics, intervals


def _transfers(model: Any, reader: Reader, images: ImageSet, split: str, device: torch.device) -> Tensor:
    """Images encoded with their own label, decoded under every other: share of them read as asked, per image."""
    source = Gatherer(images, split, model.value_range, device)
    assert source.y is not None
    labelled = torch.nonzero(source.y.cpu() >= 0).flatten()
    order = torch.randperm(len(labelled), generator=torch.Generator().manual_seed(0))
    picks, others = labelled[order[: max(1, TRANSFERS // (model.classes - 1))]], model.classes - 1
    right = [torch.zeros(0, dtype=torch.float64)]
    if not len(picks):
        return right[0]
    for batch in in_order(source, max(1, BATCH // others), picks=picks):
        assert batch.y is not None
        z_BL = model.encode(batch.x, batch.y)
        away = torch.arange(1, model.classes, device=device).repeat(len(batch.x))  # 1…K−1 classes on, for each image
        asked_N = (batch.y.repeat_interleave(others) + away) % model.classes
        made = _decoded(model, z_BL.repeat_interleave(others, 0), asked_N)
        found_N = torch.cat([reader.classes(x_BX) for x_BX, _ in made])
        right.append((found_N == asked_N.cpu()).view(-1, others).double().mean(1))
    return torch.cat(right)
