"""A run's curves and pictures for TensorBoard and MLflow, each a package of its own.

A tracker is told what the run's own log is told. No run needs one: where one fails, that is one warning, and the run
goes on without it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from latentscape.errors import ConfigError
from latentscape.training.checkpoint import write_atomically

Curves = dict[str, float]


@dataclass(frozen=True)
class About:
    """What a tracker may know of a run.

    name: of the run's folder. settings: all of them, flat: `train.seed` → 0. events: the folder that TensorBoard's
    files go to. run_file: where MLflow's name of the run is kept. store: MLflow's folder, where the environment
    variable MLFLOW_TRACKING_URI names no other place.
    """

    name: str
    command: str
    events: Path
    run_file: Path
    store: Path
    settings: Mapping[str, Any] = field(default_factory=dict)


class Tracker(ABC):
    """One place that curves and pictures are sent to. Every method may fail; `Trackers` catches that.

    A curve's group is "train", "held_out" or "result"; its name is that of the log: `elbo/total`.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    """What pip calls it."""

    @abstractmethod
    def begin(self, about: About) -> None:
        """Connect, and go on with the run that this folder had there before, if it had one."""

    def resumed(self, step: int) -> None:  # noqa: B027 (most have nothing to do)
        """What was told of later steps is done again."""

    @abstractmethod
    def curves(self, group: str, values: Curves, step: int) -> None:
        """One value for each curve of a group."""

    @abstractmethod
    def text(self, title: str, text: str, step: int) -> None:
        """Words: a warning."""

    @abstractmethod
    def picture(self, path: Path, step: int) -> None:
        """A picture's file."""

    @abstractmethod
    def close(self, ended: str) -> None:
        """ended: "finished", "stopped" or "failed"."""


class TensorBoard(Tracker):
    """Event files. Groups are runs beside each other, so that training and held-out losses share a chart."""

    name, package = "tensorboard", "tensorboard"

    def begin(self, about: About) -> None:
        """Only remembers the folder: a file is made when something is to be written."""
        self.folder = about.events
        self.writers: dict[str, Any] = {}
        self.redone: int | None = None
        if not self.folder.exists():
            settings = "\n".join(f"| {name} | {value} |" for name, value in about.settings.items())
            self.text("command", f"`{about.command}`", 0)
            self.text("settings", f"| setting | value |\n|---|---|\n{settings}", 0)

    def _writer(self, group: str) -> Any:
        if group not in self.writers:
            from torch.utils.tensorboard import SummaryWriter

            self.writers[group] = SummaryWriter(str(self.folder / group), purge_step=self.redone, flush_secs=10)
        return self.writers[group]

    def resumed(self, step: int) -> None:
        """TensorBoard hides what was written of later steps."""
        self.redone = step + 1

    def curves(self, group: str, values: Curves, step: int) -> None:
        """Scalars."""
        for name, value in values.items():
            self._writer(group).add_scalar(name, value, step)

    def text(self, title: str, text: str, step: int) -> None:
        """A text of the group train."""
        self._writer("train").add_text(title, text, step)

    def picture(self, path: Path, step: int) -> None:
        """The file's own bytes, so that a GIF moves. TensorBoard shows no MP4."""
        if path.suffix not in (".png", ".gif"):
            return
        from PIL import Image
        from tensorboard.compat.proto import summary_pb2

        kinds: Any = summary_pb2  # made by a generator that names nothing
        with Image.open(path) as opened:
            width, height = opened.size
        encoded = kinds.Summary.Image(
            width=width, height=height, colorspace=3, encoded_image_string=path.read_bytes()
        )  # colorspace is what its own writer says of every RGB picture
        summary = kinds.Summary(value=[kinds.Summary.Value(tag=path.stem, image=encoded)])
        self._writer("result").file_writer.add_summary(summary, step)

    def close(self, ended: str) -> None:
        """Write out what is waiting."""
        for writer in self.writers.values():
            writer.close()
        self.writers = {}


