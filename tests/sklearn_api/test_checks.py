"""scikit-learn's own checks of estimators."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from latentscape import models
from latentscape import sklearn as estimators
from latentscape.tasks import training

pytestmark = pytest.mark.filterwarnings(
    # The checks fit tiny models, of which the failure detectors rightly say that they have learned nothing yet.
    "ignore::sklearn.exceptions.ConvergenceWarning"
)

SCORE_NEEDS = "the checks give no labels to score_samples, and this model decodes under them"
TRANSFORM_NEEDS = "the checks give no labels to transform, and this model's encoder reads them"
FEW_STEPS = "three steps teach a game of several players nothing yet"
EXPECTED: dict[str, dict[str, str]] = {
    "ConditionalVAE": {
        "check_methods_sample_order_invariance": SCORE_NEEDS,
        "check_methods_subset_invariance": SCORE_NEEDS,
    },
    "ConditionalAutoencoder": {
        "check_dict_unchanged": TRANSFORM_NEEDS,
        "check_dtype_object": TRANSFORM_NEEDS,
        "check_estimators_dtypes": TRANSFORM_NEEDS,
        "check_estimators_pickle": TRANSFORM_NEEDS,
        "check_f_contiguous_array_estimator": TRANSFORM_NEEDS,
        "check_fit_idempotent": TRANSFORM_NEEDS,
        "check_methods_sample_order_invariance": TRANSFORM_NEEDS,
        "check_methods_subset_invariance": TRANSFORM_NEEDS,
        "check_transformer_data_not_an_array": TRANSFORM_NEEDS,
        "check_transformer_general": TRANSFORM_NEEDS,
        "check_transformer_preserve_dtypes": TRANSFORM_NEEDS,
    },
    "StyleLabelAAE": {"check_classifiers_train": FEW_STEPS},
    "SemiSupervisedAAE": {
        "check_classifiers_train": FEW_STEPS,
        "check_classifiers_classes": "the checks call a class −1, which here stands for a label that is not known",
    },
}


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of runs that last milliseconds: nothing waits for the disk, or asks git where it is."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(training, "_revision", lambda package: "")


def tiny(name: str) -> Any:
    """The estimator of a model with the smallest nets and three steps; the classifier learns, as checks want it to."""
    kind = getattr(estimators, name)
    learning = {"max_steps": 30, "batch_size": 50, "learning_rate": 0.02}
    steps = learning if name == "Classifier" else {"max_steps": 3, "batch_size": 8}
    small = {"hidden": (8,), "discriminator_hidden": (8,), "threads": 1, **steps}
    if name != "PCA":
        small["latent_dim"] = 1 if name == "ConcreteAutoencoder" else 2  # which picks of the features that there are
    defaults = kind().get_params()
    return kind(**{k: v for k, v in small.items() if k in defaults})


def expected(estimator: Any) -> dict[str, str]:
    return EXPECTED.get(type(estimator).__name__, {})


QUICK = [tiny("PCA"), tiny("VAE"), estimators.AnomalyDetector()]


@parametrize_with_checks(QUICK, expected_failed_checks=expected)
def test_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(dir(estimators)) - {"AnomalyDetector"}))
def test_checks_of_every_model(name: str) -> None:
    results = check_estimator(tiny(name), on_fail=None, on_skip=None)
    found = {r["check_name"]: repr(r["exception"]) for r in results if r["status"] == "failed"}
    assert set(found) == set(EXPECTED.get(name, {})), found
    assert len([r for r in results if r["status"] == "passed"]) >= 34


def test_every_model_has_one() -> None:
    names = [name for name in dir(estimators) if name != "AnomalyDetector"]
    assert sorted(getattr(estimators, name).name for name in names) == sorted(models.modules())
