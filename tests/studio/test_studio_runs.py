"""What the pages Runs, Run and Compare are told: states, curves as they grow, sheets, figures beside each other."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from latentscape.errors import ConfigError
from latentscape.pictures import files
from latentscape.report.html import write_report
from latentscape.runs import RunFolder
from latentscape.studio import beside, cards, sheets
from latentscape.studio import state as state_module
from latentscape.studio.app import make_app
from latentscape.studio.following import Follower
from latentscape.studio.jobs import Jobs
from latentscape.studio.places import Known, NotThere, Places
from latentscape.studio.shelf import Shelf
from latentscape.studio.state import held, state_of
from latentscape.studio.wholes import POLICY
from latentscape.tasks import evaluating, training
from latentscape.training.checkpoint import to_json
from tiny_runs import TINY


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that nobody changes: two seeds of a VAE, measured; a longer one; a GAN; a PCA; points in a plane."""
    room = tmp_path_factory.mktemp("made")
    for seed in (0, 1):
        run = training.train("vae", "digits", out=room / f"vae-{seed}", **TINY, max_steps=6, seed=seed, log_every=2)
        evaluating.evaluate(run.path)
    training.train("vae", "digits", out=room / "long", **{**TINY, "hidden": (16,)}, max_steps=12, likelihood="gaussian")
    training.train("gan", "digits", out=room / "gan", **TINY, max_steps=3)
    training.train("pca", "digits", out=room / "pca", latent_dim=2, limit=80)
    training.train("vae", "curves", out=room / "points", **{**TINY, "latent_dim": 1}, max_steps=3)
    picture = np.zeros((4, 6, 3), np.uint8)
    for name in ("vae-0", "vae-1"):
        files.save_png(room / name / "pictures" / "samples.png", picture, title="Samples", caption="64.", command="c")
    for step in (0, 2, 4):
        files.save_png(room / "vae-0" / "pictures" / ".frames" / "map" / f"{step:09d}.png", picture + step)
    write_report(RunFolder(room / "vae-0"))
    return room


