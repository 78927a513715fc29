"""The run folder: the only file that knows the names inside it.

config.toml         complete settings: tables run, train, model, data
command.txt         the exact command
data.json           what it was trained on: fingerprint, split sizes, labels
environment.json    versions, source revision, device
log.jsonl           one JSON object a line, append-only
checkpoints/        what `resume` goes on from
model.safetensors   the trained model
metrics.json        the last evaluation
pictures/           sheets and plots, with captions.json
report.html         everything on one page
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomli_w

from latentscape import models
from latentscape.config import DataShape
from latentscape.contract import Model
from latentscape.errors import ConfigError, RunError
from latentscape.training.checkpoint import CheckpointFolder, explain, load_state, save_state, write_atomically


class RunFolder:
    """One run on disk. Open an existing one with `RunFolder(path)`; `create` makes a new one."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._appended = False  # a log line cut short by a crash is ended before the first new one
        if not self.path.exists():
            raise RunError(f"there is no run folder {self.path}; `latentscape train` makes one")
        if not self._config_path.is_file():
            raise RunError(
                f"{self.path} is not a run folder: it holds no config.toml; give the folder that "
                "`latentscape train` named"
            )

    @classmethod
    def create(
        cls,
        path: Path | str,
        *,
        config: dict[str, Any],
        command: str,
        data: dict[str, Any],
        environment: dict[str, Any],
    ) -> RunFolder:
        """Make a run folder. One that holds anything already raises `RunError`: nothing written before is lost."""
        path = Path(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                if (path / "config.toml").exists():
                    hint = f"choose another --out, or continue it with: latentscape resume {path}"
                    raise RunError(f"{path} holds a run already; {hint}")
                raise RunError(f"{path} holds other files; choose another --out, an empty or a new folder")
            (path / "checkpoints").mkdir()
            (path / "pictures").mkdir()
        except OSError as error:
            raise explain(error, path) from error
        write_atomically(path / "command.txt", (command + "\n").encode())
        write_atomically(path / "data.json", _json(data))
        write_atomically(path / "environment.json", _json(environment))
        # Last, since a folder with a config.toml counts as a run.
        _write_config(path / "config.toml", config)
        return cls(path)

    def rewrite_settings(self, train: dict[str, Any]) -> None:
        """Replace the table train: a finished run is trained longer."""
        _write_config(self._config_path, self.config() | {"train": train})

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    @property
    def _config_path(self) -> Path:
        return self.path / "config.toml"

    @property
    def report_path(self) -> Path:
        """Where the report lies."""
        return self.path / "report.html"

    @property
    def pictures_path(self) -> Path:
        """Where pictures lie."""
        return self.path / "pictures"

    @property
    def model_path(self) -> Path:
        """The trained model's weights."""
        return self.path / "model.safetensors"

    def checkpoints(self, keep: int = 2) -> CheckpointFolder:
        """The checkpoints."""
        return CheckpointFolder(self.path / "checkpoints", keep)

    def config(self) -> dict[str, Any]:
        """The tables run, train, model, data of config.toml; one that lacks or mistypes them raises `RunError`."""
        try:
            config = tomllib.loads(self._config_path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RunError(f"{self._config_path} is not readable TOML ({error}); restore it") from error
        tables = {"run": dict, "train": dict, "model": dict, "data": dict}
        known = {"model": str, "data": str, "shape": list, "classes": int}
        wrong = [name for name, kind in tables.items() if not isinstance(config.get(name), kind)]
        wrong = wrong or [
            f"run.{name}" for name, kind in known.items() if not isinstance(config["run"].get(name), kind)
        ]
        if wrong:
            raise RunError(f"{self._config_path} does not describe a run: {wrong[0]} is missing or damaged; restore it")
        return config

    def command(self) -> str:
        """The command that made the run."""
        return self._text("command.txt").strip()

    def data(self) -> dict[str, Any]:
        """What it was trained on."""
        return self._read_json("data.json")

    def environment(self) -> dict[str, Any]:
        """Versions and device."""
        return self._read_json("environment.json")

    def metrics(self) -> dict[str, Any] | None:
        """The last evaluation, or None."""
        return self._read_json("metrics.json") if (self.path / "metrics.json").exists() else None

    def write_metrics(self, metrics: dict[str, Any]) -> Path:
        """Keep an evaluation."""
        write_atomically(self.path / "metrics.json", _json(metrics))
        return self.path / "metrics.json"

    def pictures(self) -> list[tuple[Path, dict[str, str]]]:
        """Pictures with their title, caption and command."""
        listed = self._read_json("pictures/captions.json") if (self.pictures_path / "captions.json").exists() else {}
        found = sorted(p for p in self.pictures_path.glob("*") if p.suffix in (".png", ".gif", ".mp4"))
        order = {name: i for i, name in enumerate(listed)}
        found.sort(key=lambda p: order.get(p.name, len(order)))
        return [(p, listed.get(p.name, {})) for p in found]

    def log(self) -> list[dict[str, Any]]:
        """The records, without those of steps that a later resume did again; a last line cut short is passed over."""
        records: list[dict[str, Any]] = []
        for line in self._text("log.jsonl").splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            if record.get("kind") == "resumed":
                records = [r for r in records if r.get("step", 0) <= record["step"] and r.get("kind") != "done"]
            records.append(record)
        return records

    def append(self, record: dict[str, Any]) -> None:
        """Add a record to the log."""
        path = self.path / "log.jsonl"
        try:
            torn = not self._appended and path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
            self._appended = True
            with open(path, "a", encoding="utf-8") as f:
                f.write(("\n" if torn else "") + json.dumps(record) + "\n")
        except OSError as error:
            raise explain(error, path) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for writing; a second process is refused with the first one's number (`RunError`)."""
        path = self.path / ".lock"
        try:
            f = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (closed below)
        except OSError as error:
            raise explain(error, path) from error
        with f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                f.seek(0)
                raise RunError(
                    f"{self.path} is in use by process {f.read().strip() or 'another'}; wait for it to end or stop it"
                ) from error
            f.truncate(0)
            f.write(str(os.getpid()))
            f.flush()
            for left in (*self.path.glob(".*.tmp"), *self.path.glob("checkpoints/.*.tmp")):
                left.unlink(missing_ok=True)  # half-written by a process that was killed
            yield

    # ---- the model ---------------------------------------------------------------------------------------------

    def build_model(self) -> Model:
        """The run's model, freshly initialised from its settings and seed."""
        config = self.config()
        try:
            run = config["run"]
            model_class = models.model_class(run["model"])
            settings = model_class.Config.from_dict(config["model"])
            return models.build(
                run["model"], DataShape(tuple(run["shape"])), settings, run["classes"], config["train"]["seed"]
            )
        except (KeyError, ConfigError, TypeError) as error:
            raise RunError(f"{self._config_path} does not describe a model ({error}); restore it") from error

    def save_model(self, model: Model) -> Path:
        """Keep the trained weights."""
        save_state(self.model_path, model.state_dict(), {"model": self.config()["run"]["model"]})
        return self.model_path

    def load_model(self) -> Model:
        """The trained model, on the CPU and in evaluation mode; of an unfinished run, the newest checkpoint's."""
        model = self.build_model()
        if self.model_path.exists():
            tensors = load_state(self.model_path)[0]
        else:
            newest = self.checkpoints().newest()
            if newest is None:
                raise RunError(
                    f"{self.path} holds no trained model and no checkpoint; run: latentscape resume {self.path}"
                )
            average = {k[4:]: v for k, v in newest[1].items() if k.startswith("ema.")}
            tensors = average or {k[6:]: v for k, v in newest[1].items() if k.startswith("model.")}
        try:
            model.load_state_dict(tensors)
        except RuntimeError as error:
            raise RunError(f"the weights in {self.path} do not fit its config.toml; was it changed?") from error
        return model.eval().requires_grad_(False)

    # ---- reading -----------------------------------------------------------------------------------------------

    def _text(self, name: str) -> str:
        path = self.path / name
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def _read_json(self, name: str) -> dict[str, Any]:
        try:
            return json.loads(self._text(name) or "{}")
        except json.JSONDecodeError as error:
            raise RunError(f"{self.path / name} is damaged ({error}); remove it, and it is written again") from error


def free_name(parent: Path, stem: str) -> Path:
    """`parent/stem-N` with the smallest N from 1 that nothing is called yet."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "run"
    n = 1
    while (parent / f"{stem}-{n}").exists():
        n += 1
    return parent / f"{stem}-{n}"


def load_run(path: Path | str) -> Model:
    """The trained model of a run folder, on the CPU and in evaluation mode. Raises `RunError`."""
    return RunFolder(path).load_model()


def _write_config(path: Path, config: dict[str, Any]) -> None:
    write_atomically(path, tomli_w.dumps(_without_none(config)).encode())


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _without_none(value: Any) -> Any:
    """TOML has no null: an unset optional setting is left out, which reads back as unset."""
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return value
