"""Outliers: what a model of the usual finds unusual."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.utils.validation import check_is_fitted

from latentscape.sklearn.base import estimator as estimator_of


class AnomalyDetector(OutlierMixin, BaseEstimator):
    """Calls the examples outliers that a model scores below all but `contamination` of its training examples.

    estimator: any with `score_samples`; None: PCA. It is cloned. contamination: the share of training examples that
    count as outliers, above 0 and at most 0.5. After fit: `estimator_`, and `offset_`, the score that divides.
    """

    def __init__(self, estimator: Any = None, *, contamination: float = 0.1) -> None:
        self.estimator = estimator
        self.contamination = contamination

    def fit(self, X: Any, y: Any = None) -> AnomalyDetector:
        """Fit the model to X and find the score that divides; y is ignored."""
        if not 0 < self.contamination <= 0.5:
            raise ValueError(f"contamination must be above 0 and at most 0.5, got {self.contamination}")
        model: Any = estimator_of("pca")() if self.estimator is None else clone(self.estimator)
        if not hasattr(model, "score_samples"):
            raise ValueError(f"estimator must have score_samples, and {type(model).__name__} has none")
        self.estimator_ = model.fit(X)
        self.n_features_in_ = model.n_features_in_
        if hasattr(model, "feature_names_in_"):
            self.feature_names_in_ = model.feature_names_in_
        self.offset_ = float(np.percentile(model.score_samples(X), 100 * self.contamination))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """The model's score of each example: the lower, the less usual."""
        check_is_fitted(self)
        return self.estimator_.score_samples(X)

    def decision_function(self, X: Any) -> np.ndarray:
        """`score_samples` less `offset_`: below 0 for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """1 for what is usual, −1 for outliers."""
        return np.where(self.decision_function(X) < 0, -1, 1)
