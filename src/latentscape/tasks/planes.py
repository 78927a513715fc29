"""A lattice over a plane of the latent space, decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentscape.config import LARGEST_SEED, Settings, setting
from latentscape.contract import Encodes, HasPosterior, Samples
from latentscape.errors import AbilityError, ConfigError
from latentscape.latents import walks
from latentscape.pictures import plots, sheets
from latentscape.tasks import places, strips
from latentscape.tasks.showing import Stage

PANEL = 420
"""Most pixels of a class's panel."""

PARTED = 16
"""Pictures with fewer pixels a side are parted by a line: what they show reaches their edges and would run together."""

EDGE = 0.01
"""Share of the latents that a range leaves out at either end."""

NORMAL_DRAWS = 10_000
"""Draws that show whether a prior is N(0, I)."""

NORMAL_GAP = 2.23
"""√n times the largest gap between the distributions of draws and of N(0, 1) that chance leaves in all but one of
10,000 cases (Kolmogorov's limit distribution: 2·exp(−2·2.23²) = 1e-4)."""


@dataclass(frozen=True, kw_only=True)
class Lattice(Settings):
    """Which part of which plane."""

    steps: int = setting(20, "pictures along each side", at_least=2)
    low: float | None = setting(None, "left and lower end; unset: where the data's latents begin (1 % lie beyond)")
    high: float | None = setting(None, "right and upper end; unset: where they end (1 % lie beyond)")
    coordinates: tuple[int, ...] = setting(
        (), "two latent coordinates, counted from 1: to the right and upwards; unset: the two that matter most"
    )
    principal: bool = setting(False, "the two directions in which the data's latents vary most")
    seed: int = setting(
        0,
        "models without an encoder: of the draw at which the other coordinates stay",
        at_least=0,
        at_most=LARGEST_SEED,
    )
    quantiles: bool = setting(False, "steps of equal probability under a prior N(0, I), in place of equal width")


@dataclass(frozen=True)
class Plane:
    """Codes origin + right·axes[0] + up·axes[1]. within: the data's latents seen in the plane, N×2."""

    origin_L: Tensor
    axes_2L: Tensor
    names: tuple[str, str]
    within_N2: Tensor
    said: str


def grid(
    path: Path | str,
    *,
    data: Any = None,
    label: str | int | None = None,
    out: Path | str | None = None,
    command: str = "",
    **options: Any,
) -> dict[str, Any]:
    """Decode a lattice over a plane of the latent space into a file, and say which plane and range it is.

    The plane is that of the two latent coordinates for L = 2, else of those that matter most (`latents.importance`), of
    those asked for, or of the two principal directions. The other coordinates stay at the latents' mean, at 0 with
    `quantiles`, and for a model without an encoder at a draw of its prior. options: the settings of `Lattice`.
    label: what a model that reads labels decodes under; None: every class, a panel each.
    A .npy file holds steps×steps×…, classes×steps×steps×… of several classes, the top row first. Raises `UserError`.
    """
    how = Lattice.from_dict(options)
    stage = places.open_stage(path, command)
    target = strips.target(stage, out, "grid", films=False)
    _check(stage, how)
    labels = places.labels_to_show(stage, label)
    cloud = places.cloud(stage, data)
    plane = _plane(stage, cloud, how, labels[0] if len(labels) == 1 else None)
    sides = _sides(plane.within_N2, how)
    codes = walks.spanned(plane.origin_L, plane.axes_2L, *sides)
    panels = [places.decoded(stage, codes, k) for k in labels]
    inside = _inside(plane.within_N2, sides)
    caption = _caption(stage, how, plane, sides, labels, cloud.said, inside)
    _write(target, stage, panels, labels, plane, sides, how, caption)
    answer = {
        "run": str(stage.folder.path),
        "out": str(target),
        "steps": how.steps,
        "axes": list(plane.names),
        "right": [float(sides[0][0]), float(sides[0][-1])],
        "up": [float(sides[1][0]), float(sides[1][-1])],
        "inside": inside,
    }
    named = [places.class_name(stage.folder, k) for k in labels if k is not None]
    return answer | ({"labels": named} if named else {})


