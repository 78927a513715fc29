"""One slider for each latent coordinate: the order they stand in, their ranges, histograms and ticks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentscape.contract import Decodes
from latentscape.latents import encode
from latentscape.latents.importance import importance
from latentscape.studio.explorer import Explorer, short
from latentscape.tasks import places

DECODES = 2_048
"""Pictures decoded to say which coordinates matter most; with many coordinates fewer latents are asked about each."""

MEASURED = 256
"""With more coordinates than this they are ordered by how much they vary: measuring each would take long."""

BINS = 32
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
MARGIN = 0.15
"""How far a slider goes beyond all but one in 500 of the latents, as a share of their range."""


def sliders(explorer: Explorer, first: int = 0, count: int = 10) -> dict[str, Any]:
    """`count` sliders from the `first` most important one: {total, ordered, said, mean, sliders: [{index, …}]}.

    index: the coordinate from 0. low, high: the slider's ends. bins: how many of the latents lie in each of `BINS`
    equal parts between them. quantiles: the values at `QUANTILES`. importance: the mean squared change of the picture,
    pixels on [0, 1], when the coordinate moves by one standard deviation; null where it was not measured.
    """
    around, found = explorer.cloud(), explorer.kept("order", lambda: _order(explorer))
    order, measured = found
    shown = order[max(0, first) : max(0, first) + max(1, min(count, MEASURED))]
    return {
        "total": len(order),
        "ordered": "importance" if measured is not None else "spread",
        "said": around.said,
        "mean": short(mean_of(explorer)),
        "quantile_levels": list(QUANTILES),
        "sliders": [_slider(around.z[:, i], i, None if measured is None else float(measured[i])) for i in shown],
    }


def mean_of(explorer: Explorer) -> Tensor:
    """Where a coordinate goes back to, L: the mean of the latents, 0 for the noise of a generator."""
    return explorer.cloud().z.mean(0) if explorer.can()["encode"] else torch.zeros(explorer.latent_dim)


def most_important(explorer: Explorer) -> list[int]:
    """Coordinates from 0, in the order of their sliders."""
    return explorer.kept("order", lambda: _order(explorer))[0]


def _order(explorer: Explorer) -> tuple[list[int], Tensor | None]:
    """Coordinates, the most important first, and the importance of each; None where they are ordered by variance."""
    around, size = explorer.cloud(), explorer.latent_dim
    std_L = around.z.std(0, correction=0)
    if size > MEASURED:
        return std_L.argsort(descending=True, stable=True).tolist(), None
    n = min(len(around.z), max(places.FEWEST_BASES, min(places.BASES, DECODES // (2 * size))))
    picks = torch.arange(n) * len(around.z) // n
    y_N = None if around.y is None else around.y[picks]
    model, stage = explorer.model, explorer.stage
    assert isinstance(model, Decodes)

    def decode(z_ML: Tensor) -> Tensor:
        return stage.as_unit(encode.decode_all(model, z_ML, None if y_N is None else y_N.repeat(2)))

    found = importance(decode, around.z[picks], std_L)
    return found.order(), found.mean_L


def _slider(values_N: Tensor, index: int, matters: float | None) -> dict[str, Any]:
    values = values_N.double().numpy()
    low, high = np.quantile(values, [0.001, 0.999])
    # A coordinate that never varies still gets a slider: what the decoder makes of it may be asked.
    width = float(high - low) if high - low > 1e-6 * max(1.0, abs(high)) else 2.0
    low, high = float(low) - MARGIN * width, float(high) + MARGIN * width
    bins, _ = np.histogram(values, BINS, (low, high))
    return {
        "index": index,
        "low": float(f"{low:.4g}"),
        "high": float(f"{high:.4g}"),
        "mean": float(f"{values.mean():.6g}"),
        "std": float(f"{values.std():.6g}"),
        "importance": None if matters is None else float(f"{matters:.4g}"),
        "bins": bins.tolist(),
        "quantiles": short(torch.from_numpy(np.quantile(values, QUANTILES))),
    }
