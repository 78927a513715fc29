"""Distributions over latents that were not trained with the model: what an autoencoder is sampled from.

`fit(kind, z_NL)` gives one of `KINDS`; each has `sample`, and all but flow matching have `log_prob`. A fit depends on
the latents, the seed and the budget alone. All but the Gaussians work on whitened latents, and none minds dead ones.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from latentscape.errors import ConfigError, DataError
from latentscape.latents.priors.base import Budget, Density, Prior, Report
from latentscape.latents.priors.flow import Flow, fit_flow
from latentscape.latents.priors.flow_matching import FlowMatching, fit_flow_matching
from latentscape.latents.priors.gaussian import DiagonalPrior, GaussianPrior, fit_gaussian
from latentscape.latents.priors.mixture import Mixture, fit_mixture

KINDS = ("diagonal", "full", "gmm", "flow", "flow-matching")

WORDS: dict[str, str] = {
    "diagonal": "a diagonal Gaussian",
    "full": "a full Gaussian",
    "gmm": "a mixture of Gaussians",
    "flow": "a normalising flow",
    "flow-matching": "a flow-matching net",
}
"""Each kind in words, with its article."""

_CLASSES: dict[str, type[Prior]] = {
    "diagonal": DiagonalPrior,
    "full": GaussianPrior,
    "gmm": Mixture,
    "flow": Flow,
    "flow-matching": FlowMatching,
}
_LEARNED = {"gmm": fit_mixture, "flow": fit_flow, "flow-matching": fit_flow_matching}

__all__ = ["KINDS", "WORDS", "Budget", "Density", "GaussianPrior", "Prior", "fit", "fit_gaussian", "unpacked"]


def fit(kind: str, z_NL: Tensor, *, seed: int = 0, report: Report | None = None, budget: Budget | None = None) -> Prior:
    """A prior of one of `KINDS` fitted to latents. Its `figures` have the latents used and the seconds.

    report: takes sentences about progress. An unknown kind raises `ConfigError`; no latents, or values that are not
    finite, `DataError`.
    """
    check(kind)
    if not len(z_NL) or not z_NL.isfinite().all():
        found = "there are none" if not len(z_NL) else "some are not finite"
        raise DataError(f"a prior is fitted to finite latents, and {found}; train the model on more data or anew")
    budget, started = budget or Budget(), time.perf_counter()
    z_NL = _some(z_NL.detach().cpu(), budget.latents, seed)
    if kind in _LEARNED:
        with torch.enable_grad():  # whoever asks may be measuring, without gradients
            prior = _LEARNED[kind](z_NL, seed, report or (lambda text: None), budget)
    else:
        prior = fit_gaussian(z_NL, diagonal=kind == "diagonal")
    prior.figures.update(latents=len(z_NL), seconds=time.perf_counter() - started)
    return prior


def check(kind: str) -> None:
    """`ConfigError` for what is not one of `KINDS`."""
    if kind not in KINDS:
        raise ConfigError(f"prior must be one of {', '.join(KINDS)}, got {kind!r}")


def _some(z_NL: Tensor, most: int, seed: int) -> Tensor:
    """All latents, or so many of them at random."""
    if len(z_NL) <= most:
        return z_NL
    return z_NL[torch.randperm(len(z_NL), generator=torch.Generator().manual_seed(seed))[:most].sort().values]


def unpacked(kind: str, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Prior:
    """The prior that `Prior.packed` took apart."""
    return _CLASSES[kind].unpacked(tensors, settings)
