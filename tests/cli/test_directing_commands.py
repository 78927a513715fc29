"""`latentscape arithmetic`, `map` and `embed` as a person calls them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from attribute_pictures import make
from command import latentscape, refusal
from latentscape.pictures import read_captions
from latentscape.tasks import training


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def people(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    return training.train("pca", str(folder), latent_dim=4, threads=1, out=out).path


def test_three_words_are_a_minus_b_plus_c(people: Path, folder: Path, tmp_path: Path) -> None:
    answer = latentscape("arithmetic", people, "old", "young", folder / "000.png", "--out", tmp_path / "a.png")
    assert answer.status == 0, answer.err
    assert f"Wrote old (1) + 000.png − young (1) to {tmp_path / 'a.png'}" in answer.out
    assert "of the usual distance" in answer.out
    said = json.loads(latentscape("arithmetic", people, "--plus", "old", "--average", 3, "--json").out)
    assert said["sum"] == "mean of 3 × old"
    assert said["average"] == 3


def test_an_attribute_with_everything_said(people: Path, tmp_path: Path) -> None:
    args = (
        "--attribute",
        "age",
        "--method",
        "linear",
        "--without-changing",
        "glasses",
        "--strengths",
        "-1",
        "0",
        "1.5",
    )
    said = json.loads(latentscape("arithmetic", people, *args, "--n", 3, "--json").out)
    assert said["strengths"] == [-1, 0, 1.5]
    assert (said["n"], said["method"], said["without_changing"]) == (3, "linear", ["glasses"])
    assert read_captions(people / "pictures")["direction-age.png"]["command"].startswith("latentscape arithmetic ")
    answer = latentscape("arithmetic", people, "--attribute", "age", "--out", tmp_path / "age.npy")
    assert "the direction of age (mean-difference over" in answer.out
    assert "Its correlation with age is 0." in answer.out
    assert np.load(tmp_path / "age.npy").shape == (4,)
    again = latentscape("arithmetic", people, "--direction", tmp_path / "age.npy", "--out", tmp_path / "age.png")
    assert "8 pictures moved along the direction in age.npy" in again.out


def test_with_and_without_are_folders(people: Path, folder: Path, tmp_path: Path) -> None:
    groups = [tmp_path / "with", tmp_path / "without"]
    for group, numbers in zip(groups, (range(10), range(10, 20)), strict=True):
        group.mkdir()
        for i in numbers:
            (group / f"{i}.png").write_bytes((folder / f"{i:03d}.png").read_bytes())
    answer = latentscape(
        "arithmetic",
        people,
        folder / "000.png",
        "--with",
        groups[0],
        "--without",
        groups[1],
        "--out",
        tmp_path / "x.png",
    )
    assert answer.status == 0, answer.err
    assert "Wrote 1 picture moved along the direction of with (mean-difference over 20 examples)" in answer.out


def test_a_map_with_thumbnails(people: Path, tmp_path: Path) -> None:
    answer = latentscape("map", people, "--colour-by", "age", "--thumbnails", 4, "--out", tmp_path / "m.png")
    assert answer.status == 0, answer.err
    assert "Wrote a map of 20 latents by first principal axis (" in answer.out
    said = json.loads(latentscape("map", people, "--method", "coordinates", "--json").out)
    assert said["method"] == "coordinates"
    assert said["colour_by"] == "label"


def test_embedding_tells_what_can_be_read(people: Path, tmp_path: Path) -> None:
    answer = latentscape("embed", people, "--split", "all", "--out", tmp_path / "z.parquet")
    assert answer.status == 0, answer.err
    assert f"Wrote 80 latents of 4 numbers to {tmp_path / 'z.parquet'}" in answer.out
    for words in ("Fitted to 60 training latents, read on 20 test", "knn_accuracy", "probe_accuracy", "r2 of age"):
        assert words in answer.out
    said = json.loads(latentscape("embed", people, "--no-scores", "--json").out)
    assert "probe_accuracy" not in said


def test_what_cannot_be_is_refused_in_one_sentence(people: Path, tmp_path: Path) -> None:
    for command in ("arithmetic", "map", "embed"):
        assert refusal(command).startswith(f"`{command}` is followed by a RUN")
    assert "needs three words, got 2" in refusal("arithmetic", people, "old", "young")
    assert "not both" in refusal("arithmetic", people, "a", "b", "c", "--plus", "d")
    assert (
        refusal("arithmetic", people, "--strengths", "1")
        == "--strengths is for directions, so that it needs --attribute"
    )
    assert refusal("arithmetic", people, "--attribute", "age", "--average", 2).startswith("--average is for sums")
    assert "--with DIR and --without DIR belong together" in refusal("arithmetic", people, "--with", tmp_path)
    assert "--colour-by must be" in refusal("map", people, "--colour-by", "beauty")
    assert "X.npy, X.csv or X.parquet" in refusal("embed", people, "--out", tmp_path / "x.txt")
