"""Intervals of differences: against scipy, by their coverage, and at their edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from latentscape.metrics import difference


def test_welch_agrees_with_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 2, 4).tolist(), rng.normal(0, 0.3, 7).tolist()
    theirs = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert difference.welch_interval(a, b) == pytest.approx((theirs.low, theirs.high), rel=1e-9)


def test_the_interval_of_a_mean_agrees_with_scipy():
    values = [1.0, 2.5, 2.0]
    theirs = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert difference.mean_interval(values) == pytest.approx(theirs)
    assert difference.deviation(values) == pytest.approx(np.std(values, ddof=1))


def test_values_without_spread_give_a_point():
    assert difference.welch_interval([2.0, 2.0], [1.5, 1.5]) == (0.5, 0.5)
    with pytest.raises(ValueError, match="at least two"):
        difference.welch_interval([1.0], [1.0, 2.0])


def test_bootstrap_means_spread_as_the_mean_does():
    x_N1 = torch.from_numpy(np.random.default_rng(1).normal(3, 2, (500, 1)))
    means = difference.resampled_means(x_N1)[:, 0]
    assert len(means) == difference.RESAMPLES
    assert float(means.mean()) == pytest.approx(float(x_N1.mean()), abs=0.02)
    assert float(means.std()) == pytest.approx(float(x_N1.std()) / math.sqrt(500), rel=0.08)


def test_columns_stay_paired():
    """Two columns that differ by a constant: their difference has no spread, however wide each is."""
    x_N = torch.from_numpy(np.random.default_rng(2).normal(0, 10, 200))
    means = difference.resampled_means(torch.stack([x_N, x_N - 0.25], 1), resamples=150)
    assert len(means) == 150
    assert difference.percentile_interval(means[:, 0] - means[:, 1]) == pytest.approx((0.25, 0.25))
    low, high = difference.percentile_interval(means[:, 0])
    assert high - low > 1


def test_the_same_seed_draws_the_same_images():
    x_NM = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(difference.resampled_means(x_NM), difference.resampled_means(x_NM))
    assert not torch.equal(difference.resampled_means(x_NM), difference.resampled_means(x_NM, seed=1))


def test_paired_intervals_cover_the_truth_about_as_often_as_they_say():
    rng, covered, trials = np.random.default_rng(3), 0, 150
    for _ in range(trials):
        image_N = rng.normal(0, 5, 100)
        both = np.stack([image_N + rng.normal(0.1, 1, 100), image_N + rng.normal(0, 1, 100)], 1)
        means = difference.resampled_means(torch.from_numpy(both), resamples=400)
        low, high = difference.percentile_interval(means[:, 0] - means[:, 1])
        covered += low <= 0.1 <= high
    assert 0.88 <= covered / trials <= 0.99
