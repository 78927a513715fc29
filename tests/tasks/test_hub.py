"""Runs go to a folder or the hub and come back the same, without a word of the machine that they were made on."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import latentscape
from latentscape.errors import ConfigError, LatentscapeError, RunError, RunFailed
from latentscape.runs import RunFolder
from latentscape.tasks import hub
from latentscape.tasks.using import sample
from tiny_runs import TINY, weights

needs_hub = pytest.mark.skipif(
    importlib.util.find_spec("huggingface_hub") is None, reason="wants the package huggingface_hub"
)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VAE on an array in a file, whose path stands in its settings, its command and its pictures."""
    place = tmp_path_factory.mktemp("secret-place")
    np.save(place / "pictures.npy", np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8))
    command = f"latentscape train vae --data {place}/pictures.npy"
    path = place / "of-mine"
    latentscape.train("vae", place / "pictures.npy", out=path, epochs=1, command=command, **TINY)
    sample(path, n=4, command=f"latentscape sample {path}")
    return path


@pytest.fixture
def pushed(run: Path, tmp_path: Path) -> Path:
    hub.push(run, str(tmp_path / "there"), licence="mit")
    return tmp_path / "there"


def test_a_run_comes_back_with_the_same_weights_figures_and_pictures(run: Path, pushed: Path, tmp_path: Path) -> None:
    answer = hub.pull(str(pushed), out=tmp_path / "back")
    assert answer == {"run": str(tmp_path / "back"), "repo": str(pushed), "revision": "", "model": "vae"}
    before, after = RunFolder(run), RunFolder(tmp_path / "back")
    for name, tensor in weights(run).items():
        assert torch.equal(tensor, weights(after.path)[name])
    assert after.config()["model"] == before.config()["model"]
    assert after.data()["fingerprint"] == before.data()["fingerprint"]
    was, now = before.metrics(), after.metrics()
    assert was
    assert now
    assert now["metrics"] == was["metrics"]
    assert [(p.name, w.get("title")) for p, w in after.pictures()] == [
        (p.name, w.get("title")) for p, w in before.pictures()
    ]
    for (old, _), (new, _) in zip(before.pictures(), after.pictures(), strict=True):
        with Image.open(old) as a, Image.open(new) as b:
            assert np.array_equal(np.asarray(a), np.asarray(b))
    assert sample(after.path, n=3)["sha256"] == sample(run, n=3, out=tmp_path / "x.npy")["sha256"]


def test_nothing_of_the_machine_is_handed_on(run: Path, pushed: Path) -> None:
    assert b"secret-place" in (run / "config.toml").read_bytes()
    assert any(b"secret-place" in p.read_bytes() for p in (run / "pictures").glob("*.png"))
    files = [p for p in pushed.rglob("*") if p.is_file()]
    assert {p.name for p in files} > {"README.md", "config.toml", "model.safetensors", "samples.png", "captions.json"}
    for path in files:
        assert b"secret-place" not in path.read_bytes(), path.name
        assert b"/tmp/" not in path.read_bytes(), path.name
    assert "--data pictures.npy" in (pushed / "command.txt").read_text()
    assert not {p.name for p in files} & {"log.jsonl", ".lock", "report.html"}