class MLflow(Tracker):
    """A run at an MLflow server, or in a folder of its own format beside the run folder."""

    name, package = "mlflow", "mlflow-skinny"
    most_parameters = 100
    """MLflow takes no more in one call."""

    def begin(self, about: About) -> None:
        """Find this run again, or make it in the experiment of MLFLOW_EXPERIMENT_NAME, else "latentscape"."""
        self._quiet()
        from mlflow import MlflowClient

        address = os.environ.get("MLFLOW_TRACKING_URI")
        if not address:
            # MLflow's file format is complete but no longer extended, which it wants to have been heard.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            address = about.store.resolve().as_uri()
        self.client = MlflowClient(tracking_uri=address)
        self.run = self._known(about) or self._new(about)

    @staticmethod
    def _quiet() -> None:
        """Nothing on standard output, no reports on usage, and a server that does not answer holds up no training."""
        for name, value in {
            "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        }.items():
            os.environ.setdefault(name, value)

    def _known(self, about: About) -> str:
        """The run that this folder had before, running again; nothing if this server does not know it."""
        from mlflow.exceptions import MlflowException

        try:
            run = json.loads(about.run_file.read_text(encoding="utf-8"))["run_id"]
            self.client.update_run(run, status="RUNNING")
        except (OSError, ValueError, KeyError, MlflowException):
            return ""
        return run

    def _new(self, about: About) -> str:
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "latentscape")
        known = self.client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self.client.create_experiment(name)
        tags = {"latentscape.command": about.command, "mlflow.source.name": "latentscape"}
        run = self.client.create_run(experiment, run_name=about.name, tags=tags).info.run_id
        write_atomically(about.run_file, json.dumps({"run_id": run}).encode())
        parameters = [Param(name, str(value)) for name, value in about.settings.items()]
        for start in range(0, len(parameters), self.most_parameters):
            self.client.log_batch(run, params=parameters[start : start + self.most_parameters])
        return run

    def curves(self, group: str, values: Curves, step: int) -> None:
        """Metrics called by group and name; those of the result by their name alone."""
        from mlflow.entities import Metric

        now, before = int(1000 * time.time()), "" if group == "result" else f"{group}/"
        self.client.log_batch(self.run, [Metric(f"{before}{name}", v, now, step) for name, v in values.items()])

    def text(self, title: str, text: str, step: int) -> None:
        """A text file among the artifacts."""
        self.client.log_text(self.run, text + "\n", f"{title}/{step:09d}.txt")

    def picture(self, path: Path, step: int) -> None:
        """A file among the artifacts."""
        self.client.log_artifact(self.run, str(path), "pictures")

    def close(self, ended: str) -> None:
        """Say how the run ended."""
        status = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}[ended]
        self.client.set_terminated(self.run, status)


KINDS: dict[str, type[Tracker]] = {kind.name: kind for kind in (TensorBoard, MLflow)}


def check(names: Iterable[str]) -> None:
    """Refuse trackers whose package is not there (`ConfigError`), before a run begins."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"--log-to {name} needs the package {KINDS[name].package}, which is not installed; run: pip install "
                f"{KINDS[name].package}"
            )


class Trackers:
    """The trackers of a run. One that fails is left out from then on, and `warn` is told why in a sentence."""

    def __init__(self, names: Iterable[str], about: About, warn: Callable[[str], None]) -> None:
        self.live, self.warn = [KINDS[name]() for name in dict.fromkeys(names)], warn
        self._each(lambda tracker: tracker.begin(about))

    def _each(self, do: Callable[[Tracker], None]) -> None:
        for tracker in list(self.live):
            try:
                do(tracker)
            except Exception as error:  # whatever goes wrong there is no reason to end a run
                self.live.remove(tracker)
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                self.warn(f"nothing more is logged to {tracker.name} ({reason}); the run goes on and keeps its own log")

    def record(self, record: Mapping[str, Any]) -> None:
        """Take in one record of the run's log."""
        kind, step = record["kind"], record.get("step", 0)
        if kind == "resumed":
            self._each(lambda tracker: tracker.resumed(step))
        elif kind == "warning":
            self._each(lambda tracker: tracker.text("warnings", record["text"], step))
        elif kind in ("train", "held_out", "fitted"):
            group = "held_out" if kind == "held_out" else "train"
            self._each(lambda tracker: tracker.curves(group, curves_of(record), step))

    def result(self, metrics: Curves, pictures: Iterable[Path], step: int) -> None:
        """The figures and pictures at the end of a run."""
        if metrics:
            self._each(lambda tracker: tracker.curves("result", metrics, step))
        for path in pictures:
            self._each(lambda tracker, path=path: tracker.picture(path, step))

    def close(self, ended: str) -> None:
        """Say how the run ended: "finished", "stopped" or "failed"."""
        self._each(lambda tracker: tracker.close(ended))


def curves_of(record: Mapping[str, Any]) -> Curves:
    """The curves in a record of the log: its terms, learning rates and speed."""
    rates = {f"learning_rate/{phase}": rate for phase, rate in record.get("learning_rate", {}).items()}
    speed = {name: record[name] for name in ("images_per_second", "epoch") if name in record}
    return {**record.get("terms", {}), **rates, **speed}
