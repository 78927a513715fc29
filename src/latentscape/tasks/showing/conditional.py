"""What a label changes: maps and planes class by class, and one code decoded under every label."""

from __future__ import annotations

import torch
from torch import Tensor

from latentscape.contract import Decodes, HasPosterior, Reconstructs
from latentscape.errors import ConfigError
from latentscape.latents import walks
from latentscape.numerics import gaussian
from latentscape.pictures import plots, sheets
from latentscape.tasks.showing.latent import plane_of
from latentscape.tasks.showing.registry import Drawing, picture
from latentscape.tasks.showing.stage import MAP_POINTS, MOST_CLASSES, Stage

PANEL = 420
"""Most pixels of a class's panel."""


@picture
def class_maps(stage: Stage, n: int = MAP_POINTS) -> Drawing:
    """The latent map of all classes at once, then of each class in front of the others."""
    labels = stage.labelled()[stage.picks(n)]
    z_NL, _ = stage.latents(n)
    z_N2, xlabel, ylabel = walks.plane(z_NL)
    shown = (labels >= 0) & (labels < MOST_CLASSES)
    counts = ", ".join(f"{stage.class_name(k)} {int((labels == k).sum()):,}" for k in labels[shown].unique().tolist())
    return Drawing(
        plots.small_scatters(
            z_N2[shown].numpy(), labels[shown].numpy(), stage.images.label_names, xlabel=xlabel, ylabel=ylabel
        ),
        "Latent maps by class",
        f"Latents of {stage.said(n)}; examples by class: {counts}.",
    )


def _plane(stage: Stage) -> tuple[Tensor, tuple[int, int]]:
    """The latents' mean and the two coordinates to decode; for L = 2 nothing needs to be encoded for that."""
    if stage.need(Decodes).latent_dim == 2:
        return torch.zeros(2), (0, 1)
    z_NL, _ = stage.latents(MAP_POINTS)
    return z_NL.mean(0), walks.most_varying(z_NL)


@picture
def class_grids(stage: Stage, steps: int = 20, low: float = -2.0, high: float = 2.0) -> Drawing:
    """The latent plane over [low, high]² decoded under every label, one panel each."""
    stage.need_images()
    stage.need_labels()
    center_L, dims = _plane(stage)
    names = [stage.class_name(k) for k in range(stage.shown_classes)]
    codes = walks.lattice(center_L, dims, low, high, steps)
    panels = [
        sheets.fitted(sheets.sheet(stage.decode(codes, stage.as_label(k, len(codes))), steps, gap=0, scale=1), PANEL)
        for k in range(len(names))
    ]
    return Drawing(
        sheets.panels(panels, names, columns=5),
        "Decoded plane by class",
        f"Latent coordinates {dims[0] + 1} (to the right) and {dims[1] + 1} (upwards) over [{low:g}, {high:g}]² in "
        f"{steps}×{steps} steps, decoded under each of {len(names)} labels.",
    )


@picture
def class_grid(stage: Stage, label: int = 0, steps: int = 20, low: float = -2.0, high: float = 2.0) -> Drawing:
    """The latent plane over [low, high]² decoded under one label."""
    stage.need_images()
    stage.need_labels()
    (center_L, dims), y = _plane(stage), stage.as_label(label, steps * steps)
    return Drawing(
        plane_of(stage, center_L, dims, low, high, steps, y),
        f"Decoded plane of class {stage.class_name(label)}",
        f"Latent coordinates {dims[0] + 1} and {dims[1] + 1} over [{low:g}, {high:g}]² in {steps}×{steps} steps, "
        f"decoded as {stage.class_name(label)}.",
    )


@picture
def transfer(stage: Stage, n: int = 10) -> Drawing:
    """Test images encoded and decoded under every label: the style stays, the class changes."""
    stage.need_images()
    stage.need_labels()
    model, batch = stage.need(Reconstructs), stage.examples(n)
    classes = stage.shown_classes
    with torch.no_grad():
        z_NL = model.encode(batch.x, batch.y)
    pairs = z_NL.repeat_interleave(classes, 0), torch.arange(classes).repeat(len(z_NL))
    decoded = torch.from_numpy(stage.decode(*pairs)).unflatten(0, (len(z_NL), classes))
    original = torch.from_numpy(stage.unit(batch.x))[:, None]
    cells = torch.cat([original, decoded], 1).flatten(0, 1)
    headings = ["original", *(stage.class_name(k) for k in range(classes))]
    return Drawing(
        sheets.headed_sheet(cells.numpy(), headings),
        "Style transfer",
        f"{stage.said(n).capitalize()} at the left, encoded with {z_NL.shape[1]} latent dimensions and decoded under "
        f"each of {classes} labels.",
    )


@picture
def posterior_transfer(stage: Stage, k: int = 10, example: int = 0, label: int | None = None, seed: int = 0) -> Drawing:
    """k posterior samples of one test image decoded as another class (the next one, unless `label` says which)."""
    stage.need_images()
    stage.need_labels()
    model = stage.need(HasPosterior, "`transfer` shows models without one")
    if k < 1:
        raise ConfigError(f"k must be at least 1, got {k}")
    batch = stage.example(example)
    assert batch.y is not None  # the model needs labels
    own = int(batch.y[0])
    label = (own + 1) % stage.model.classes if label is None else stage.check_label(label)
    with torch.no_grad():
        q = model.posterior(batch.x, batch.y)
    eps = torch.randn(k, q.mean.shape[1], generator=torch.Generator().manual_seed(seed))
    z_KL = gaussian.reparameterise(q.mean, q.log_var, eps)
    rows = [
        (f"original, {stage.class_name(own)}", stage.unit(batch.x)),
        (f"samples as {stage.class_name(own)}", stage.decode(z_KL, stage.as_label(own, k))),
        (f"samples as {stage.class_name(label)}", stage.decode(z_KL, stage.as_label(label, k))),
    ]
    return Drawing(
        sheets.rows(rows),
        "Posterior samples as another class",
        f"{k} samples z from the posterior of {stage.split} image {example} ({stage.class_name(own)}; mean σ "
        f"{(0.5 * q.log_var).exp().mean():.3f}), decoded as {stage.class_name(own)} and as {stage.class_name(label)} "
        f"(seed {seed}).",
    )
