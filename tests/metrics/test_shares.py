"""Intervals hold what they are of as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from latentscape.metrics import shares


@pytest.mark.parametrize(("share", "n"), [(0.5, 40), (0.97, 200), (0.02, 100)])
def test_wilson_covers_at_its_level(share: float, n: int) -> None:
    counts = np.random.default_rng(0).binomial(n, share, 4000)
    inside = [low <= share <= high for low, high in (shares.wilson(c / n, n) for c in counts)]
    assert 0.93 < np.mean(inside) < 0.985


def test_none_of_many_is_not_never() -> None:
    low, high = shares.wilson(0.0, 1000)
    assert low == pytest.approx(0, abs=1e-12)
    assert high == pytest.approx(3.84 / 1003.84, rel=1e-3)
    assert shares.wilson(1.0, 1000) == pytest.approx((1 - high, 1.0), abs=1e-12)


def test_around_is_cut_where_values_end() -> None:
    assert shares.around(1.0, 1.0) == pytest.approx((1 - 1.96, 1 + 1.96), rel=1e-4)
    assert shares.around(1.0, 1.0, 0.0) == pytest.approx((0, 2.96), rel=1e-4)
    assert shares.around(math.pi, 0.0) == (math.pi, math.pi)
