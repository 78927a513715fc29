"""How a run stands, in a word and a sentence."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentscape.report import words
from latentscape.studio.following import Follower
from latentscape.studio.places import Known
from latentscape.studio.shelf import newest_step

CLOCK_SLACK = 2.0
"""Seconds by which a process may seem to have begun after it wrote its number."""


@dataclass(frozen=True)
class State:
    """word: training, done, stopped or failed. text: a sentence that says why, or how to go on."""

    word: str
    text: str


def state_of(known: Known, log: Follower, config: dict[str, Any]) -> State:
    """How the run stands, by its log (already read), its checkpoints and whether a process holds it."""
    ended, step = log.ended or {}, words.number(log.step or 0)
    go_on = f"go on with: latentscape resume {shlex.quote(str(known.path))}"
    if held(known.path) and ended.get("kind") != "done":
        return State("training", f"at step {step}" if log.step else "just begun")
    if ended.get("kind") == "done":
        return State("done", str(ended.get("reason", "")))
    if config["run"].get("imported"):
        return State("done", "weights from elsewhere")
    if ended.get("kind") == "failed":
        return State("failed", str(ended.get("text", "")))
    if (known.path / "failed-batch.safetensors").is_file():
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


def held(folder: Path) -> bool:
    """Whether a living process of this machine holds the run for writing.

    The number in `.lock` stays when its process ends, and numbers are given again: one that began after the file was
    written is another process. (Asking for the lock itself would make a run that starts in this moment fail.)
    """
    path = folder / ".lock"
    try:
        process, written = int(path.read_text("utf-8").strip() or 0), path.stat().st_mtime
    except (OSError, ValueError):
        return False
    if process <= 0 or not _lives(process):
        return False
    began = _began(process)
    return began is None or began <= written + CLOCK_SLACK


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # another user's
    return not _is_zombie(process)


def _is_zombie(process: int) -> bool:
    fields = _stat(process)
    return bool(fields) and fields[0] == "Z"


def _began(process: int) -> float | None:
    """When a process began, in seconds since 1970; None where the system does not say."""
    fields = _stat(process)
    try:
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
        return int(boot.split()[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, StopIteration, IndexError, ValueError):
        return None


def _stat(process: int) -> list[str]:
    """The fields of /proc/N/stat after the program's name, which may hold anything."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
