"""Intervals of shares, and of distances by their deviation."""

from __future__ import annotations

import math

Z = 1.959964
"""The normal distribution holds 95 % within so many deviations."""

Interval = tuple[float, float]


def wilson(share: float, n: int) -> Interval:
    """95 % interval of a share of n independent examples (Wilson 1927).

    A bootstrap of zeros alone says that the share is exactly 0; this does not, and holds its level at both ends.
    """
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    reach = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def around(value: float, deviation: float, low: float = -math.inf, high: float = math.inf) -> Interval:
    """The value ± 1.96 deviations, cut to [low, high]."""
    return max(low, value - Z * deviation), min(high, value + Z * deviation)
