"""Every mistake of a user gets one sentence and exit status 2, never a traceback, and harms nothing."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import loops
from command import latentscape, refusal
from latentscape import api
from latentscape.runs import RunFolder
from tiny_runs import TINY

VAE = ["train", "vae", "--data", "digits", "--max-steps", "2", "--net", "mlp", "--hidden", "8", "--limit", "40"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trained run."""
    return api.train(
        "vae", "digits", out=tmp_path_factory.mktemp("runs") / "run", finish=False, max_steps=2, **TINY
    ).path


def contents(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


# ---- what is asked for -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["trian", "vae"], "there is no command 'trian'; did you mean train?"),
        (["zzz"], "there is no command 'zzz'; `latentscape --help` lists them"),
        (["train", "autoencodr", "--data", "digits"], "there is no model 'autoencodr'; did you mean autoencoder?"),
        (["models", "zzz"], "there is no model 'zzz'"),
        (["reproduce", "vae-2"], "there is no recipe 'vae-2'; did you mean vae-2d?"),
        (["reproduce", "zzz"], "there is no recipe 'zzz'; `latentscape recipes` lists them"),
        (["reproduce"], "`reproduce` is followed by a RECIPE"),
        (["resume"], "`resume` is followed by a RUN"),
        (["resume", "--epochs", "3"], "`resume` is followed by a RUN"),
        (["evaluate"], "`evaluate` is followed by a RUN"),
        (["data"], ""),
        (["data", "eat", "digits"], "`data` is followed by info, pack or fetch, got 'eat'"),
        (["data", "info"], "`data info` is followed by a name or a path"),
        (["train", "vae"], "`train vae` needs --data"),
        (["train", "vae", "--data"], "--data"),
        (["models", "vae", "--shape", "3x"], "a shape is written 3x64x64"),
        (["models", "vae", "--shape", "0x4x4"], "a shape is"),
        (["models", "vae", "--latent-dim", "0"], "--latent-dim must be at least 1, got 0"),
        (["models", "vae", "--net", "conv", "--shape", "5"], "--net conv needs images"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_wrong_commands(args: list[str], words: str) -> None:
    if words:
        assert words in refusal(*args)
    else:
        assert latentscape(*args).status == 0  # says how it is used


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--latent-dim", "0"], "--latent-dim must be at least 1, got 0"),
        (["--epochs", "-1"], "--epochs must be at least 0, got -1"),
        (
            ["--epochs", "0", "--max-steps", "0"],
            "--epochs 0 trains without an end only if --max-steps says when to stop",
        ),
        (["--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["--learning-rate", "0"], "--learning-rate must be above 0, got 0"),
        (["--learning-rate", "nan"], "--learning-rate must be above 0 and finite, got nan"),
        (["--size", "64x"], "--size must be 64 (square) or 48x64 (height x width), got '64x'"),
        (["--size", "0"], "--size must be 64"),
        (["--hidden", "8", "0"], "--hidden must be at least 1, got 0"),
        (["--valid-fraction", "0.6", "--test-fraction", "0.6"], "must add up to less than 1"),
        (["--early-stopping", "2", "--valid-fraction", "0"], "--early-stopping needs held-out images"),
        (["--schedule", "plateau", "--valid-fraction", "0"], "--schedule plateau needs held-out images"),
        (["--device", "abacus"], "--device abacus is not on this machine"),
        (["--device", "meta"], "--device meta"),
        (["--init-from", "nowhere"], "there is no run folder nowhere"),
        (["--labels", "labels.csv"], "--labels is for folders of pictures"),
        (["--epochs", "three"], "--epochs"),
        (["--epochs", "2.5"], "--epochs"),
        (["--net", "resnext"], "--net"),
        (["--latent-dims", "3"], "latent-dims"),
        (["--seed", "-1"], "--seed must be at least 0 and at most 4294967295, got -1"),
        (["surplus"], "surplus"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_wrong_settings_write_nothing(flags: list[str], words: str, tmp_path: Path) -> None:
    said = refusal(*VAE, *flags)
    assert words in said
    assert "---" not in said  # the frame of a parser's message is no sentence
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", [2**64, 2**63, 10**15, 10**40], ids=["2^64", "2^63", "10^15", "10^40"])
def test_a_seed_is_used_or_refused_in_one_sentence(seed: int, tmp_path: Path) -> None:
    answer = latentscape(*VAE, "--seed", seed, "--bare", "--out", tmp_path / "run")
    assert "Traceback" not in answer.err
    if answer.status:
        assert answer.status == 2
        assert answer.err.startswith("latentscape: --seed must be")
        assert len(answer.err.splitlines()) == 1


LONELY = [
    ["--batch-size", "1"],
    ["--limit", "1", "--valid-fraction", "0", "--test-fraction", "0"],
    ["--limit", "1", "--valid-fraction", "0", "--test-fraction", "0", "--full-batch"],
]


@pytest.mark.parametrize("flags", LONELY, ids=" ".join)
def test_a_batch_of_one_trains_or_is_refused_in_one_sentence(flags: list[str], tmp_path: Path) -> None:
    """BatchNorm has no variance over one example: the command must say so, and before it writes."""
    answer = latentscape(*VAE, *flags, "--bare", "--out", tmp_path / "run")
    assert "Traceback" not in answer.err
    if answer.status:
        assert answer.status == 2
        assert "--batch-size" in answer.err
        assert len(answer.err.splitlines()) == 1
        assert not (tmp_path / "run").exists()


def test_nets_that_do_not_fit_into_memory_are_refused_in_one_sentence(tmp_path: Path) -> None:
    said = refusal(*VAE, "--latent-dim", 10**12, "--out", tmp_path / "run", status=1)
    assert "memory" in said
    assert not (tmp_path / "run").exists()


def test_convolutions_over_vectors(tmp_path: Path) -> None:
    said = refusal("train", "autoencoder", "--data", "curves", "--net", "conv")
    assert said == "--net conv needs images, and the data is a vector of 2; use --net mlp"
    assert "needs images" in refusal("train", "autoencoder", "--data", "curves", "--loss", "bce")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("args", [["recipes"], ["data", "info", "digits"], ["train", "vae"]], ids=" ".join)
def test_a_terminal_without_unicode_gets_an_answer(args: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "latentscape.cli", *args],
        capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert b"Traceback" not in ended.stderr
    assert ended.returncode == (2 if args == ["train", "vae"] else 0)


def test_debug_shows_the_traceback_and_the_sentence() -> None:
    answer = latentscape("--debug", "train", "zzz", "--data", "digits")
    assert answer.status == 2
    assert "Traceback" in answer.err
    assert answer.err.splitlines()[-1].startswith("latentscape: there is no model 'zzz'")


# ---- data ------------------------------------------------------------------------------------------------------


def no_folder(place: Path) -> None:
    pass


def empty_folder(place: Path) -> None:
    place.mkdir()


def folder_without_images(place: Path) -> None:
    place.mkdir()
    (place / "notes.txt").write_text("nothing to see")


def empty_file(place: Path) -> None:
    place.touch()


def pickled_array(place: Path) -> None:
    np.save(place, np.array([Trap(place.parent)], dtype=object), allow_pickle=True)
    Path(f"{place}.npy").rename(place)


def pickled_state(place: Path) -> None:
    place.write_bytes(pickle.dumps(Trap(place.parent)))


def array_with_nan(place: Path) -> None:
    x = np.zeros((20, 8, 8))
    x[3, 2, 1] = np.nan
    with open(place, "wb") as f:
        np.save(f, x)


def array_of_text(place: Path) -> None:
    with open(place, "wb") as f:
        np.save(f, np.array(["a", "b"]))


def array_cut_short(place: Path) -> None:
    with open(place, "wb") as f:
        np.save(f, np.zeros((20, 8, 8)))
    place.write_bytes(place.read_bytes()[:500])


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return (Path.touch, (self.folder / "sprung",))


PLACES = [
    (no_folder, "there is no data set and no path"),
    (empty_folder, "thing"),
    (folder_without_images, "thing"),
    (empty_file, "is an empty file"),
    (pickled_array, ""),
    (pickled_state, "pickled"),
    (array_with_nan, "holds nan at index (3, 2, 1)"),
    (array_of_text, ""),
    (array_cut_short, ""),
]


@pytest.mark.parametrize("command", [["train", "vae", "--max-steps", "2", "--data"], ["data", "info"]], ids=" ".join)
@pytest.mark.parametrize(("lay", "words"), PLACES, ids=lambda v: getattr(v, "__name__", ""))
def test_data_that_is_none(lay: Callable[[Path], None], words: str, command: list[str], tmp_path: Path) -> None:
    place = tmp_path / "thing"
    lay(place)
    before = sorted(p.name for p in tmp_path.iterdir())
    said = refusal(*command, place)
    assert words in said
    assert "thing" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == before  # no run folder, and no trap was sprung


def test_a_trap_springs_when_it_is_unpickled(tmp_path: Path) -> None:
    """So that the test above can fail."""
    pickle.loads(pickle.dumps(Trap(tmp_path)))
    assert (tmp_path / "sprung").exists()


# ---- runs ------------------------------------------------------------------------------------------------------

ON_RUNS = ["evaluate", "sample", "reconstruct", "report", "resume"]


@pytest.mark.parametrize("command", ON_RUNS)
def test_folders_that_are_no_runs(command: str, tmp_path: Path) -> None:
    assert refusal(command, tmp_path / "nowhere").startswith(f"there is no run folder {tmp_path / 'nowhere'}")
    (tmp_path / "other").mkdir()
    assert "is not a run folder" in refusal(command, tmp_path / "other")
    (tmp_path / "file").touch()
    assert "is not a run folder" in refusal(command, tmp_path / "file")


@pytest.mark.parametrize("command", ON_RUNS)
@pytest.mark.parametrize(
    "config",
    ["not = [toml", "", "[run]\nmodel = 3", "[run]\nmodel='vae'\nshape=[1,8]\nclasses=0\n[model]\n[train]\nseed=0"],
    ids=["no TOML", "empty", "no model", "no shape"],
)
def test_runs_whose_settings_are_damaged(command: str, config: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text(config)
    answer = latentscape(command, tmp_path / "run")
    assert "Traceback" not in answer.err
    if command == "report" and answer.status == 0:
        return  # a report shows what there is
    assert answer.status == 2
    assert len(answer.err.splitlines()) == 1


@pytest.mark.parametrize("command", ["evaluate", "sample", "reconstruct"])
def test_runs_without_a_model(command: str, run: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_bytes((run / "config.toml").read_bytes())
    assert "holds no trained model and no checkpoint; run: latentscape resume" in refusal(command, tmp_path / "run")


def test_a_run_folder_is_never_overwritten(run: Path, tmp_path: Path) -> None:
    before = contents(run)
    assert "holds a run already; choose another --out, or continue it with: latentscape resume" in refusal(
        *VAE, "--out", run
    )
    assert contents(run) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert "holds other files" in refusal(*VAE, "--out", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["evaluate", "RUN", "--split", "half"], "--split"),
        (["evaluate", "RUN", "--data", "curves"], ""),
        (["evaluate", "RUN", "--data", "nowhere"], "there is no data set and no path 'nowhere'"),
        (["sample", "RUN", "--n", "0"], "--n must be at least 1, got 0"),
        (["sample", "RUN", "--n", "many"], "--n"),
        (["sample", "RUN", "--temperature", "-1"], "--temperature must be at least 0 and finite, got -1"),
        (["sample", "RUN", "--temperature", "nan"], "--temperature must be"),
        (["sample", "RUN", "--temperature", "inf"], "--temperature must be"),
        (["sample", "RUN", "--prior", "none"], "--prior"),
        (["sample", "RUN", "--out", "x.jpg"], "x.jpg"),
        (["sample", "RUN", "--seed", str(2**70)], "--seed"),
        (["reconstruct", "RUN", "--n", "-1"], "--n must be at least 0, got -1"),
        (["reconstruct", "RUN", "--data", "nowhere"], "there is no data set"),
        (["resume", "RUN", "--epochs", "-3"], "--epochs must be at least 0, got -3"),
        (["resume", "RUN", "--max-steps", "-3"], "--max-steps must be at least 0, got -3"),
        (["reproduce", "demo", "--scale", "0"], "--scale must be above 0 and finite, got 0"),
        (["reproduce", "demo", "--scale", "-1"], "--scale must be above 0 and finite, got -1"),
        (["reproduce", "demo", "--scale", "nan"], "--scale must be"),
        (["reproduce", "demo", "--scale", "inf"], "--scale must be"),
        (["reproduce", "demo", "--seed", "-1"], "--seed must be at least 0 and at most 4294967295, got -1"),
        (["report", "RUN", "--loud"], "loud"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_wrong_questions_to_a_run(args: list[str], words: str, run: Path, tmp_path: Path) -> None:
    before = contents(run)
    assert words in refusal(*(run if a == "RUN" else a for a in args))
    assert contents(run) == before
    assert not list(tmp_path.iterdir())


def test_an_autoencoder_has_no_prior_of_its_own(tmp_path: Path) -> None:
    run = api.train("autoencoder", "digits", out=tmp_path / "run", finish=False, max_steps=2, **TINY)
    said = refusal("sample", run.path, "--prior", "own")
    assert said.startswith("an autoencoder has no prior to sample from")
    assert "--prior fits one to its training latents" in said


def test_vectors_have_no_picture_to_reconstruct_into(tmp_path: Path) -> None:
    run = api.train("vae", "curves", out=tmp_path / "run", finish=False, max_steps=2, latent_dim=1, threads=1)
    for args in (["reconstruct", run.path], ["sample", run.path], ["reconstruct", run.path, "--out", "x.png"]):
        assert ".npy" in refusal(*args)
    assert latentscape("reconstruct", run.path, "--out", tmp_path / "x.npy").status == 0
    assert np.load(tmp_path / "x.npy").shape == (10, 2)


def test_a_model_without_encoder_cannot_reconstruct(tmp_path: Path) -> None:
    with loops.toys_known():
        made = latentscape("train", "toy-gan", "--data", "digits", "--max-steps", "2", "--out", tmp_path / "run")
        assert made.status == 0, made.err
        before = contents(tmp_path / "run")
        said = refusal("reconstruct", tmp_path / "run")
        assert said.startswith("a toy-gan has no encoder and a decoder (it has a decoder, a prior to sample from")
        assert "`sample` shows what it makes" in said
        assert contents(tmp_path / "run") == before
        assert latentscape("sample", tmp_path / "run", "--n", "4").status == 0
        assert latentscape("evaluate", tmp_path / "run").status == 0
    assert [p.name for p, _ in RunFolder(tmp_path / "run").pictures()] == ["samples.png"]


# ---- recipes of one's own --------------------------------------------------------------------------------------

RECIPE = """
title = "Mine"
row = "mine"
model = "vae"
data = "digits"
[settings]
net = "mlp"
hidden = [8]
latent_dim = 2
max_steps = 2
limit = 40
seed = 3
[[show]]
what = "samples"
"""


def test_a_recipe_of_one_s_own_runs_with_its_own_seed(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(RECIPE)
    answer = latentscape("reproduce", "mine.toml", "--out", tmp_path / "run")
    assert answer.status == 0, answer.err
    config = RunFolder(tmp_path / "run").config()
    assert config["train"]["seed"] == 3
    assert config["train"]["max_steps"] == 2
    assert latentscape("reproduce", "mine.toml", "--seed", 4, "--out", tmp_path / "other").status == 0
    assert RunFolder(tmp_path / "other").config()["train"]["seed"] == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("title = ", "tilte = "), "lacks title"),
        (('model = "vae"', 'model = "vea"'), "there is no model 'vea'"),
        (("latent_dim = 2", "latent_dims = 2"), "vae has no setting 'latent_dims'; did you mean latent_dim?"),
        (("latent_dim = 2", "latent_dim = 0"), "--latent-dim must be at least 1, got 0"),
        (("latent_dim = 2", 'latent_dim = "two"'), "--latent-dim must be a whole number, got 'two'"),
        (('what = "samples"', 'what = "sample"'), "there is no picture 'sample'"),
        (('what = "samples"', 'which = "samples"'), "what"),
        (('what = "samples"', 'what = "samples"\nm = 3'), "the picture 'samples' has no option 'm'"),
        (("[settings]", "[settings"), "is not a readable recipe"),
    ],
    ids=lambda v: " → ".join(v) if isinstance(v, tuple) else "",
)
def test_recipes_with_a_mistake_are_refused_before_anything_is_trained(
    change: tuple[str, str], words: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(RECIPE.replace(*change))
    answer = latentscape("reproduce", "mine.toml", "--out", tmp_path / "run")
    assert "Traceback" not in answer.err
    assert answer.status == 2
    assert words in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["models", "conditional-vae"], "conditional-vae is built for a number of labels; give it"),
        (["train", "conditional-vae", "--data", "shapeless.npy"], "trained with labels and the data has none"),
        (["train", "vae", "--data", "digits", "--net", "grid", "--latent-dim", "3"], "must be a multiple of 4, got 6"),
        (["train", "denoising-autoencoder", "--data", "curves", "--noise", "square"], "--noise square needs images"),
        (["train", "vae", "--data", "curves", "--likelihood", "continuous-bernoulli"], "needs images with pixels"),
        (["train", "vae", "--data", "digits", "--depth", "9"], "--depth must be at most 2 for pictures of 8×8"),
    ],
)
def test_what_the_models_cannot_do_is_said_in_a_sentence(
    args: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("shapeless.npy", np.random.default_rng(0).integers(0, 255, (40, 8, 8), np.uint8))
    assert words in refusal(*args)
    assert not (tmp_path / "runs").exists()
