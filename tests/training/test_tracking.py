"""Trackers get what the run's log gets, go on with the run that they had, and never end one."""

from __future__ import annotations

import importlib.util
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import latentscape
from command import latentscape as command
from command import refusal
from latentscape.errors import ConfigError
from latentscape.runs import RunFolder
from latentscape.tasks import tracking as telling
from latentscape.training import tracking
from tiny_runs import TINY

RUN: dict[str, Any] = {**TINY, "epochs": 2, "log_every": 2}

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="wants the package tensorboard"
)
needs_mlflow = pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="wants the package mlflow-skinny")


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """What MLflow reads from the environment is as it was, and what a tracker sets there is gone after the test."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def logged(folder: RunFolder, kind: str) -> dict[str, dict[int, float]]:
    """Curves of the run's own log: name → step → value."""
    out: dict[str, dict[int, float]] = {}
    for record in folder.log():
        if record["kind"] == kind:
            for name, value in tracking.curves_of(record).items():
                out.setdefault(name, {})[record["step"]] = value
    return out


def events(folder: RunFolder, group: str) -> Any:
    """TensorBoard's own reader of a group."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder.path / "tensorboard" / group), {"images": 0, "scalars": 0, "tensors": 0})
    return reader.Reload()


def scalars(folder: RunFolder, group: str) -> dict[str, dict[int, float]]:
    reader = events(folder, group)
    return {tag: {e.step: e.value for e in reader.Scalars(tag)} for tag in reader.Tags()["scalars"]}


def same(found: dict[str, dict[int, float]], wanted: dict[str, dict[int, float]]) -> None:
    assert wanted
    assert found.keys() == wanted.keys()
    for name, curve in wanted.items():
        assert found[name] == pytest.approx(curve, rel=1e-5), name


# ---- TensorBoard ---------------------------------------------------------------------------------------------------


@needs_tensorboard
def test_tensorboard_has_the_curves_of_the_log(tmp_path: Path) -> None:
    run = latentscape.train("vae", "digits", out=tmp_path / "run", finish=False, log_to=("tensorboard",), **RUN)
    same(scalars(run.folder, "train"), logged(run.folder, "train"))
    same(scalars(run.folder, "held_out"), logged(run.folder, "held_out"))
    assert set(events(run.folder, "train").Tags()["tensors"]) == {"command/text_summary", "settings/text_summary"}


@needs_tensorboard
def test_tensorboard_has_the_pictures_byte_for_byte_and_the_figures(tmp_path: Path) -> None:
    run = latentscape.train("pca", "digits", out=tmp_path / "run", log_to=("tensorboard",), latent_dim=2, limit=80)
    film = run.folder.pictures_path / "film.gif"
    Image.new("L", (3, 2)).save(film)
    telling.publish(run.folder, pytest.fail)
    reader = events(run.folder, "result")
    pictures = [path for path, _ in run.folder.pictures()]
    assert film in pictures
    assert set(reader.Tags()["images"]) == {path.stem for path in pictures}
    for path in pictures:
        shown = reader.Images(path.stem)[-1]
        with Image.open(path) as opened:
            assert (shown.width, shown.height) == opened.size
        assert shown.encoded_image_string == path.read_bytes()
    metrics = run.folder.metrics()
    assert metrics
    same(scalars(run.folder, "result"), {name: {0: value} for name, value in metrics["metrics"].items()})
    same(scalars(run.folder, "train"), logged(run.folder, "fitted"))


@needs_tensorboard
def test_a_resumed_run_goes_on_on_the_same_axis(tmp_path: Path) -> None:
    path = tmp_path / "run"
    latentscape.train("autoencoder", "digits", out=path, finish=False, log_to=("tensorboard",), **RUN)
    run = latentscape.resume(path, finish=False, epochs=4)
    steps = sorted(logged(run.folder, "train")["reconstruct/total"])
    assert steps[-1] == run.steps == 20
    same(scalars(run.folder, "train"), logged(run.folder, "train"))


@needs_tensorboard
def test_steps_that_are_done_again_replace_the_old_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tracking.About("run", "", tmp_path / "events", tmp_path / "mlflow.json", tmp_path / "mlruns")
    real = time.time
    for step, value, resumed in ((2, 1.0, False), (4, 9.0, False), (4, 2.0, True)):
        # Files are read by the second they were begun in; a process that resumes never begins in the same one.
        monkeypatch.setattr(time, "time", lambda later=10 * (step + resumed): real() + later)
        trackers = tracking.Trackers(["tensorboard"], place, pytest.fail)
        if resumed:
            trackers.record({"kind": "resumed", "step": 3})
        trackers.record({"kind": "train", "step": step, "terms": {"a/total": value}})
        trackers.close("stopped")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(tmp_path / "events" / "train")).Reload()
    assert [(e.step, e.value) for e in reader.Scalars("a/total")] == [(2, 1.0), (4, 2.0)]


# ---- MLflow --------------------------------------------------------------------------------------------------------


def client(store: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=store.as_uri())


def the_run(store: Path, experiment: str = "latentscape") -> Any:
    at = client(store)
    found = at.search_runs([at.get_experiment_by_name(experiment).experiment_id])
    assert len(found) == 1
    return found[0]


@needs_mlflow
def test_mlflow_has_settings_curves_figures_pictures_and_the_command(tmp_path: Path) -> None:
    words = ["train", "vae", "--data", "digits", "--out", tmp_path / "runs" / "one", "--log-to", "mlflow", "--json"]
    flags = ["--net", "mlp", "--hidden", "8", "--latent-dim", "2", "--limit", "80", "--log-every", "2"]
    answer = command(*words, *flags, "--epochs", "1", "--threads", "1", "--batch-size", "16")
    assert answer.status == 0, answer.err
    json.loads(answer.out)  # MLflow prints nothing between
    folder = RunFolder(tmp_path / "runs" / "one")
    telling.publish(folder, pytest.fail)
    store = tmp_path / "runs" / "mlruns"
    run = the_run(store)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "one"
    assert run.data.params["model.latent_dim"] == "2"
    assert run.data.params["run.model"] == "vae"
    assert run.data.tags["latentscape.command"] == folder.command()
    at = client(store)
    for kind in ("train", "held_out"):
        for name, curve in logged(folder, kind).items():
            history = at.get_metric_history(run.info.run_id, f"{kind}/{name}")
            assert {m.step: m.value for m in history} == pytest.approx(curve)
    metrics = folder.metrics()
    assert metrics
    assert {name: run.data.metrics[name] for name in metrics["metrics"]} == pytest.approx(metrics["metrics"])
    kept = {Path(f.path).name for f in at.list_artifacts(run.info.run_id, "pictures")}
    assert kept == {path.name for path, _ in folder.pictures()}


@needs_mlflow
def test_mlflow_goes_on_with_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "elsewhere").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of mine")
    path = tmp_path / "run"
    latentscape.train("autoencoder", "digits", out=path, finish=False, log_to=("mlflow",), **RUN)
    folder = RunFolder(path)
    latentscape.resume(path, finish=False, epochs=3)
    run = the_run(tmp_path / "elsewhere", "of mine")
    history = client(tmp_path / "elsewhere").get_metric_history(run.info.run_id, "train/reconstruct/total")
    assert {m.step: m.value for m in history} == pytest.approx(logged(folder, "train")["reconstruct/total"])
    assert max(m.step for m in history) == 15
    assert not (tmp_path / "mlruns").exists()


@needs_mlflow
def test_mlflow_knows_a_run_that_failed_from_one_that_was_stopped(tmp_path: Path) -> None:
    for ended, status in (("failed", "FAILED"), ("stopped", "KILLED")):
        folder = tmp_path / ended
        folder.mkdir()
        place = tracking.About("run", "", folder / "events", folder / "mlflow.json", folder / "mlruns")
        trackers = tracking.Trackers(["mlflow"], place, pytest.fail)
        trackers.close(ended)
        assert the_run(folder / "mlruns").info.status == status


# ---- what goes wrong -----------------------------------------------------------------------------------------------


def test_a_package_that_is_missing_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, real=importlib.util.find_spec: None if name in tracking.KINDS else real(name),
    )
    for name, package in (("tensorboard", "tensorboard"), ("mlflow", "mlflow-skinny")):
        words = refusal("train", "pca", "--data", "digits", "--out", tmp_path / "run", "--log-to", name)
        assert (
            words == f"--log-to {name} needs the package {package}, which is not installed; run: pip install {package}"
        )
    assert not (tmp_path / "run").exists()


def test_only_known_trackers_are_taken(tmp_path: Path) -> None:
    assert "tensorboard" in refusal("train", "pca", "--data", "digits", "--log-to", "notebook")
    with pytest.raises(ConfigError, match="--log-to"):
        latentscape.train("pca", "digits", out=tmp_path / "run", log_to=("notebook",))


class Failing(tracking.Tracker):
    """Works until it is told of a step."""

    name, package = "tensorboard", "tensorboard"
    calls = 0

    def begin(self, about: tracking.About) -> None:
        pass

    def curves(self, group: str, values: tracking.Curves, step: int) -> None:
        Failing.calls += 1
        raise OSError("the disk is full\nand more")

    def text(self, title: str, text: str, step: int) -> None:
        raise AssertionError("it was left out")

    def picture(self, path: Path, step: int) -> None:
        raise AssertionError("it was left out")

    def close(self, ended: str) -> None:
        raise AssertionError("it was left out")


@needs_tensorboard
def test_a_tracker_that_fails_is_one_warning_and_the_run_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Failing, "calls", 0)
    monkeypatch.setitem(tracking.KINDS, "tensorboard", Failing)
    run = latentscape.train("autoencoder", "digits", out=tmp_path / "a", finish=False, log_to=("tensorboard",), **RUN)
    alone = latentscape.train("autoencoder", "digits", out=tmp_path / "b", finish=False, **RUN)
    warnings = [r for r in run.folder.log() if r["kind"] == "warning"]
    assert [r["detector"] for r in warnings] == ["tracking"]
    assert warnings[0]["text"] == (
        "nothing more is logged to tensorboard (the disk is full); the run goes on and keeps its own log"
    )
    assert Failing.calls == 1
    assert logged(run.folder, "train")["reconstruct/total"] == logged(alone.folder, "train")["reconstruct/total"]


@needs_mlflow
def test_a_server_that_is_not_there_is_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    answer = command(
        "train", "pca", "--data", "digits", "--limit", "80", "--out", tmp_path / "run", "--bare", "--log-to", "mlflow"
    )
    assert answer.status == 0, answer.err
    warned = re.findall(r"^Warning: nothing more is logged to mlflow \(.*\); the run goes on.*$", answer.err, re.M)
    assert len(warned) == 1
    assert RunFolder(tmp_path / "run").model_path.exists()