def test_the_card_says_what_it_is_to_people_and_to_the_hub(run: Path, pushed: Path) -> None:
    import yaml

    text = (pushed / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    metrics = RunFolder(run).metrics()
    assert metrics
    assert front["library_name"] == "latentscape"
    assert front["license"] == "mit"
    assert {"latentscape", "vae", "sample"} <= set(front["tags"])
    result = front["model-index"][0]["results"][0]
    assert {m["type"]: m["value"] for m in result["metrics"]} == metrics["metrics"]
    assert result["dataset"]["split"] == metrics["split"]
    for name, value in metrics["metrics"].items():
        assert f"| {name} | {value:.4g} |" in text
        assert metrics["protocol"][name].replace("|", "\\|") in text
    for path in (pushed / "pictures").glob("*.png"):
        if path.name in text:
            assert f"](pictures/{path.name})" in text
    assert "](pictures/" in text


def test_intervals_stand_on_the_card(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    found = folder.metrics()
    assert found
    folder.write_metrics(found | {"intervals": {"mse": [0.125, 0.25], "psnr_db": None}})
    hub.push(folder.path, str(tmp_path / "there"))
    text = (tmp_path / "there" / "README.md").read_text()
    assert "| 0.125 … 0.25 |" in text
    assert "Not stated" in text
    assert "license:" not in text


def test_the_lines_on_the_card_work(
    pushed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pushed.parent)
    text = (pushed / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    exec(compile(code, "card", "exec"), {"__name__": "card"})
    assert capsys.readouterr().out == "torch.Size([4, 1, 8, 8])\n"


def test_what_was_pulled_can_be_trained_from_but_not_resumed(pushed: Path, tmp_path: Path) -> None:
    hub.pull(str(pushed), out=tmp_path / "back")
    with pytest.raises(RunError, match="--init-from"):
        latentscape.resume(tmp_path / "back")
    again = latentscape.train(
        "vae",
        np.zeros((20, 8, 8), np.uint8),
        out=tmp_path / "more",
        init_from=tmp_path / "back",
        finish=False,
        max_steps=1,
        **TINY,
    )
    assert again.steps == 1


def test_a_second_push_replaces_the_first(run: Path, pushed: Path, tmp_path: Path) -> None:
    (pushed / "pictures" / "old.png").write_bytes(b"x")
    (pushed / "mine.txt").write_text("keep")
    hub.push(run, pushed.as_uri())
    assert not (pushed / "pictures" / "old.png").exists()
    assert (pushed / "mine.txt").read_text() == "keep"
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("keep")
    with pytest.raises(RunError, match="other files"):
        hub.push(run, str(other))
    assert [p.name for p in other.iterdir()] == ["thesis.txt"]


# ---- what comes from others ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../config.toml",
        "pictures/../../x.png",
        "pictures/a/b.png",
        "pictures/.hidden.png",
        "/etc/passwd",
        "model.bin",
        "pytorch_model.pkl",
        "setup.py",
        "pictures/run.py",
        "pictures/a.png\n",
        "pictures/*.png",
        "checkpoints/step-000000001.safetensors",
    ],
)
def test_other_names_are_not_fetched(name: str) -> None:
    assert not hub.is_ours(name)


def test_only_what_belongs_to_a_run_is_taken(pushed: Path, tmp_path: Path) -> None:
    (pushed / "evil.py").write_text("raise SystemExit")
    (pushed / "pictures" / "x.pkl").write_bytes(b"x")
    (pushed / "checkpoints").mkdir()
    (pushed / "checkpoints" / "step-000000099.safetensors").write_bytes(b"x")
    hub.pull(str(pushed), out=tmp_path / "back")
    names = {p.name for p in (tmp_path / "back").rglob("*")}
    assert not names & {"evil.py", "x.pkl", "step-000000099.safetensors"}


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.toml", "not = [toml", "config.toml is not readable TOML"),
        ("config.toml", "[run]\n", "does not describe a run"),
        ("model.safetensors", "no tensors", "model.safetensors is damaged"),
        ("data.json", "{", "data.json is damaged"),
        ("data.json", "[1]", "must each hold one table"),
        ("metrics.json", "3", "must each hold one table"),
    ],
)
def test_a_damaged_run_is_refused_and_leaves_nothing(
    file: str, content: str, words: str, pushed: Path, tmp_path: Path
) -> None:
    (pushed / file).write_text(content)
    with pytest.raises(RunError, match="is not a whole run") as refused:
        hub.pull(str(pushed), out=tmp_path / "back")
    assert words in str(refused.value)
    assert "latentscape-" not in str(refused.value)  # no temporary place
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("captions", ["{", "[1]", '{"samples.png": 3}'])
def test_damaged_captions_are_left_out(captions: str, pushed: Path, tmp_path: Path) -> None:
    (pushed / "pictures" / "captions.json").write_text(captions)
    hub.pull(str(pushed), out=tmp_path / "back")
    assert all(words == {} for _, words in RunFolder(tmp_path / "back").pictures())


