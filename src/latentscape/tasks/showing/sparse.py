"""How active the units of a sparse code are, and what penalties ask of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from latentscape.contract import Encodes
from latentscape.errors import ConfigError
from latentscape.numerics import sparsity
from latentscape.pictures import plots
from latentscape.tasks.showing.registry import Drawing, picture
from latentscape.tasks.showing.stage import MAP_POINTS, MOST_CLASSES, Stage

NEARLY_DEAD = 0.01
"""A unit whose mean activation over the split is below this is nearly dead."""


def _activations(stage: Stage, n: int) -> tuple[Tensor, Tensor | None]:
    """a_NL in [0, 1] and labels."""
    stage.need(Encodes)
    read: Callable[[Tensor], Tensor] = stage.need_method("activations", "activations", "sparse-autoencoder has")
    z_NL, y_N = stage.latents(n)
    return read(z_NL), y_N


def near_square(values_L: Tensor) -> np.ndarray:
    """A vector as a map of about as many rows as columns, row by row; what is left of the last row is not a number."""
    size = len(values_L)
    columns = math.ceil(math.sqrt(size))
    rows = math.ceil(size / columns)
    padded = np.full(rows * columns, np.nan)
    padded[:size] = values_L.numpy()
    return padded.reshape(rows, columns)


@picture
def activations_by_class(stage: Stage, n: int = 10_000, high: float = 0.5) -> Drawing:
    """Mean activation of every unit, one map per class, all on the scale 0 … high."""
    a_NL, _ = _activations(stage, n)
    y_N = stage.labelled()[stage.picks(n)]
    classes = [k for k in y_N.unique().tolist() if k >= 0][:MOST_CLASSES]
    means = [a_NL[y_N == k].mean(0) for k in classes]
    pixels = plots.heatmaps(
        np.stack([near_square(m) for m in means]),
        [stage.class_name(k) for k in classes],
        low=0,
        high=high,
        columns=5,
        quantity="mean activation",
    )
    apart = float(torch.stack(means).std(0).mean())
    return Drawing(
        pixels,
        "Mean activation by class",
        f"Mean activation of each of the {a_NL.shape[1]} units over the examples of each class, of {stage.said(n)}; "
        f"overall mean {a_NL.mean():.4f}, mean standard deviation between classes {apart:.4f}.",
    )


@picture
def activation_histograms(stage: Stage, n: int = 10_000, bins: int = 10) -> Drawing:
    """Shares of activations and of the units' mean activations."""
    a_NL, _ = _activations(stage, n)
    mean_L = a_NL.mean(0)
    panels = [
        plots.histograms({name: values.numpy()}, bins=bins, span=span, columns=1)
        for name, values, span in (
            ("all activations", a_NL.flatten(), (0.0, 1.0)),
            ("mean of each unit", mean_L, (0.0, max(float(mean_L.max()), NEARLY_DEAD))),
        )
    ]
    dead = float((mean_L < NEARLY_DEAD).float().mean())
    return Drawing(
        np.concatenate(panels, axis=1),
        "Activations",
        f"Activations of {a_NL.shape[1]} units over {stage.said(n)}: mean {a_NL.mean():.4f}; {dead:.1%} of the units "
        f"are nearly dead (their mean is below {NEARLY_DEAD:g}).",
    )


@picture
def penalties(stage: Stage, rho: float = 0.1) -> Drawing:
    """What the KL, L1 and L2 penalties cost at every mean activation q, when ρ is asked for; needs no model."""
    if not 0 < rho < 1:
        raise ConfigError(f"rho must lie between 0 and 1, got {rho:g}")
    q = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    kl = sparsity.bernoulli_kl(rho, q)
    series = {"KL(ρ‖q) in nats": kl, "L1: |q − ρ|": (q - rho).abs(), "L2: (q − ρ)²": (q - rho).square()}
    pixels = plots.curves({k: (q.numpy(), v.numpy()) for k, v in series.items()}, xlabel="mean activation q")
    return Drawing(
        pixels,
        "Sparsity penalties",
        f"KL between Bernoullis, L1 and L2 round ρ = {rho:g} for q from 0.001 to 0.999. All are 0 at ρ; at q = 0.001 "
        f"the KL is {kl[0]:.3g} and at q = 0.999 {kl[-1]:.3g} nats, where L1 is {abs(0.999 - rho):.3g} and L2 "
        f"{(0.999 - rho) ** 2:.3g}.",
    )


@picture
def latent_scale(stage: Stage, n: int = MAP_POINTS) -> Drawing:
    """How large the latents' coordinates are: penalties on z itself shrink this and little else."""
    z_NL, _ = stage.latents(n)
    size = z_NL.abs().flatten().numpy()
    high = float(np.quantile(size, 0.999)) or 1.0
    return Drawing(
        plots.histograms({"|z|": size}, bins=40, span=(0.0, high)),
        "Size of the latents",
        f"Magnitude of all {z_NL.shape[1]} coordinates of the latents of {stage.said(n)}: mean |z| "
        f"{z_NL.abs().mean():.4g}, mean z² {z_NL.square().mean():.4g}.",
    )