def _check(stage: Stage, how: Lattice) -> None:
    """`ConfigError` for settings that contradict each other, `AbilityError` for what the model has not."""
    if getattr(stage.model, "latent_dim", 0) < 2:
        raise AbilityError("a grid needs at least two latent dimensions, and this model has one; `traverse` walks it")
    if how.coordinates and len(how.coordinates) != 2:
        raise ConfigError(f"--coordinates takes two for a grid, got {len(how.coordinates)}")
    places.check_coordinates(how.coordinates, stage.model)
    if how.principal and how.coordinates:
        raise ConfigError("give --principal or --coordinates, not both")
    if how.principal:
        stage.need(Encodes, "so its latents have no principal directions; give --coordinates")
    if how.quantiles and (how.principal or how.low is not None or how.high is not None):
        raise ConfigError(
            "--quantiles takes its range from the prior of each coordinate; leave --principal, --low, --high out"
        )
    if how.quantiles and not has_normal_prior(stage):
        raise AbilityError(
            f"--quantiles is for models whose prior is N(0, I), and that of {stage.name} is not; give --low and --high"
        )


def has_normal_prior(stage: Stage) -> bool:
    """Whether every coordinate of the model's prior is N(0, 1), by the Kolmogorov–Smirnov distance of draws.

    A model without a prior of its own has none; one whose density is not the standard normal's says so itself.
    """
    model = stage.model
    if isinstance(model, HasPosterior) and type(model).log_prior is not HasPosterior.log_prior:
        return False
    if not isinstance(model, Samples):
        return False
    z_NL = model.prior(NORMAL_DRAWS, torch.Generator().manual_seed(0)).double()
    expected = torch.special.ndtr(z_NL.sort(0).values)
    below = torch.arange(NORMAL_DRAWS, dtype=torch.float64)[:, None] / NORMAL_DRAWS
    gap_L = torch.maximum((expected - below).amax(0), (below + 1 / NORMAL_DRAWS - expected).amax(0))
    # With many coordinates one exceeds the limit by chance; a prior of another shape exceeds it many times over.
    return float(gap_L.max()) * NORMAL_DRAWS**0.5 < NORMAL_GAP * (1 + 0.1 * len(gap_L) ** 0.5)


def _plane(stage: Stage, cloud: places.Cloud, how: Lattice, label: int | None) -> Plane:
    """The plane that the settings name."""
    mean_L = cloud.z.mean(0)
    if how.principal:
        axes_LL, share_L = walks.principal_axes(cloud.z)
        axes_2L = axes_LL[:2].float()
        names = (f"first principal direction ({share_L[0]:.0%} of variance)", f"second ({share_L[1]:.0%})")
        said = f"the plane of the two principal directions of {cloud.said}, through their mean"
        return Plane(mean_L, axes_2L, names, (cloud.z - mean_L) @ axes_2L.T, said)
    if how.coordinates:
        dims, why = places.check_coordinates(how.coordinates, stage.model), ""
    elif len(mean_L) == 2:
        dims, why = [0, 1], ""
    else:
        dims = places.importance_of(stage, cloud, label)[0].order()[:2]
        why = f", the two of {len(mean_L)} that matter most"
    first, second = dims
    center_L, where = _center(stage, cloud, how)
    rest = "" if len(mean_L) == 2 else f"; the others at {where}"
    said = f"latent coordinates {first + 1} (to the right) and {second + 1} (upwards){why}{rest}"
    origin_L, axes_2L = walks.coordinate_axes(center_L, (first, second))
    return Plane(origin_L, axes_2L, (f"z{first + 1}", f"z{second + 1}"), cloud.z[:, dims], said)


def _center(stage: Stage, cloud: places.Cloud, how: Lattice) -> tuple[Tensor, str]:
    """Where the coordinates stay that the plane does not move, L, and what that is in words."""
    if not isinstance(stage.model, Encodes):  # the mean of its noise has length 0: it was never trained near there
        drawn = places.of_prior(stage, None, 1, how.seed)
        return drawn.z[0], drawn.names[0] + drawn.noted
    return (torch.zeros_like(cloud.z[0]), "0") if how.quantiles else (cloud.z.mean(0), f"the mean of {cloud.said}")


