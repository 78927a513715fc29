"""Which examples a picture takes, into which files it goes, what stands beside it, and films of the learning."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import latentscape
from latentscape import api, recipes
from latentscape.errors import ConfigError, DataError
from latentscape.pictures import read_captions
from latentscape.runs import RunFolder
from latentscape.tasks import showing, training
from latentscape.tasks.showing import Stage, drawing

GetStage = Callable[[str], Stage]

RECIPE = """
title = "a recipe for tests"
row = "B1"
model = "autoencoder"
data = "digits"

[settings]
net = "mlp"
hidden = [8]
latent_dim = 2
limit = 80
batch_size = 16
threads = 1
max_steps = 6

[evaluate]
importance_samples = 0

[[companion]]
name = "with-kl"
model = "vae"
[companion.settings]
net = "mlp"
hidden = [8]
latent_dim = 2
batch_size = 16
max_steps = 4

[[show]]
what = "reconstructions"
beside = "with-kl"

[[show]]
what = "map"

[[show]]
what = "map"
n = 20

[[film]]
what = "map"
every_steps = 2
[film.options]
n = 10
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "trial.toml"
    path.write_text(RECIPE)
    return path


class Said:
    """A console that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.training = training.Silent().training

    def say(self, text: str) -> None:
        self.lines.append(text)


# ---- examples ------------------------------------------------------------------------------------------------------


def sorted_by_class(stage: Stage) -> Stage:
    """The same examples, as class folders would give them."""
    images = stage.images
    assert images.labels is not None
    order = images.labels.argsort(stable=True)
    replaced = dataclasses.replace(images, x=images.x[order], labels=images.labels[order], split=images.split[order])
    return Stage(stage.folder, stage.model, replaced)


def test_the_first_examples_of_a_mixed_set_and_spread_ones_of_a_sorted_one(stage: GetStage) -> None:
    assert stage("vae").picks(3, "train").tolist() == [0, 1, 2]
    assert stage("vae").said(3).startswith("the first 3 ")
    spread = sorted_by_class(stage("vae"))
    y = spread.labels("train")
    assert y is not None
    assert len(y[spread.picks(10, "train")].unique()) > 5 > len(y[:10].unique())
    assert "evenly spaced" in spread.said(3)
    assert spread.said(10_000).startswith("all ")


def test_examples_without_a_label_are_left_out_where_one_is_needed(stage: GetStage) -> None:
    here = stage("conditional-vae")
    labels = here.images.labels.clone()  # type: ignore[union-attr]
    first = here.images.indices(here.split)[0]
    labels[first] = -1
    holed = Stage(here.folder, here.model, dataclasses.replace(here.images, labels=labels))
    assert holed.picks(2).tolist() == [1, 2]
    bare = Stage(here.folder, here.model, dataclasses.replace(here.images, labels=None, label_names=()))
    with pytest.raises(DataError, match="conditional-vae reads them; give a set with labels"):
        bare.examples(2)


def test_interpolation_goes_from_the_first_of_one_label_to_the_first_of_the_other(stage: GetStage) -> None:
    for here in (stage("vae"), sorted_by_class(stage("vae"))):
        y = here.labels()
        assert y is not None
        present = y.unique().tolist()
        a, b = present[-1], present[0]
        caption = drawing.draw(here, "interpolation", labels=(a, b)).caption
        first = [int((y == k).nonzero()[0]) for k in (a, b)]
        assert f"From {here.split} image {first[0]} to {first[1]} in" in caption


# ---- files ---------------------------------------------------------------------------------------------------------


def test_names_of_files_differ() -> None:
    entries = [{"what": "map"}, {"what": "denoise"}, {"what": "map", "beside": "vae"}, {"what": "denoise", "n": 3}]
    assert drawing.file_names(entries) == ["map", "denoise", "map-beside-vae", "denoise-2"]


def test_wide_pictures_stand_below_each_other_and_others_side_by_side() -> None:
    wide, square = np.zeros((10, 100, 3), np.uint8), np.zeros((50, 50, 3), np.uint8)
    for picture, is_beside in ((wide, False), (square, True)):
        one = showing.Drawing(picture, "T", "One.")
        both = drawing.side_by_side(one, showing.Drawing(picture, "T", "Two."), ("a", "b"))
        assert (both.pixels.shape[1] >= 2 * picture.shape[1]) is is_beside
        assert both.caption == "a: One. b: Two."
        assert both.title == "T"


def test_a_picture_that_cannot_be_drawn_does_not_stop_the_others(stage: GetStage) -> None:
    said: list[str] = []
    made = showing.show_listed(stage("unlabelled"), [{"what": "class_maps"}, {"what": "map"}], {}, said.append)
    assert [p.name for p in made] == ["map.png"]
    assert len(said) == 1
    assert said[0].startswith("The picture class_maps is not drawn: ")


def test_standard_pictures_are_those_that_the_model_can_give(stage: GetStage) -> None:
    names = {name: {p.stem for p in showing.show_standard(stage(name))} for name in ("vae-plane", "vae", "curve")}
    assert names["vae-plane"] == {"reconstructions", "samples", "map", "grid"}
    assert names["vae"] == {"reconstructions", "samples", "map"}
    assert names["curve"] == {"map", "points", "latent_curve"}


# ---- a recipe's run ------------------------------------------------------------------------------------------------


def test_a_recipe_is_run_with_companion_and_film(recipe: Path, tmp_path: Path) -> None:
    run = api.reproduce(str(recipe), out=tmp_path / "run")
    names = {p.name for p, _ in run.folder.pictures()}
    assert names == {"reconstructions-beside-with-kl.png", "map.png", "map-2.png", "film-map.gif"}
    other = RunFolder(run.path / "companions" / "with-kl")
    assert other.metrics() is not None
    assert other.report_path.exists()
    assert other.config()["data"] == run.folder.config()["data"]
    assert other.log()[-1]["step"] == 4
    words = read_captions(run.folder.pictures_path)
    assert words["reconstructions-beside-with-kl.png"]["caption"].startswith("autoencoder: The first")
    assert " with-kl: The first" in words["reconstructions-beside-with-kl.png"]["caption"]
    assert words["film-map.gif"]["caption"] == ("4 frames of the learning, from step 0 to 6, one every 2 steps.")
    with Image.open(run.folder.pictures_path / "film-map.gif") as film:
        assert film.n_frames >= 2  # type: ignore[attr-defined]


def test_companions_make_the_same_share_of_their_steps(recipe: Path, tmp_path: Path) -> None:
    run = api.reproduce(str(recipe), scale=0.5, out=tmp_path / "run", seed=3)
    assert run.steps == 3
    other = RunFolder(run.path / "companions" / "with-kl")
    assert other.log()[-1]["step"] == 2
    assert other.config()["train"]["seed"] == 3


def test_a_resumed_run_is_finished_as_its_recipe_says(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(api, "finish_run", cut)
        with pytest.raises(KeyboardInterrupt):
            api.reproduce(str(recipe), out=tmp_path / "run", scale=0.5)
    assert not RunFolder(tmp_path / "run").pictures()
    run = api.resume(tmp_path / "run")
    assert {p.name for p, _ in run.folder.pictures()} == {
        *("reconstructions-beside-with-kl.png", "map.png", "map-2.png", "film-map.gif"),
    }
    caption = read_captions(run.folder.pictures_path)["film-map.gif"]["caption"]
    assert caption.startswith("3 frames of the learning, from step 0 to 3"), "frames from before are kept"
    other = run.path / "companions" / "with-kl"
    assert RunFolder(other).log()[-1]["step"] == 2
    changed = (other / "model.safetensors").stat().st_mtime_ns
    longer = api.resume(tmp_path / "run", max_steps=6)
    assert longer.steps == 6
    assert (other / "model.safetensors").stat().st_mtime_ns == changed, "a whole companion is taken again"
    assert read_captions(run.folder.pictures_path)["film-map.gif"]["caption"].startswith("5 frames")


def test_a_half_trained_companion_is_resumed(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = api.reproduce(str(recipe), out=tmp_path / "run")
    other = run.path / "companions" / "with-kl"
    (other / "model.safetensors").unlink()
    resumed: list[Path] = []
    whole = training.resume
    monkeypatch.setattr(training, "resume", lambda path, **o: resumed.append(Path(path)) or whole(path, **o))
    api.resume(run.path)
    assert other in resumed
    assert (other / "model.safetensors").exists()


def test_a_run_whose_recipe_is_gone_shows_the_standard_pictures(recipe: Path, tmp_path: Path) -> None:
    run = api.reproduce(str(recipe), out=tmp_path / "run")
    recipe.unlink()
    for picture, _ in run.folder.pictures():
        picture.unlink()
    said = Said()
    api.resume(run.path, console=said)
    assert {p.stem for p, _ in run.folder.pictures()} == {"reconstructions", "samples", "map", "grid"}
    assert any("recipe of this run cannot be read" in line for line in said.lines)


def test_companions_of_a_run_on_arrays(recipe: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8)
    run = api.reproduce(str(recipe), data=x, out=tmp_path / "run")
    assert len(run.folder.pictures()) == 4
    assert RunFolder(run.path / "companions" / "with-kl").config()["run"]["data"] == ""


def test_a_film_without_a_place_goes_where_runs_go(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = latentscape.reproduce(str(recipe))
    assert run.path.resolve() == tmp_path / "runs" / "autoencoder-digits-1"


def test_films_change_nothing_in_the_training(recipe: Path, tmp_path: Path) -> None:
    filmed = api.reproduce(str(recipe), out=tmp_path / "filmed")
    plain = training.train("autoencoder", "digits", out=tmp_path / "plain", **recipes.read(str(recipe))["settings"])
    own, other = filmed.model.state_dict(), plain.model.state_dict()
    assert all(torch.equal(own[k], other[k]) for k in own)


# ---- recipes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('row = "B1"', "", "lacks row"),
        ('row = "B1"', 'row = "B1"\nroom = 3', "unknown key 'room'"),
        ('row = "B1"', "row = 1", "row of the recipe trial.toml must be a text, got 1"),
        ("importance_samples = 0", "importance_samples = -1", "importance_samples in trial.toml must be at least 0"),
        ("importance_samples = 0", "images = 3", "evaluate in trial.toml has an unknown key 'images'"),
        ("importance_samples = 0", "samples = true", "must be a whole number, got True"),
        ('name = "with-kl"', 'name = "../with"', "also its folder's"),
        ('name = "with-kl"', 'name = "other"', "must name a companion .other., got 'with-kl'"),
        ('name = "with-kl"', 'name = "with-kl"\nsetting = 3', "a companion in trial.toml has an unknown key"),
        ('model = "vae"', "", "a companion in trial.toml lacks model"),
        ("every_steps = 2", "", "a film in trial.toml lacks every_steps"),
        ("every_steps = 2", "every_steps = 0", "every_steps in trial.toml must be at least 1, got 0"),
        ('[[show]]\nwhat = "map"\n\n', "[[show]]\nn = 3\n\n", "lacks what, the name of a picture"),
        ("n = 10", "size = 10", "the picture 'map' has no option 'size'"),
        ("n = 20", "size = 20", "the picture 'map' has no option 'size'"),
    ],
)
def test_what_a_recipe_must_not_be(recipe: Path, tmp_path: Path, old: str, new: str, words: str) -> None:
    assert RECIPE.count(old) >= 1
    recipe.write_text(RECIPE.replace(old, new, 1))
    with pytest.raises(ConfigError, match=words):
        api.reproduce(str(recipe), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


TABLE = {"title": "t", "row": "B1", "model": "vae", "data": "digits", "settings": {}, "show": []}


def test_two_companions_of_one_name_are_refused() -> None:
    twice = [{"name": "a", "model": "vae"}, {"name": "a", "model": "pca"}]
    with pytest.raises(ConfigError, match="must have different names, got a, a"):
        recipes.checked({**TABLE, "companion": twice}, "x.toml")


@pytest.mark.parametrize("film", [{"what": "map"}, ["map"]])
def test_films_that_are_no_list_of_tables_are_refused(film: Any) -> None:
    with pytest.raises(ConfigError, match=r"film .*x\.toml must be a list of tables"):
        recipes.checked({**TABLE, "film": film}, "x.toml")
