"""How well a score tells anomalous examples from normal ones, and a threshold that keeps its promise.

Everywhere a higher score is more anomalous. Scores are float64 in all comparisons, so that equal ones count as ties.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def auroc(scores_N: Tensor, anomalous_N: Tensor) -> float:
    """Area under the ROC curve, exact: the chance that an anomalous example scores above a normal one, ties a half.

    It is the Mann–Whitney U over n₁·n₀ (Hanley & McNeil 1982). anomalous_N: bool. Raises `ValueError` unless there are
    examples of both kinds, or where a score is not a number.
    """
    scores_N, anomalous_N = _checked(scores_N, anomalous_N)
    _, place_N, count_U = scores_N.unique(return_inverse=True, return_counts=True)
    rank_U = count_U.cumsum(0).double() - (count_U - 1) / 2  # from 1; equal scores share their mean rank
    ones, zeros = int(anomalous_N.sum()), int((~anomalous_N).sum())
    return float((rank_U[place_N][anomalous_N].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def average_precision(scores_N: Tensor, anomalous_N: Tensor) -> float:
    """Σ (recall − recall before) · precision over all thresholds from the highest down; equal scores pass together.

    No interpolation, as scikit-learn's. anomalous_N: bool. What chance reaches is the share of anomalous ones. Raises
    as `auroc`.
    """
    scores_N, anomalous_N = _checked(scores_N, anomalous_N)
    _, place_N, count_U = scores_N.unique(return_inverse=True, return_counts=True)
    hits_U = torch.zeros(len(count_U), dtype=torch.float64).index_add_(0, place_N, anomalous_N.double()).flip(0)
    precision_U = hits_U.cumsum(0) / count_U.flip(0).cumsum(0)
    return float((precision_U * hits_U).sum() / hits_U.sum())


def _checked(scores_N: Tensor, anomalous_N: Tensor) -> tuple[Tensor, Tensor]:
    scores_N, anomalous_N = scores_N.detach().cpu().double(), anomalous_N.cpu().bool()
    if scores_N.shape != anomalous_N.shape or scores_N.dim() != 1:
        raise ValueError(
            f"one score and one flag per example, got {tuple(scores_N.shape)} and {tuple(anomalous_N.shape)}"
        )
    if scores_N.isnan().any():
        raise ValueError("every score must be a number")
    if not anomalous_N.any() or anomalous_N.all():
        raise ValueError("there must be both normal and anomalous examples")
    return scores_N, anomalous_N


def binomial_interval(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided interval for a share of which `hits` of n were seen (Clopper & Pearson 1934): never below its level.

    Raises `ValueError` unless 0 ≤ hits ≤ n, n ≥ 1 and 0 < confidence < 1.
    """
    from scipy.special import betaincinv  # scikit-learn's own requirement

    if not (0 <= hits <= n and n >= 1 and 0 < confidence < 1):
        raise ValueError(f"needs 0 ≤ hits ≤ n, n ≥ 1, 0 < confidence < 1; got {hits}, {n}, {confidence}")
    tail = (1 - confidence) / 2
    low = float(betaincinv(hits, n - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1 - tail)) if hits < n else 1.0
    return low, high


def fewest_for(rate: float) -> int:
    """How many normal scores `conformal_threshold` needs at least for a false-alarm rate above 0 and below 1."""
    return math.ceil(1 / rate - 1e-9) - 1


def conformal_threshold(normal_N: Tensor, rate: float) -> float:
    """The score above which an example is anomalous: the ⌈(n+1)(1−rate)⌉-th smallest of n held-out normal scores.

    A further normal example, exchangeable with those n, lies above it with probability at most `rate`, and at least
    rate − 1/(n+1) without ties (Vovk et al. 2005; Laxhammar & Falkman 2010 for anomalies). That is the mean over
    draws of the n; for one draw the rate that is reached scatters by about √(rate·(1−rate)/n). Raises `ValueError`
    where n is below `fewest_for(rate)`, for then no score can promise it.
    """
    n = len(normal_N)
    place = math.ceil((n + 1) * (1 - rate) - 1e-9)
    if not 0 < rate < 1 or not n or place > n:
        raise ValueError(f"a rate of {rate:g} needs at least {fewest_for(rate)} normal scores, got {n}")
    return float(normal_N.double().sort().values[place - 1])


def conformal_p_values(scores_N: Tensor, normal_M: Tensor) -> Tensor:
    """N float64: (1 + how many of M held-out normal scores are at least as high) / (M + 1).

    For a normal example at most u with probability at most u; p ≤ rate just where the score exceeds
    `conformal_threshold(normal_M, rate)`.
    """
    ordered_M = normal_M.double().sort().values
    above_N = len(ordered_M) - torch.searchsorted(ordered_M, scores_N.double().contiguous())
    return (above_N + 1).double() / (len(ordered_M) + 1)
