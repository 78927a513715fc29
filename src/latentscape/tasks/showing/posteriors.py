"""What the posterior q(z|x) holds: its moments, its bounds, and walks round one example's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentscape.contract import Decodes, HasLikelihood, HasPosterior, Posterior, Reconstructs
from latentscape.errors import AbilityError, ConfigError
from latentscape.latents import walks
from latentscape.metrics import latent
from latentscape.numerics import gaussian
from latentscape.pictures import plots, sheets
from latentscape.tasks.showing.registry import Drawing, picture
from latentscape.tasks.showing.stage import MAP_POINTS, Stage

MOST_BARS = 40
"""Most latent dimensions that get a bar of their own."""

MOST_WRITTEN = 64
"""Most latent dimensions whose moments are written into a caption."""


# ---- over a split --------------------------------------------------------------------------------------------------


def _posteriors(stage: Stage, n: int) -> Posterior:
    """q(z|x) of `picks(n)`, N×L."""
    model = stage.need(HasPosterior)
    with torch.no_grad():
        qs = [model.posterior(b.x, b.y) for b in stage.batches(n)]
    return Posterior(torch.cat([q.mean for q in qs]), torch.cat([q.log_var for q in qs]))


@picture
def posterior(stage: Stage, n: int = MAP_POINTS) -> Drawing:
    """Histograms of the posterior's means and variances."""
    q = _posteriors(stage, n)
    var = q.log_var.exp()
    # Each on its own axis: σ² lives in [0, 1] while μ spreads over several units.
    panels = [
        plots.histograms({name: values.flatten().numpy()}, bins=40, columns=1)
        for name, values in (("posterior mean μ", q.mean), ("posterior variance σ²", var))
    ]
    return Drawing(
        np.concatenate(panels, axis=1),
        "Posterior",
        f"Means (their mean magnitude {q.mean.abs().mean():.3f}) and variances (mean σ {var.sqrt().mean():.3f}) "
        f"of {stage.said(n)} in all {q.mean.shape[1]} latent dimensions.",
    )


@picture
def kl_per_dimension(stage: Stage, n: int = MAP_POINTS) -> Drawing:
    """How many nats each latent dimension carries, the most first."""
    q = _posteriors(stage, n)
    kl_L = gaussian.kl_to_standard(q.mean, q.log_var).mean(0)
    order = kl_L.argsort(descending=True)[:MOST_BARS].tolist()
    shown = "" if len(order) == len(kl_L) else f" the {len(order)} largest of"
    return Drawing(
        plots.bars({f"z{i + 1}": float(kl_L[i]) for i in order}, xlabel="KL in nats"),
        "KL per latent dimension",
        f"KL(q(z|x) ‖ N(0, 1)) of{shown} {len(kl_L)} dimensions, mean over {stage.said(n)}; in all {kl_L.sum():.2f} "
        f"nats; {latent.active_units(q.mean)} of {len(kl_L)} dimensions are active (Var(E[z|x]) above "
        f"{gaussian.ACTIVE_ABOVE:g}).",
    )


@picture
def bounds(stage: Stage, n: int = 64, samples: tuple[int, ...] = (1, 5, 50, 500), seed: int = 0) -> Drawing:
    """The ELBO (k = 1) and importance-weighted bounds on log p(x) over more and more samples (Burda et al. 2016)."""
    model = stage.need(HasPosterior)
    stage.need(HasLikelihood)
    if min(samples) < 1:
        raise ConfigError(f"samples must be at least 1 each, got {list(samples)}")
    rng = torch.Generator().manual_seed(seed)
    means, errors = {}, {}
    for k in samples:
        with torch.no_grad():
            nats = torch.cat([latent.iwae_nats(model, b.x, b.y, k, rng) for b in stage.batches(n)])
        name = "ELBO (k = 1)" if k == 1 else f"k = {k:,}"
        means[name], errors[name] = float(nats.mean()), 1.96 * float(nats.std(correction=0)) / len(nats) ** 0.5
    told = "; ".join(f"{name} {value:.2f} ± {errors[name]:.2f}" for name, value in means.items())
    return Drawing(
        plots.estimates(means, errors, xlabel="samples of the posterior", ylabel="nats per example"),
        "Bounds on the log-likelihood",
        f"Importance-weighted bounds in nats, mean over {stage.said(n)} with its 95 % interval (seed {seed}): {told}.",
    )


