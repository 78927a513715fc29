from __future__ import annotations

from collections.abc import Iterator

import pytest

import loops


@pytest.fixture(autouse=True)
def toys() -> Iterator[None]:
    with loops.toys_known():
        yield
