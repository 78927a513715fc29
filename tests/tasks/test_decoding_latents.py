"""Latents of one's own as pictures: given as numbers, or as the rows of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from explored_runs import make_run
from latentscape.errors import AbilityError, ConfigError, DataError
from latentscape.runs import RunFolder, load_run
from latentscape.tasks.decoding import decode


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_run(tmp_path_factory.mktemp("runs") / "vae", "vae")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_run(tmp_path_factory.mktemp("runs") / "told", "conditional-vae")


def truth(run: RunFolder, z_NL: Any, label: int | None = None) -> np.ndarray:
    model: Any = load_run(run.path)
    z = torch.as_tensor(z_NL, dtype=torch.float32)
    with torch.no_grad():
        x = model.decode(z, None if label is None else torch.full((len(z),), label))
    return (255 * x.clamp(0, 1)).numpy()


def test_numbers_become_the_picture_that_the_model_decodes(vae: RunFolder, tmp_path: Path) -> None:
    found = decode(vae.path, z=(0.5, -1.25, 2.0), out=tmp_path / "x.npy")
    assert found == {"run": str(vae.path), "n": 1, "out": str(tmp_path / "x.npy")}
    assert np.abs(np.load(tmp_path / "x.npy") - truth(vae, [[0.5, -1.25, 2.0]])).max() <= 0.51


def test_every_row_of_a_file_is_decoded_under_the_label(told: RunFolder, tmp_path: Path) -> None:
    z = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    np.save(tmp_path / "z.npy", z)
    found = decode(told.path, tmp_path / "z.npy", label="6", out=tmp_path / "x.npy")
    assert (found["n"], found["label"]) == (4, "6")
    assert np.abs(np.load(tmp_path / "x.npy") - truth(told, z, 6)).max() <= 0.51
    assert decode(told.path, tmp_path / "z.npy", out=tmp_path / "x.png")["label"] == "0"


def test_what_cannot_be_decoded_is_refused(vae: RunFolder, tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", np.zeros((2, 5)))
    for given, error, words in (
        ({"z": (0.0, 0.0)}, ConfigError, "--z takes 3"),
        ({"z": (0.0, 0.0, float("nan"))}, ConfigError, "finite"),
        ({}, ConfigError, "--z, or a file"),
        ({"z": (0.0,) * 3, "latents": tmp_path / "z.npy"}, ConfigError, "--z, or a file"),
        ({"latents": tmp_path / "z.npy"}, DataError, "3 numbers each"),
        ({"z": (0.0,) * 3, "label": 1}, AbilityError, "reads no labels"),
    ):
        with pytest.raises(error, match=words):
            decode(vae.path, out=tmp_path / "x.png", **given)  # type: ignore[arg-type]
