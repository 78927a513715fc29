"""The run folder: what is in it, what is refused, and what reads it back."""

from __future__ import annotations

import json
import math
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

import loops
from latentscape.errors import RunError
from latentscape.runs import RunFolder, free_name, load_run
from latentscape.training.settings import TrainSettings

CONFIG: dict[str, Any] = {
    "run": {"model": "vae", "data": "digits", "shape": [1, 8, 8], "classes": 10, "init_from": ""},
    "train": TrainSettings().to_dict(),
    "model": {"net": "mlp", "hidden": [8], "latent_dim": 2, "beta": None},
    "data": {"size": ""},
}


def create(path: Path, **changes: Any) -> RunFolder:
    config = {**CONFIG, **changes}
    return RunFolder.create(path, config=config, command="latentscape train vae", data={"n": 3}, environment={"a": "é"})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return create(tmp_path / "deep" / "run")


def test_a_new_run_holds_what_it_was_made_with(folder: RunFolder) -> None:
    assert folder.name == "run"
    assert folder.command() == "latentscape train vae"
    assert folder.data() == {"n": 3}
    assert folder.environment() == {"a": "é"}
    assert folder.metrics() is None
    assert folder.log() == []
    assert folder.pictures() == []
    assert folder.checkpoints().all() == []
    assert RunFolder(folder.path).config() == folder.config()


def test_an_unset_setting_is_left_out_of_toml_and_read_back_as_unset(folder: RunFolder) -> None:
    text = (folder.path / "config.toml").read_text()
    assert "beta =" not in text
    assert tomllib.loads(text)["model"] == {"net": "mlp", "hidden": [8], "latent_dim": 2}
    assert folder.build_model().config.beta is None


def test_settings_of_training_can_be_rewritten_alone(folder: RunFolder) -> None:
    folder.rewrite_settings(TrainSettings(epochs=9).to_dict())
    assert folder.config()["train"]["epochs"] == 9
    assert folder.config()["model"] == {"net": "mlp", "hidden": [8], "latent_dim": 2}


def test_a_folder_that_holds_anything_is_refused_and_left_alone(folder: RunFolder, tmp_path: Path) -> None:
    before = (folder.path / "config.toml").read_bytes()
    with pytest.raises(RunError, match="holds a run already"):
        create(folder.path)
    assert (folder.path / "config.toml").read_bytes() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").touch()
    with pytest.raises(RunError, match="holds other files"):
        create(tmp_path / "other")
    (tmp_path / "empty").mkdir()
    assert create(tmp_path / "empty").config()["run"]["model"] == "vae"