# ---- round one example -----------------------------------------------------------------------------------------


def _one(stage: Stage, example: int) -> tuple[Tensor, Tensor | None, Posterior]:
    """x, y and q(z|x) of one example, batches of 1."""
    stage.need_images()
    model, batch = stage.need(HasPosterior), stage.example(example)
    stage.need(Decodes)
    with torch.no_grad():
        return batch.x, batch.y, model.posterior(batch.x, batch.y)


def _read(stage: Stage, x_NX: np.ndarray) -> list[str]:
    """The label that a classifier of the same data reads off each [0, 1] picture; nothing for data without labels."""
    if not stage.images.classes:
        return [""] * len(x_NX)
    from latentscape.tasks import classify  # trains a classifier when there is none yet

    reader: Any = classify.reader(stage.images)
    with torch.no_grad():
        found = reader.classify(classify.inputs_for(reader, torch.from_numpy(x_NX), "unit")).argmax(1)
    return [stage.class_name(k) for k in found.tolist()]


def _labels(stage: Stage, y_1: Tensor | None, n: int) -> Tensor | None:
    return None if y_1 is None or not stage.model.needs_labels else y_1.repeat(n)


def _readings(stage: Stage, before: str = " Below each picture: ") -> str:
    """What a caption says of the titles that `_read` gives; nothing where it gives none."""
    return f"{before}the label that a classifier reads." if stage.images.classes else ""


def _most_active(stage: Stage) -> Tensor:
    """Latent dimensions, the one with the largest Var(E[z|x]) first."""
    return gaussian.variance_of_means(stage.latents(MAP_POINTS)[0]).argsort(descending=True)


def _check_coordinate(coordinate: int, size: int) -> int:
    """A coordinate counted from 1, as pictures name them, to its index."""
    if not 1 <= coordinate <= size:
        raise ConfigError(f"a coordinate must be 1 to {size}, the latent dimensions, got {coordinate}")
    return coordinate - 1


@picture
def one_image(stage: Stage, example: int = 0, seed: int = 0) -> Drawing:
    """One test image: its μ and σ, its reconstruction, a posterior sample, and z with U[0, 1) added everywhere."""
    x, y, q = _one(stage, example)
    rng, std = torch.Generator().manual_seed(seed), (0.5 * q.log_var).exp()
    sample = gaussian.reparameterise(q.mean, q.log_var, torch.randn(q.mean.shape, generator=rng))
    codes = torch.cat([q.mean, sample, q.mean + torch.rand(q.mean.shape, generator=rng)])
    pictures = np.concatenate([stage.unit(x), stage.decode(codes, _labels(stage, y, 3))])
    kinds = ("original", "reconstruction", "posterior sample", "z + U[0, 1)")
    read = [f": {r}" if r else "" for r in _read(stage, pictures)]
    above = sheets.titled_sheet(pictures, [k + r for k, r in zip(kinds, read, strict=True)], columns=4)
    below = plots.columns(q.mean[0].numpy(), errors=std[0].numpy(), xlabel="latent dimension", ylabel="μ ± σ")
    return Drawing(
        sheets.stacked([above, below]),
        "One image through the model",
        f"{stage.split.capitalize()} image {example}.{_readings(stage)} μ = {_written(q.mean[0])}; "
        f"σ = {_written(std[0])}.",
    )


def _written(values_L: Tensor) -> str:
    text = ", ".join(f"{v:.2f}" for v in values_L[:MOST_WRITTEN].tolist()).replace("-", "−")
    return f"[{text}{', …' if len(values_L) > MOST_WRITTEN else ''}]"


