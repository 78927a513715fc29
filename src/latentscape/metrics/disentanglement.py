"""Whether each true factor of the pictures sits in a latent dimension of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BINS, PER_CELL = 20, 5
"""Latents and factors with more values are cut into so many bins of equal counts, fewer where that would leave less
than five examples for each pair of bins."""

CLASSES = 10
"""A factor with at most so many whole-numbered values is a kind, not a quantity."""

TREES, LEAF = 10, 5
"""Of each random forest: trees, and examples that a leaf holds at least."""


def mutual_information_gap(z_NL: Tensor, v_NK: Tensor) -> float:
    """Mean over factors of (I(z_1; v) − I(z_2; v)) / H(v), in [0, 1] (Chen et al. 2018, eq. 6).

    z_1 and z_2 are the two latent dimensions that say most about the factor. Information is that of codes (posterior
    means) and factors in `BINS` bins of equal counts, so that it does not depend on their scale, and entropies have the
    correction of Miller & Madow for finite counts. Factors that do not vary are left out; NaN without any.
    """
    most = min(BINS, max(2, math.isqrt(len(z_NL) // PER_CELL)))
    bins_NL, gaps = _binned(z_NL, most), []
    for v_N in v_NK.T:
        bin_N = _binned(v_N[:, None], most)[:, 0]
        entropy = _entropy(bin_N)
        if entropy > 0:
            told = sorted(_entropy(bin_N) + _entropy(b_N) - _entropy(_joint(bin_N, b_N)) for b_N in bins_NL.T)
            first, second = told[-1], max(0.0, told[-2]) if len(told) > 1 else 0.0
            gaps.append(max(0.0, first - second) / entropy)
    return float(np.mean(gaps)) if gaps else math.nan


@dataclass(frozen=True)
class Dci:
    """Disentanglement, completeness and informativeness, each in [0, 1]; importance: L×K, of dimensions for factors."""

    disentanglement: float
    completeness: float
    informativeness: float
    importance: np.ndarray


def dci(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], seed: int = 0) -> Dci:
    """The three scores of Eastwood & Williams 2018 (section 2), from random forests, as in their experiments.

    train, test: codes N×L and factors N×K. A forest reads each factor off the codes; what each dimension contributes is
    its importance. Disentanglement: 1 − the entropy of a dimension's importances over factors (base K), dimensions
    weighted by their importance. Completeness: 1 − the entropy of a factor's importances over dimensions (base L), mean
    over factors. Informativeness: share of the errors of naming the most frequent kind, or of the squared deviation
    from the mean, that the forest removes on test examples; at least 0, mean over factors. Factors that do not vary are
    left out.
    """
    kept = [k for k in range(train[1].shape[1]) if len(train[1][:, k].unique()) > 1 and len(test[1][:, k].unique()) > 1]
    read = [_read(train[0].numpy(), train[1][:, k].numpy(), test[0].numpy(), test[1][:, k].numpy(), seed) for k in kept]
    if not read:
        return Dci(math.nan, math.nan, math.nan, np.zeros((train[0].shape[1], 0)))
    weight_LK = np.stack([importance_L for importance_L, _ in read], 1)
    each_L = weight_LK.sum(1) / weight_LK.sum()
    disentangled = float(each_L @ (1 - _evenness(weight_LK)))
    complete = float(np.mean(1 - _evenness(weight_LK.T)))
    return Dci(disentangled, complete, float(np.mean([share for _, share in read])), weight_LK)


def _read(z: np.ndarray, v: np.ndarray, z_test: np.ndarray, v_test: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """A forest's importances of the dimensions for one factor, adding up to 1, and the share of error it removes."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    settings = {"n_estimators": TREES, "min_samples_leaf": LEAF, "random_state": seed, "max_features": None}
    if _is_kind(np.concatenate([v, v_test])):
        forest = RandomForestClassifier(**settings).fit(z, v.astype(int))
        kinds, counts = np.unique(v, return_counts=True)
        error, base = np.mean(forest.predict(z_test) != v_test), np.mean(v_test != kinds[counts.argmax()])
    else:
        forest = RandomForestRegressor(**settings).fit(z, v)
        error, base = np.mean((forest.predict(z_test) - v_test) ** 2), np.mean((v_test - v.mean()) ** 2)
    importance_L = forest.feature_importances_
    even = np.full(len(importance_L), 1 / len(importance_L))  # codes that stand still: no dimension has any
    return importance_L if importance_L.sum() > 0 else even, max(0.0, 1 - float(error / base)) if base > 0 else 0.0


def _is_kind(v_N: np.ndarray) -> bool:
    values = np.unique(v_N)
    return len(values) <= CLASSES and bool(np.all(values == np.round(values)))


def _evenness(weight_RC: np.ndarray) -> np.ndarray:
    """Entropy of each row's weights over its columns, in units of the largest possible: 0 for one column, 1 for all."""
    if weight_RC.shape[1] < 2:
        return np.zeros(len(weight_RC))
    share_RC = weight_RC / np.maximum(weight_RC.sum(1, keepdims=True), 1e-300)
    return -(share_RC * np.log(np.maximum(share_RC, 1e-300))).sum(1) / math.log(weight_RC.shape[1])


def _binned(x_NC: Tensor, most: int) -> np.ndarray:
    """Each column as whole numbers from 0: its values where they are few, else bins of equal counts."""
    columns = []
    for x_N in x_NC.double().numpy().T:
        values = np.unique(x_N)
        edges = values[1:] if len(values) <= most else np.quantile(x_N, np.arange(1, most) / most)
        columns.append(np.searchsorted(edges, x_N, side="right"))
    return np.stack(columns, 1)


def _joint(a_N: np.ndarray, b_N: np.ndarray) -> np.ndarray:
    return a_N * BINS + b_N


def _entropy(bin_N: np.ndarray) -> float:
    """Entropy in nats of the observed shares, and (values seen − 1)/2N (Miller 1955), by which they fall short."""
    share = np.bincount(bin_N) / len(bin_N)
    share = share[share > 0]
    return float(-(share * np.log(share)).sum()) + (len(share) - 1) / (2 * len(bin_N))


def usable(factors_NK: Tensor) -> Tensor:
    """Positions of the examples whose factors are all known."""
    return torch.nonzero(~factors_NK.isnan().any(1))[:, 0]
