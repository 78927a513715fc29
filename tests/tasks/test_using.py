"""Sampling and reconstructing with a trained model: under which labels, and of which examples."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from latentscape.contract import Decodes, Reconstructs, Samples
from latentscape.data import load_data
from latentscape.errors import AbilityError, ConfigError, DataError
from latentscape.runs import RunFolder, load_run
from latentscape.tasks import training, using
from latentscape.tasks.training import Run
from tiny_runs import TINY


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("conditional") / "run"
    return training.train("conditional-vae", "digits", out=out, max_steps=4, learning_rate=0.05, **TINY)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return training.train("vae", "digits", out=tmp_path_factory.mktemp("plain") / "run", max_steps=2, **TINY)


def decoded(run: Run, labels: torch.Tensor) -> np.ndarray:
    """What `sample` must write for seed 0: uint8 N×C×H×W."""
    model = load_run(run.path)
    assert isinstance(model, Samples)
    assert isinstance(model, Decodes)
    x = model.decode(model.prior(len(labels), torch.Generator().manual_seed(0)), labels)
    return (255 * x).round().to(torch.uint8).numpy()


@pytest.mark.parametrize("label", ["3", 3])
def test_samples_are_decoded_under_the_label_asked_for(label: str | int, conditional: Run, tmp_path: Path) -> None:
    answer = using.sample(conditional.path, n=5, label=label, out=tmp_path / "s.npy")
    assert answer["label"] == "label 3"
    assert (np.load(tmp_path / "s.npy") == decoded(conditional, torch.full((5,), 3))).all()


def test_the_same_seed_gives_the_same_hash_of_the_array_written(plain: Run, tmp_path: Path) -> None:
    answer = using.sample(plain.path, n=5, seed=3, out=tmp_path / "s.npy")
    written = np.load(tmp_path / "s.npy")
    assert written.dtype == np.uint8
    assert answer["sha256"] == hashlib.sha256(written.tobytes()).hexdigest()
    assert using.sample(plain.path, n=5, seed=3, out=tmp_path / "s.png")["sha256"] == answer["sha256"]
    assert using.sample(plain.path, n=5, seed=4, out=tmp_path / "t.npy")["sha256"] != answer["sha256"]


def test_of_vectors_the_numbers_themselves_are_hashed(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    run = training.train("vae", x, out=tmp_path / "run", max_steps=1, **TINY)
    answer = using.sample(run.path, n=4, out=tmp_path / "s.npy")
    assert answer["sha256"] == hashlib.sha256(np.load(tmp_path / "s.npy").tobytes()).hexdigest()


def test_without_a_label_the_classes_come_in_turn(conditional: Run, tmp_path: Path) -> None:
    answer = using.sample(conditional.path, n=12, out=tmp_path / "s.npy")
    assert answer["label"] == "each class in turn"
    written = np.load(tmp_path / "s.npy")
    assert (written == decoded(conditional, torch.arange(12) % 10)).all()
    assert (written != decoded(conditional, torch.zeros(12, dtype=torch.long))).any()


def test_a_name_goes_before_a_number(tmp_path: Path) -> None:
    """Classes called 1 and 0, in that order, are called by name."""
    digits = load_data("digits")
    assert digits.labels is not None
    few = replace(digits, labels=digits.labels % 2, label_names=("1", "odd"))
    run = training.train("conditional-vae", few, out=tmp_path / "run", max_steps=1, **TINY)
    assert using.sample(run.path, n=2, label="1")["label"] == "label 1"
    assert using.sample(run.path, n=2, label=0)["label"] == "label 1"
    assert using.sample(run.path, n=2, label="odd")["label"] == "label odd"
    with pytest.raises(ConfigError, match=r"--label must be a class .*\(1, odd\) or its number, 0 to 1; got '2'"):
        using.sample(run.path, n=2, label="2")


def test_a_label_for_a_model_that_reads_none_is_refused(plain: Run) -> None:
    with pytest.raises(AbilityError, match="reads no labels"):
        using.sample(plain.path, n=2, label="3")
    assert "label" not in using.sample(plain.path, n=2)


def test_reconstructions_are_made_under_the_examples_own_labels(conditional: Run, tmp_path: Path) -> None:
    using.reconstruct(conditional.path, n=6, out=tmp_path / "r.npy")
    images, model = load_data("digits", training.DataSettings(limit=TINY["limit"])), load_run(conditional.path)
    assert isinstance(model, Reconstructs)
    assert images.labels is not None
    rows = images.indices("test")[:6]
    right = model.reconstruct(images.examples(rows, "unit"), images.labels[rows])
    assert (np.load(tmp_path / "r.npy") == (255 * right).round().to(torch.uint8).numpy()).all()


def test_pictures_without_labels_cannot_be_reconstructed_by_a_model_that_reads_them(conditional: Run) -> None:
    with pytest.raises(DataError, match="has no labels, and conditional-vae reads them"):
        using.reconstruct(conditional.path, data=replace(load_data("digits"), labels=None, label_names=()))


def test_of_a_set_sorted_by_class_all_classes_are_reconstructed(plain: Run, tmp_path: Path) -> None:
    digits = load_data("digits")
    assert digits.labels is not None
    order = digits.labels.argsort(stable=True)
    by_class = replace(digits, x=digits.x[order], labels=digits.labels[order], split=digits.split[order])
    errors = using.reconstruct(plain.path, data=by_class, n=10, out=tmp_path / "r.npy")["errors"]
    model = load_run(plain.path)
    assert isinstance(model, Reconstructs)
    spread = by_class.examples(torch.arange(10) * len(by_class) // 10, "unit")
    assert len(by_class.labels[torch.arange(10) * len(by_class) // 10].unique()) >= 8  # type: ignore[index]
    expected = (model.reconstruct(spread) - spread).square().mean((1, 2, 3)).tolist()
    assert errors == pytest.approx(expected, rel=1e-4)


def test_all_examples_are_reconstructed_when_none_are_counted(plain: Run) -> None:
    assert using.reconstruct(plain.path, n=0)["n"] == RunFolder(plain.path).data()["split"]["test"]
