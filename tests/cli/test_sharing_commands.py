"""push and pull as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import latentscape as package
from command import latentscape, refusal
from latentscape.runs import RunFolder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "pca"
    package.train("pca", "digits", out=path, finish=False, latent_dim=2, limit=40)
    return path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_goes_to_a_folder_and_comes_back(run: Path, here: Path) -> None:
    there = latentscape("push", run, "./there", "--license", "mit")
    assert there.status == 0, there.err
    assert "latentscape pull ./there" in there.out
    back = latentscape("pull", "./there")
    assert back.status == 0, back.err
    assert back.out == "The run lies in runs/there-1: pca.\n"
    assert RunFolder(here / "runs" / "there-1").config()["run"]["model"] == "pca"
    measured = latentscape("evaluate", "runs/there-1", "--json")  # digits have a name that is known everywhere
    assert measured.status == 0, measured.err
    assert json.loads(measured.out)["metrics"]["mse"] > 0


def test_json_is_one_object(run: Path) -> None:
    pushed = json.loads(latentscape("push", run, "./there", "--json").out)
    assert "model.safetensors" in pushed["files"]
    pulled = json.loads(latentscape("pull", "./there", "--out", "back", "--json").out)
    assert pulled == {"run": "back", "repo": "there", "revision": "", "model": "pca"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("push",), "`push` is followed by a RUN"),
        (("push", "RUN"), "`push RUN` is followed by a REPO"),
        (("push", "RUN", "name"), "REPO must be user/name on the hub, or a folder"),
        (("push", "nowhere", "./there"), "there is no run folder nowhere"),
        (("pull",), "`pull` is followed by a REPO"),
        (("pull", "./nowhere"), "there is no folder nowhere"),
        (("pull", ".", "--revision", "v1"), "--revision is for repositories of the hub"),
        (("pull", "."), "what . holds is not a whole run"),
    ],
)
def test_refusals(words: tuple[str, ...], says: str, run: Path, here: Path) -> None:
    answer = refusal(*[str(run) if word == "RUN" else word for word in words])
    assert says in answer
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("name", ["push", "pull"])
def test_help(name: str) -> None:
    answer = latentscape(name, "--help")
    assert answer.status == 0
    assert "--json" in answer.out