@pytest.fixture
def room(made: Path, tmp_path: Path) -> Path:
    """A copy of some of them that a test may change."""
    for name in ("vae-0", "long"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


@pytest.fixture(scope="module")
def client(made: Path) -> Iterator[TestClient]:
    with TestClient(make_app([made])) as c:
        yield c


def runs(client: TestClient) -> dict[str, dict[str, Any]]:
    return {run["name"]: run for run in client.get("/api/runs").json()["runs"]}


def known(path: Path) -> Known:
    return Places([path]).all()[0]


def read(follower: Follower) -> Follower:
    with follower.lock:
        follower.read()
    return follower


def state(path: Path) -> tuple[str, str]:
    run = known(path)
    log = read(Follower(path / "log.jsonl"))
    found = state_of(run, log, run.folder.config())
    return found.word, found.text


# ---- cards ---------------------------------------------------------------------------------------------------------


def test_the_list_says_what_each_run_is(client: TestClient):
    found = runs(client)
    assert set(found) == {"vae-0", "vae-1", "long", "gan", "pca", "points"}
    vae = found["vae-0"]
    assert (vae["model"], vae["data"], vae["step"]) == ("vae", "digits", 6)
    assert vae["state"] == {"word": "done", "text": "reached 6 steps"}
    assert vae["picture"] == "samples.png"
    assert vae["headline"] == "elbo_nats"
    elbo = next(m for m in vae["metrics"] if m["key"] == "elbo_nats")
    assert elbo["better"] == "higher"
    assert " to " in elbo["interval"]
    assert found["gan"]["metrics"] == []
    assert found["pca"]["state"]["word"] == "done"


def test_a_card_says_what_the_model_can_do(client: TestClient):
    able = {name: set(client.get(f"/api/runs/{run['id']}").json()["abilities"]) for name, run in runs(client).items()}
    assert {"encode", "decode", "reconstruct", "sample", "posterior"} <= able["vae-0"]
    assert "encode" not in able["gan"]
    assert {"sample", "discriminate"} <= able["gan"]
    assert "discriminate" not in able["pca"]
    points = client.get(f"/api/runs/{runs(client)['points']['id']}").json()
    assert (points["is_image"], points["shape"], points["latent_dim"]) == (False, [2], 1)


def test_a_card_has_what_made_the_run(client: TestClient, made: Path):
    card = client.get(f"/api/runs/{runs(client)['vae-0']['id']}").json()
    assert card["command"] == RunFolder(made / "vae-0").command()
    assert ["max_steps", "6"] in card["config"]["train"]
    assert card["commands"]["evaluate"] == f"latentscape evaluate {made / 'vae-0'} --split test"
    assert [p["file"] for p in card["pictures"]] == ["samples.png"]
    assert (card["pictures"][0]["width"], card["pictures"][0]["height"]) == (6, 4)
    assert card["has_report"]


def test_a_run_that_cannot_be_read_says_why_and_hides_no_other(room: Path):
    (room / "long" / "config.toml").write_text("[run]\nmodel = 3")
    with TestClient(make_app([room])) as client:
        found = runs(client)
        assert found["vae-0"]["state"]["word"] == "done"
        assert found["long"]["state"]["word"] == "failed"
        assert "restore it" in found["long"]["state"]["text"]
        assert client.get(f"/api/runs/{found['long']['id']}").status_code == 400


def test_a_model_that_is_not_known_leaves_the_rest_of_the_page(room: Path):
    path = room / "vae-0" / "config.toml"
    path.write_text(path.read_text().replace('model = "vae"', 'model = "a-plugin"'))
    with TestClient(make_app([room])) as client:
        card = client.get(f"/api/runs/{runs(client)['vae-0']['id']}").json()
    assert "a-plugin" in card["trouble"]
    assert card["abilities"] == []
    assert card["pictures"]


def test_the_card_is_made_anew_when_something_changed(room: Path):
    run, log = known(room / "long"), Follower(room / "long" / "log.jsonl")
    first = cards.summary(run, log)
    assert cards.summary(run, log) is first
    RunFolder(room / "long").write_metrics({"metrics": {"mse": 0.5}})
    assert [m["key"] for m in cards.summary(run, log)["metrics"]] == ["mse"]


# ---- states --------------------------------------------------------------------------------------------------------


def test_done_says_why(made: Path):
    assert state(made / "vae-0") == ("done", "reached 6 steps")


def without_end(path: Path) -> None:
    lines = (path / "log.jsonl").read_text().splitlines()
    (path / "log.jsonl").write_text("\n".join(line for line in lines if '"done"' not in line) + "\n")


def test_stopped_with_everything_saved(room: Path):
    without_end(room / "vae-0")
    word, text = state(room / "vae-0")
    assert word == "stopped"
    assert text == f"stopped at step 6 with everything saved; go on with: latentscape resume {room / 'vae-0'}"


def test_ended_without_a_word_says_what_is_saved(room: Path):
    without_end(room / "vae-0")
    RunFolder(room / "vae-0").append({"kind": "train", "step": 9, "terms": {}})
    word, text = state(room / "vae-0")
    assert word == "stopped"
    assert "after step 9, saved at step 6" in text


def test_ended_before_its_first_checkpoint(room: Path):
    without_end(room / "vae-0")
    shutil.rmtree(room / "vae-0" / "checkpoints")
    assert "before its first checkpoint" in state(room / "vae-0")[1]


def test_failed_says_what_the_log_says(room: Path):
    without_end(room / "vae-0")
    RunFolder(room / "vae-0").append({"kind": "failed", "step": 6, "text": "the loss of phase elbo is not finite"})
    assert state(room / "vae-0") == ("failed", "the loss of phase elbo is not finite")


def test_a_batch_left_behind_says_that_a_loss_was_not_finite(room: Path):
    without_end(room / "vae-0")
    (room / "vae-0" / "failed-batch.safetensors").touch()
    word, text = state(room / "vae-0")
    assert word == "failed"
    assert "--learning-rate" in text


def test_training_while_a_process_holds_it(room: Path):
    without_end(room / "vae-0")
    with RunFolder(room / "vae-0").locked():
        assert held(RunFolder(room / "vae-0"))
        assert state(room / "vae-0") == ("training", "at step 6")
    assert not held(RunFolder(room / "vae-0"))  # this process lives and wrote its number, but has let go
    (room / "vae-0" / ".lock").write_text("999999999")
    assert not held(RunFolder(room / "vae-0"))


def test_where_open_files_cannot_be_seen_a_living_process_is_believed(room: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(state_module, "_has_open", lambda process, path: None)
    lock = room / "vae-0" / ".lock"
    lock.write_text(str(os.getpid()))
    assert held(RunFolder(room / "vae-0"))
    lock.write_text("not a number")
    assert not held(RunFolder(room / "vae-0"))


def test_asking_never_takes_the_lock(room: Path):
    without_end(room / "vae-0")
    for _ in range(3):
        assert state(room / "vae-0")[0] == "stopped"
        with RunFolder(room / "vae-0").locked():
            pass


KILLED = """
    import os, signal, sys, time
    from latentscape.tasks import training
    sys.path.insert(0, sys.argv[2])
    from tiny_runs import TINY

    def watch(model, step):
        if step >= 20:
            print("there", flush=True)
            time.sleep(120)

    training.train("vae", "digits", out=sys.argv[1], **TINY, max_steps=1000, log_every=2, checkpoint_every=10,
                   watch=watch, watch_every=5)
"""


@pytest.mark.slow
def test_a_killed_run_is_seen_to_train_and_then_to_have_ended(tmp_path: Path):
    script, out = tmp_path / "train.py", tmp_path / "runs" / "killed"
    script.write_text(textwrap.dedent(KILLED))
    helpers = str(Path(__file__).parents[1])
    process = subprocess.Popen([sys.executable, script, out, helpers], stdout=subprocess.PIPE, text=True)
    with process, TestClient(make_app([tmp_path / "runs"])) as client:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        run = runs(client)["killed"]
        assert run["state"] == {"word": "training", "text": "at step 20"}
        assert run["progress"] == pytest.approx(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        assert runs(client)["killed"]["state"]["word"] == "stopped"


# ---- curves --------------------------------------------------------------------------------------------------------


def test_the_charts_hold_what_was_logged(client: TestClient, made: Path):
    news = client.get(f"/api/runs/{runs(client)['vae-0']['id']}/news").json()
    chart = next(c for c in news["charts"] if c["key"] == "terms|elbo/kl_nats_per_image")
    log = [r for r in RunFolder(made / "vae-0").log() if r["kind"] == "train"]
    assert chart["lines"][0]["points"] == [[r["step"], r["terms"]["elbo/kl_nats_per_image"]] for r in log]
    assert (chart["title"], chart["unit"]) == ("KL divergence to the prior", "nats per image")
    assert [line["name"] for line in chart["lines"]] == ["training", "held out"]
    assert {c["kind"] for c in news["charts"]} == {"terms", "learning_rate", "speed"}


def test_only_what_is_new_is_told(room: Path):
    folder = RunFolder(room / "vae-0")
    with TestClient(make_app([room])) as client:
        address = f"/api/runs/{runs(client)['vae-0']['id']}/news"
        first = client.get(address).json()
        seen = {"generation": first["generation"], "records": first["records"]}
        again = client.get(address, params=seen).json()
        assert all(not line["points"] for chart in again["charts"] for line in chart["lines"])
        folder.append({"kind": "train", "step": 8, "terms": {"elbo/total": 0.5, "elbo/new": 2.0}})
        folder.append({"kind": "held_out", "step": 8, "terms": {"elbo/total": 0.25}})
        more = client.get(address, params=seen).json()
    told = {c["key"]: {line["name"]: line["points"] for line in c["lines"]} for c in more["charts"]}
    assert told["terms|elbo/total"] == {"training": [[8, 0.5]], "held out": [[8, 0.25]]}
    assert told["terms|elbo/new"] == {"training": [[8, 2.0]]}
    assert more["records"] == first["records"] + 2


def test_a_line_that_is_being_written_is_left_for_later(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    line = json.dumps({"kind": "train", "step": 1, "terms": {"a/b": 1.0}}) + "\n"
    path.write_text(line + line.replace('"step": 1', '"step": 2')[:20])
    log = read(Follower(path))
    assert log.step == 1
    path.write_text(line + line.replace('"step": 1', '"step": 2'))
    assert read(log).step == 2
    assert log.series["terms", "a/b", "training"].points() == [(1, 1.0), (2, 1.0)]


def test_the_log_is_read_once(room: Path, monkeypatch: pytest.MonkeyPatch):
    log = read(Follower(room / "vae-0" / "log.jsonl"))
    size, taken = log.offset, []
    monkeypatch.setattr(log, "_take_line", taken.append)
    RunFolder(room / "vae-0").append({"kind": "note", "text": "one more"})
    read(log)
    assert [json.loads(line)["text"] for line in taken] == ["one more"]
    assert log.offset > size


def test_damaged_lines_are_passed_over(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"kind": "train", "st\n\xff\xfe\n[1]\n7\n{"kind": "train", "step": 3, "terms": {"a/b": 1}}\n')
    assert read(Follower(path)).step == 3


def test_values_that_are_not_finite_are_gaps(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    values = (1.0, float("nan"), float("inf"), 2.0)
    path.write_text(
        "".join(to_json({"kind": "train", "step": i, "terms": {"a/b": v}}) + "\n" for i, v in enumerate(values))
    )
    (chart,) = read(Follower(path)).charts()
    assert chart["lines"][0]["points"] == [[0, 1.0], [1, None], [2, None], [3, 2.0]]
    json.dumps(chart, allow_nan=False)


def test_what_a_resumed_run_does_again_is_taken_back(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    steps = [{"kind": "train", "step": s, "terms": {"a/b": float(s)}} for s in (1, 2, 3)]
    warning = {"kind": "warning", "step": 3, "detector": "d", "text": "t"}
    records = [*steps, warning, {"kind": "done", "step": 3, "reason": "r"}]
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    log = read(Follower(path))
    before = log.generation
    with open(path, "a") as f:
        f.write(json.dumps({"kind": "resumed", "step": 2}) + "\n")
    read(log)
    assert log.generation == before + 1
    assert log.ended is None
    assert log.warnings == []
    assert log.series["terms", "a/b", "training"].points() == [(1, 1.0), (2, 2.0)]


def test_another_log_in_its_place_is_read_from_the_start(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"kind": "train", "step": 9, "terms": {}}) + "\n")
    log = read(Follower(path))
    path.write_text(json.dumps({"kind": "note"}) + "\n")
    assert read(log).step is None


def test_a_long_log_is_thinned_and_keeps_its_spikes(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    lines = ({"kind": "train", "step": s, "terms": {"a/b": 50.0 if s == 7_001 else 1.0}} for s in range(20_000))
    path.write_text("".join(json.dumps(r) + "\n" for r in lines))
    (chart,) = read(Follower(path)).charts()
    points = chart["lines"][0]["points"]
    assert len(points) < 2_000
    assert [7_001, 50.0] in points


def test_a_run_without_a_log_has_no_charts(tmp_path: Path):
    assert read(Follower(tmp_path / "log.jsonl")).charts() == []


# ---- pictures ------------------------------------------------------------------------------------------------------


def test_pictures_and_frames_are_handed_out(client: TestClient):
    run = runs(client)["vae-0"]["id"]
    answer = client.get(f"/api/runs/{run}/pictures/samples.png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert client.get(f"/api/runs/{run}/news").json()["films"] == [{"name": "map", "title": "map", "steps": [0, 2, 4]}]
    assert client.get(f"/api/runs/{run}/frames/map/2").content[:4] == b"\x89PNG"
    for place in ("frames/map/3", "frames/other/2", "frames/..%2f..%2fpictures/2", "frames/map/-1"):
        assert client.get(f"/api/runs/{run}/{place}").status_code == 404
    assert client.get(f"/api/runs/{run}/frames/map/two").status_code == 422


def test_a_sheet_is_drawn_once_for_each_checkpoint(made: Path):
    drawn, shelf = sheets.Sheets(), Shelf()
    run = known(made / "vae-0")
    opened = shelf.open(run)
    assert drawn.draw(opened, "samples") == 6
    first = drawn.get(run, "samples", 6)
    assert drawn.draw(opened, "samples") == 6
    assert drawn.get(run, "samples", 6) is first
    assert drawn.steps(run, "samples") == [6]
    with pytest.raises(NotThere):
        drawn.get(run, "samples", 5)


def test_of_many_sheets_the_newest_and_every_second_stay(made: Path, monkeypatch: pytest.MonkeyPatch):
    drawn, run = sheets.Sheets(), known(made / "vae-0")
    opened, steps = Shelf().open(run), iter(range(1, 6))
    monkeypatch.setattr(sheets, "MOST", 4)
    monkeypatch.setattr(sheets, "newest_step", lambda folder: next(steps))
    for _ in range(5):
        drawn.draw(opened, "samples")
    assert drawn.steps(run, "samples") == [1, 3, 5]


def test_sheets_are_asked_for_by_what_the_model_can(client: TestClient, made: Path):
    found = runs(client)
    kinds = {n: list(client.get(f"/api/runs/{r['id']}/news").json()["sheets"]) for n, r in found.items()}
    assert kinds == {
        "vae-0": ["samples", "reconstructions"],
        "vae-1": ["samples", "reconstructions"],
        "long": ["samples", "reconstructions"],
        "gan": ["samples"],
        "pca": ["samples", "reconstructions"],
        "points": [],
    }
    run = found["vae-1"]["id"]
    before = sorted(p.relative_to(made) for p in made.rglob("*"))
    for kind in kinds["vae-1"]:
        assert client.post(f"/api/runs/{run}/sheets/{kind}").json() == {"step": 6}
        assert client.get(f"/api/runs/{run}/sheets/{kind}/6").headers["content-type"] == "image/png"
    assert client.post(f"/api/runs/{run}/sheets/probe").status_code == 404
    assert client.post(f"/api/runs/{found['gan']['id']}/sheets/reconstructions").status_code == 404
    assert sorted(p.relative_to(made) for p in made.rglob("*")) == before  # nothing is written into runs


def test_the_report_is_trusted_with_nothing(client: TestClient):
    answer = client.get(f"/api/runs/{runs(client)['vae-0']['id']}/report")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == POLICY
    assert "sandbox allow-scripts" in POLICY
    assert "allow-same-origin" not in POLICY
    assert "connect-src" not in POLICY  # default-src 'none' holds
    missing = client.get(f"/api/runs/{runs(client)['gan']['id']}/report")
    assert (missing.status_code, "latentscape report" in missing.json()["error"]) == (404, True)


# ---- beside each other ---------------------------------------------------------------------------------------------


def compared(client: TestClient, *names: str) -> dict[str, Any]:
    found = runs(client)
    return client.get("/api/compare", params={"run": [found[n]["id"] for n in names]}).json()


def test_seeds_differ_in_nothing(client: TestClient):
    answer = compared(client, "vae-0", "vae-1")
    assert answer["settings"] == []
    assert answer["cautions"] == []
    assert [run["name"] for run in answer["runs"]] == ["vae-0", "vae-1"]
    assert [s["file"] for s in answer["sheets"]] == ["samples.png"]
    assert {len(c["lines"]) for c in answer["charts"]} == {2}
    assert not any("total" in c["title"] for c in answer["charts"])


def test_figures_are_told_apart_by_their_intervals(client: TestClient, made: Path):
    answer = compared(client, "vae-0", "vae-1")
    mse = next(m for m in answer["metrics"] if m["key"] == "mse")
    assert sorted(c["verdict"] for c in mse["cells"]) in (["best", "level"], ["best", "worse"])
    values = [RunFolder(made / n).metrics()["metrics"]["mse"] for n in ("vae-0", "vae-1")]  # type: ignore[index]
    assert mse["cells"][values.index(min(values))]["verdict"] == "best"
    assert all(c["interval"].startswith("[") for c in mse["cells"])


def test_what_differs_is_said(client: TestClient, made: Path):
    answer = compared(client, "vae-0", "long", "gan")
    settings = {s["name"]: s["values"] for s in answer["settings"] if s["differs"]}
    assert settings["run.model"] == ["vae", "vae", "gan"]
    assert settings["train.max_steps"] == ["6", "12", "3"]
    assert "train.seed" not in settings
    said = " ".join(answer["cautions"])
    assert "Unequal budgets" in said
    assert "Not evaluated yet: long, gan" in said
    assert answer["command"] == f"latentscape compare {made / 'vae-0'} {made / 'long'} {made / 'gan'}"
    titles = [c["title"] for c in answer["charts"]]
    assert any("KL" in t for t in titles)
    assert not any("reconstruction" in t for t in titles)  # of different likelihoods


def test_figures_of_different_examples_are_not_ranked(room: Path):
    folder = RunFolder(room / "long")
    own = RunFolder(room / "vae-0").metrics()
    assert own is not None
    folder.write_metrics(own | {"split": "train"})
    runs_ = Places([room]).all()
    answer = beside.beside(runs_, [Follower(k.path / "log.jsonl") for k in runs_])
    assert {c["verdict"] for m in answer["metrics"] for c in m["cells"]} <= {"", "missing"}
    assert "not measured on the same examples" in answer["cautions"][0]


@pytest.mark.parametrize("names", [["vae-0"], ["vae-0", "vae-0"]])
def test_two_different_runs_are_asked_for(client: TestClient, names: list[str]):
    assert "two to 12 different runs" in compared(client, *names)["error"]


def test_no_runs_cannot_be_compared():
    with pytest.raises(ConfigError, match="got 0"):
        beside.beside([], [])


@pytest.mark.slow
def test_measured_anew_on_the_same_images(made: Path):
    with TestClient(make_app([made])) as client:
        found = runs(client)
        job = client.post("/api/compare/measure", json={"runs": [found[n]["id"] for n in ("vae-0", "long")]}).json()
        assert job["command"] == f"latentscape compare {made / 'vae-0'} {made / 'long'} --no-group-seeds"
        assert client.get(f"/api/compare/measured/{job['id']}").status_code == 404  # not done yet
        process = client.app.state.studio.jobs.get(job["id"]).process  # type: ignore[attr-defined]
        assert process.wait(300) == 0
        answer = client.get(f"/api/compare/measured/{job['id']}").json()
        assert answer["entries"] == ["vae-0", "long"]
        assert {c["verdict"] for m in answer["metrics"] if m["key"] == "mse" for c in m["cells"]} >= {"best"}
        page = client.get(f"/api/compare/measured/{job['id']}/page")
        assert page.headers["content-security-policy"] == POLICY
    assert client.post("/api/compare/measure", json={"runs": ["x"]}).status_code == 422


# ---- the demo ------------------------------------------------------------------------------------------------------


def test_the_demo_is_started_once_into_a_new_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    started: list[list[str]] = []

    class Still:
        state, kind = "running", "demo"

        def to_json(self) -> dict[str, str]:
            return {"state": self.state}

    def start(self: Jobs, kind: str, words: list[str], about: Any = None) -> Still:
        started.append(words)
        self._all["1"] = Still()  # type: ignore[assignment]
        return Still()

    monkeypatch.setattr(Jobs, "start", start)
    monkeypatch.setattr(Jobs, "close", lambda self: None)
    with TestClient(make_app([tmp_path])) as client:
        assert client.post("/api/demo").json() == {"state": "running"}
        answer = client.post("/api/demo")
    assert started == [["demo", "--out", str(tmp_path / "vae-digits-1")]]
    assert answer.status_code == 400
    assert "already" in answer.json()["error"]


@pytest.mark.slow
def test_stopping_the_demo_interrupts_it_alone_and_saves_it(tmp_path: Path):
    with TestClient(make_app([tmp_path])) as client:
        job = client.post("/api/demo").json()
        process = client.app.state.studio.jobs.get(job["id"]).process  # type: ignore[attr-defined]
        log = tmp_path / "vae-digits-1" / "log.jsonl"
        while process.poll() is None and not log.exists():
            pass
        told = client.post(f"/api/jobs/{job['id']}/stop").json()
        process.wait(120)
        told = client.get(f"/api/jobs/{job['id']}").json()
        assert told["state"] == "stopped"
        assert "resume" in told["last"]
        run = runs(client)["vae-digits-1"]
        assert run["id"] == job["run"]
        assert run["state"]["word"] == "stopped"
        assert "with everything saved" in run["state"]["text"]


def test_a_picture_that_is_damaged_has_no_size(room: Path):
    path = room / "vae-0" / "pictures" / "broken.png"
    path.write_bytes(b"no picture")
    rows = {p["file"]: (p["width"], p["height"]) for p in cards.pictures(RunFolder(room / "vae-0"))}
    assert rows["broken.png"] == (0, 0)
    Image.new("L", (3, 2)).save(path)
    os.utime(path, (1_000_000_000, 1_000_000_000))
    rows = {p["file"]: (p["width"], p["height"]) for p in cards.pictures(RunFolder(room / "vae-0"))}
    assert rows["broken.png"] == (3, 2)
