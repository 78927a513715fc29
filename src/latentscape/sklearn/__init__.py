"""Every model as a scikit-learn estimator: `from latentscape.sklearn import VAE, PCA, AnomalyDetector`.

There is a class for each model that is found, the package's own and those of other packages; `dir` of this module
lists them. Parameters are the model's settings and those of training, by the names that the command line has. An
estimator has the methods that its model has the abilities for: `transform`, `inverse_transform`, `score_samples`,
`sample`, `predict`.
"""

from __future__ import annotations

from typing import Any

from latentscape import models


def __getattr__(name: str) -> Any:
    if name == "AnomalyDetector":
        from latentscape.sklearn.anomaly import AnomalyDetector

        return AnomalyDetector
    found = {} if name.startswith("_") else {m.replace("_", ""): m for m in models.modules()}
    if name.lower() not in found:
        raise AttributeError(f"module 'latentscape.sklearn' has no attribute {name!r}; it has {', '.join(__dir__())}")
    from latentscape.sklearn.base import estimator

    return estimator(found[name.lower()])


def __dir__() -> list[str]:
    from latentscape.sklearn.base import title

    return ["AnomalyDetector", *sorted(title(m) for m in models.modules())]
