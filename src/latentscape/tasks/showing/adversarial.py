"""Generators: pictures from a noise that stays the same, noises mixed, and the players' logged terms as curves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from latentscape.contract import Samples
from latentscape.errors import AbilityError, ConfigError
from latentscape.numerics import paths
from latentscape.pictures import plots, sheets
from latentscape.tasks.showing.registry import Drawing, picture
from latentscape.tasks.showing.stage import Stage

NO_NOISE = "it has no noise to start from"


@picture
def generated(stage: Stage, n: int = 24, seed: int = 0, columns: int = 0, scale: int = 0) -> Drawing:
    """Pictures from n noises that are the same whenever it is drawn; a conditional model goes through its classes.

    columns: 0 makes it wide rather than high. scale: each pixel becomes so many squared; 0 chooses. With n = 1 it is
    the bare picture, for a film of one noise and its collage.
    """
    stage.need_images()
    model = stage.need(Samples, NO_NOISE)
    if n < 1 or columns < 0 or scale < 0:
        raise ConfigError(f"n must be at least 1, columns and scale at least 0, got {n}, {columns} and {scale}")
    z_NL, y_N = model.prior(n, torch.Generator().manual_seed(seed)), stage.cycle(n)
    return Drawing(
        sheets.sheet(stage.decode(z_NL, y_N), columns or math.ceil(math.sqrt(1.5 * n)), scale=scale or None),
        "Generated from fixed noise",
        f"{n} draws of the model's own prior (seed {seed}), decoded"
        + (", classes in turn." if y_N is not None else "."),
    )


@picture
def mixed_noises(
    stage: Stage,
    n: int = 1,
    steps: int = 5,
    seeds: tuple[int, int] = (0, 1),
    spherical: bool = False,
    label: int | None = None,
) -> Drawing:
    """Two noises mixed: α·z₁ + (1−α)·z₂ for α from 0 to 1 in even steps, a row for each of n pairs.

    seeds: of z₁ and of z₂. spherical: along the great circle, which keeps the length that the generator knows. label:
    of a conditional model; without it, the rows go through the classes.
    """
    stage.need_images()
    model = stage.need(Samples, NO_NOISE)
    if n < 1 or steps < 2 or len(seeds) != 2:
        raise ConfigError(f"n must be at least 1, steps at least 2, and seeds two, got {n}, {steps} and {seeds}")
    if label is not None:
        stage.need_labels()
    z1_NL, z2_NL = (model.prior(n, torch.Generator().manual_seed(seed)) for seed in seeds)
    walk = (paths.spherical if spherical else paths.linear)(z2_NL, z1_NL, steps)  # α = 0 is z₂
    y_N = stage.cycle(n) if label is None else stage.as_label(label, n)
    y = None if y_N is None else y_N.repeat_interleave(steps)
    lengths = ", ".join(f"{length:.3g}" for length in walk.norm(dim=-1).mean(1).tolist())
    of = f" of {n} pairs" if n > 1 else ""
    return Drawing(
        sheets.headed_sheet(
            stage.decode(walk.transpose(0, 1).flatten(0, 1), y),
            [f"α = {a:.3g}" for a in np.linspace(0, 1, steps)],
        ),
        "Two noises mixed",
        f"{'Along the great circle from z₂ to z₁' if spherical else 'α·z₁ + (1−α)·z₂'}{of}, z₁ from seed {seeds[0]}, "
        f"z₂ from seed {seeds[1]}, decoded; {'mean ' if n > 1 else ''}length of the noise from the left: {lengths}.",
    )


@picture
def terms_curve(
    stage: Stage, terms: Sequence[str] = ("criticise/wasserstein_estimate",), log: bool = False, smooth: int = 0
) -> Drawing:
    """Logged terms over the steps: what was logged, pale, and its moving average.

    terms: by the names in log.jsonl, phase/term. log: a logarithmic axis, which leaves out what is not above 0. smooth:
    records that a mean is taken over, half of them before and half after; 0: a twentieth of them, 1: none.
    """
    if smooth < 0 or not terms:
        raise ConfigError(f"smooth must be at least 0 and terms at least one, got {smooth} and {list(terms)}")
    records = [r for r in stage.folder.log() if r.get("kind") == "train"]
    if not records:
        raise AbilityError(f"the run {stage.folder.path} logged no training steps, so there is no curve of them")
    known = list(dict.fromkeys(name for r in records for name in r["terms"]))
    if unknown := [name for name in terms if name not in known]:
        raise ConfigError(f"the run logged no term {unknown[0]!r}; it logged {', '.join(known)}")
    raw = {name: _logged(records, name) for name in terms}
    width = smooth or max(1, len(records) // 20)
    smoothed = {name: (x, _moving_mean(y, width)) for name, (x, y) in raw.items()}
    shown = [name.rpartition("/")[2].replace("_", " ") for name in terms]
    ends = "; ".join(f"{name} ends at {y[-1]:.4g}".replace("-", "−") for name, (_, y) in smoothed.items())
    left = sum(int((y <= 0).sum()) for _, y in raw.values()) if log else 0
    return Drawing(
        plots.curves(smoothed, raw=raw, ylabel=shown[0] if len(terms) == 1 else "", logy=log),
        ", ".join(shown).capitalize(),
        f"{len(records):,} records of the training, each the mean over the steps since the one before"
        + (f"; pale as logged, strong the mean over {width} records" if width > 1 else "")
        + f"; {ends}"
        + (f"; {left:,} values that are not above 0 are left out" if left else "")
        + ".",
    )


def _logged(records: Sequence[dict], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a term."""
    pairs = [(r["step"], r["terms"][name]) for r in records if name in r["terms"]]
    steps, values = np.array(pairs, np.float64).T
    return steps, values


def _moving_mean(y_N: np.ndarray, width: int) -> np.ndarray:
    """Means over `width` values round each, fewer of them at the ends."""
    if width == 1:
        return y_N
    before, after = (width - 1) // 2, width // 2
    sums = np.concatenate([[0.0], np.cumsum(y_N)])
    at = np.arange(len(y_N))
    first, last = np.maximum(at - before, 0), np.minimum(at + after, len(y_N) - 1)
    return (sums[last + 1] - sums[first]) / (last + 1 - first)
