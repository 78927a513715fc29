"""What a run tells its log, told to its trackers too; its figures and pictures when it is finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from latentscape.errors import LatentscapeError, RunFailed
from latentscape.runs import RunFolder
from latentscape.training.settings import TrainSettings
from latentscape.training.tracking import About, Trackers

Log = Callable[[dict[str, Any]], None]


def about(folder: RunFolder) -> About:
    """What trackers may know of a run."""
    config = folder.config()
    settings = {f"{table}.{name}": value for table, values in config.items() for name, value in values.items()}
    return About(
        folder.name,
        folder.command(),
        folder.tensorboard_path,
        folder.mlflow_path,
        folder.path.resolve().parent / "mlruns",
        settings,
    )


@contextmanager
def tracked(
    folder: RunFolder, settings: TrainSettings, stopped: type[Exception], warn: Callable[[str], None]
) -> Iterator[Log]:
    """Gives what takes in the records of a run: they go into its log and to its trackers.

    stopped: the exception of a run that was asked to stop, which is not one that failed. warn: told, in a sentence,
    that a tracker failed; the sentence also stands in the log.
    """
    last = 0

    def failed(text: str) -> None:
        folder.append({"kind": "warning", "step": last, "detector": "tracking", "text": text})
        warn(text)

    trackers = Trackers(settings.log_to, about(folder), failed)

    def log(record: dict[str, Any]) -> None:
        nonlocal last
        last = record.get("step", last)
        folder.append(record)
        trackers.record(record)

    ended = "failed"
    try:
        yield log
        ended = "finished"
    except (stopped, KeyboardInterrupt):
        ended = "stopped"
        raise
    except RunFailed as error:
        with suppress(LatentscapeError):  # the disk may be full
            folder.append({"kind": "failed", "step": last, "text": str(error)})
        raise
    finally:
        trackers.close(ended)


def publish(folder: RunFolder, warn: Callable[[str], None]) -> None:
    """Send a finished run's figures and pictures to the trackers that it was trained with, if any.

    warn: as in `tracked`.
    """
    names = folder.config()["train"].get("log_to", ())
    if not names:
        return
    step = max((record.get("step", 0) for record in folder.log()), default=0)
    found = (folder.metrics() or {}).get("metrics", {})
    metrics = {name: float(value) for name, value in found.items() if isinstance(value, (int, float))}
    trackers = Trackers(names, about(folder), warn)
    trackers.result(metrics, [path for path, _ in folder.pictures()], step)
    trackers.close("finished")
