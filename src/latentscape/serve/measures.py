"""What the server measures of itself, in Prometheus's text format (version 0.0.4)."""

from __future__ import annotations

import bisect
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from latentscape.web.refusals import ASGI, Message, Receive, Scope, Send

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
EXAMPLES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

Labels = tuple[tuple[str, str], ...]


class Histogram:
    """Counts of values at or below each bound, by labels."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts: dict[Labels, list[int]] = defaultdict(lambda: [0] * (len(bounds) + 1))
        self.sums: dict[Labels, float] = defaultdict(float)

    def add(self, value: float, **labels: str) -> None:
        """Count one value."""
        key = tuple(labels.items())
        self.counts[key][bisect.bisect_left(self.bounds, value)] += 1
        self.sums[key] += value

    def lines(self, name: str) -> list[str]:
        """Samples of the text format."""
        out = []
        for key, counts in sorted(self.counts.items()):
            running = 0
            for bound, count in zip((*self.bounds, "+Inf"), counts, strict=True):
                running += count
                text = bound if isinstance(bound, str) else f"{bound:g}"
                out.append(f"{name}_bucket{_braces((*key, ('le', text)))} {running}")
            out += [f"{name}_sum{_braces(key)} {self.sums[key]:.9g}", f"{name}_count{_braces(key)} {running}"]
        return out


class Measures:
    """Requests, seconds, batches and gauges. `gauges`: name → (what it is, function that reads it)."""

    def __init__(self) -> None:
        self.requests: dict[Labels, int] = defaultdict(int)
        self.seconds = Histogram(SECONDS)
        self.batches = Histogram(EXAMPLES)
        self.in_flight = 0
        self.started = time.time()
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {
            "latentscape_in_flight": ("Requests that are being answered.", lambda: self.in_flight),
            "process_resident_memory_bytes": ("Memory that the process holds.", resident_bytes),
            "process_start_time_seconds": ("When the server started, in seconds since 1970.", lambda: self.started),
        }
        self.lock = threading.Lock()  # the nets' thread counts batches while a request reads them

    def ran(self, operation: str, n: int) -> None:
        """One run of the nets over n examples."""
        with self.lock:
            self.batches.add(n, operation=operation)

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """One request."""
        with self.lock:
            self.requests[("endpoint", endpoint), ("status", str(status))] += 1
            self.seconds.add(seconds, endpoint=endpoint)

    def text(self) -> str:
        """All of it."""
        with self.lock:
            return "\n".join([*self._counted(), *self._gauged(), ""])

    def _counted(self) -> list[str]:
        requests = [f"latentscape_requests_total{_braces(key)} {n}" for key, n in sorted(self.requests.items())]
        return [
            *_head("latentscape_requests_total", "counter", "Requests by address and answer."),
            *requests,
            *_head("latentscape_request_seconds", "histogram", "Seconds from the headers to the end of the answer."),
            *self.seconds.lines("latentscape_request_seconds"),
            *_head("latentscape_batch_examples", "histogram", "Examples in one run of the nets."),
            *self.batches.lines("latentscape_batch_examples"),
        ]

    def _gauged(self) -> list[str]:
        out = []
        for name, (words, read) in self.gauges.items():
            out += [*_head(name, "gauge", words), f"{name} {read():.15g}"]
        return out


class Measured:
    """An ASGI application whose requests are counted, those that its guard refuses as well."""

    def __init__(self, app: ASGI, measures: Measures, endpoints: frozenset[str]) -> None:
        self.app, self.measures, self.endpoints = app, measures, endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, began = 499, time.perf_counter()  # 499: the client went before there was an answer

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.measures.in_flight += 1
        try:
            await self.app(scope, receive, noted)
        finally:
            self.measures.in_flight -= 1
            # Any other address counts as one: names that clients make up must not fill the memory.
            endpoint = scope["path"] if scope["path"] in self.endpoints else "other"
            self.measures.answered(endpoint, status, time.perf_counter() - began)


def resident_bytes() -> float:
    """Memory that this process holds now; where that is not told, the most that it has held."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _head(name: str, kind: str, words: str) -> list[str]:
    return [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]


def _braces(labels: Labels) -> str:
    quoted = ",".join(f'{key}="{value}"' for key, value in labels)
    return f"{{{quoted}}}" if quoted else ""
