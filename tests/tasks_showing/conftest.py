"""Stages of tiny runs: a model of each kind after a few steps, with its data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from latentscape.tasks import training
from latentscape.tasks.showing import Stage
from tiny_runs import TINY

SMALL: dict[str, Any] = {"threads": 1, "max_steps": 3, "batch_size": 16, "limit": 80}
MADE: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "vae": ("vae", "digits", {**TINY, "max_steps": 3, "latent_dim": 5}),
    "vae-plane": ("vae", "digits", {**TINY, "max_steps": 3}),
    "autoencoder": ("autoencoder", "digits", {**TINY, "max_steps": 3, "latent_dim": 4}),
    "pca": ("pca", "digits", {"limit": 80}),
    "conditional-vae": ("conditional-vae", "digits", {**TINY, "max_steps": 3}),
    "conditional-autoencoder": ("conditional-autoencoder", "digits", {**TINY, "max_steps": 3, "latent_dim": 3}),
    "sparse": ("sparse-autoencoder", "digits", {**TINY, "max_steps": 3, "latent_dim": 7}),
    "concrete": ("concrete-autoencoder", "digits", {**SMALL, "hidden": (8,), "latent_dim": 6}),
    "vq": ("vq-vae", "digits", {**SMALL, "codebook_size": 12, "code_dim": 4}),
    "classifier": ("classifier", "digits", {**SMALL, "width": 2}),
    "gan": ("gan", "digits", {**SMALL, "net": "mlp", "hidden": (8,), "latent_dim": 4}),
    "critic": ("wgan", "digits", {**SMALL, "net": "mlp", "hidden": (8,), "latent_dim": 4, "log_every": 1}),
    "curve": ("autoencoder", "curves", {**TINY, "max_steps": 3, "latent_dim": 1, "limit": 400}),
    "curve-by-label": ("conditional-autoencoder", "curves", {**TINY, "max_steps": 3, "latent_dim": 1, "limit": 400}),
    "unlabelled": (
        "vae",
        np.random.default_rng(0).integers(0, 256, (80, 8, 8), np.uint8),
        {**TINY, "max_steps": 3},
    ),
}


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Stage]:
    """A stage by its name in `MADE`, trained when it is first asked for."""
    made: dict[str, Stage] = {}

    def get(name: str) -> Stage:
        if name not in made:
            model, data, settings = MADE[name]
            run = training.train(model, data, out=tmp_path_factory.mktemp(name) / "run", **settings)
            made[name] = Stage(run.folder, run.model, run.data)
        return made[name]

    return get
