"""`interpolate`, `traverse`, `grid` and `transfer` as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command import latentscape, refusal
from latentscape import api
from tiny_runs import TINY


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    return api.train("vae", "digits", out=out, finish=False, max_steps=5, **TINY).path


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    return api.train("conditional-vae", "digits", out=out, finish=False, max_steps=5, **TINY).path


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    return api.train("gan", "digits", out=out, finish=False, max_steps=2, **TINY).path


def test_interpolate_says_from_where_to_where(run: Path, tmp_path: Path) -> None:
    answer = latentscape("interpolate", run, "--steps", 5, "--cross-fade", "--out", tmp_path / "w.png")
    assert answer.status == 0, answer
    assert answer.out.startswith("Wrote the linear walk of 5 steps from test ")
    with Image.open(tmp_path / "w.png") as picture:
        assert picture.text["Command"].startswith("latentscape interpolate ")  # type: ignore[attr-defined]
        assert "for comparison, the originals' pixels mixed" in picture.text["Description"]  # type: ignore[attr-defined]
    args = ["interpolate", run, "--spherical", "--examples", 1, 2, "--json", "--out", tmp_path / "w.npy"]
    found = json.loads(latentscape(*args).out)
    assert (found["path"], found["steps"]) == ("spherical", 10)
    assert np.load(tmp_path / "w.npy").shape == (10, 1, 8, 8)


def test_a_projected_picture_is_walked_from(gan: Path, tmp_path: Path) -> None:
    """What a GAN's refusal advises, works."""
    z, walk = tmp_path / "z.npy", tmp_path / "w.npy"
    said = refusal("interpolate", gan)
    assert "a gan has no encoder" in said
    assert "`project --out X.npy`" in said
    assert latentscape("project", gan, "--n", 2, "--steps", 1, "--restarts", 1, "--out", z).status == 0
    assert latentscape("interpolate", gan, "--latents", z, "--out", walk).status == 0
    assert np.load(walk).shape == (10, 1, 8, 8)


def test_traverse_lists_importances(run: Path, tmp_path: Path) -> None:
    answer = latentscape("traverse", run, "--out", tmp_path / "t.png")
    lines = answer.out.splitlines()
    assert lines[0].startswith("Wrote 2 of 2 latent coordinates about the mean of ")
    assert [line.split()[0] for line in lines[1:]].count("coordinate") == 1
    assert {line.split()[0] for line in lines[2:]} == {"z1", "z2"}
    found = json.loads(latentscape("traverse", run, "--coordinates", 2, "--low", -1, "--high", 1, "--json").out)
    assert found["shown"] == [2]
    assert {e["coordinate"] for e in found["importances"]} == {1, 2}
    assert Path(found["out"]).name == "traversed.png"


def test_grid_says_which_plane(run: Path, conditional: Path, tmp_path: Path) -> None:
    args = ["--steps", 4, "--out", tmp_path / "g.png"]
    assert latentscape("grid", run, *args).out.startswith("Wrote 4×4 places of the plane of z1 (from ")
    found = json.loads(latentscape("grid", conditional, "--label", 3, "--quantiles", "--json", *args).out)
    assert found["labels"] == ["3"]
    assert found["right"] == pytest.approx([-1.15, 1.15], abs=0.01)


def test_transfer_names_its_classes(conditional: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save(tmp_path / "a.png")
    out = ["--out", tmp_path / "t.png"]
    answer = latentscape("transfer", conditional, tmp_path / "a.png", "--to", 3, 8, *out)
    assert answer.out.startswith(f"Wrote 1 pictures under 2 classes to {tmp_path / 't.png'}; mean squared error")
    found = json.loads(latentscape("transfer", conditional, "--n", 4, "--json", *out).out)
    assert (found["n"], len(found["to"])) == (4, 10)


def test_they_refuse_in_one_sentence(run: Path, gan: Path, conditional: Path) -> None:
    for name in ("interpolate", "traverse", "grid", "transfer"):
        assert f"`{name}` is followed by a RUN" in refusal(name)
    assert "a vae reads no labels" in refusal("transfer", run)
    assert "--steps must be at least 2" in refusal("interpolate", run, "--steps", 1)
    assert "--examples" in refusal("interpolate", run, "--examples", 1)
    assert "no principal directions" in refusal("grid", gan, "--principal")
    assert "takes two for a grid" in refusal("grid", run, "--coordinates", 1)
    assert "--n must be at least 1" in refusal("transfer", conditional, "--n", 0)
    assert "a gan has no encoder" in refusal("traverse", gan, "--example", 1)
