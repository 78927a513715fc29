"""What every test has: one thread, caches of its own, no network's leftovers."""

from __future__ import annotations

import os

# Read by the OpenMP library when torch loads it: threads that wait yield at once on a busy machine.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(1)  # the nets of the tests are small: one thread is as fast, and the bits depend on the number


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help="record the golden loss curves instead of comparing them")


@pytest.fixture(autouse=True)
def private_places(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read from or written to the caches of whoever runs the tests."""
    monkeypatch.setenv("LATENTSCAPE_CACHE", str(tmp_path_factory.mktemp("cache")))
    if request.node.get_closest_marker("mnist") is None:
        monkeypatch.setenv("LATENTSCAPE_DATA", str(tmp_path_factory.mktemp("data")))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Runs set the thread count that they recorded; the next test starts from one again."""
    yield
    torch.set_num_threads(1)
