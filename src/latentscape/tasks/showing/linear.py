"""What PCA shows of itself: its components and their variances."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from latentscape.contract import Encodes
from latentscape.errors import AbilityError
from latentscape.pictures import plots, sheets
from latentscape.tasks.showing.registry import Drawing, picture
from latentscape.tasks.showing.stage import Stage


@picture
def components(stage: Stage, n: int = 100) -> Drawing:
    """PCA's leading components as pictures (eigenfaces, eigendigits)."""
    stage.need_images()
    directions = getattr(stage.model, "components", None)
    if not isinstance(directions, Tensor):
        raise AbilityError(f"{stage.name} has no principal components; `pca` has")
    x = directions[:, :n].T.reshape(-1, *stage.model.shape.dims)
    span = x.abs().flatten(1).amax(1).view(-1, 1, 1, 1).clamp_min(1e-12)
    return Drawing(
        sheets.sheet((0.5 + 0.5 * x / span).numpy()),
        "Principal components",
        f"The {len(x)} leading components, each stretched about mid-grey by its largest magnitude.",
    )


@picture
def spectrum(stage: Stage) -> Drawing:
    """PCA's explained variance against the number of components."""
    values, total = getattr(stage.model, "spectrum", None), getattr(stage.model, "total_variance", None)
    if not isinstance(values, Tensor) or not isinstance(total, Tensor):
        raise AbilityError(f"{stage.name} has no spectrum of variances; `pca` has")
    share = (values.double().cumsum(0) / total.double().clamp_min(1e-300)).numpy()
    kept, size = int(stage.need(Encodes).latent_dim), stage.model.shape.size
    pixels = plots.curves(
        {"explained share of variance": (np.arange(1, len(share) + 1), share)},
        xlabel="components",
        ylabel="share of variance",
    )
    return Drawing(
        pixels,
        "Explained variance",
        f"{kept} components explain {share[kept - 1]:.1%}. In "
        f"numbers an example takes {kept} instead of {size} ({kept / size:.1%}); in bytes {4 * kept} "
        f"(float32) instead of {size} (uint8): {4 * kept / size:.1%}.",
    )
