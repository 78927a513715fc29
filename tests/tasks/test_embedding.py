"""Latents to files, and what is read off them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from attribute_pictures import make
from latentscape.data import load_data
from latentscape.errors import AbilityError, ConfigError, DataError
from latentscape.runs import RunFolder, load_run
from latentscape.tasks import training
from latentscape.tasks.embedding import embed, some_of
from latentscape.tasks.evaluating import load_for
from tiny_runs import TINY


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def people(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    return training.train("pca", str(folder), latent_dim=4, threads=1, out=out).path


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("conditional") / "run"
    return training.train("conditional-vae", "digits", out=out, max_steps=2, label_encoder=True, **TINY).path


def test_an_array_holds_the_latents_in_order(people: Path) -> None:
    answer = embed(people)
    images, model = load_for(RunFolder(people)), load_run(people)
    z = model.encode(images.examples(images.indices("test"), "unit"))  # type: ignore[operator]
    written = np.load(answer["out"])
    assert answer["out"] == str(people / "pictures" / "latents.npy")
    assert written.dtype == np.float32
    np.testing.assert_allclose(written, z, atol=1e-5)
    assert (answer["n"], answer["latent_dim"], answer["split"]) == (20, 4, "test")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_says_what_is_known(ending: str, people: Path, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / f"z.{ending}"
    embed(people, split="all", out=file)
    embed(people, split="all", out=tmp_path / "z.npy")
    if ending == "csv":
        with file.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
    else:
        rows = pq.read_table(file).to_pylist()
    known = list(csv.DictReader((folder.parent / "labels.csv").read_text().splitlines()))
    assert list(rows[0]) == ["name", "split", "label", "age", "glasses=yes", "z1", "z2", "z3", "z4"]
    assert [r["name"] for r in rows] == [k["file"] for k in known]
    assert [r["split"] for r in rows] == [k["split"] for k in known]
    assert [r["label"] for r in rows] == [k["label"] for k in known]
    assert all(r["age"] in ("", None) for r in rows[:5]), "not known"
    assert [float(r["age"]) for r in rows[5:]] == pytest.approx([float(k["age"]) for k in known[5:]], abs=1e-4)
    assert [float(r["glasses=yes"]) for r in rows] == [float(k["glasses"] == "yes") for k in known]
    z = np.array([[float(r[f"z{i}"]) for i in (1, 2, 3, 4)] for r in rows], np.float32)
    assert (z == np.load(tmp_path / "z.npy")).all(), "nine digits give every float32 back"


def test_what_lies_open_in_the_latents_is_read(people: Path) -> None:
    scores = embed(people)
    assert scores["r2"]["age"] > 0.9
    assert scores["r2"]["glasses=yes"] > 0.8
    assert scores["probe_accuracy"] > 0.85
    assert scores["knn_accuracy"] > 0.7
    assert (scores["fitted_to"], scores["read_on"], scores["read_split"]) == (60, 20, "test")
    assert "r2" not in embed(people, scores=False)


def test_labels_that_the_pictures_do_not_show_are_not_read(people: Path) -> None:
    images = load_for(RunFolder(people))
    shuffled = torch.randint(2, (len(images),), generator=torch.Generator().manual_seed(3))
    scores = embed(people, data=replace(images, labels=shuffled, attributes=None, attribute_names=()))
    assert scores["split"] == "all"
    assert scores["probe_accuracy"] < 0.8
    assert "r2" not in scores


def test_pictures_of_ones_own(people: Path, folder: Path, tmp_path: Path) -> None:
    answer = embed(people, [folder / "007.png", folder / "001.png"], out=tmp_path / "own.csv")
    lines = (tmp_path / "own.csv").read_text().splitlines()
    assert lines[0] == "name,z1,z2,z3,z4"
    assert [line.split(",")[0] for line in lines[1:]] == ["007.png", "001.png"]
    assert "probe_accuracy" not in answer


def test_a_model_that_reads_labels_is_told_them(conditional: Path, tmp_path: Path) -> None:
    assert embed(conditional, out=tmp_path / "z.npy")["n"] > 0
    file = tmp_path / "own.png"
    Image.fromarray(np.full((8, 8), 99, np.uint8)).save(file)
    with pytest.raises(ConfigError, match="say with --label"):
        embed(conditional, [file])
    written = []
    for label in ("1", "2"):
        embed(conditional, [file], label=label, out=tmp_path / "own.npy")
        written.append(np.load(tmp_path / "own.npy"))
    assert (written[0] != written[1]).any()
    with pytest.raises(DataError, match="does not have its 10 classes"):
        embed(conditional, data=replace(load_data("digits"), labels=None, label_names=()))


def test_what_cannot_be_written_is_refused(people: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"X\.npy, X\.csv or X\.parquet"):
        embed(people, out=tmp_path / "z.png")
    with pytest.raises(AbilityError, match="reads no labels"):
        embed(people, [folder / "000.png"], label="1")
    gan = training.train("gan", "digits", out=tmp_path / "gan", max_steps=1, **TINY).path
    with pytest.raises(AbilityError, match="`project` finds the latents"):
        embed(gan)


def test_some_are_drawn_without_order_lost() -> None:
    some = some_of(torch.arange(100) * 3, 10)
    assert len(some) == 10
    assert (some.diff() > 0).all()
    assert torch.equal(some_of(torch.arange(5), 10), torch.arange(5))
