"""The studio as an application: which runs it knows, what it hands out, and how it says no."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import torch
from starlette.testclient import TestClient

from command import latentscape, refusal
from latentscape.errors import RunError
from latentscape.runs import RunFolder
from latentscape.studio import launch
from latentscape.studio.app import make_app
from latentscape.studio.jobs import Jobs
from latentscape.studio.places import NotThere, Places, check_roots, identity
from latentscape.studio.shelf import MODELS, Shelf, version_of
from latentscape.studio.worker import Overtaken, Worker
from latentscape.tasks import training
from latentscape.training.checkpoint import load_state, save_state
from latentscape.web.binding import bind
from latentscape.web.guard import Guard
from latentscape.web.refusals import Refused
from tiny_runs import TINY


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: one beside a folder with another, and a folder that is none."""
    room = tmp_path_factory.mktemp("home")
    training.train("vae", "digits", out=room / "one", **TINY, max_steps=4)
    training.train("pca", "digits", out=room / "group" / "two", latent_dim=2, limit=80)
    (room / "notes").mkdir()
    (room / ".hidden").mkdir()
    (room / ".hidden" / "config.toml").write_text("")
    return room


@pytest.fixture
def client(home: Path) -> Iterator[TestClient]:
    with TestClient(make_app([home])) as made:
        yield made


def ids(client: TestClient) -> dict[str, str]:
    return {run["name"]: run["id"] for run in client.get("/api/runs").json()["runs"]}


# ---- which runs ----------------------------------------------------------------------------------------------------


def test_runs_lie_in_folders_two_deep(home: Path):
    assert [k.name for k in Places([home]).all()] == ["two", "one"]
    assert [k.name for k in Places([home / "one"]).all()] == ["one"]
    assert Places([home / "missing"]).all() == []


def test_a_run_given_twice_is_known_once(home: Path):
    assert len(Places([home, home / "one"]).all()) == 2


def test_an_id_tells_the_name_and_not_the_place(home: Path):
    known = next(k for k in Places([home]).all() if k.name == "one")
    assert known.id.startswith("one-")
    assert str(home.name) not in known.id
    assert known.id != identity(home / "group" / "two" / ".." / "one")


def test_a_run_made_later_is_found_by_its_id(tmp_path: Path):
    places = Places([tmp_path])
    assert places.all() == []
    training.train("pca", "digits", out=tmp_path / "later", latent_dim=2, limit=80)
    assert places.get(identity(tmp_path / "later")).name == "later"


def test_new_runs_are_made_beside_those_that_are_shown(home: Path):
    assert Places([home]).home == home
    assert Places([home / "one"]).home == home
    assert Places(check_roots([])).home == Path("runs")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(RunError, match="there is no folder"):
        check_roots([tmp_path / "nothing"])


# ---- answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["/", "/run/anything", "/run/anything/latent?z=1", "/compare?run=a", "/no/such/page"])
def test_every_address_of_the_page_is_the_page(client: TestClient, place: str):
    answer = client.get(place)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert '<script type="module"' in answer.text


def test_the_page_has_nothing_inline(client: TestClient):
    text = client.get("/").text
    assert "<style" not in text
    assert " style=" not in text
    assert text.count("<script") == 1
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "https://" not in text


