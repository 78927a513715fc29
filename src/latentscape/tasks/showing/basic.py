"""Reconstructions, samples, interpolation: what every autoencoder or generator shows first."""

from __future__ import annotations

import torch
from torch import Tensor

from latentscape.contract import Decodes, Reconstructs
from latentscape.errors import DataError
from latentscape.metrics import reconstruction
from latentscape.numerics import paths
from latentscape.pictures import sheets
from latentscape.tasks.showing.registry import Drawing, picture
from latentscape.tasks.showing.stage import Stage, prior_codes


@picture
def reconstructions(stage: Stage, n: int = 10) -> Drawing:
    """Originals above their reconstructions."""
    stage.need_images()
    model = stage.need(Reconstructs, "it has nothing to reconstruct with; `sample` shows what it makes")
    batch = stage.examples(n)
    with torch.no_grad():
        xhat = model.reconstruct(batch.x, batch.y)
    error = reconstruction.mse(stage.as_unit(batch.x), stage.as_unit(xhat))
    return Drawing(
        sheets.rows([("original", stage.unit(batch.x)), ("reconstruction", stage.unit(xhat))]),
        "Reconstructions",
        f"{stage.said(n).capitalize()} and what the model gives back; mean squared error "
        f"per image {', '.join(f'{e:.4f}' for e in error.tolist())}.",
    )


@picture
def samples(stage: Stage, n: int = 64, seed: int = 0, prior: str = "auto") -> Drawing:
    """New pictures decoded from draws of a prior; of a conditional model, one class per column."""
    stage.need_images()
    stage.need(Decodes, "it cannot make pictures from latents")
    n = stage.whole_rounds(n)
    z_NL, source = prior_codes(stage, n, seed, prior)
    caption = f"{n} latents drawn from {source} (seed {seed}), decoded"
    y_N = stage.cycle(n)
    if y_N is None:
        return Drawing(sheets.sheet(stage.decode(z_NL)), "Samples", caption + ".")
    classes = int(y_N.max()) + 1
    order = ", ".join(stage.class_name(k) for k in range(classes))
    return Drawing(
        sheets.sheet(stage.decode(z_NL, y_N), columns=classes),
        "Samples by class",
        f"{caption}; one column per class, from the left {order}.",
    )


@picture
def interpolation(stage: Stage, steps: int = 10, labels: tuple[int, int] = (7, 6), spherical: bool = False) -> Drawing:
    """Between two test images: decoded path, and the pixel cross-fade for comparison.

    labels: the path goes from the first image of the one to the first image of the other; where the set has no such
    labels, from the first image to the next of another class. A conditional model decodes as the first end's class.
    """
    stage.need_images()
    model = stage.need(Reconstructs)
    a, b = _two(stage, labels)
    ends = stage.at(torch.tensor([a, b]))
    with torch.no_grad():
        z = model.encode(ends.x, ends.y)
    walk = (paths.spherical if spherical else paths.linear)(z[:1], z[1:], steps)[:, 0]
    fade = paths.linear(ends.x[:1].flatten(1), ends.x[1:].flatten(1), steps).view(steps, *ends.x.shape[1:])
    y = None if ends.y is None else stage.as_label(int(ends.y[0]), steps)
    rows = [("cross-fade of pixels", stage.unit(fade)), ("walk in latent space", stage.decode(walk, y))]
    decoded = "" if y is None else f" as {stage.class_name(int(y[0]))}"
    return Drawing(
        sheets.rows(rows),
        "Interpolation",
        f"From {stage.split} image {a} to {b} in {steps} steps: pixels mixed above, the "
        f"{'spherical' if spherical else 'linear'} path between the latents decoded{decoded} below.",
    )


def _two(stage: Stage, labels: tuple[int, int]) -> tuple[int, int]:
    """Positions of the first example of each label, or the first two of different labels, or the first two."""
    y_N, size = stage.labels(), len(stage.images.indices(stage.split))
    if size < 2:
        raise DataError(f"a path needs two {stage.split} images, and there is one; give more with --test-fraction")
    if y_N is None:
        return 0, 1
    found = [(y_N == k).nonzero() for k in labels]
    if all(len(f) for f in found):
        return int(found[0][0]), int(found[1][0])
    first = int((y_N >= 0).nonzero()[0]) if (y_N >= 0).any() else 0
    other: Tensor = ((y_N != y_N[first]) & (y_N >= 0)).nonzero()
    return first, int(other[0]) if len(other) else int(first == 0)
