"""Models that choose: the pixels a concrete autoencoder keeps, the codes of a vector-quantised one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from latentscape.contract import Reconstructs
from latentscape.pictures import plots, sheets
from latentscape.tasks.showing.registry import Drawing, picture
from latentscape.tasks.showing.stage import MAP_POINTS, Stage


@picture
def selected_pixels(stage: Stage, n: int = 10) -> Drawing:
    """Where the inputs that the model keeps lie, over the mean image, and what it makes of them alone."""
    stage.need_images()
    select: Callable[[], Tensor] = stage.need_method("selected", "selected inputs", "concrete-autoencoder has")
    _, height, width = stage.model.shape.dims
    chosen = select().flatten().cpu()
    places = (chosen % (height * width)).unique().tolist()
    mean = torch.cat([b.x for b in stage.batches(MAP_POINTS)]).mean(0)
    map_ = plots.marked(stage.unit(mean), [(p // width, p % width) for p in places])
    model, batch = stage.need(Reconstructs), stage.examples(n)
    with torch.no_grad():
        xhat = model.reconstruct(batch.x, batch.y)
    seen = torch.zeros(stage.model.shape.size).index_fill(0, chosen.unique(), 1.0).view(stage.model.shape.dims)
    rows = [
        ("original", stage.unit(batch.x)),
        ("kept", stage.unit(batch.x) * seen.numpy()),
        ("reconstruction", stage.unit(xhat)),
    ]
    size = stage.model.shape.size
    return Drawing(
        sheets.stacked([map_, sheets.rows(rows)]),
        "Selected pixels",
        f"{len(chosen.unique())} different inputs of {size} ({len(chosen.unique()) / size:.1%}) are kept by "
        f"{len(chosen)} selectors; orange: their places over the mean of {stage.said(MAP_POINTS)}. Below: "
        f"{stage.said(n)}, what is kept of them, and the reconstruction.",
    )


@picture
def codes(stage: Stage, n: int = 10) -> Drawing:
    """Test images, their maps of codes, their reconstructions, and how often each code is used."""
    stage.need_images()
    read: Callable[..., Tensor] = stage.need_method("codes", "codebook", "a vector-quantised model has")
    model, batch = stage.need(Reconstructs), stage.examples(n)
    with torch.no_grad():
        all_codes = torch.cat([read(b.x).flatten() for b in stage.batches(MAP_POINTS)])
        maps, xhat = read(batch.x), model.reconstruct(batch.x, batch.y)
    size = int(getattr(stage.model.config, "codebook_size", int(all_codes.max()) + 1))
    share = torch.bincount(all_codes, minlength=size).double() / len(all_codes)
    perplexity = float(torch.exp(-torch.xlogy(share, share).sum()))
    used = int((share > 0).sum())
    rows = [
        ("original", stage.unit(batch.x)),
        ("codes", _as_pictures(maps, size, stage)),
        ("reconstruction", stage.unit(xhat)),
    ]
    usage = plots.columns(100 * share.numpy(), first=0, xlabel="code", ylabel="% of places")
    return Drawing(
        sheets.stacked([sheets.rows(rows), usage]),
        "Codes",
        f"{stage.said(n).capitalize()}, their {maps.shape[1]}×{maps.shape[2]} codes as colours and their "
        f"reconstructions. Over {stage.said(MAP_POINTS)} {used} of {size} codes are used, with a perplexity of "
        f"{perplexity:.1f}.",
    )


def _as_pictures(codes_BHW: Tensor, size: int, stage: Stage) -> np.ndarray:
    """Code maps as colour pictures of the data's size; the colour of a code is the same in all of them."""
    height, width = stage.model.shape.dims[1:]
    # Codes have no order, so colours are drawn: neighbours in number need not look alike.
    colours_K3 = torch.rand(size, 3, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    rows = torch.arange(height) * codes_BHW.shape[1] // height
    columns = torch.arange(width) * codes_BHW.shape[2] // width
    return colours_K3[codes_BHW[:, rows][:, :, columns].long()].permute(0, 3, 1, 2).numpy()
