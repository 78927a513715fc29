"""`project` and `import` as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from command import latentscape, refusal
from latentscape import api
from tiny_runs import TINY


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    return api.train("gan", "digits", out=out, finish=False, max_steps=2, **TINY).path


def test_project_says_where_and_how_near(run: Path, tmp_path: Path) -> None:
    answer = latentscape("project", run, "--n", 3, "--steps", 2, "--restarts", 1, "--out", tmp_path / "p.png")
    assert answer.status == 0
    assert answer.out.startswith(f"Wrote the projections of 3 pictures to {tmp_path / 'p.png'}; mean squared error 0.")
    assert "3 examples: 1 searches of 2 steps" in answer.err
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.text["Command"].startswith("latentscape project ")  # type: ignore[attr-defined]


def test_project_takes_pictures_and_gives_json(run: Path, tmp_path: Path) -> None:
    for i in range(2):
        Image.fromarray(np.full((8, 8), 100 * i, np.uint8)).save(tmp_path / f"{i}.png")
    args = ["project", run, tmp_path / "0.png", tmp_path / "1.png", "--steps", 3, "--seed", 4, "--json"]
    found = json.loads(latentscape(*args, "--out", tmp_path / "z.npy").out)
    assert set(found) == {"run", "n", "out", "mse", "errors", "seed", "restarts", "steps"}
    assert (found["n"], found["seed"], found["steps"]) == (2, 4, 3)
    assert np.load(tmp_path / "z.npy").shape == (2, 2)


def test_project_refuses_in_one_sentence(run: Path) -> None:
    assert "`project` is followed by a RUN" in refusal("project")
    assert "no data set and no path 'nowhere.png'" in refusal("project", run, "nowhere.png")
    assert "--restarts must be at least 1" in refusal("project", run, "--restarts", 0)
    assert "followed by a RUN" in refusal("project", "--n", 3)


def test_import_then_sample(run: Path, tmp_path: Path) -> None:
    net = ["--net", "mlp", "--hidden", 8, "--latent-dim", 2]
    weights = f"generator={run / 'model.safetensors'},discriminator={run}"
    args = ["import", "gan", "--shape", "8x8", "--weights", weights, *net, "--out", tmp_path / "copy"]
    answer = latentscape(*args)
    assert answer.status == 0, answer
    assert answer.out == f"The run lies in {tmp_path / 'copy'}\n"
    assert len(answer.err.splitlines()) == 2
    hashes = [json.loads(latentscape("sample", r, "--n", 5, "--json").out)["sha256"] for r in (run, tmp_path / "copy")]
    assert hashes[0] == hashes[1]
    assert f"values: {hashes[0]}" in latentscape("sample", run, "--n", 5).out
    found = json.loads(latentscape(*args[:-1], tmp_path / "again", "--json").out)
    assert [t["part"] for t in found["taken"]] == ["generator", "discriminator"]
    assert (tmp_path / "copy" / "command.txt").read_text().startswith("latentscape import gan --shape 8x8 ")


def test_import_refuses_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"w": torch.ones(1)}, "w.pt")
    assert "`import` is followed by a MODEL" in refusal("import")
    assert "there is no model 'gna'; did you mean" in refusal("import", "gna", "--weights", "w.pt")
    assert "`import gan` needs --weights" in refusal("import", "gan", "--shape", "8x8")
    assert "give --data, or the shape" in refusal("import", "gan", "--weights", "w.pt")
    assert "w.pt does not fit this model" in refusal("import", "gan", "--weights", "w.pt", "--shape", "8x8")
    assert [p.name for p in tmp_path.iterdir()] == ["w.pt"]


def test_training_starts_from_a_file(run: Path, tmp_path: Path) -> None:
    args = ["train", "gan", "--data", "digits", "--net", "mlp", "--hidden", "8", "--latent-dim", "2", "--limit", "80"]
    args += ["--max-steps", "1", "--bare", "--out", tmp_path / "run"]
    answer = latentscape(*args, "--init-from", f"generator={run / 'model.safetensors'}")
    assert answer.status == 0, answer
    assert f"tensors of generator from {run / 'model.safetensors'}." in answer.err
