"""`latentscape probe` as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command import latentscape, refusal
from latentscape.pictures import read_captions
from latentscape.tasks import training

SMALL = {"net": "mlp", "hidden": (8,), "limit": 80, "batch_size": 16, "threads": 1, "max_steps": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training.train("gan", "digits", out=tmp_path_factory.mktemp("gan") / "run", **SMALL).path


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    made = [tmp_path / name for name in ("cat.png", "dog.png")]
    for i, path in enumerate(made):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    return made


def test_the_table_has_a_line_for_each_kind_and_each_file(run: Path, pictures: list[Path], tmp_path: Path) -> None:
    answer = latentscape("probe", run, *pictures, "--n", 3, "--figures-n", 30, "--out", tmp_path / "p.png")
    assert answer.status == 0, answer.err
    lines = [line.split() for line in answer.out.splitlines()]
    assert "Probability of being real" in answer.out
    for start in ("real (test)", "generated", "N(0, 1) noise", "±1 noise", "pictures", "cat.png", "dog.png"):
        assert sum(line[: len(start.split())] == start.split() for line in lines) == 1, start
    generated = next(line for line in lines if line[:1] == ["generated"])
    assert generated[1] == "30"
    assert 0 <= float(generated[2]) <= 1
    assert generated[-1].endswith("%")
    assert f"to {tmp_path / 'p.png'}" in answer.out
    assert (tmp_path / "p.png").exists()


def test_json_alone_and_the_runs_own_pictures_by_default(run: Path, pictures: list[Path]) -> None:
    answer = latentscape("probe", run, pictures[0], "--json", "--split", "train", "--seed", 5)
    found = json.loads(answer.out)
    assert found["split"] == "train"
    assert found["seed"] == 5
    assert [s["source"] for s in found["sources"]] == [
        *("real (train)", "generated", "N(0, 1) noise", "±1 noise", "cat.png"),
    ]
    assert list(found["sources"][-1]["files"]) == ["cat.png"]
    assert "share_judged_real" in found["sources"][0]
    assert found["out"] == str(run / "pictures" / "probe.png")
    assert read_captions(run / "pictures")["probe.png"]["command"].startswith("latentscape probe ")


def test_what_cannot_be_is_refused_in_one_sentence(run: Path, tmp_path: Path) -> None:
    assert refusal("probe").startswith("`probe` is followed by a RUN")
    assert "there is no data set and no path" in refusal("probe", run, tmp_path / "no.png")
    assert "figures_n must be at least n" in refusal("probe", run, "--figures-n", 5)
    assert "fake" in refusal("probe", run, "--split", "fake")
