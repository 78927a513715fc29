"""Every recipe parses, fits its model, and shows pictures that exist; the demo runs."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command import latentscape
from latentscape import models, recipes
from latentscape.config import DataShape
from latentscape.data.names import NAMES
from latentscape.data.settings import DataSettings
from latentscape.runs import RunFolder
from latentscape.tasks import overrides, showing, training

SHAPES = {"celeba": (3, 56, 56), "mnist": (1, 28, 28), "digits": (1, 8, 8), "shapes": (3, 32, 32), "curves": (2,)}
CLASSES = {"shapes": 3, "curves": 2}  # ten in the other sets

RECIPES = {name: recipes.read(name) for name in recipes.paths()}

every_recipe = pytest.mark.parametrize("name", list(recipes.paths()))


@every_recipe
def test_recipes_fit_their_model(name: str) -> None:
    recipe = recipes.read(name)
    for run in (recipe, *recipe["companion"]):
        data = run.get("data", recipe["data"])
        assert data in NAMES
        given = overrides.sort(run["model"], run.get("settings", {}))
        config = overrides.model_settings(run["model"], given.model)
        shape = DataShape(SHAPES.get(data, (1, 28, 28)))
        settings = overrides.train_settings(run["model"], shape, config, given.train)
        DataSettings.from_dict(given.data)
        assert settings.epochs or settings.max_steps
        models.build(run["model"], shape, config, CLASSES.get(data, 10))


@every_recipe
def test_recipes_show_pictures_that_exist(name: str) -> None:
    recipe = recipes.read(name)
    assert recipe["show"] or recipe["row"][0] != "B"
    for entry in recipe["show"]:
        showing.check(entry)
    showing.Films("unused", recipe["film"])
    shown = {entry.get("beside") for entry in recipe["show"]}
    assert shown >= {c["name"] for c in recipe["companion"]}, "a companion that no picture stands beside"


@every_recipe
def test_recipes_say_what_they_show_and_which_row_they_are(name: str) -> None:
    recipe = recipes.read(name)
    assert len(recipe["title"]) > 20
    assert "\n" not in recipe["title"]
    assert recipe["row"] == "demo" or recipe["row"][0] in "ABC"


def test_recipes_are_listed() -> None:
    out = latentscape("recipes").out
    for name in recipes.paths():
        assert name in out


def test_only_pictures_can_be_asked_for() -> None:
    """What draws a picture returns one drawing; helpers of the same file are not pictures."""
    for name, function in showing.PICTURES.items():
        assert inspect.signature(function).return_annotation == "Drawing", name
        assert name not in ("show", "show_standard", "prior_codes")
        assert function.__doc__


def test_the_demo_runs_scaled_down(tmp_path: Path) -> None:
    answer = latentscape("reproduce", "demo", "--scale", "0.01", "--out", tmp_path / "run", "--json")
    assert answer.status == 0, answer.err
    found = json.loads(answer.out)
    folder = RunFolder(tmp_path / "run")
    images, batch = folder.data()["split"]["train"], 64
    assert found["steps"] == round(0.01 * recipes.read("demo")["settings"]["epochs"] * (images // batch))
    shown = {entry["what"] for entry in recipes.read("demo")["show"]}
    assert {p.stem for p, _ in folder.pictures()} == shown
    assert folder.report_path.exists()
    assert folder.config()["model"]["beta"] == 0.5


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Few real pictures of the shapes that recipes are made for: digits enlarged to 28×28, and some of shapes."""
    from latentscape.data import load_data

    digits, shapes = load_data("digits"), load_data("shapes")
    assert digits.labels is not None
    assert shapes.labels is not None
    large = np.pad(digits.x[:300].numpy().repeat(3, 2).repeat(3, 3), ((0, 0), (0, 0), (2, 2), (2, 2)))
    folder = tmp_path_factory.mktemp("stand-ins")
    np.savez(folder / "large-digits.npz", x=large[:, 0], y=digits.labels[:300].numpy())
    np.savez(folder / "few-shapes.npz", x=shapes.x[:300].numpy().transpose(0, 2, 3, 1), y=shapes.labels[:300].numpy())
    small, large_ones = str(folder / "few-shapes.npz"), str(folder / "large-digits.npz")
    return {"mnist": large_ones, "shapes": small, "celeba": small}


@pytest.fixture(scope="module")
def one_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifier that reads pictures is trained once for all recipes on the same data."""
    return tmp_path_factory.mktemp("one-cache")


def _made_before(name: str, data: str, place: Path) -> Path:
    """A run of the recipe that another one starts from, of its nets but small."""
    told = {**RECIPES[name]["settings"], "width": 2, "latent_dim": 16, "max_steps": 1, "epochs": 0}
    told |= {"early_stopping": 0, "schedule": "constant"}
    return training.train(RECIPES[name]["model"], data, out=place / name, **told).path


@pytest.mark.slow
@every_recipe
def test_recipes_run_on_small_data(
    name: str, tmp_path: Path, stand_ins: dict[str, str], one_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipes.read(name)
    few = {"evaluate": {key: min(value, 50) for key, value in recipe["evaluate"].items()}}
    if "labelled" in recipe["settings"]:
        few["settings"] = recipe["settings"] | {"labelled": 50}
    monkeypatch.setattr(recipes, "read", lambda asked: recipe | few)
    monkeypatch.setenv("LATENTSCAPE_CACHE", str(one_cache))
    data, steps = stand_ins.get(recipe["data"], recipe["data"]), 0.0005
    words: list[Any] = ["reproduce", name, "--data", data, "--scale", steps, "--json"]
    if recipe["data"] == "celeba":
        words += ["--width", 2, "--latent-dim", 16]
    if recipe["init_from"]:
        words += ["--init-from", _made_before(recipe["init_from"], data, tmp_path)]
    answer = latentscape(*words, "--out", tmp_path / "run")
    assert answer.status == 0, answer.err
    assert "is not drawn" not in answer.err
    pictures = {p.name for p, _ in RunFolder(tmp_path / "run").pictures()}
    collages = sum("collage" in film for film in recipe["film"])
    assert len(pictures) == len(recipe["show"]) + len(recipe["film"]) + collages
    for companion in recipe["companion"]:
        assert RunFolder(tmp_path / "run" / "companions" / companion["name"]).metrics()


@pytest.mark.slow
def test_the_demo_as_a_newcomer_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = latentscape("demo")
    assert answer.status == 0, answer.err
    (run,) = (tmp_path / "runs").iterdir()
    measured = RunFolder(run).metrics()
    assert measured is not None
    metrics = measured["metrics"]
    assert metrics["knn_accuracy"] > 0.85
    assert metrics["mse"] < 0.04
    assert metrics["active_units"] >= 4
    assert "warning" not in {r["kind"] for r in RunFolder(run).log()}
    assert "open" in answer.err
    assert str(run / "report.html").removeprefix(str(tmp_path) + "/") in answer.err
