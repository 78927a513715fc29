"""The run folder: the only file that knows the names inside it.

config.toml         complete settings: tables run, train, model, data
command.txt         the exact command
data.json           what it was trained on: fingerprint, split sizes, labels
environment.json    versions, source revision, device
log.jsonl           one JSON object a line, append-only
checkpoints/        what `resume` goes on from
model.safetensors   the trained model
metrics.json        the last evaluation
fitted/             priors fitted to the model's latents, kept so that they are fitted once; may be removed
pictures/           sheets and plots, with captions.json
report.html         everything on one page
tensorboard/, mlflow.json    what was sent to trackers, and what MLflow calls this run
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
from torch import Tensor

from latentscape import models
from latentscape.config import DataShape
from latentscape.contract import Model
from latentscape.errors import ConfigError, RunError
from latentscape.training.checkpoint import (
    CheckpointFolder,
    explain,
    from_json,
    load_state,
    save_state,
    to_json,
    write_atomically,
)


class RunFolder:
    """One run on disk. Open an existing one with `RunFolder(path)`; `create` makes a new one."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._appended = False  # a log line cut short by a crash is ended before the first new one
        if not self.path.exists():
            raise RunError(f"there is no run folder {self.path}; `latentscape train` makes one")
        if not self.config_path.is_file():
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
        """Make a run folder. One that holds anything already raises `RunError`: nothing written before is lost.

        What a process left that was killed while it made this folder is no run yet, and is made anew.
        """
        path = Path(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            _refuse_occupied(path)
            with _held(path):
                _refuse_occupied(path)  # another process may have made its run meanwhile
                (path / "checkpoints").mkdir(exist_ok=True)
                (path / "pictures").mkdir(exist_ok=True)
                write_atomically(path / "command.txt", (command + "\n").encode())
                write_atomically(path / "data.json", _json(data))
                write_atomically(path / "environment.json", _json(environment))
                # Last, since a folder with a config.toml counts as a run.
                _write_config(path / "config.toml", config)
        except OSError as error:
            raise explain(error, path) from error
        return cls(path)

    def rewrite_settings(self, train: dict[str, Any]) -> None:
        """Replace the table train: a finished run is trained longer."""
        _write_config(self.config_path, self.config() | {"train": train})

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name

    @property
    def config_path(self) -> Path:
        """The settings; a folder is a run if it has them (`is_run`)."""
        return self.path / "config.toml"

    @property
    def log_path(self) -> Path:
        """The log, a JSON object a line."""
        return self.path / "log.jsonl"

    @property
    def lock_path(self) -> Path:
        """Open in the process that writes the run, and its number."""
        return self.path / ".lock"

    @property
    def failed_batch_path(self) -> Path:
        """The batch whose loss was not a finite number, if one was."""
        return self.path / "failed-batch.safetensors"

    @property
    def frames_path(self) -> Path:
        """The frames of films, a folder for each, a picture for each step."""
        return self.pictures_path / ".frames"

    @property
    def report_path(self) -> Path:
        """Where the report lies."""
        return self.path / "report.html"

    @property
    def pictures_path(self) -> Path:
        """Where pictures lie."""
        return self.path / "pictures"

    @property
    def captions_path(self) -> Path:
        """The pictures' titles and captions."""
        return self.pictures_path / "captions.json"

    @property
    def metrics_path(self) -> Path:
        """The last evaluation."""
        return self.path / "metrics.json"

    @property
    def model_path(self) -> Path:
        """The trained model's weights."""
        return self.path / "model.safetensors"

    @property
    def tensorboard_path(self) -> Path:
        """TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def mlflow_path(self) -> Path:
        """What MLflow calls this run."""
        return self.path / "mlflow.json"

    def fitted_path(self, kind: str) -> Path:
        """Where a prior fitted to the model's latents is kept."""
        return self.path / "fitted" / f"{kind}.safetensors"

    def checkpoints(self, keep: int = 2) -> CheckpointFolder:
        """The checkpoints."""
        return CheckpointFolder(self.path / "checkpoints", keep)

    def config(self) -> dict[str, Any]:
        """The tables run, train, model, data of config.toml; one that lacks or mistypes them raises `RunError`."""
        try:
            config = tomllib.loads(self.config_path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RunError(f"{self.config_path} is not readable TOML ({error}); restore it") from error
        tables = {"run": dict, "train": dict, "model": dict, "data": dict}
        known = {"model": str, "data": str, "shape": list, "classes": int}
        wrong = [name for name, kind in tables.items() if not isinstance(config.get(name), kind)]
        wrong = wrong or [
            f"run.{name}" for name, kind in known.items() if not isinstance(config["run"].get(name), kind)
        ]
        if wrong:
            raise RunError(f"{self.config_path} does not describe a run: {wrong[0]} is missing or damaged; restore it")
        return config

    def command(self) -> str:
        """The command that made the run."""
        return self._text("command.txt").strip()

    def add_command(self, text: str) -> None:
        """Note what trained the run longer, so that one line still makes it again."""
        write_atomically(self.path / "command.txt", f"{self.command()} && {text}\n".encode())

    def data(self) -> dict[str, Any]:
        """What it was trained on."""
        return self._read_json("data.json")

    def environment(self) -> dict[str, Any]:
        """Versions and device."""
        return self._read_json("environment.json")

    def metrics(self) -> dict[str, Any] | None:
        """The last evaluation, or None."""
        return self._read_json("metrics.json") if self.metrics_path.exists() else None

    def write_metrics(self, metrics: dict[str, Any]) -> Path:
        """Keep an evaluation."""
        write_atomically(self.metrics_path, _json(metrics))
        return self.metrics_path

    def pictures(self) -> list[tuple[Path, dict[str, str]]]:
        """Pictures with their title, caption and command."""
        listed = self._read_json("pictures/captions.json") if self.captions_path.exists() else {}
        found = sorted(p for p in self.pictures_path.glob("*") if p.suffix in (".png", ".gif", ".mp4"))
        order = {name: i for i, name in enumerate(listed)}
        found.sort(key=lambda p: order.get(p.name, len(order)))
        return [(p, listed.get(p.name, {})) for p in found]

    def log(self) -> list[dict[str, Any]]:
        """The records, without those of steps that a later resume did again; a last line cut short is passed over."""
        records: list[dict[str, Any]] = []
        for line in self._text("log.jsonl").splitlines():
            try:
                record = from_json(line)
            except json.JSONDecodeError:
                continue
            if record.get("kind") == "resumed":
                records = [r for r in records if r.get("step", 0) <= record["step"] and r.get("kind") != "done"]
            records.append(record)
        return records

    def append(self, record: dict[str, Any]) -> None:
        """Add a record to the log."""
        path = self.log_path
        try:
            torn = not self._appended and path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
            self._appended = True
            with open(path, "a", encoding="utf-8") as f:
                f.write(("\n" if torn else "") + to_json(record) + "\n")
        except OSError as error:
            raise explain(error, path) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for writing; a second process is refused with the first one's number (`RunError`)."""
        with _held(self.path):
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
            raise RunError(f"{self.config_path} does not describe a model ({error}); restore it") from error

    def save_model(self, model: Model, step: int = 0) -> Path:
        """Keep the trained weights, and after how many steps they were."""
        save_state(self.model_path, model.state_dict(), {"model": self.config()["run"]["model"], "step": step})
        return self.model_path

    def load_model(self) -> Model:
        """The newest whole weights, on the CPU and in evaluation mode.

        They are the trained model's, unless the run is unfinished, or was lengthened and did not come to its new end:
        then the newest checkpoint's.
        """
        model = self.build_model()
        try:
            model.load_state_dict(self._newest_weights())
        except RuntimeError as error:
            raise RunError(f"the weights in {self.path} do not fit its config.toml; was it changed?") from error
        return model.eval().requires_grad_(False)

    def _newest_weights(self) -> dict[str, Tensor]:
        tensors, done = None, -1
        if self.model_path.exists():
            tensors, state = load_state(self.model_path)
            done = state.get("step", 0)
        newest = self.checkpoints().newest(after=done)
        if newest is None:
            if tensors is None:
                raise RunError(
                    f"{self.path} holds no trained model and no checkpoint; run: latentscape resume {self.path}"
                )
            return tensors
        average = {k[4:]: v for k, v in newest[1].items() if k.startswith("ema.")}
        return average or {k[6:]: v for k, v in newest[1].items() if k.startswith("model.")}

    # ---- reading -----------------------------------------------------------------------------------------------

    def _text(self, name: str) -> str:
        path = self.path / name
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def _read_json(self, name: str) -> dict[str, Any]:
        try:
            return from_json(self._text(name) or "{}")
        except json.JSONDecodeError as error:
            raise RunError(f"{self.path / name} is damaged ({error}); remove it, and it is written again") from error


SHARED = ("config.toml", "command.txt", "data.json", "environment.json", "metrics.json", "model.safetensors")
"""What makes a run for somebody else, beside its pictures: no checkpoints, no log, no traces of trackers."""

_MADE_FIRST = {".lock", "checkpoints", "pictures", "command.txt", "data.json", "environment.json"}
_TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp")  # as `write_atomically` names it: the number is the writer's


def _refuse_occupied(path: Path) -> None:
    """Raise `RunError` if the folder holds anything but what `create` makes, after its lock, before config.toml."""
    if (path / "config.toml").exists():
        hint = f"choose another --out, or continue it with: latentscape resume {path}"
        raise RunError(f"{path} holds a run already; {hint}")
    inside = [*path.iterdir(), *path.glob("checkpoints/*"), *path.glob("pictures/*")]
    strange = any(p.name not in _MADE_FIRST and not _TEMPORARY.fullmatch(p.name) for p in inside)
    if strange or (inside and not (path / ".lock").exists()):
        raise RunError(f"{path} holds other files; choose another --out, an empty or a new folder")


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """See `RunFolder.locked`."""
    path = folder / ".lock"
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
                f"{folder} is in use by process {f.read().strip() or 'another'}; wait for it to end or stop it"
            ) from error
        f.truncate(0)
        f.write(str(os.getpid()))
        f.flush()
        _remove_half_written(folder)
        yield


def _remove_half_written(folder: Path) -> None:
    """Remove what killed processes were writing; a living one may be about to rename its file."""
    for left in (*folder.glob(".*.tmp"), *folder.glob("*/.*.tmp")):
        writer = _TEMPORARY.fullmatch(left.name)
        if writer and not lives(int(writer[1])):
            left.unlink(missing_ok=True)


def lives(process: int) -> bool:
    """Whether there is a process of that number on this machine."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # another user's
    return True


def is_run(path: Path) -> bool:
    """Whether a folder is a run's."""
    return (path / "config.toml").is_file()


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
    return (to_json(value, indent=2, ensure_ascii=False) + "\n").encode()


def _without_none(value: Any) -> Any:
    """TOML has no null: an unset optional setting is left out, which reads back as unset."""
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return value