@picture
def coordinate_sweep(
    stage: Stage, example: int = 0, coordinate: int | None = None, steps: int = 20, reach: float = 3.0
) -> Drawing:
    """One latent coordinate of a test image over μ ± reach·σ, decoded; coordinate: from 1, unset: the most active."""
    _, y, q = _one(stage, example)
    size = q.mean.shape[1]
    dim = int(_most_active(stage)[0]) if coordinate is None else _check_coordinate(coordinate, size)
    mean, std = float(q.mean[0, dim]), float((0.5 * q.log_var[0, dim]).exp())
    low, high = mean - reach * std, mean + reach * std
    codes = walks.sweep(q.mean[0], dim, low, high, steps)
    x = stage.decode(codes, _labels(stage, y, steps))
    read = [f": {label}" if label else "" for label in _read(stage, x)]
    titles = [f"{z:.2f}".replace("-", "−") + r for z, r in zip(codes[:, dim].tolist(), read, strict=True)]
    return Drawing(
        sheets.titled_sheet(x, titles, columns=5),
        "One coordinate",
        f"z{dim + 1} of {stage.split} image {example} over {steps} values of μ ± {reach:g}σ = {mean:.3f} ± {reach:g}·"
        f"{std:.3f}, row by row; the other {size - 1} coordinates stay at μ. Below each picture its "
        f"value{_readings(stage, ' and ') or '.'}",
    )


@picture
def plane_sweep(
    stage: Stage,
    example: int = 0,
    coordinates: tuple[int, int] | None = None,
    steps: int = 5,
    low: float = -100.0,
    high: float = 100.0,
) -> Drawing:
    """Two latent coordinates of a test image over [low, high]², decoded; unset: the two most active."""
    _, y, q = _one(stage, example)
    size = q.mean.shape[1]
    if size < 2:
        raise AbilityError("a plane needs at least two latent dimensions, and this model has one; see coordinate_sweep")
    first, second = (
        _most_active(stage)[:2].tolist() if coordinates is None else [_check_coordinate(c, size) for c in coordinates]
    )
    codes = walks.lattice(q.mean[0], (first, second), low, high, steps)
    x = stage.decode(codes, _labels(stage, y, len(codes)))
    return Drawing(
        sheets.titled_sheet(x, _read(stage, x), columns=steps),
        "Two coordinates",
        f"z{first + 1} (to the right) and z{second + 1} (upwards) of {stage.split} image {example} over "
        f"{steps}×{steps} values of [{low:g}, {high:g}]; the other {size - 2} coordinates stay at μ.{_readings(stage)}",
    )


@picture
def factor_sweep(stage: Stage, rows: int = 8, columns: int = 11, reach: float = 2.5, example: int = 0) -> Drawing:
    """The most active latent dimensions, one row each, from -reach to reach, the others at a test image's code."""
    stage.need_images()
    model = stage.need(Reconstructs)
    batch, z_NL = stage.example(example), stage.latents(MAP_POINTS)[0]
    activity = gaussian.variance_of_means(z_NL)
    order = activity.argsort(descending=True)[:rows].tolist()
    with torch.no_grad():
        center = model.encode(batch.x, batch.y)[0]
    y = _labels(stage, batch.y, columns)
    entries = [(f"z{i + 1}", stage.decode(walks.sweep(center, i, -reach, reach, columns), y)) for i in order]
    told = ", ".join(f"z{i + 1} {activity[i]:.3f}" for i in order)
    return Drawing(
        sheets.rows(entries),
        "Latent dimensions one by one",
        f"Each row moves one dimension from −{reach:g} to {reach:g}, the others stay at the code of {stage.split} "
        f"image {example}; the most active of {len(activity)} dimensions first, by the variance of their values for "
        f"{stage.said(MAP_POINTS)}: {told}.",
    )
