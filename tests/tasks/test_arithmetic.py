"""Sums of latents and moves along directions: what is decoded is what was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from attribute_pictures import AGE, GLASSES, brightness, make
from latentscape.errors import AbilityError, ConfigError, DataError
from latentscape.pictures import read_captions
from latentscape.runs import RunFolder, load_run
from latentscape.tasks import training
from latentscape.tasks.arithmetic import combine, move
from latentscape.tasks.evaluating import load_for
from tiny_runs import TINY


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("digits") / "run"
    return training.train("pca", "digits", latent_dim=12, threads=1, out=out).path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def people(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    return training.train("pca", str(folder), latent_dim=6, threads=1, out=out).path


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("conditional") / "run"
    return training.train("conditional-vae", "digits", out=out, max_steps=2, **TINY).path


def of_class(run: Path, name: str) -> torch.Tensor:
    """Latents of the test examples of a class, in order."""
    images, model = load_for(RunFolder(run)), load_run(run)
    assert images.labels is not None
    rows = images.indices("test")
    rows = rows[images.labels[rows] == images.label_names.index(name)]
    return model.encode(images.examples(rows, model.value_range))  # type: ignore[operator]


# ---- sums --------------------------------------------------------------------------------------------------------


def test_without_a_word_it_is_first_1_plus_first_9_minus_second_9(digits: Path, tmp_path: Path) -> None:
    answer = combine(digits, out=tmp_path / "z.npy")
    assert answer["sum"] == "1 (1) + 9 (1) − 9 (2)"
    ones, nines = of_class(digits, "1"), of_class(digits, "9")
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), (ones[:1] + nines[:1] - nines[1:2]), atol=1e-4)


def test_averages_take_the_next_examples_of_a_class(digits: Path, tmp_path: Path) -> None:
    answer = combine(digits, ["1", "9"], ["9"], average=5, out=tmp_path / "z.npy")
    ones, nines = of_class(digits, "1"), of_class(digits, "9")
    expected = ones[:5].mean(0) + nines[:5].mean(0) - nines[5:10].mean(0)
    np.testing.assert_allclose(np.load(tmp_path / "z.npy")[0], expected, atol=1e-4)
    assert answer["sum"] == "mean of 5 × 1 + mean of 5 × 9 − mean of 5 × 9"
    far = combine(digits, out=tmp_path / "far.npy")
    assert answer["distance"] < far["distance"], "means cancel what is particular"
    assert len(far["distances"]) == 3


def test_files_are_operands_and_a_folder_is_its_mean(people: Path, folder: Path, tmp_path: Path) -> None:
    one, two = folder / "000.png", folder / "001.png"
    both = tmp_path / "both"
    both.mkdir()
    for file in (one, two):
        (both / file.name).write_bytes(file.read_bytes())
    combine(people, [one, two], [], out=tmp_path / "sum.npy")
    combine(people, [both, both], [], out=tmp_path / "twice.npy")
    np.testing.assert_allclose(np.load(tmp_path / "sum.npy"), np.load(tmp_path / "twice.npy"), atol=1e-4)
    combine(people, [one, two], [one], out=tmp_path / "back.npy")
    pixels = torch.tensor(np.array(Image.open(two)))[None, None] / 255
    np.testing.assert_allclose(np.load(tmp_path / "back.npy"), load_run(people).encode(pixels), atol=1e-4)  # type: ignore[operator]


def test_the_strip_is_kept_with_its_words(digits: Path) -> None:
    answer = combine(digits, command="latentscape arithmetic runs/x")
    words = read_captions(digits / "pictures")["arithmetic.png"]
    assert answer["out"] == str(digits / "pictures" / "arithmetic.png")
    assert words["command"] == "latentscape arithmetic runs/x"
    assert f"{answer['distance']:.2f}" in words["caption"]
    single, mean = (np.array(Image.open(combine(digits, average=k)["out"])).shape for k in (1, 2))
    assert single[0] > 1.5 * mean[0], "single examples are shown above what they decode to; means are no picture"


def test_a_conditional_model_decodes_the_sum_as_its_first_part(conditional: Path, tmp_path: Path) -> None:
    assert combine(conditional, ["3"], ["4"], split="train", out=tmp_path / "s.png")["sum"] == "3 (1) − 4 (1)"
    file = tmp_path / "own.png"
    Image.fromarray(np.full((8, 8), 99, np.uint8)).save(file)
    with pytest.raises(ConfigError, match="say with --label"):
        combine(conditional, [file], ["4"], split="train")
    assert combine(conditional, [file], ["4"], split="train", label="3", out=tmp_path / "s.npy")


def test_sums_that_cannot_be_are_refused(digits: Path, people: Path, tmp_path: Path) -> None:
    for wrong, words in (
        ({"average": 0}, "--average must be at least 1"),
        ({"minus": ["9"]}, "needs something to add"),
        ({"plus": ["1"], "label": "1"}, "reads no labels"),
        ({"out": tmp_path / "x.gif"}, r"X\.png or X\.npy"),
        ({"plus": ["1"], "average": 10_000}, "has .* test examples of 1, and 10,000 are asked for"),
        ({"plus": ["cat.png"]}, r"there is no file and no class \(0, 1, .*\) called 'cat.png'"),
    ):
        with pytest.raises((ConfigError, DataError, AbilityError), match=words):
            combine(digits, **wrong)
    assert combine(people, out=tmp_path / "x.npy")["sum"] == "old (1) + young (1) − young (2)"


# ---- directions --------------------------------------------------------------------------------------------------


def sheet_of(run: Path, tmp_path: Path, **options: Any) -> tuple[dict[str, Any], np.ndarray]:
    """The answer and the decoded pictures, N×S×1×8×8."""
    answer = move(run, out=tmp_path / "singles", **options)
    files = sorted((tmp_path / "singles").glob("*.png"))
    x = np.stack([np.array(Image.open(f))[None] for f in files]).astype(float)
    return answer, x.reshape(answer["n"], len(answer["strengths"]), 1, 8, 8)


@pytest.mark.parametrize("method", ["mean-difference", "linear"])
def test_age_moves_what_age_does_to_the_pixels(method: str, people: Path, tmp_path: Path) -> None:
    answer, x = sheet_of(people, tmp_path, attribute="age", method=method, n=4)
    upper = np.stack([brightness(x[:, i], AGE) for i in range(5)])
    assert (np.diff(upper, axis=0) > 10).all(), "every picture, at every step"
    assert answer["attribute"] == "age"
    assert answer["correlation"] > 0.9
    assert answer["n_fitted"] + answer["n_held_out"] == 75, "five ages are not known"
    # ages are uniform over 80 years: one standard deviation of them is 23
    assert answer["per_strength"] == pytest.approx(80 / 12**0.5, rel=0.2)


def test_what_must_not_change_stays(people: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"attribute": "old", "n": 4, "method": "linear"}
    answer, x = sheet_of(people, tmp_path, **options, without_changing=["glasses"])
    assert answer["without_changing"] == ["glasses"]
    change = [brightness(x[:, -1], where) - brightness(x[:, 0], where) for where in (AGE, GLASSES)]
    assert (change[0] > 40).all()
    assert np.abs(change[1]).max() < 0.25 * change[0].min()
    with pytest.raises(ConfigError, match="leaves nothing of the direction of glasses=yes"):
        move(people, attribute="glasses", method="linear", without_changing=["glasses"])


def test_two_folders_say_what_to_add(people: Path, folder: Path, tmp_path: Path) -> None:
    with_, without = tmp_path / "with", tmp_path / "without"
    for place, value in ((with_, 200), (without, 40)):
        place.mkdir()
        for i in range(6):
            x = np.random.default_rng(i).normal(60, 6, (8, 8))
            x[GLASSES] = value
            Image.fromarray(x.clip(0, 255).astype(np.uint8)).save(place / f"{i}.png")
    answer, x = sheet_of(people, tmp_path, having=with_, without=without, pictures=[folder / "000.png"])
    assert x.shape[:2] == (1, 5)
    below = [float(brightness(x[:, i], GLASSES)[0]) for i in range(5)]
    assert below == sorted(below)
    assert below[-1] - below[0] > 40
    assert answer["attribute"] == "with"
    assert "correlation" not in answer


def test_a_direction_is_written_and_taken_again(people: Path, tmp_path: Path) -> None:
    step = tmp_path / "age.npy"
    assert "n" not in move(people, attribute="age", out=step)
    assert np.load(step).shape == (6,)
    assert np.load(step).dtype == np.float32
    _, fitted = sheet_of(people, tmp_path / "a", attribute="age", n=3)
    answer, taken = sheet_of(people, tmp_path / "b", direction=step, n=3)
    assert (fitted == taken).all()
    assert answer["of"] == "the direction in age.npy"
    np.save(step, np.zeros(5))
    with pytest.raises(DataError, match="must hold 6 finite numbers"):
        move(people, direction=step)


def test_a_table_of_the_users_own(people: Path, folder: Path, tmp_path: Path) -> None:
    lines = (folder.parent / "labels.csv").read_text().splitlines()[6:]
    cells = [line.split(",") for line in lines]
    (tmp_path / "own.csv").write_text("\n".join(["picture,years", *(f"{c[0]},{-float(c[1])}" for c in cells)]))
    _, x = sheet_of(people, tmp_path, attribute="years", table=tmp_path / "own.csv", n=2)
    assert (brightness(x[:, 0], AGE) > brightness(x[:, -1], AGE) + 40).all(), "its years run backwards"
    with pytest.raises(ConfigError, match=r"must be an attribute of people \(years\), got 'age'"):
        move(people, attribute="age", table=tmp_path / "own.csv")
    with pytest.raises(DataError, match="file that exists"):
        move(people, attribute="age", table=tmp_path / "no.csv")


def test_films_and_sheets_and_where_they_lie(people: Path, tmp_path: Path) -> None:
    move(people, attribute="age", n=2, out=tmp_path / "age.gif")
    with Image.open(tmp_path / "age.gif") as film:
        assert film.n_frames > 30  # type: ignore[attr-defined]
    answer = move(people, attribute="age", n=2, strengths=(0, 1.5), command="latentscape arithmetic r --attribute age")
    assert answer["out"] == str(people / "pictures" / "direction-age.png")
    caption = read_captions(people / "pictures")["direction-age.png"]
    assert caption["command"].endswith("--attribute age")
    assert "strengths 0, +1.5 standard deviations" in caption["caption"]


def test_vectors_have_directions_too(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    run = training.train("pca", (x, y), latent_dim=3, threads=1, out=tmp_path / "run").path
    answer = move(run, attribute="1", data=(x, y))
    assert answer["out"].endswith("direction-1.npy")
    assert combine(run, ["0"], ["1"], data=(x, y), split="train")["out"].endswith("arithmetic.npy")
    with pytest.raises(ConfigError, match=r"written to X\.npy"):
        move(run, attribute="1", data=(x, y), out=tmp_path / "x.png")


def test_a_conditional_model_moves_under_its_labels(conditional: Path, tmp_path: Path) -> None:
    assert move(conditional, attribute="3", n=3, out=tmp_path / "c.png")["n"] == 3
    file = tmp_path / "own.png"
    Image.fromarray(np.full((8, 8), 99, np.uint8)).save(file)
    with pytest.raises(ConfigError, match="say with --label"):
        move(conditional, [file], attribute="3")
    assert move(conditional, [file], attribute="3", label="5", out=tmp_path / "c.png")["n"] == 1


def test_moves_that_cannot_be_are_refused(people: Path, folder: Path, tmp_path: Path) -> None:
    for wrong, words in (
        ({}, "say one of --attribute NAME, --with DIR"),
        ({"attribute": "age", "direction": "x.npy"}, "say one of"),
        ({"having": folder}, "belong together"),
        ({"attribute": "age", "method": "svm"}, "--method must be one of mean-difference, linear"),
        ({"attribute": "age", "strengths": (float("nan"),)}, "finite numbers"),
        ({"attribute": "beauty"}, r"an attribute of people \(age, glasses=yes\) or a class of people \(old, young\)"),
        ({"attribute": "age", "without_changing": ["beauty"]}, "--without-changing must be"),
        ({"direction": "no.npy"}, "cannot be read as .npy"),
        ({"attribute": "age", "out": tmp_path / "x.jpg"}, "a folder"),
        ({"attribute": "age", "label": "1"}, "reads no labels"),
    ):
        with pytest.raises((ConfigError, DataError, AbilityError), match=words):
            move(people, **wrong)


def test_without_an_encoder_there_is_nothing_to_add(tmp_path: Path) -> None:
    run = training.train("gan", "digits", out=tmp_path / "run", max_steps=1, **TINY).path
    for act in (lambda: combine(run), lambda: move(run, attribute="3")):
        with pytest.raises(AbilityError, match="`project` finds the latents"):
            act()
