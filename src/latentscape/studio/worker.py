"""One thread that does all inference, in the order of asking, without what was overtaken while it waited.

Two models that compute at once on few cores are both slow; one after the other, each picture comes as soon as it can.
The thread is a daemon: a studio that is told to end does not wait for it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

import torch

from latentscape.web.refusals import Refused

P = ParamSpec("P")
R = TypeVar("R")

MOST_SLOTS = 500
"""Slots that are remembered: one for each thing on a page that a pointer may move."""

MOST_WAITING = 64
"""Calls that may wait; more are refused at once."""


class Overtaken(Refused):
    """A newer call for the same slot came before this one had begun (409)."""

    def __init__(self) -> None:
        super().__init__(409, "a newer request took the place of this one")


class Worker:
    """`await do(f, …)` runs f on the one thread, without gradients, and answers with what it returns or raises.

    busy: whether it is at work.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._newest: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        self._turn = 0
        self._waiting = 0
        self.busy = False
        threading.Thread(target=self._work, name="studio-inference", daemon=True).start()

    async def do(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function on the worker."""
        return await self._answer(self._submit("", lambda: function(*args, **kwargs)))

    async def newest(self, slot: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The same, dropped with `Overtaken` if a newer call names the same slot before this one has begun.

        slot: any name; "" is nobody's, and is never overtaken.
        """
        return await self._answer(self._submit(slot, lambda: function(*args, **kwargs)))

    async def _answer(self, asked: Future[R]) -> R:
        try:
            return await asyncio.wrap_future(asked)
        except asyncio.CancelledError:
            raise Refused(503, "the studio is ending; start it again in its terminal") from None

    def _submit(self, slot: str, call: Callable[[], R]) -> Future[R]:
        answer: Future[R] = Future()
        with self._lock:
            if self._waiting >= MOST_WAITING:
                raise Refused(
                    503, "the studio is busy with earlier requests; try again in a second", {"retry-after": "1"}
                )
            self._waiting += 1
            self._turn += 1
            turn = self._turn
            if slot:
                self._newest[slot] = turn
                self._newest.move_to_end(slot)
                while len(self._newest) > MOST_SLOTS:
                    self._newest.popitem(last=False)

        def job() -> None:
            with self._lock:
                self._waiting -= 1
                overtaken = bool(slot) and self._newest.get(slot, turn) != turn
            if not answer.set_running_or_notify_cancel():
                return
            if overtaken:
                answer.set_exception(Overtaken())
                return
            try:
                with torch.no_grad():
                    answer.set_result(call())
            except BaseException as error:
                answer.set_exception(error)

        self._queue.put(job)
        return answer

    def _work(self) -> None:
        while True:
            job = self._queue.get()
            self.busy = True
            job()
            self.busy = False
