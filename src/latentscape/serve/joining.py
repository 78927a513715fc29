"""Requests that wait together run together.

One thread runs the nets. While it is idle a request runs at once; while it runs, others gather, and all that wait for
the same operation go into the next run, up to `most` examples. So nothing ever waits for company, and under load the
batches grow by themselves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from latentscape.web.refusals import LOG, Refused

Arrays = dict[str, np.ndarray]
Operation = Callable[[Arrays], Arrays]


@dataclass(eq=False)
class _Job:
    operation: str
    given: Arrays
    n: int
    answer: asyncio.Future[Arrays]


class Joined:
    """Operations on arrays with a batch dimension, called from any number of requests of one event loop.

    Args:
        operations: name → function of arrays of B examples that gives arrays of B examples, in order.
        most: examples in one run; a request with more of them runs alone, in parts.
        waiting: examples that may wait; beyond, `Refused` with 503.
        seen: is told the operation and the number of examples of each run.
    """

    def __init__(
        self,
        operations: Mapping[str, Operation],
        most: int,
        waiting: int,
        seen: Callable[[str, int], None] = lambda operation, n: None,
    ) -> None:
        self.operations, self.most, self.limit, self.seen = operations, most, waiting, seen
        self.queue: deque[_Job] = deque()
        self.waiting = 0
        self.pool = ThreadPoolExecutor(1, thread_name_prefix="nets")
        self.worker: asyncio.Task[None] | None = None

    async def __call__(self, operation: str, given: Arrays) -> Arrays:
        """The operation's answer for these examples alone. Raises `Refused` if too many wait."""
        n = len(next(iter(given.values())))
        if self.waiting + n > self.limit:
            raise Refused(503, "the server is busy; try again in a second", {"retry-after": "1"})
        job = _Job(operation, given, n, asyncio.get_running_loop().create_future())
        self.queue.append(job)
        self.waiting += n
        if self.worker is None:
            self.worker = asyncio.create_task(self._work())
        return await job.answer

    def close(self) -> None:
        """Wait for the run under way and end the thread."""
        self.pool.shutdown(cancel_futures=True)

    async def _work(self) -> None:
        try:
            while jobs := self._next():
                await self._run(jobs)
        finally:
            self.worker = None

    def _next(self) -> list[_Job]:
        """The job that waits longest, and those for the same operation that fit into its run."""
        jobs: list[_Job] = []
        total = 0
        for job in list(self.queue):
            if job.answer.done():  # whoever asked has gone
                self._take(job)
            elif not jobs or (job.operation == jobs[0].operation and total + job.n <= self.most):
                self._take(job)
                jobs.append(job)
                total += job.n
            if total >= self.most:
                break
        return jobs

    def _take(self, job: _Job) -> None:
        self.queue.remove(job)
        self.waiting -= job.n

    async def _run(self, jobs: list[_Job]) -> None:
        try:
            given = {name: np.concatenate([job.given[name] for job in jobs]) for name in jobs[0].given}
            function = partial(self._in_parts, jobs[0].operation, given)
            answer = await asyncio.get_running_loop().run_in_executor(self.pool, function)
        except Exception as error:
            await self._failed(jobs, error)
            return
        start = 0
        for job in jobs:
            if not job.answer.done():
                job.answer.set_result({name: part[start : start + job.n] for name, part in answer.items()})
            start += job.n

    async def _failed(self, jobs: list[_Job], error: Exception) -> None:
        """Neighbours of what failed run alone, so that only it fails."""
        if len(jobs) == 1:
            if not jobs[0].answer.done():
                jobs[0].answer.set_exception(error)
            return
        LOG.warning("a run of %s requests failed (%s); each runs alone", len(jobs), type(error).__name__)
        for job in jobs:
            await self._run([job])

    def _in_parts(self, operation: str, given: Arrays) -> Arrays:
        n = len(next(iter(given.values())))
        parts = []
        for start in range(0, n, self.most):
            part = {name: values[start : start + self.most] for name, values in given.items()}
            self.seen(operation, min(self.most, n - start))
            parts.append(self.operations[operation](part))
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