def test_a_user_s_own_files_of_the_same_names_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text("mine")
    with pytest.raises(RunError, match="holds other files"):
        create(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["data.json"]
    assert (tmp_path / "data.json").read_text() == "mine"


def test_a_folder_that_another_process_is_making_is_refused(tmp_path: Path) -> None:
    with create(tmp_path / "run").locked():
        (tmp_path / "run" / "config.toml").unlink()  # as it is a moment before the end
        with pytest.raises(RunError, match="in use by process"):
            create(tmp_path / "run")


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run folder"):
        RunFolder(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"is not a run folder: it holds no config\.toml"):
        RunFolder(tmp_path)


@pytest.mark.parametrize("content", [b"a = = 1", b"\xff\xfe"], ids=["no TOML", "no text"])
def test_damaged_settings_are_told(folder: RunFolder, content: bytes) -> None:
    (folder.path / "config.toml").write_bytes(content)
    with pytest.raises(RunError, match="is not readable TOML") as error:
        folder.config()
    assert "\n" not in str(error.value)


def test_damaged_json_is_told(folder: RunFolder) -> None:
    (folder.path / "data.json").write_text("{")
    with pytest.raises(RunError, match=r"data\.json is damaged"):
        folder.data()


# ---- the log ---------------------------------------------------------------------------------------------------


def record(step: int, kind: str = "train") -> dict[str, Any]:
    return {"kind": kind, "step": step}


def test_the_log_only_grows(folder: RunFolder) -> None:
    for step in range(3):
        folder.append(record(step))
    assert folder.log() == [record(0), record(1), record(2)]
    text = (folder.path / "log.jsonl").read_text()
    assert [json.loads(line) for line in text.splitlines()] == folder.log()


def test_steps_that_were_done_again_are_told_once(folder: RunFolder) -> None:
    for r in (record(1), record(2), record(3), record(4), record(2, "resumed"), record(3), record(4)):
        folder.append(r)
    assert [(r["kind"], r["step"]) for r in folder.log()] == [
        ("train", 1), ("train", 2), ("resumed", 2), ("train", 3), ("train", 4),
    ]  # fmt: skip


def test_an_end_that_was_none_is_forgotten_when_the_run_goes_on(folder: RunFolder) -> None:
    for r in (record(2), record(2, "done"), record(2, "resumed"), record(4), record(4, "done")):
        folder.append(r)
    assert [r["kind"] for r in folder.log()] == ["train", "resumed", "train", "done"]


def test_a_line_cut_short_is_ended_before_the_next_and_passed_over(folder: RunFolder) -> None:
    folder.append(record(1))
    with open(folder.path / "log.jsonl", "a") as f:
        f.write('{"kind": "train", "st')
    again = RunFolder(folder.path)
    again.append(record(2))
    again.append(record(3))
    assert again.log() == [record(1), record(2), record(3)]


# ---- the lock --------------------------------------------------------------------------------------------------


def test_the_lock_is_held_by_one_and_given_back(folder: RunFolder) -> None:
    with folder.locked():
        with pytest.raises(RunError, match=f"in use by process {os.getpid()}"), RunFolder(folder.path).locked():
            pass
        with pytest.raises(RunError, match=f"in use by process {os.getpid()}"), RunFolder(folder.path).locked():
            pass  # asking did not wipe the number
    with RunFolder(folder.path).locked():
        pass


def test_the_lock_names_its_holder_and_nothing_of_the_one_before(folder: RunFolder) -> None:
    (folder.path / ".lock").write_text("123456789012")
    with folder.locked(), pytest.raises(RunError, match=f"process {os.getpid()};"), RunFolder(folder.path).locked():
        pass


def test_the_lock_is_given_back_after_an_error(folder: RunFolder) -> None:
    with pytest.raises(ZeroDivisionError), folder.locked():
        _ = 1 / 0
    with folder.locked():
        pass


# ---- the model -------------------------------------------------------------------------------------------------


def test_the_model_is_built_from_settings_shape_and_seed(folder: RunFolder) -> None:
    one, two = folder.build_model(), folder.build_model()
    assert not loops.differing(one.state_dict(), two.state_dict())
    assert one.shape.dims == (1, 8, 8)
    assert one.classes == 10
    assert one.latent_dim == 2


def test_a_run_without_weights_says_how_to_get_some(folder: RunFolder) -> None:
    with pytest.raises(RunError, match="holds no trained model and no checkpoint; run: latentscape resume"):
        folder.load_model()


def test_weights_of_other_settings_are_refused(folder: RunFolder) -> None:
    folder.save_model(loops.make("vae", (1, 8, 8), net="mlp", hidden=(9,), latent_dim=2))
    with pytest.raises(RunError, match=r"do not fit its config\.toml") as error:
        load_run(folder.path)
    assert "\n" not in str(error.value)


def test_load_run_gives_the_model_ready_for_use(folder: RunFolder) -> None:
    folder.save_model(loops.make("vae", (1, 8, 8), net="mlp", hidden=(8,), latent_dim=2))
    model = load_run(str(folder.path))
    assert not model.training
    assert model.decode(torch.zeros(1, 2)).shape == (1, 1, 8, 8)


# ---- names -----------------------------------------------------------------------------------------------------


def test_free_names_count_from_one_and_are_safe(tmp_path: Path) -> None:
    assert free_name(tmp_path, "vae-digits") == tmp_path / "vae-digits-1"
    (tmp_path / "vae-digits-1").mkdir()
    (tmp_path / "vae-digits-2").mkdir()
    assert free_name(tmp_path, "vae-digits") == tmp_path / "vae-digits-3"
    assert free_name(tmp_path, "vae-my pets/ü..") == tmp_path / "vae-my-pets-1"
    assert free_name(tmp_path, "/../..") == tmp_path / "run-1"


def test_pictures_come_with_their_words_in_their_order(folder: RunFolder) -> None:
    for name in ("a.png", "b.png", "c.gif", "notes.txt"):
        (folder.pictures_path / name).touch()
    words = {"b.png": {"title": "B"}, "a.png": {"title": "A"}}
    (folder.pictures_path / "captions.json").write_text(json.dumps(words))
    found = [(p.name, w) for p, w in folder.pictures()]
    assert found == [("b.png", {"title": "B"}), ("a.png", {"title": "A"}), ("c.gif", {})]


def test_numbers_that_json_cannot_say_are_kept_in_files_that_are_json(folder: RunFolder) -> None:
    """A held-out loss may be infinite; other programs read the log too."""
    terms = {"a": math.inf, "b": -math.inf, "c": 1.5}
    folder.append({"kind": "held_out", "step": 1, "terms": terms})
    folder.write_metrics({"metrics": terms})
    assert folder.log() == [{"kind": "held_out", "step": 1, "terms": terms}]
    assert folder.metrics() == {"metrics": terms}
    for name in ("log.jsonl", "metrics.json"):
        json.loads((folder.path / name).read_text(), parse_constant=pytest.fail)


def test_metrics_are_kept(folder: RunFolder) -> None:
    folder.write_metrics({"metrics": {"mse": 0.5}})
    assert RunFolder(folder.path).metrics() == {"metrics": {"mse": 0.5}}
