"""Directions in latent space along which an attribute or a class changes, fitted to what the explorer has encoded."""

from __future__ import annotations

from typing import Any

import torch

from latentscape.contract import Encodes
from latentscape.errors import AbilityError, DataError
from latentscape.latents import directions
from latentscape.studio.explorer import Explorer, short
from latentscape.tasks import attributes
from latentscape.tasks.showing import MAP_POINTS

MOST = 40
"""Attributes and classes that are offered."""

METHODS = tuple(directions.METHODS)


def choices(explorer: Explorer) -> list[str]:
    """Names that `direction` takes: attributes of the data, then classes (not of a model that reads them)."""
    if not isinstance(explorer.model, Encodes) or not explorer.can()["encode"] or explorer.images is None:
        return []
    images = explorer.images
    classes = images.label_names if images.labels is not None and not explorer.model.needs_labels else ()
    return [*images.attribute_names, *classes][:MOST]


def direction(explorer: Explorer, name: str, method: str = "mean-difference") -> dict[str, Any]:
    """What one unit of strength along an attribute adds to a latent: {step L, said, correlation, n}.

    Strengths are standard deviations of the latents' projection, as those of `arithmetic --attribute`, here fitted to
    the training latents that the page has. Raises `UserError` where there are none or the attribute is unknown.
    """
    if not choices(explorer):
        raise AbilityError("a direction needs an encoder and data with classes or attributes, and this run lacks one")
    if method not in METHODS:
        raise DataError(f"a direction is fitted by {' or '.join(METHODS)}, got {method!r}")
    return explorer.kept(("direction", name, method), lambda: _fitted(explorer, name, method))


def _fitted(explorer: Explorer, name: str, method: str) -> dict[str, Any]:
    images, stage = explorer.data(), explorer.stage
    found = attributes.find(images, name, "an attribute")
    z_NL, rows = explorer.cloud().z, images.indices("train")[stage.picks(MAP_POINTS, "train")]
    known = found.known[rows]
    z_ML, a_M = z_NL[known], found.values[rows][known]
    directions.check(a_M, found.name)
    step_L = directions.step(directions.METHODS[method](z_ML, a_M), z_ML)
    if not (step_L.isfinite().all() and step_L.norm() > 0):
        raise DataError(f"the latents say nothing of {found.name}: they do not change with it; choose another one")
    answer = {"name": found.name, "step": short(step_L), "n": len(z_ML), "fitted_to": explorer.cloud().said}
    dots = explorer.dots()
    if dots.rows is not None:
        held = found.known[dots.rows]
        if int(held.sum()) > 1:
            r = directions.correlation(step_L, z_ML, dots.z[held], found.values[dots.rows][held])
            answer["correlation"] = None if not torch.isfinite(torch.tensor(r)) else float(f"{r:.3g}")
    return answer
