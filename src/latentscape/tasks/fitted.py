"""Priors fitted to a run's training latents, kept in its folder so that they are fitted once."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentscape.contract import Encodes, Model
from latentscape.errors import LatentscapeError, RunError
from latentscape.latents import priors
from latentscape.latents.priors import Budget, Prior, Report
from latentscape.tasks.evaluating import load_for
from latentscape.training.checkpoint import load_state, save_state, to_json

FORMAT = 1
"""Raised when kept priors must be fitted anew: what they are made of, or how they are fitted, has changed."""

GAUSSIAN_LATENTS = 10_000
"""Training latents that a single Gaussian is fitted to: more change nothing that can be seen."""

GAUSSIANS = ("diagonal", "full")


def fitted_prior(
    stage: Any,
    kind: str,
    *,
    seed: int = 0,
    budget: Budget | None = None,
    report: Report | None = None,
    encoded: Callable[[int], Tensor] | None = None,
) -> Prior:
    """A prior of one of `priors.KINDS` for the stage's model: the one kept in its run folder, or a new one, then kept.

    stage: a `Stage`; where its data are None and a fit needs some, they are the run's own, which are loaded then.
    encoded: n → n training latents, where the caller has them; it is not asked where a kept prior serves.
    A kept prior serves the same weights, data, seed and budget only. One that is damaged is fitted anew, and one that
    cannot be written (a folder of somebody else's) is not kept. Raises what `priors.fit` does, and `AbilityError` for
    a model without an encoder.
    """
    priors.check(kind)
    stage.need(Encodes, "so there are no latents to fit a prior to; use --prior own")
    budget = budget or Budget()
    n = min(budget.latents, GAUSSIAN_LATENTS) if kind in GAUSSIANS else budget.latents
    key = _key(stage, kind, n, seed, budget)
    path = stage.folder.fitted_path(kind)
    if (kept := _kept(path, kind, key)) is not None:
        return kept
    if stage.images is None:
        stage.images = load_for(stage.folder)
    z_NL = encoded(n) if encoded else stage.latents(n, "train")[0]
    prior = priors.fit(kind, z_NL, seed=seed, report=report, budget=budget)
    with contextlib.suppress(LatentscapeError, OSError):
        _keep(path, prior, key)
    return prior


def words(kind: str, prior: Prior) -> str:
    """A prior in words: "a full Gaussian fitted to 10,000 training latents"."""
    what = priors.WORDS[kind]
    if kind == "gmm":
        what = f"a mixture of {prior.figures['components']} Gaussian{'s' * (prior.figures['components'] > 1)}"
    return f"{what} fitted to {prior.figures['latents']:,} training latents"


def _key(stage: Any, kind: str, n: int, seed: int, budget: Budget) -> str:
    """What a fit depends on, as a hexadecimal digest."""
    known = stage.folder.data().get("fingerprint")
    data = stage.images.fingerprint if stage.images is not None else known
    about = [FORMAT, kind, n, seed, asdict(budget), data, _weights(stage.model), torch.__version__]
    return hashlib.sha256(to_json(about).encode()).hexdigest()


def _weights(model: Model) -> str:
    """A digest of the weights in use, which may be a checkpoint's or those of a run that goes on."""
    sha = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def _kept(path: Path, kind: str, key: str) -> Prior | None:
    try:
        tensors, state = load_state(path)
    except RunError:
        return None
    return priors.unpacked(kind, tensors, state["settings"]) if state.get("key") == key else None


def _keep(path: Path, prior: Prior, key: str) -> None:
    path.parent.mkdir(exist_ok=True)
    tensors, settings = prior.packed()
    save_state(path, tensors, {"key": key, "kind": prior.kind, "settings": settings})
