"""Which runs the studio knows, each under an id that says nothing about where it lies.

A request names a run by its id only; ids are looked up among the runs that were found, so that nothing in a request
ever becomes a path.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentscape.errors import RunError
from latentscape.runs import RunFolder, is_run
from latentscape.web.refusals import Refused

MOST_RUNS = 1_000
"""Runs that are shown; a folder of more is given in parts."""

DEPTH = 2
"""How deep below a folder runs are looked for: `runs/NAME` and `runs/GROUP/NAME`."""


class NotThere(Refused):
    """Something that a request names is not there (404)."""

    def __init__(self, sentence: str) -> None:
        super().__init__(404, sentence)


@dataclass(frozen=True)
class Known:
    """A run that was found. `id` is opaque; `path` is as the user gave it, for commands that can be typed again."""

    id: str
    path: Path

    @property
    def folder(self) -> RunFolder:
        """The run folder; `RunError` where it has gone."""
        return RunFolder(self.path)

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.resolve().name


class Places:
    """Run folders, and folders that hold runs, which are looked through anew whenever somebody asks."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = list(roots)
        self._known: dict[str, Known] = {}
        self._lock = threading.Lock()

    def all(self) -> list[Known]:
        """The runs that are there now; those made since the last call are among them."""
        found: dict[str, Known] = {}
        for path in self._paths():
            known = Known(identity(path), path)
            found.setdefault(known.id, known)
            if len(found) == MOST_RUNS:
                break
        with self._lock:
            self._known = found
        return list(found.values())

    def get(self, run_id: str) -> Known:
        """The run of an id, or `NotThere`."""
        with self._lock:
            known = self._known.get(run_id)
        if known is None or not is_run(known.path):
            known = next((k for k in self.all() if k.id == run_id), None)
        if known is None:
            raise NotThere("there is no such run here, or it was moved; go back to the list of runs")
        return known

    @property
    def home(self) -> Path:
        """Where a new run is made: the first folder of runs, else beside the first run."""
        for root in self.roots:
            return root.parent if is_run(root) else root
        return Path("runs")

    def _paths(self) -> Iterator[Path]:
        for root in self.roots:
            yield from _runs_in(root, DEPTH)


def identity(path: Path) -> str:
    """The folder's name, as far as an address can hold it, and a hash of its place."""
    whole = path.resolve()
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", whole.name).strip("-.")[:60] or "run"
    return f"{stem}-{hashlib.sha256(str(whole).encode()).hexdigest()[:8]}"


def check_roots(paths: Sequence[str | Path]) -> list[Path]:
    """What the command was given, as folders that are there (`RunError`); nothing given: ./runs, which need not be."""
    if not paths:
        return [Path("runs")]
    roots = [Path(p) for p in paths]
    for root in roots:
        if not root.is_dir():
            raise RunError(f"there is no folder {root}; give run folders, or folders that hold runs")
    return roots


def _runs_in(folder: Path, depth: int) -> Iterator[Path]:
    if is_run(folder):
        yield folder
        return
    if depth == 0:
        return
    try:
        inside = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError:
        return  # not there yet, or not ours to read
    for path in inside:
        yield from _runs_in(path, depth - 1)