def test_files_have_their_types(client: TestClient):
    kinds = {"js/main.js": "text/javascript", "css/base.css": "text/css", "icon.svg": "image/svg+xml"}
    for name, kind in kinds.items():
        answer = client.get(f"/static/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)


def test_every_page_is_loaded(client: TestClient):
    names = client.get("/api/pages").json()
    assert {"runs", "run", "compare"} <= set(names)
    for name in names:
        assert "export const page" in client.get(f"/static/js/pages/{name}.js").text


def test_no_string_becomes_html(client: TestClient):
    for page in ("main", "elements", "router", "chart", "controls", "picture", "copy", "pages/runs", "pages/run"):
        text = client.get(f"/static/js/{page}.js").text
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", 'setAttribute("style'):
            assert word not in text


@pytest.mark.parametrize(
    "place",
    [
        "/api/runs/nothing",
        "/api/runs/..%2f..%2fetc",
        "/api/runs/one",
        "/api/runs/%2e%2e/news",
        "/api/runs/nothing/pictures/samples.png",
        "/api/jobs/7",
        "/api/nothing",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(client: TestClient, place: str):
    answer = client.get(place)
    if place == "/static/../app.py":  # a client makes /app.py of it, which is an address of the page
        assert "from latentscape" not in answer.text
        return
    assert answer.status_code == 404
    said = answer.json()["error"]
    assert said[0].islower()
    assert "/" not in said


def test_pictures_are_found_by_name_alone(client: TestClient, home: Path):
    run = ids(client)["one"]
    for name in ("..%2fconfig.toml", "%2e%2e%2f%2e%2e%2fone%2fconfig.toml", "captions.json", "config.toml"):
        answer = client.get(f"/api/runs/{run}/pictures/{name}")
        assert answer.status_code == 404
        assert "[run]" not in answer.text


def test_a_fault_of_the_studio_is_a_sentence_without_its_insides(home: Path):
    app = make_app([home])

    def fail() -> None:
        raise ZeroDivisionError("the insides")

    app.state.studio.places.all = fail
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/api/runs")
    assert answer.status_code == 500
    assert "insides" not in answer.text
    assert json.loads(answer.text)["error"]


# ---- behind its gate -----------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(home: Path) -> Iterator[TestClient]:
    binding = bind("127.0.0.1", 0, "a-token-of-some-length")
    with TestClient(Guard(make_app([home]), binding), base_url=f"http://127.0.0.1:{binding.port}") as made:
        yield made
    binding.listener.close()


def test_a_stranger_is_not_let_in(guarded: TestClient):
    assert guarded.get("/api/runs").status_code == 401
    assert guarded.get("/?token=wrong-token-of-some-length").status_code == 401


def test_the_printed_address_lets_in_and_stays_clean(guarded: TestClient):
    answer = guarded.get("/run/x?token=a-token-of-some-length&step=3", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/run/x?step=3")
    assert guarded.get("/api/runs").status_code == 200


def test_another_name_and_another_site_are_refused(guarded: TestClient):
    guarded.get("/?token=a-token-of-some-length")
    assert guarded.get("/api/runs", headers={"host": "evil.example"}).status_code == 400
    answer = guarded.post("/api/demo", headers={"origin": "https://evil.example"})
    assert answer.status_code == 403


def test_every_answer_carries_the_policy(guarded: TestClient):
    guarded.get("/?token=a-token-of-some-length")
    for place in ("/", "/api/runs", "/static/js/main.js", "/api/nothing"):
        headers = guarded.get(place).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


# ---- the worker ----------------------------------------------------------------------------------------------------


def test_an_overtaken_call_is_dropped_before_it_begins():
    worker, gate, done = Worker(), threading.Event(), []

    async def ask() -> list[object]:
        first = asyncio.create_task(worker.newest("a", lambda: (gate.wait(10), done.append(1))[1]))
        await asyncio.sleep(0.05)  # it has begun
        rest = [asyncio.create_task(worker.newest("a", done.append, i)) for i in (2, 3, 4)]
        other = asyncio.create_task(worker.newest("b", done.append, 9))
        await asyncio.sleep(0.05)
        gate.set()
        return await asyncio.gather(first, *rest, other, return_exceptions=True)

    answers = asyncio.run(ask())
    assert [isinstance(a, Overtaken) for a in answers] == [False, True, True, False, False]
    assert done == [1, 4, 9]


def test_the_worker_keeps_no_gradients_and_gives_errors_back():
    worker = Worker()

    async def ask() -> tuple[bool, str]:
        enabled = await worker.do(torch.is_grad_enabled)
        try:
            await worker.do(lambda: int("x"))
        except ValueError as error:
            return enabled, str(error)
        return enabled, ""

    enabled, said = asyncio.run(ask())
    assert not enabled
    assert "invalid literal" in said


def test_too_much_at_once_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("latentscape.studio.worker.MOST_WAITING", 2)
    worker, gate = Worker(), threading.Event()

    async def ask() -> int:
        first = asyncio.create_task(worker.do(gate.wait, 10))
        await asyncio.sleep(0.05)
        waiting = [asyncio.create_task(worker.do(int)) for _ in range(2)]
        await asyncio.sleep(0)
        try:
            await worker.do(int)
        except Refused as refusal:
            return refusal.status
        finally:
            gate.set()
            await asyncio.gather(first, *waiting)
        return 0

    assert asyncio.run(ask()) == 503


# ---- open models ---------------------------------------------------------------------------------------------------


def test_a_model_stays_open_until_it_has_newer_weights(tmp_path: Path):
    run = training.train("vae", "digits", out=tmp_path / "run", **TINY, max_steps=4)
    shelf, known = Shelf(), Places([tmp_path]).all()[0]
    opened = shelf.open(known)
    assert shelf.open(known) is opened
    assert opened.kept("x", lambda: [1]) is opened.kept("x", lambda: [2])
    assert opened.stage().images is opened.images
    before = version_of(run.folder)
    tensors, state = load_state(run.folder.model_path)
    save_state(run.folder.model_path, {k: v + 1 if v.is_floating_point() else v for k, v in tensors.items()}, state)
    assert version_of(run.folder) != before
    assert shelf.open(known) is not opened


def test_few_models_are_open_at_once(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("latentscape.studio.shelf.MODELS", 1)
    assert MODELS > 1
    shelf, (two, one) = Shelf(), Places([home]).all()
    opened = shelf.open(one)
    shelf.open(two)
    assert shelf.open(one) is not opened


# ---- the command ---------------------------------------------------------------------------------------------------


def test_the_command_says_where_it_listens_and_serves(home: Path, monkeypatch: pytest.MonkeyPatch):
    served, opened = [], threading.Event()
    monkeypatch.setattr(launch, "serve_app", lambda app, binding, limits: (served.append(binding), opened.wait(5)))
    monkeypatch.setattr(launch.webbrowser, "open", lambda address: opened.set())
    answer = latentscape("studio", home, "--port", 0)
    (binding,) = served
    binding.listener.close()
    assert answer.status == 0
    assert f"http://127.0.0.1:{binding.port}/" in answer.err
    assert opened.is_set()


def test_no_browser_is_opened_where_none_is_wanted(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(launch, "serve_app", lambda app, binding, limits: binding.listener.close())
    monkeypatch.setattr(launch.webbrowser, "open", lambda address: pytest.fail("it was opened"))
    assert latentscape("studio", home, "--port", 0, "--no-browser").status == 0


def test_another_address_needs_a_token(home: Path):
    assert "needs a token" in refusal("studio", home, "--host", "0.0.0.0", "--no-browser")


def test_a_missing_folder_is_refused(tmp_path: Path):
    assert "there is no folder" in refusal("studio", tmp_path / "none", "--no-browser")


SERVED = "import sys; from latentscape.studio.launch import launch; launch(sys.argv[1:], port=0, open_browser=False)"


@pytest.mark.slow
def test_ctrl_c_ends_it_well_also_while_a_model_is_asked(home: Path):
    words = [sys.executable, "-u", "-c", SERVED, str(home)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        address = re.search(r"http://\S+/", process.stdout.readline())
        assert address is not None
        run = next(k for k in Places([home]).all() if k.name == "one")
        asked = Request(f"{address[0]}api/runs/{run.id}/sheets/reconstructions", b"", method="POST")

        def ask() -> None:
            with contextlib.suppress(OSError):  # it may be answered, refused or cut off
                urlopen(asked).close()

        asking = threading.Thread(target=ask)
        asking.start()
        process.send_signal(signal.SIGINT)
        asking.join(60)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""


# ---- jobs ----------------------------------------------------------------------------------------------------------


def test_a_job_says_how_it_ended():
    jobs = Jobs()
    job = jobs.start("list", ["recipes", "--nonsense"])
    job.process.wait(60)
    told = job.to_json()
    assert told["state"] == "failed"
    assert "nonsense" in told["last"]
    assert told["command"] == "latentscape recipes --nonsense"
    assert not told["last"].startswith("latentscape:")
    jobs.close()
    with pytest.raises(NotThere):
        jobs.get("99")


def test_rooms_of_jobs_go_with_them():
    jobs = Jobs()
    room = jobs.room()
    (room / "x").write_text("x")
    jobs.close()
    assert not room.exists()


def test_a_run_that_moves_away_is_not_there(tmp_path: Path):
    run = training.train("pca", "digits", out=tmp_path / "run", latent_dim=2, limit=80)
    with TestClient(make_app([tmp_path])) as client:
        name = ids(client)["run"]
        assert client.get(f"/api/runs/{name}").status_code == 200
        RunFolder(run.path).path.rename(tmp_path / "moved")
        assert client.get(f"/api/runs/{name}").status_code == 404
        assert list(ids(client)) == ["moved"]
