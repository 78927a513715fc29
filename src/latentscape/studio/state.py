"""How a run stands, in a word and a sentence."""

from __future__ import annotations

import contextlib
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentscape.report import words
from latentscape.runs import RunFolder, lives
from latentscape.studio.following import Follower
from latentscape.studio.places import Known
from latentscape.studio.shelf import newest_step


@dataclass(frozen=True)
class State:
    """word: training, done, stopped or failed. text: a sentence that says why, or how to go on."""

    word: str
    text: str


def state_of(known: Known, log: Follower, config: dict[str, Any]) -> State:
    """How the run stands, by its log (already read), its checkpoints and whether a process holds it."""
    ended, step = log.ended or {}, words.number(log.step or 0)
    go_on = f"go on with: latentscape resume {shlex.quote(str(known.path))}"
    if held(known.folder) and ended.get("kind") != "done":
        return State("training", f"at step {step}" if log.step else "just begun")
    if ended.get("kind") == "done":
        return State("done", str(ended.get("reason", "")))
    if config["run"].get("imported"):
        return State("done", "weights from elsewhere")
    if ended.get("kind") == "failed":
        return State("failed", str(ended.get("text", "")))
    if known.folder.failed_batch_path.is_file():
        return State(
            "failed",
            f"a loss was not a finite number after step {step}; train again with a lower --learning-rate, or look for "
            "extreme values in the data",
        )
    saved = newest_step(known.folder)
    if saved is None:
        return State("stopped", f"ended before its first checkpoint; begin again with: {go_on.partition(': ')[2]}")
    if saved == (log.step or 0):
        return State("stopped", f"stopped at step {step} with everything saved; {go_on}")
    return State("stopped", f"ended without a word after step {step}, saved at step {words.number(saved)}; {go_on}")


def held(folder: RunFolder) -> bool:
    """Whether a living process of this machine holds the run for writing.

    The number in `.lock` stays there when the run ends, so the process must also have the file open, which it has only
    while it holds the run. Where the system does not tell (it is Linux that does), a living process is believed.
    (Asking for the lock itself would make a run that starts in this very moment fail.)
    """
    path = folder.lock_path
    try:
        process = int(path.read_text("utf-8").strip() or 0)
    except (OSError, ValueError):
        return False
    if process <= 0 or not lives(process):
        return False
    has_open = _has_open(process, path.resolve())
    return True if has_open is None else has_open


def _has_open(process: int, path: Path) -> bool | None:
    """Whether a process has a file open; None where that cannot be seen."""
    try:
        descriptors = os.listdir(f"/proc/{process}/fd")
    except OSError:
        return None
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # closed in this moment
            if os.readlink(f"/proc/{process}/fd/{descriptor}") == str(path):
                return True
    return False