def _sides(within_N2: Tensor, how: Lattice) -> tuple[Tensor, Tensor]:
    """Places to the right and upwards, ascending."""
    if how.quantiles:
        return walks.normal_quantiles(how.steps), walks.normal_quantiles(how.steps)
    sides = []
    for values in within_N2.T:
        edges = values.quantile(torch.tensor([EDGE, 1 - EDGE])).tolist()
        low = edges[0] if how.low is None else how.low
        high = edges[1] if how.high is None else how.high
        if low >= high:
            raise ConfigError(
                f"a lattice needs a range, and this one goes from {low:g} to {high:g}; give --low, --high"
            )
        sides.append(torch.linspace(low, high, how.steps))
    return sides[0], sides[1]


def _inside(within_N2: Tensor, sides: tuple[Tensor, Tensor]) -> float:
    """Share of the latents whose place in the plane the lattice covers."""
    low, high = torch.stack([s[0] for s in sides]), torch.stack([s[-1] for s in sides])
    return float(((within_N2 >= low) & (within_N2 <= high)).all(1).float().mean())


def _caption(
    stage: Stage,
    how: Lattice,
    plane: Plane,
    sides: tuple[Tensor, Tensor],
    labels: list[int | None],
    cloud: str,
    inside: float,
) -> str:
    ranges = " × ".join(f"[{s[0]:.3g}, {s[-1]:.3g}]" for s in sides).replace("-", "−")
    names = [places.class_name(stage.folder, k) for k in labels if k is not None]
    under = "" if not names else f" as {names[0]}" if len(names) == 1 else f" under each of {len(names)} classes"
    spaced = "at the prior's quantiles, equally probable steps, " if how.quantiles else ""
    return (
        f"{plane.said[0].upper()}{plane.said[1:]}: {how.steps}×{how.steps} places {spaced}over {ranges}, "
        f"decoded{under}; {inside:.0%} of {cloud} lie within that range."
    )


def _write(
    target: Path,
    stage: Stage,
    panels: list[Tensor],
    labels: list[int | None],
    plane: Plane,
    sides: tuple[Tensor, Tensor],
    how: Lattice,
    caption: str,
) -> None:
    words, steps = strips.Words("Decoded latent plane", caption), how.steps
    kind = strips.ending(target)
    if kind == ".npy":
        leading = (len(panels), steps, steps) if len(panels) > 1 else (steps, steps)
        strips.write_array(target, stage, torch.cat(panels), *leading)
    elif kind != ".png":
        strips.write_pictures(target, stage, torch.cat(panels), words)
    elif len(panels) > 1:
        small = [_panel(_parted(stage.unit(x)), steps) for x in panels]
        names = [places.class_name(stage.folder, k) for k in labels if k is not None]
        strips.write_png(target, stage, sheets.panels(small, names, columns=5), words)
    else:
        strips.write_png(target, stage, _axed(stage.unit(panels[0]), plane.names, sides, how), words)


def _axed(x_NCHW: np.ndarray, names: tuple[str, str], sides: tuple[Tensor, Tensor], how: Lattice) -> sheets.Picture:
    """The lattice with its places on the edges; with quantiles the axes are even in probability, not in z."""
    right, up = sides
    extent = (float(right[0]), float(right[-1]), float(up[0]), float(up[-1]))
    if how.quantiles:
        first, last = 0.5 / how.steps, 1 - 0.5 / how.steps
        extent = (first, last, first, last)
        names = (f"prior probability below {names[0]}", f"prior probability below {names[1]}")
    return plots.lattice(_parted(x_NCHW), how.steps, how.steps, extent, *names)


def _panel(x_NCHW: np.ndarray, steps: int) -> sheets.Picture:
    """A lattice of at most `PANEL` pixels a side: enlarged by a whole factor, or made smaller."""
    scale = max(1, PANEL // (steps * max(x_NCHW.shape[2:])))
    return sheets.fitted(sheets.sheet(x_NCHW, steps, gap=0, scale=scale), PANEL)


def _parted(x_NCHW: np.ndarray) -> np.ndarray:
    """Small pictures with a white line of one pixel below and at the right; larger ones as they are."""
    if max(x_NCHW.shape[2:]) >= PARTED:
        return x_NCHW
    return np.pad(x_NCHW, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=1)
