"""Pictures decoded by several processes, or by threads where there are few or no process can be started.

Half of the time that a small picture takes is spent in Python, which threads of one process share. A process is started
by its interpreter, not by `multiprocessing`: nothing of the caller's program runs again, no lock is copied out of a
thread, only Pillow and NumPy are imported, and it ends when its standard input does, however its parent went.

What goes each way is a line of JSON and the bytes that it announces.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np

from latentscape.data.picture import OtherSizeError, Picture, UnreadableError, decode
from latentscape.data.settings import DataSettings

Result = Picture | UnreadableError | OtherSizeError
Source = Path | str | bytes | UnreadableError

FEWEST = 500
"""Fewer pictures are decoded by threads: processes would have to start for them."""

_AT_ONCE = 32
_BYTES_AT_ONCE = 1 << 20  # of decoded pixels that one worker is asked for together
_SETTINGS = {
    **{f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL")},
    "VECLIB_MAXIMUM_THREADS": "1",
    # Pictures are taken from memory that is kept: given back each time (as glibc does), half of the time goes there.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
}
_BEGIN = "import sys; sys.path[:] = {path!r}; from latentscape.data.decoding import serve; serve()"


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode_in_order(
    source: Callable[[int], Path | bytes],
    count: int,
    settings: DataSettings,
    expected: Callable[[], tuple[int, int] | None],
) -> Generator[Result]:
    """`decode(source(i))` for i from 0 to `count`, in order; what it raises of a picture is the picture's result.

    source: called from several threads; may raise `UnreadableError`. expected: the size that pictures must have as far
    as it is known by now. Few pictures are under way at a time, so that memory stays bounded.
    """
    workers = processors()
    helpers = [_Helper(settings) for _ in range(workers if workers > 1 and count >= FEWEST else 0)]
    idle: queue.SimpleQueue[_Helper | None] = queue.SimpleQueue()
    for helper in helpers or [None] * workers:
        idle.put(helper)
    stopped = threading.Event()

    def work(part: range) -> list[Result]:
        sources = [_given(source, i) for i in part]
        helper, answers = idle.get(), None
        try:
            answers = helper.ask(sources, expected()) if helper else None
        except (OSError, ValueError):
            helper = None  # it could not be started, or ended: from now on this thread decodes in its place
        finally:
            idle.put(helper)
        if answers is None and not stopped.is_set():
            answers = [_decoded(given, settings, expected()) for given in sources]
        return answers or []

    pool = ThreadPoolExecutor(workers)
    step = _together(settings)
    try:
        parts = (range(start, min(start + step, count)) for start in range(0, count, step))
        yield from itertools.chain.from_iterable(_ordered(pool, work, parts, 2 * workers))
    finally:
        stopped.set()
        for helper in helpers:
            helper.end()
        pool.shutdown(cancel_futures=True)
        for helper in helpers:
            helper.close()


def _together(settings: DataSettings) -> int:
    """How many pictures a worker is asked for together: fewer where they are large or of unknown size."""
    if settings.target is None:
        return 4
    height, width = settings.target
    return max(1, min(_AT_ONCE, _BYTES_AT_ONCE // (3 * height * width)))


def _ordered(
    pool: ThreadPoolExecutor, work: Callable[[range], list[Result]], parts: Iterator[range], ahead: int
) -> Iterator[list[Result]]:
    """work(part) of every part in order, with at most `ahead` of them under way."""
    waiting: deque[Future[list[Result]]] = deque()
    for part in parts:
        waiting.append(pool.submit(work, part))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _given(source: Callable[[int], Path | bytes], i: int) -> Source:
    try:
        return source(i)
    except UnreadableError as reason:
        return reason


def _decoded(source: Source, settings: DataSettings, expected: tuple[int, int] | None) -> Result:
    if isinstance(source, UnreadableError):
        return source
    try:
        return decode(source, settings, expected)
    except (UnreadableError, OtherSizeError) as reason:
        return reason


class _Helper:
    """A process that decodes."""

    def __init__(self, settings: DataSettings) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if not sys.executable or getattr(sys, "frozen", False):  # a frozen program would start itself
            return
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BEGIN.format(path=sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pipesize=_BYTES_AT_ONCE,
                env=os.environ | _SETTINGS,
                start_new_session=True,  # Ctrl-C is for the parent, which then ends it
            )
            _send(self._streams()[0], settings.to_dict())

    def _streams(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._process is None:
            raise BrokenPipeError
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def ask(self, sources: list[Source], expected: tuple[int, int] | None) -> list[Result]:
        """The results, in order. Raises `OSError` or `ValueError` if the process is not there (any more)."""
        asks, answers = self._streams()
        wanted = [given for given in sources if not isinstance(given, UnreadableError)]
        files = [len(given) if isinstance(given, bytes) else os.fspath(given) for given in wanted]
        _send(asks, {"files": files, "expected": expected}, *(given for given in wanted if isinstance(given, bytes)))
        return [given if isinstance(given, UnreadableError) else _receive(answers) for given in sources]

    def end(self) -> None:
        """End the process; a thread that waits for it gets an error."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Close the pipes, when no thread uses them any more."""
        if self._process is not None:
            for stream in self._streams():
                with contextlib.suppress(OSError):
                    stream.close()


def _send(asks: IO[bytes], head: dict[str, Any], *bodies: bytes) -> None:
    _write(asks, head, *bodies)
    asks.flush()


def _write(to: IO[bytes], head: dict[str, Any], *bodies: bytes | memoryview) -> None:
    to.write(json.dumps(head).encode() + b"\n")
    for body in bodies:
        to.write(body)


def _receive(answers: IO[bytes]) -> Result:
    line = answers.readline()
    if not line:
        raise BrokenPipeError
    told = json.loads(line)
    if "reason" in told:
        return UnreadableError(told["reason"])
    mode, size = told["mode"], (told["size"][0], told["size"][1])
    if "shape" not in told:
        return OtherSizeError(mode, size)
    pixels = answers.read(math.prod(told["shape"]))
    return Picture(np.frombuffer(pixels, np.uint8).reshape(told["shape"]), mode, size, bytes.fromhex(told["digest"]))


def serve() -> None:
    """What a helping process does: decode what standard input names, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    asks = sys.stdin.buffer
    answers = open(os.dup(1), "wb", buffering=_BYTES_AT_ONCE)  # noqa: SIM115  (as long as the process)
    os.dup2(2, 1)  # what a library prints is no answer
    settings = DataSettings.from_dict(json.loads(asks.readline()))
    while line := asks.readline():
        ask = json.loads(line)
        expected = (ask["expected"][0], ask["expected"][1]) if ask["expected"] else None
        # All is read before anything is written: two processes that both write wait for ever.
        given = [asks.read(file) if isinstance(file, int) else file for file in ask["files"]]
        for each in given:
            _answer(answers, _decoded(each, settings, expected))
        answers.flush()


def _answer(answers: IO[bytes], result: Result) -> None:
    if isinstance(result, UnreadableError):
        return _write(answers, {"reason": str(result)})
    told = {"mode": result.mode, "size": result.size}
    if isinstance(result, OtherSizeError):
        return _write(answers, told)
    told |= {"shape": result.pixels.shape, "digest": result.digest.hex()}
    return _write(answers, told, result.pixels.data)
