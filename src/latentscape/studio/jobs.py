"""Commands that the studio starts for the user: each a process of its own, stopped as ctrl-C would stop it."""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from latentscape.errors import UserError
from latentscape.studio.places import NotThere

MOST_RUNNING = 2
"""Jobs at once: each of them takes the whole machine."""

TAIL = 4_000
"""Bytes of what a job said that a page is told."""


@dataclass
class Job:
    """A command that was started. words: what can be typed to do the same. about: what its starter remembers."""

    id: str
    kind: str
    words: list[str]
    process: subprocess.Popen[bytes]
    said: IO[bytes]
    answer: IO[bytes]
    about: dict[str, Any] = field(default_factory=dict)
    stopped: bool = False

    @property
    def state(self) -> str:
        """running, done, stopped or failed."""
        status = self.process.poll()
        if status is None:
            return "running"
        return "done" if status == 0 else "stopped" if self.stopped else "failed"

    def told(self) -> str:
        """The last lines that it said to people."""
        self.said.flush()
        size = os.fstat(self.said.fileno()).st_size
        text = os.pread(self.said.fileno(), TAIL, max(0, size - TAIL)).decode("utf-8", "replace")
        return text.strip()

    def output(self) -> str:
        """All that it wrote to standard output."""
        size = os.fstat(self.answer.fileno()).st_size
        return os.pread(self.answer.fileno(), size, 0).decode("utf-8", "replace")

    def to_json(self) -> dict[str, Any]:
        """What a page is told of it."""
        lines = self.told().splitlines()
        state = self.state
        last = lines[-1].removeprefix("latentscape: ") if lines else ""
        return {
            "id": self.id,
            "kind": self.kind,
            "state": state,
            "said": lines[-12:],
            "last": last,
            "command": shlex.join(["latentscape", *self.words]),
            "run": self.about.get("run", ""),
        }


class Jobs:
    """The jobs of one studio."""

    def __init__(self) -> None:
        self._all: dict[str, Job] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._rooms: list[tempfile.TemporaryDirectory[str]] = []

    def room(self) -> Path:
        """A folder for a job's files, which goes when the studio ends."""
        self._rooms.append(tempfile.TemporaryDirectory(prefix="latentscape-studio-"))
        return Path(self._rooms[-1].name)

    def start(
        self,
        kind: str,
        words: Sequence[str],
        about: dict[str, Any] | None = None,
        *,
        shown: Sequence[str] | None = None,
    ) -> Job:
        """Start `latentscape WORDS` as a process of its own; `UserError` while too many run.

        shown: the command as a person would type it, where the studio adds to it.
        """
        with self._lock:
            if sum(j.state == "running" for j in self._all.values()) >= MOST_RUNNING:
                raise UserError("two commands are running already; wait for one of them, or stop it")
            said, answer = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 (the job's own)
            process = subprocess.Popen(
                [sys.executable, "-m", "latentscape.cli", *words],
                stdin=subprocess.DEVNULL,
                stdout=answer,
                stderr=said,
                start_new_session=True,  # the terminal's ctrl-C reaches the studio, which passes it on once
            )
            job = Job(str(next(self._numbers)), kind, list(shown or words), process, said, answer, about or {})
            self._all[job.id] = job
            return job

    def all(self, kind: str = "") -> list[Job]:
        """Jobs that were started, the newest last."""
        return [j for j in self._all.values() if kind in ("", j.kind)]

    def get(self, job_id: str) -> Job:
        """A job by its number; `NotThere` for any other."""
        if job_id not in self._all:
            raise NotThere("there is no such job; the studio was started again since")
        return self._all[job_id]

    def stop(self, job_id: str) -> Job:
        """Ask a job to end as ctrl-C would: a run that it trains is saved."""
        job = self.get(job_id)
        if job.state == "running":
            job.stopped = True
            with contextlib.suppress(ProcessLookupError):
                job.process.send_signal(signal.SIGINT)
        return job

    def close(self) -> None:
        """Ask all of them, and give back what they wrote for the studio alone."""
        for job in self.all():
            self.stop(job.id)
            job.said.close()
            job.answer.close()
        self._all.clear()
        for room in self._rooms:
            room.cleanup()