def test_a_run_that_is_there_is_not_overwritten(run: Path, pushed: Path) -> None:
    before = (run / "model.safetensors").read_bytes()
    with pytest.raises(RunError, match="holds a run already"):
        hub.pull(str(pushed), out=run)
    assert (run / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(("text", "repo"), [("ann/digits", "ann/digits"), ("hf://ann/digits.v2", "ann/digits.v2")])
def test_repositories_are_read(text: str, repo: str) -> None:
    assert hub.Place.parse(text) == hub.Place(repo=repo)


@pytest.mark.parametrize("text", ["digits", "ann/digits/more", "ann/..", "a b/c", "", "https://hub/x", "ann/-x"])
def test_what_is_no_repository_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="user/name"):
        hub.Place.parse(text)


def test_an_unfinished_run_is_not_handed_on(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").unlink()
    with pytest.raises(RunError, match="latentscape resume"):
        hub.push(tmp_path / "run", str(tmp_path / "there"))
    assert not (tmp_path / "there").exists()


# ---- the hub, played by an object ----------------------------------------------------------------------------------


class FakeHub:
    """Keeps what is uploaded in a folder and writes down how it was called, as huggingface_hub's HfApi is called."""

    def __init__(self, root: Path) -> None:
        self.root, self.calls = root, []
        root.mkdir()

    def create_repo(self, repo_id: str, *, private: bool | None = None, exist_ok: bool = False) -> str:
        self.calls.append(("create_repo", repo_id, private, exist_ok))
        return f"https://hub/{repo_id}"

    def upload_folder(
        self, *, repo_id: str, folder_path: str, commit_message: str, allow_patterns: list[str], delete_patterns: Any
    ) -> None:
        self.calls.append(("upload_folder", repo_id, commit_message, tuple(allow_patterns), tuple(delete_patterns)))
        for name in allow_patterns:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(folder_path) / name, self.root / name)

    def model_info(self, repo_id: str, *, revision: str | None = None) -> Any:
        self.calls.append(("model_info", repo_id, revision))
        names = [p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_file()]
        return SimpleNamespace(sha=COMMIT, siblings=[SimpleNamespace(rfilename=n) for n in [*names, "../x", "a.pkl"]])

    def snapshot_download(self, repo_id: str, *, revision: str, local_dir: str, allow_patterns: list[str]) -> str:
        self.calls.append(("snapshot_download", repo_id, revision, tuple(sorted(allow_patterns))))
        for name in allow_patterns:
            (Path(local_dir) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.root / name, Path(local_dir) / name)
        return local_dir


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    api = FakeHub(tmp_path / "hub")
    monkeypatch.setattr(hub, "_api", lambda: api)
    return api


@needs_hub
def test_the_hub_is_asked_as_its_client_can_be_asked(run: Path, fake: FakeHub, tmp_path: Path) -> None:
    import inspect

    from huggingface_hub import HfApi

    for name in ("create_repo", "upload_folder", "model_info", "snapshot_download"):
        real = inspect.signature(getattr(HfApi, name)).parameters
        assert set(inspect.signature(getattr(FakeHub, name)).parameters) <= set(real), name
    answer = hub.push(run, "ann/digits", private=True, message="first")
    assert answer["address"] == "https://hub/ann/digits"
    (fake.root / "code.py").write_text("raise SystemExit")
    back = hub.pull("hf://ann/digits", out=tmp_path / "back", revision="main")
    assert back["revision"] == COMMIT
    ours = tuple(sorted(n for n in answer["files"] if n != "README.md"))
    assert fake.calls == [
        ("create_repo", "ann/digits", True, True),
        ("upload_folder", "ann/digits", "first", tuple(answer["files"]), ("pictures/*",)),
        ("model_info", "ann/digits", "main"),
        ("snapshot_download", "ann/digits", COMMIT, ours),
    ]
    assert RunFolder(tmp_path / "back").config()["run"]["init_from"] == f"ann/digits@{COMMIT}"
    card = (fake.root / "README.md").read_text()
    assert "latentscape pull ann/digits --out runs/digits" in card
    assert "load('ann/digits')" in card


