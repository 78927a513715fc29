"""How latents fill a prior that they were brought to, and what the prior's draws decode to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from latentscape.contract import Decodes, Encodes, Samples
from latentscape.errors import ConfigError
from latentscape.latents import walks
from latentscape.pictures import plots, sheets
from latentscape.tasks.showing.latent import plane_of
from latentscape.tasks.showing.registry import Drawing, picture
from latentscape.tasks.showing.stage import MAP_POINTS, Stage

PRIOR_POINTS = 10_000
"""Draws of the prior behind a map (spec row B23)."""

_NO_PRIOR = "so there is nothing to lay its latents over; `map` shows them"


@picture
def prior_map(stage: Stage, n: int = MAP_POINTS, draws: int = PRIOR_POINTS, seed: int = 0) -> Drawing:
    """Test latents, coloured by label, over draws of the model's own prior in grey.

    With more than two latent dimensions, on the two principal axes of latents and draws together.
    """
    if draws < 1:
        raise ConfigError(f"draws must be at least 1, got {draws}")
    model = stage.need(Samples, _NO_PRIOR)
    stage.need(Encodes, "so there are no latents to show")
    z_NL, y_N = stage.latents(n)
    prior_ML = model.prior(draws, torch.Generator().manual_seed(seed))
    both_N2, xlabel, ylabel = walks.plane(torch.cat([z_NL, prior_ML]))
    pixels = plots.scatter(
        both_N2[: len(z_NL)].numpy(),
        y_N.numpy() if y_N is not None else None,
        stage.images.label_names,
        background=both_N2[len(z_NL) :].numpy(),
        xlabel=xlabel,
        ylabel=ylabel,
    )
    return Drawing(
        pixels,
        "Latents over their prior",
        f"Latents of {stage.said(n)} over {draws:,} draws of the prior (grey, seed {seed}){_inside(model, z_NL)}.",
    )


def _inside(model: Any, z_NL: Tensor) -> str:
    """Which share of latents lies where the prior has mass, in words; nothing where no edge says so."""
    inside_N = getattr(model, "inside", lambda z_NL: None)(z_NL)
    return "" if inside_N is None else f"; {inside_N.double().mean():.1%} of the latents lie where the prior has mass"


@picture
def range_grid(stage: Stage, steps: int = 50, n: int = PRIOR_POINTS, label: int = 0) -> Drawing:
    """The plane that the test latents span, decoded to their outermost values; `label`: of a conditional model."""
    stage.need_images()
    stage.need(Decodes, "it has no latents to walk over")
    stage.need(Encodes, "so the plane's range is unknown; `sample` shows what it makes")
    if steps < 2:
        raise ConfigError(f"steps must be at least 2, got {steps}")
    z_NL, _ = stage.latents(n)
    dims = walks.most_varying(z_NL)
    low, high = float(z_NL[:, list(dims)].min()), float(z_NL[:, list(dims)].max())
    y_N = stage.as_label(label, steps * steps)
    under = "" if y_N is None else f" as {stage.class_name(label)}"
    return Drawing(
        plane_of(stage, z_NL.mean(0), dims, low, high, steps, y_N),
        "Decoded range of the latents",
        f"Latent coordinates {dims[0] + 1} and {dims[1] + 1} in {steps}×{steps} steps over [{low:.3g}, {high:.3g}]², "
        f"the range of the latents of {stage.said(n)}, decoded{under}.",
    )


@picture
def style_label(stage: Stage, n: int = 10, seed: int = 0) -> Drawing:
    """Styles drawn from the prior, one a row, decoded under every label; `transfer` shows test images' styles."""
    stage.need_images()
    stage.need_labels()
    model = stage.need(Samples, "`transfer` shows the styles of test images")
    if n < 1:
        raise ConfigError(f"n must be at least 1, got {n}")
    classes = stage.shown_classes
    z_NL = model.prior(n, torch.Generator().manual_seed(seed))
    decoded = stage.decode(z_NL.repeat_interleave(classes, 0), torch.arange(classes).repeat(n))
    return Drawing(
        sheets.headed_sheet(decoded, [stage.class_name(k) for k in range(classes)]),
        "Styles under every label",
        f"{n} draws of the prior over {z_NL.shape[1]} latent dimensions (seed {seed}), one a row, decoded under each "
        f"of {classes} labels.",
    )
