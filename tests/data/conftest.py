"""Every test gets a cache of its own and no network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from latentscape.errors import DataError, LatentscapeError


@pytest.fixture(autouse=True)
def own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache root, no other places to look, no addresses to fetch from."""
    root = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LATENTSCAPE_CACHE", str(root))
    for name in ("LATENTSCAPE_DATA", "LATENTSCAPE_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    nowhere = dict.fromkeys(("mnist", "fashion-mnist", "kmnist", "celeba"), ())
    monkeypatch.setattr("latentscape.data.fetching.ADDRESSES", nowhere)
    return root


@pytest.fixture
def refused() -> Callable:
    """`with refused("words", …):` the block must raise one sentence that holds all of these words."""

    @contextmanager
    def expect(*words: str, kind: type[LatentscapeError] = DataError) -> Iterator[None]:
        with pytest.raises(kind) as error:
            yield
        said = str(error.value)
        assert "\n" not in said
        for word in words:
            assert word in said

    return expect