@needs_hub
def test_a_model_is_loaded_from_the_hub_once_for_each_commit(run: Path, fake: FakeHub) -> None:
    hub.push(run, "ann/digits")
    fake.calls.clear()
    first, again = hub.load("ann/digits"), hub.load("ann/digits")
    assert [c[0] for c in fake.calls] == ["model_info", "model_info", "snapshot_download", "model_info"]
    for name, tensor in weights(run).items():
        assert torch.equal(first.state_dict()[name], tensor)
        assert torch.equal(again.state_dict()[name], tensor)
    fake.calls.clear()
    hub.load("ann/digits", revision=COMMIT)
    assert fake.calls == []  # a whole commit that is there needs no network


@needs_hub
def test_a_repository_without_a_run_is_refused(fake: FakeHub, tmp_path: Path) -> None:
    (fake.root / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(RunError, match="holds no run of latentscape"):
        hub.pull("ann/other", out=tmp_path / "back")
    assert not (tmp_path / "back").exists()


def _answered(kind: str, status: int = 404) -> Exception:
    from huggingface_hub import errors

    made = getattr(errors, kind)
    error = made.__new__(made)
    Exception.__init__(error, "words of the client\nand more")
    error.response = SimpleNamespace(status_code=status)
    return error


@needs_hub
@pytest.mark.parametrize(
    ("kind", "status", "error", "words"),
    [
        ("RepositoryNotFoundError", 404, RunError, "there is no model ann/digits on the hub"),
        ("RevisionNotFoundError", 404, RunError, "no revision 'v2'"),
        ("GatedRepoError", 403, RunError, "ask on its page"),
        ("LocalTokenNotFoundError", 0, RunError, "hf auth login"),
        ("HfHubHTTPError", 403, RunError, "does not let you"),
        ("HfHubHTTPError", 500, RunFailed, "answered 500"),
        ("OfflineModeIsEnabled", 0, RunFailed, "cannot be reached"),
    ],
)
def test_what_the_hub_says_is_one_sentence(
    kind: str, status: int, error: type[LatentscapeError], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **options: Any) -> Any:
        raise _answered(kind, status)

    monkeypatch.setattr(hub, "_api", lambda: SimpleNamespace(model_info=refuse))
    with pytest.raises(error) as told:
        hub.pull("ann/digits", out=tmp_path / "back", revision="v2")
    assert type(told.value) is error
    assert words in str(told.value)
    assert "\n" not in str(told.value)


@needs_hub
def test_no_network_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real client, told that its hub is at a port where nothing listens."""
    from huggingface_hub import HfApi

    monkeypatch.setattr(hub, "_api", lambda: HfApi(endpoint="http://127.0.0.1:9"))
    with pytest.raises(RunFailed, match="cannot be reached"):
        hub.pull("ann/digits", out=tmp_path / "back")


def test_without_the_package_a_folder_still_works(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match="pip install huggingface_hub"):
        hub.push(run, "ann/digits")
    with pytest.raises(ConfigError, match="pip install huggingface_hub"):
        hub.pull("ann/digits")
    hub.push(run, str(tmp_path / "there"))
    assert json.loads((tmp_path / "there" / "data.json").read_text())["name"] == "pictures"
    assert os.listdir(tmp_path) == ["there"]
