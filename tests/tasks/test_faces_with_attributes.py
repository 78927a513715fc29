"""The miniature of CelebA through training and use: an attribute as the label, as a condition and as a direction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import celeba
from latentscape.runs import RunFolder
from latentscape.tasks import training
from latentscape.tasks.arithmetic import move
from latentscape.tasks.evaluating import evaluate, load_for

SETTINGS: dict[str, Any] = {"size": "16", "threads": 1}
MOUTH = (slice(None), slice(12, 14), slice(7, 9))
"""Where a 16×16 face is bright if it smiles: teeth."""


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(celeba.make(tmp_path_factory.mktemp("celeba") / "mini"))


@pytest.fixture(scope="module")
def smiling(faces: str, tmp_path_factory: pytest.TempPathFactory) -> training.Run:
    out = tmp_path_factory.mktemp("run") / "run"
    return training.train(
        "conditional-vae", faces, label_attribute="Smiling", net="mlp", hidden=(32,), latent_dim=4, batch_size=20,
        epochs=150, learning_rate=3e-3, out=out, **SETTINGS,
    )  # fmt: skip


def test_a_conditional_model_learns_what_the_attribute_looks_like(smiling: training.Run) -> None:
    model = RunFolder(smiling.path).load_model()
    z_NL = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        no, yes = (model.decode(z_NL, torch.full((16,), k)) for k in (0, 1))  # type: ignore[operator]
    teeth = [x[:, *MOUTH].amin(1).mean((1, 2)) for x in (no, yes)]
    assert (teeth[1] - teeth[0]).mean() > 0.15
    hair = (slice(None), slice(3, 5), slice(6, 10))
    assert (yes[:, *hair] - no[:, *hair]).mean().abs() < 0.05  # the condition moves the mouth, not everything


def test_the_run_remembers_its_label_and_measures_by_it(smiling: training.Run) -> None:
    folder = RunFolder(smiling.path)
    assert folder.config()["data"]["label_attribute"] == "Smiling"
    assert folder.config()["run"]["classes"] == 2
    assert load_for(folder).label_names == ("no", "yes")
    assert folder.data()["fingerprint"] == load_for(folder).fingerprint
    assert evaluate(smiling.path)["n"] == 10
    training.resume(smiling.path, epochs=151)


def test_other_labels_are_other_data(smiling: training.Run, faces: str, tmp_path: Path) -> None:
    other = training.train(
        "conditional-vae", faces, label_attribute="Male", max_steps=1, net="mlp", hidden=(4,), latent_dim=2,
        out=tmp_path / "run", **SETTINGS,
    )  # fmt: skip
    assert other.folder.data()["fingerprint"] != RunFolder(smiling.path).data()["fingerprint"]


@pytest.mark.parametrize(("model", "settings"), [("classifier", {}), ("gan", {"conditional": True})])
def test_readers_and_generators_take_it_too(model: str, settings: dict, faces: str, tmp_path: Path) -> None:
    run = training.train(
        model, faces, label_attribute="Eyeglasses", max_steps=2, batch_size=8, out=tmp_path / "run", **settings,
        **SETTINGS,
    )  # fmt: skip
    assert run.model.classes == 2


def test_the_direction_of_an_attribute_puts_glasses_on(faces: str, tmp_path: Path) -> None:
    run = training.train("pca", faces, latent_dim=12, out=tmp_path / "run", **SETTINGS).path
    answer = move(run, attribute="Eyeglasses", strengths=(-2, 2), n=4, out=tmp_path / "moved")
    assert answer["n_fitted"] == 40
    assert answer["correlation"] > 0.5
    pictures = np.stack([np.asarray(Image.open(p)) for p in sorted((tmp_path / "moved").glob("*.png"))]).astype(float)
    eyes = pictures[:, 6:9, 4:12].mean((1, 2, 3))
    assert len(pictures) == 8  # each at both strengths, one after the other
    assert eyes.reshape(4, 2)[:, 1].mean() < eyes.reshape(4, 2)[:, 0].mean() - 10  # black frames
