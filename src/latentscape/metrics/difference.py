"""Differences of measured values, and how far they can be trusted: over the same images, or over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

CONFIDENCE = 0.95
"""Of every interval here."""

RESAMPLES = 2_000
"""Bootstrap draws: the ends of a 95 % interval are then known to about 5 % of its width."""

AT_ONCE = 100
"""Resamples counted at once: 100×N float64, 8 MB for 10,000 images."""

Interval = tuple[float, float]


def resampled_means(values_NM: Tensor, resamples: int = RESAMPLES, seed: int = 0) -> Tensor:
    """Means over images of `resamples` bootstrap draws: N images with M values each → resamples×M float64.

    Every draw takes N images with replacement, and takes them for all M columns: columns stay paired, so that the
    difference of two of them is the bootstrap of their difference (Efron and Tibshirani 1993, chapter 8).
    """
    values_NM, n = values_NM.double(), len(values_NM)
    rng, means = np.random.default_rng(seed), []
    for start in range(0, resamples, AT_ONCE):
        draws = min(AT_ONCE, resamples - start)
        counts = np.stack([np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(draws)])
        means.append(torch.from_numpy(counts).double() @ values_NM / n)
    return torch.cat(means)


def percentile_interval(means_R: Tensor) -> Interval:
    """The middle 95 % of bootstrap means."""
    low, high = torch.quantile(means_R, torch.tensor([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]).double()).tolist()
    return low, high


def mean_interval(values: Sequence[float]) -> Interval:
    """Student's t interval of a mean, from two or more independent values (of seeds)."""
    error = math.sqrt(_variance_of_mean(values))
    reach = _t_quantile(len(values) - 1) * error
    middle = math.fsum(values) / len(values)
    return middle - reach, middle + reach


def welch_interval(a: Sequence[float], b: Sequence[float]) -> Interval:
    """95 % interval of mean(a) − mean(b) from two or more independent values each, whose variances may differ.

    Welch 1947, with the degrees of freedom of Welch and Satterthwaite. Values without any spread give a single point.
    """
    parts = _variance_of_mean(a), _variance_of_mean(b)
    difference = math.fsum(a) / len(a) - math.fsum(b) / len(b)
    if not sum(parts):
        return difference, difference
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
    reach = _t_quantile(freedom) * math.sqrt(sum(parts))
    return difference - reach, difference + reach


def deviation(values: Sequence[float]) -> float:
    """Standard deviation of two or more values, with n − 1."""
    return math.sqrt(_variance_of_mean(values) * len(values))


def _variance_of_mean(values: Sequence[float]) -> float:
    if len(values) < 2:
        raise ValueError(f"a spread needs at least two values, got {len(values)}")
    return float(np.var(values, ddof=1)) / len(values)


def _t_quantile(freedom: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
