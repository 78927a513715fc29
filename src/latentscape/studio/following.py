"""A run's log read as it grows: only what is new, and numbers alone, so that a long log costs its size once."""

from __future__ import annotations

import json
import math
import threading
from array import array
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentscape.report import curves, words
from latentscape.studio.places import Known
from latentscape.training.checkpoint import from_json

PIECE = 4 * 2**20
"""Bytes that are read at once."""

HELD_OUT = "held out"


@dataclass
class Series:
    """One logged value over the steps, and the number of the record that each value came with."""

    steps: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))
    records: array[int] = field(default_factory=lambda: array("q"))

    def add(self, step: float, value: float, record: int) -> None:
        """A value at a step."""
        self.steps.append(step)
        self.values.append(value)
        self.records.append(record)

    def cut(self, step: float) -> None:
        """Forget what lies after a step."""
        keep = len(self.steps)
        while keep and self.steps[keep - 1] > step:
            keep -= 1
        del self.steps[keep:], self.values[keep:], self.records[keep:]

    def points(self, seen: int = 0) -> curves.Points:
        """(step, value) of the records after the first `seen`."""
        start = bisect_right(self.records, seen)
        return list(zip(self.steps[start:], self.values[start:], strict=True))


Key = tuple[str, str, str]
"""(table, name, line): ("terms", "elbo/kl_nats_per_image", "training")."""


class Follower:
    """What one log says, up to where it was read. `read` goes on; `generation` changes when old points were taken back.

    A line that is still being written is left for the next time; one that is damaged is passed over.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.generation = 0
        self.offset = 0
        self.card: tuple[Any, dict[str, Any]] | None = None  # what `cards.summary` made of it, and of which state
        self._rest = b""
        self._inode = 0
        self._forget()

    def _forget(self) -> None:
        self.series: dict[Key, Series] = {}
        self.warnings: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.fitted: dict[str, Any] = {}
        self.ended: dict[str, Any] | None = None
        self.step: int | None = None
        self.images: int | None = None
        self.seconds: float | None = None
        self.epoch: float | None = None
        self.records = 0

    def read(self) -> None:
        """Take in what was added since the last call; call it with `lock` held."""
        try:
            stat = self.path.stat()
        except OSError:
            return
        if stat.st_ino != self._inode or stat.st_size < self.offset:
            self._begin_again(stat.st_ino)
        if stat.st_size == self.offset:
            return
        with open(self.path, "rb") as f:
            f.seek(self.offset)
            while piece := f.read(PIECE):
                self.offset += len(piece)
                *lines, self._rest = (self._rest + piece).split(b"\n")
                for line in lines:
                    self._take_line(line)

    def _begin_again(self, inode: int) -> None:
        self._inode, self.offset, self._rest = inode, 0, b""
        self.generation += 1
        self._forget()

    def _take_line(self, line: bytes) -> None:
        try:
            record = from_json(line.decode("utf-8", "replace"))
        except json.JSONDecodeError:
            return
        if isinstance(record, dict):
            self._take(record)

    def _take(self, record: dict[str, Any]) -> None:
        self.records += 1
        kind, step = record.get("kind"), record.get("step")
        if kind == "resumed":
            self._take_back(step if isinstance(step, int) else 0)
            return
        if isinstance(step, int):
            self.step = step
        self.images = _whole(record.get("images"), self.images)
        self.seconds = _number(record.get("seconds"), self.seconds)
        self.epoch = _number(record.get("epoch"), self.epoch)
        if kind in ("train", "held_out") and isinstance(step, int):
            self._take_values(record, step, "training" if kind == "train" else HELD_OUT)
        elif kind == "warning":
            self.warnings.append(record)
        elif kind == "note" and record.get("text"):
            self.notes.append(str(record["text"]))
        elif kind == "fitted":
            self.fitted = _table(record.get("terms"))
        elif kind in ("done", "failed", "stopped"):
            self.ended = record

    def _take_values(self, record: dict[str, Any], step: int, line: str) -> None:
        tables = {name: _table(record.get(name)) for name in ("terms", "learning_rate")}
        if line != HELD_OUT:
            tables[""] = {"images_per_second": record.get("images_per_second")}
        for table, values in tables.items():
            for name, value in values.items():
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    self.series.setdefault((table, name, line), Series()).add(step, value, self.records)

    def _take_back(self, step: int) -> None:
        """A resumed run does again what it did after its checkpoint."""
        self.generation += 1
        self.ended, self.step = None, step
        self.warnings = [w for w in self.warnings if w.get("step", 0) <= step]
        for series in self.series.values():
            series.cut(step)

    # ---- for the pages -------------------------------------------------------------------------------------------

    def charts(self, seen: int = 0) -> list[dict[str, Any]]:
        """Every chart with its lines: all of them, thinned, or what came after the first `seen` records."""
        names = list(dict.fromkeys((table, name) for table, name, _ in self.series))
        names.sort(key=lambda pair: ("terms", "learning_rate", "").index(pair[0]))
        phases = {name.partition("/")[0] for table, name in names if table == "terms" and "/" in name}
        return [self._chart(table, name, seen, several=len(phases) > 1) for table, name in names]

    def _chart(self, table: str, name: str, seen: int, *, several: bool) -> dict[str, Any]:
        title, unit = _chart_words(table, name, several)
        lines = []
        for line in ("training", HELD_OUT):
            if series := self.series.get((table, name, line)):
                points = series.points(seen)
                lines.append({"name": line, "points": plain_points(points if seen else curves.thin(points))})
        return {"key": f"{table}|{name}", "kind": table or "speed", "title": title, "unit": unit, "lines": lines}


class Followers:
    """A follower for each run."""

    def __init__(self) -> None:
        self._of: dict[str, Follower] = {}
        self._lock = threading.Lock()

    def of(self, known: Known) -> Follower:
        """The run's follower; read what is new with its lock held."""
        with self._lock:
            if known.id not in self._of:
                self._of[known.id] = Follower(known.folder.log_path)
            return self._of[known.id]


def _chart_words(table: str, name: str, several: bool) -> tuple[str, str]:
    if table == "":
        return "speed", "images per second"
    phase, _, term = name.rpartition("/")
    if table == "learning_rate":
        return f"learning rate, {term.replace('_', ' ')} phase", "step size of the optimiser"
    title, unit = words.term_words(term)
    return (f"{title}, {phase.replace('_', ' ')} phase" if several and phase else title), unit


def plain_points(points: curves.Points) -> list[list[float | None]]:
    """Points that fit JSON; a value that is not finite is a gap."""
    return [[x, y if math.isfinite(y) else None] for x, y in points]


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: Any, otherwise: int | None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def _number(value: Any, otherwise: float | None) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else otherwise
