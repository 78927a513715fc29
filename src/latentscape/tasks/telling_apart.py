"""Which of several runs is best by a metric, and which of the others the measurements really tell apart from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from latentscape.metrics import difference

METHODS = {
    "paired": "difference to the best, paired bootstrap over the same images",
    "seeds": "difference to the best, Welch's t over seeds",
    "overlap": "the two intervals do not overlap: a cautious rule, since two that overlap a little may differ too",
}
"""How two values are told apart, in words."""

LIKELIHOOD = ("elbo_nats", "iwae_nats")
"""Metrics whose scale is that of the model's likelihood."""

LATENT = ("energy_distance", "inside_fraction")
"""Metrics whose scale is that of the model's prior."""


@dataclass
class Measured:
    """What one run measured. values: of each image by itself, N float64; likelihood: what log p(x|z) is of, in words.

    missing: for a metric that other runs may have, why this one has not.
    """

    metrics: dict[str, Any]
    intervals: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    likelihood: str = ""


@dataclass
class Entry:
    """What is compared: a run, or several that differ in their seed alone."""

    name: str
    runs: list[Measured]

    def numbers(self, metric: str) -> list[float]:
        """The metric of every run, empty if one of them lacks it or it is no number."""
        found = [r.metrics.get(metric) for r in self.runs]
        numbers = [float(v) for v in found if isinstance(v, (int, float)) and not isinstance(v, bool)]
        return numbers if len(numbers) == len(found) else []

    def values(self, metric: str) -> Tensor | None:
        """The metric of every image, mean over the runs; None where it is not measured image by image."""
        found = [r.values[metric] for r in self.runs if metric in r.values]
        if len(found) < len(self.runs) or len({len(v) for v in found}) > 1:
            return None
        mean_N = torch.stack(found).mean(0)
        return mean_N if len(mean_N) > 1 and bool(mean_N.isfinite().all()) else None

    def interval(self, metric: str) -> difference.Interval | None:
        """95 % interval: of several seeds Student's t of their mean, else the run's own."""
        numbers = self.numbers(metric)
        if len(numbers) > 1:
            return difference.mean_interval(numbers) if all(map(math.isfinite, numbers)) else None
        return self.widest(metric)

    def widest(self, metric: str) -> difference.Interval | None:
        """From the lowest to the highest end of the runs' own intervals; None where one has none."""
        found = [r.intervals.get(metric) for r in self.runs]
        ends = [(float(i[0]), float(i[1])) for i in found if i is not None]
        return (min(e[0] for e in ends), max(e[1] for e in ends)) if len(ends) == len(found) else None


def row(metric: str, entries: Sequence[Entry], better: str) -> dict[str, Any]:
    """A metric of all entries: a cell each, and which is best.

    better: "higher", "lower" or "" (neither: nothing is ranked). A cell's `verdict` is "best"; "worse": told apart from
    the best; "level": not told apart; "unjudged": nothing says how exact the values are; "incomparable"; "missing"; or
    "" where nothing is ranked. `difference` is value − best with its interval, `method` one of `METHODS`.
    """
    cells = [_cell(metric, e) for e in entries]
    found: dict[str, Any] = {"metric": metric, "better": better, "best": None, "unranked": "", "cells": cells}
    there = [i for i, c in enumerate(cells) if isinstance(c["value"], float) and math.isfinite(c["value"])]
    if not better or len(there) < 2:
        return found
    if why := incomparable(metric, [entries[i] for i in there]):
        for i in there:
            cells[i]["verdict"] = "incomparable"
        return found | {"unranked": why}
    best = (max if better == "higher" else min)(there, key=lambda i: cells[i]["value"])
    for i in there:
        cells[i] |= {"verdict": "best"} if i == best else _against(metric, entries[i], entries[best])
    return found | {"best": best}


def _cell(metric: str, entry: Entry) -> dict[str, Any]:
    numbers, first = entry.numbers(metric), entry.runs[0].metrics.get(metric)
    cell: dict[str, Any] = {"value": None, "verdict": "" if first is not None else "missing"}
    if not numbers:
        return cell | ({"value": first} if first is not None else {})  # a histogram, of the first seed
    cell["value"] = math.fsum(numbers) / len(numbers)
    if len(numbers) > 1:
        cell |= {"seeds": len(numbers), "deviation": difference.deviation(numbers)}
    if interval := entry.interval(metric):
        cell["interval"] = list(interval)
    if floor := entry.numbers(f"{metric}_floor"):
        cell["floor"] = math.fsum(floor) / len(floor)
    return cell


def _against(metric: str, entry: Entry, best: Entry) -> dict[str, Any]:
    """How an entry stands to the best one."""
    ours, theirs = entry.numbers(metric), best.numbers(metric)
    a_N, b_N = entry.values(metric), best.values(metric)
    found: dict[str, Any] = {"difference": math.fsum(ours) / len(ours) - math.fsum(theirs) / len(theirs)}
    if len(ours) > 1 and len(theirs) > 1:
        interval, method = difference.welch_interval(ours, theirs), "seeds"
    elif a_N is not None and b_N is not None and len(a_N) == len(b_N):
        interval, method = paired_interval(a_N, b_N), "paired"
    else:
        one, other = entry.widest(metric), best.widest(metric)
        if one is None or other is None:
            return found | {"verdict": "unjudged"}
        apart = one[0] > other[1] or one[1] < other[0]
        return found | {"verdict": "worse" if apart else "level", "method": "overlap"}
    apart = interval[0] > 0 or interval[1] < 0
    return found | {
        "verdict": "worse" if apart else "level",
        "method": method,
        "difference_interval": list(interval),
    }


def paired_interval(a_N: Tensor, b_N: Tensor) -> difference.Interval:
    """95 % bootstrap interval of mean(a − b) over the same N images."""
    return difference.percentile_interval(difference.resampled_means((a_N - b_N)[:, None])[:, 0])


def incomparable(metric: str, entries: Sequence[Entry]) -> str:
    """Why a metric of these entries is on scales of different kinds; "" where it is on one."""
    if metric in LIKELIHOOD:
        kinds: dict[str, list[str]] = {}
        for e in entries:
            kinds.setdefault(e.runs[0].likelihood, []).append(e.name)
        if len(kinds) > 1:
            listed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items())
            return f"bounds of different likelihoods are on different scales ({listed})"
    if metric in LATENT:
        # The floor is drawn with a fixed seed from the prior alone, so that equal priors have equal floors.
        floors = [e.runs[0].metrics.get("energy_distance_floor", 0.0) for e in entries]
        if any(not math.isclose(f, floors[0], rel_tol=1e-6) for f in floors):
            return "it is in units of the latents, and the runs' priors or latent dimensions differ"
    return ""
