"""Vectors of two numbers: points, and the curve that a one-dimensional latent space decodes to."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from latentscape.contract import Decodes, Reconstructs
from latentscape.errors import AbilityError
from latentscape.latents import encode
from latentscape.metrics import reconstruction
from latentscape.pictures import plots
from latentscape.tasks.showing.registry import Drawing, picture
from latentscape.tasks.showing.stage import MAP_POINTS, Stage


@picture
def points(stage: Stage, n: int = MAP_POINTS) -> Drawing:
    """Vectors of two numbers: the test points over their reconstructions."""
    if stage.model.shape.dims != (2,):
        raise AbilityError(f"`points` shows vectors of 2, and the data is {stage.model.shape}")
    model = stage.need(Reconstructs)
    batch = stage.examples(n)
    with torch.no_grad():
        xhat = model.reconstruct(batch.x, batch.y)
    labels = batch.y.numpy() if batch.y is not None else None
    return Drawing(
        plots.scatter(
            xhat.numpy(), labels, stage.images.label_names, background=batch.x.numpy(), xlabel="x₁", ylabel="x₂"
        ),
        "Reconstructed points",
        f"Reconstructions (coloured) of {stage.said(n)} over the points themselves (grey); mean squared error "
        f"{float(reconstruction.mse(batch.x, xhat).mean()):.5f}.",
    )


@picture
def latent_curve(stage: Stage, steps: int = 2_000, n: int = MAP_POINTS) -> Drawing:
    """What a one-dimensional latent space decodes to, over the test points; one curve per label if the model reads it.

    z runs over the range of the data's latents, with a label over that of its own examples.
    """
    if stage.model.shape.dims != (2,):
        raise AbilityError(f"`latent_curve` shows vectors of 2, and the data is {stage.model.shape}")
    stage.need(Decodes)
    z_NL, y_N = stage.latents(n)
    if z_NL.shape[1] != 1:
        raise AbilityError(f"`latent_curve` shows one latent dimension, and this model has {z_NL.shape[1]}; see `map`")
    if stage.model.needs_labels:
        assert y_N is not None
        parts = {stage.class_name(k): (z_NL[y_N == k], stage.as_label(k, steps)) for k in y_N.unique().tolist()}
    else:
        parts = {"decoded": (z_NL, None)}
    lines = {name: _curve(stage, z, steps, y) for name, (z, y) in parts.items()}
    spans = "; ".join(f"{name} z = {float(z.min()):.3g} to {float(z.max()):.3g}" for name, (z, _) in parts.items())
    return Drawing(
        plots.traces(lines, stage.examples(n).x.numpy()),
        "Decoded latent curve",
        f"The curve that {steps} codes decode to ({spans}) over {stage.said(n)} (grey).",
    )


def _curve(stage: Stage, z_N1: Tensor, steps: int, y_N: Tensor | None) -> np.ndarray:
    z = torch.linspace(float(z_N1.min()), float(z_N1.max()), steps)[:, None]
    return encode.decode_all(stage.need(Decodes), z, y_N).numpy()
