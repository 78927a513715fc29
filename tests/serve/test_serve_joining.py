"""Requests that wait together run together, and each gets its own answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from latentscape.serve.joining import Joined
from latentscape.web.refusals import Refused


class Bench:
    """Operations that double their input, wait at a gate, and remember the sizes of their runs."""

    def __init__(self, most: int = 8, waiting: int = 100) -> None:
        self.gate, self.entered, self.sizes = threading.Event(), threading.Semaphore(0), []
        self.seen: list[tuple[str, int]] = []
        operations = {"double": self.double, "negate": lambda given: {"out": -given["x"]}}
        self.joined = Joined(operations, most, waiting, lambda operation, n: self.seen.append((operation, n)))

    def double(self, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.entered.release()
        assert self.gate.wait(20)
        self.sizes.append(len(given["x"]))
        if (given["x"] == 13).any():
            raise ValueError("thirteen")
        return {"out": 2 * given["x"]}

    async def ask(self, *values: float, operation: str = "double") -> list[float]:
        answer = await self.joined(operation, {"x": np.array(values)})
        return answer["out"].tolist()

    async def first_runs(self) -> None:
        """Until the first run is at the gate."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=20)


def run(test: Callable[[Bench], Coroutine[Any, Any, None]], **settings: int) -> Bench:
    async def whole() -> Bench:
        bench = Bench(**settings)
        try:
            await test(bench)
        finally:
            bench.gate.set()
            bench.joined.close()
        return bench

    # In a thread of its own: a browser that other tests drive keeps a loop running in this one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, whole()).result()


def test_what_waits_is_joined_and_handed_out_in_order() -> None:
    async def test(bench: Bench) -> None:
        first = asyncio.create_task(bench.ask(1))
        await bench.first_runs()
        others = [asyncio.create_task(bench.ask(*range(i, i + size))) for i, size in ((10, 1), (20, 3), (30, 2))]
        await asyncio.sleep(0.05)
        assert bench.joined.waiting == 6
        bench.gate.set()
        assert await first == [2]
        assert [await o for o in others] == [[20], [40, 42, 44], [60, 62]]

    bench = run(test)
    assert bench.sizes == [1, 6]
    assert bench.joined.waiting == 0
    assert bench.seen == [("double", 1), ("double", 6)]


def test_an_idle_server_does_not_wait_for_company() -> None:
    async def test(bench: Bench) -> None:
        bench.gate.set()
        assert await bench.ask(4) == [8]

    assert run(test).sizes == [1]


def test_runs_have_at_most_so_many_and_large_requests_go_in_parts() -> None:
    async def test(bench: Bench) -> None:
        first = asyncio.create_task(bench.ask(1))
        await bench.first_runs()
        several = [asyncio.create_task(bench.ask(*[i] * 3)) for i in range(4)]
        large = asyncio.create_task(bench.ask(*range(20, 40)))
        bench.gate.set()
        await asyncio.gather(first, *several)
        assert await large == [2.0 * i for i in range(20, 40)]

    assert run(test).sizes == [1, 6, 6, 8, 8, 4]


def test_operations_do_not_mix() -> None:
    async def test(bench: Bench) -> None:
        first = asyncio.create_task(bench.ask(1))
        await bench.first_runs()
        doubled, negated, other = (
            asyncio.create_task(bench.ask(value, operation=operation))
            for value, operation in ((2, "double"), (3, "negate"), (4, "double"))
        )
        bench.gate.set()
        assert (await first, await doubled, await negated, await other) == ([2], [4], [-3], [8])

    assert run(test).sizes == [1, 2]


def test_a_request_that_fails_does_not_fail_its_neighbours() -> None:
    async def test(bench: Bench) -> None:
        first = asyncio.create_task(bench.ask(1))
        await bench.first_runs()
        good, bad, other = (asyncio.create_task(bench.ask(value)) for value in (2, 13, 3))
        bench.gate.set()
        assert await first == [2]
        assert await good == [4]
        assert await other == [6]
        with pytest.raises(ValueError, match="thirteen"):
            await bad
        assert await bench.ask(5) == [10]

    run(test)


def test_who_has_gone_is_left_out() -> None:
    async def test(bench: Bench) -> None:
        first = asyncio.create_task(bench.ask(1))
        await bench.first_runs()
        gone, stays = asyncio.create_task(bench.ask(2, 2)), asyncio.create_task(bench.ask(3))
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.sleep(0.01)
        bench.gate.set()
        assert (await first, await stays) == ([2], [6])
        assert bench.joined.waiting == 0

    assert run(test).sizes == [1, 1]


def test_a_full_queue_refuses() -> None:
    async def test(bench: Bench) -> None:
        first = asyncio.create_task(bench.ask(1))
        await bench.first_runs()
        waiting = asyncio.create_task(bench.ask(*range(9)))
        await asyncio.sleep(0.01)
        with pytest.raises(Refused) as refused:
            await bench.ask(1, 2)
        assert refused.value.status == 503
        bench.gate.set()
        await asyncio.gather(first, waiting)
        assert await bench.ask(1, 2) == [2, 4]

    run(test, waiting=10)
