"""Maps and walks of the latent space, and how the encoder stretches it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from latentscape.contract import Decodes, Encodes, HasPosterior
from latentscape.latents import walks
from latentscape.pictures import plots
from latentscape.tasks.showing.registry import Drawing, picture
from latentscape.tasks.showing.stage import MAP_POINTS, Stage


@picture
def map(stage: Stage, n: int = MAP_POINTS) -> Drawing:
    """Test latents in the plane, coloured by label."""
    z_NL, y_N = stage.latents(n)
    z_N2, xlabel, ylabel = walks.plane(z_NL)
    labels = y_N.numpy() if y_N is not None else None
    names = stage.images.label_names
    colour = "coloured by label" if labels is not None else "one dot each"
    means = "Posterior means" if isinstance(stage.model, HasPosterior) else "Latents"
    return Drawing(
        plots.scatter(z_N2.numpy(), labels, names, title="", xlabel=xlabel, ylabel=ylabel),
        "Latent map",
        f"{means} of {stage.said(n)}, {colour}.",
    )


@picture
def grid(stage: Stage, steps: int = 20, low: float | None = None, high: float | None = None, label: int = 0) -> Drawing:
    """The decoded latent plane (L = 2, or the two coordinates that vary most); `label`: of a conditional model."""
    stage.need_images()
    stage.need(Decodes, "it has no latents to walk over")
    stage.need(Encodes, "so the plane's range is unknown; `sample` shows what it makes")
    z_NL, _ = stage.latents(MAP_POINTS)
    dims = walks.most_varying(z_NL)
    spread = float(z_NL[:, list(dims)].abs().quantile(0.98))
    low, high = (-spread if low is None else low), (spread if high is None else high)
    y = stage.as_label(label, steps * steps)
    caption = f"Latent coordinates {dims[0] + 1} and {dims[1] + 1} over [{low:.3g}, {high:.3g}]², decoded"
    return Drawing(
        plane_of(stage, z_NL.mean(0), dims, low, high, steps, y),
        "Decoded latent plane",
        caption + ("." if y is None else f" as {stage.class_name(label)}."),
    )


def plane_of(
    stage: Stage, center_L: Tensor, dims: tuple[int, int], low: float, high: float, steps: int, y_N: Tensor | None
) -> np.ndarray:
    """A decoded lattice with its coordinates on the edges; the latent coordinates other than `dims` at `center_L`."""
    x = stage.decode(walks.lattice(center_L, dims, low, high, steps), y_N)
    return plots.lattice(x, steps, steps, (low, high, low, high), f"z{dims[0] + 1}", f"z{dims[1] + 1}")


@picture
def jacobian_spectrum(stage: Stage, n: int = 64) -> Drawing:
    """Mean singular values of the encoder's Jacobian ∂z/∂x over test examples (Rifai et al. 2011, figure 3)."""
    model, batch = stage.need(Encodes), stage.examples(n)
    values = torch.stack(
        [
            torch.linalg.svdvals(_jacobian(model, batch.x[i], None if batch.y is None else batch.y[i : i + 1]))
            for i in range(len(batch.x))
        ]
    )
    mean = values.mean(0)
    strong = int((mean > 0.1 * mean[0]).sum())
    norm = values.square().sum(1).mean()
    # What is smaller is rounding: an encoder with a narrow layer has a Jacobian of that rank.
    shown = torch.where(mean > 1e-5 * mean[0], mean, torch.nan)
    picture_ = plots.curves(
        {"mean singular value": (np.arange(1, len(mean) + 1), shown.numpy())},
        xlabel="singular value, from the largest",
        ylabel="mean of ∂z/∂x",
        logy=True,
    )
    return Drawing(
        picture_,
        "Spectrum of the encoder's Jacobian",
        f"Singular values of ∂z/∂x, each averaged over {stage.said(n)}: the largest {mean[0]:.4g}, {strong} of "
        f"{len(mean)} above a tenth of it; mean squared Frobenius norm {norm:.4g}.",
    )


def _jacobian(model: Encodes, x_X: Tensor, y_1: Tensor | None) -> Tensor:
    """∂z/∂x of one example, L×D."""

    def code(x: Tensor) -> Tensor:
        return model.encode(x[None], y_1)[0].float()

    size = x_X.numel()
    return torch.func.jacrev(code, chunk_size=64)(x_X).reshape(-1, size)
