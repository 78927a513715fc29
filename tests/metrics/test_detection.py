"""AUROC and average precision against other ways to count them, intervals and thresholds against their promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.metrics import average_precision_score, roc_auc_score

from latentscape.metrics import detection


def scored(n=200, seed=0, levels=0):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.3
    s = rng.normal(size=n) + y
    s = np.round(s * levels) / levels if levels else s
    return torch.from_numpy(s), torch.from_numpy(y)


def test_auroc_counts_pairs_and_ties_by_halves():
    s, y = torch.tensor([1.0, 2.0, 2.0, 3.0]), torch.tensor([False, False, True, True])
    assert detection.auroc(s, y) == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    s, y = scored(60, levels=3)
    pairs = [(a > b) + 0.5 * (a == b) for a in s[y].tolist() for b in s[~y].tolist()]
    assert detection.auroc(s, y) == pytest.approx(float(np.mean(pairs)), abs=1e-12)


@pytest.mark.parametrize("levels", [0, 1, 5])
def test_both_agree_with_scikit_learn(levels):
    s, y = scored(500, 3, levels)
    assert detection.auroc(s, y) == pytest.approx(roc_auc_score(y.numpy(), s.numpy()), abs=1e-12)
    assert detection.average_precision(s, y) == pytest.approx(average_precision_score(y.numpy(), s.numpy()), abs=1e-12)


def test_the_ends_of_the_scale():
    y = torch.tensor([False, False, True])
    assert detection.auroc(torch.tensor([0.0, 1.0, 2.0]), y) == detection.average_precision(torch.arange(3), y) == 1
    assert detection.auroc(torch.tensor([2.0, 1.0, 0.0]), y) == 0
    assert detection.auroc(torch.zeros(3), y) == 0.5
    assert detection.average_precision(torch.zeros(3), y) == pytest.approx(1 / 3)
    assert detection.auroc(torch.tensor([0.0, 1.0, math.inf]), y) == 1


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="both normal and anomalous"):
        detection.auroc(torch.arange(3), torch.ones(3))
    with pytest.raises(ValueError, match="must be a number"):
        detection.average_precision(torch.tensor([0.0, math.nan]), torch.tensor([True, False]))
    with pytest.raises(ValueError, match="one score and one flag"):
        detection.auroc(torch.arange(3), torch.ones(2))


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (1, 10), (5, 100), (10, 10), (49, 980)])
def test_the_interval_ends_where_the_tails_are_a_fortieth(hits, n):
    low, high = detection.binomial_interval(hits, n)
    assert low <= hits / n <= high
    if hits:
        assert binom.sf(hits - 1, n, low) == pytest.approx(0.025, rel=1e-6)
    if hits < n:
        assert binom.cdf(hits, n, high) == pytest.approx(0.025, rel=1e-6)
    assert (low == 0, high == 1) == (hits == 0, hits == n)


def test_a_higher_level_is_a_wider_interval():
    narrow, wide = (detection.binomial_interval(5, 100, level) for level in (0.8, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    with pytest.raises(ValueError, match="0 ≤ hits ≤ n"):
        detection.binomial_interval(3, 2)


def test_the_threshold_is_the_named_order_statistic():
    scores = torch.arange(1.0, 20.0)[torch.randperm(19, generator=torch.Generator().manual_seed(0))]
    assert detection.conformal_threshold(scores, 0.05) == 19  # 20 · 0.95 = 19 of 19
    assert detection.conformal_threshold(scores, 0.1) == 18
    assert detection.conformal_threshold(scores, 0.5) == 10
    assert detection.fewest_for(0.05) == 19
    with pytest.raises(ValueError, match="needs at least 99 normal scores, got 19"):
        detection.conformal_threshold(scores, 0.01)


@pytest.mark.parametrize("rate", [0.05, 0.07, 0.3])
def test_the_rate_holds_for_a_further_normal_example(rate):
    """Any of n + 1 exchangeable scores may be the new one: leaving out each in turn counts the false alarms exactly."""
    s = torch.randn(61, generator=torch.Generator().manual_seed(1))
    alarms = [float(s[i]) > detection.conformal_threshold(torch.cat([s[:i], s[i + 1 :]]), rate) for i in range(61)]
    assert sum(alarms) == math.floor(rate * 61)


@pytest.mark.parametrize("levels", [0, 2])
@pytest.mark.parametrize("rate", [0.05, 0.1, 0.25])
def test_a_small_p_value_and_a_score_above_the_threshold_are_the_same(rate, levels):
    s, _ = scored(400, 5, levels)
    calibration, new = s[:99], s[99:]
    p = detection.conformal_p_values(new, calibration)
    assert torch.equal(p <= rate + 1e-12, new > detection.conformal_threshold(calibration, rate))
    assert float(p.min()) >= 1 / 100
    brute = [(1 + int((calibration >= x).sum())) / 100 for x in new]
    assert p.tolist() == pytest.approx(brute)
