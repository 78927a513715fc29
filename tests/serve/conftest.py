"""A server over a tiny export, in a thread, asked over real connections."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from latentscape.serve.app import make_app
from latentscape.serve.exported import Exported
from latentscape.web.binding import Binding, bind
from latentscape.web.limits import Limits
from latentscape.web.runner import in_background
from tiny_exports import Tiny

LIMITS = Limits(body_bytes=1 << 20, body_seconds=0.6, header_seconds=0.6, pixels=1_000_000, batch=32)


@dataclass
class Served:
    """A running server: what it serves and a client."""

    tiny: Tiny
    exported: Exported
    binding: Binding
    client: httpx.Client

    def post(self, path: str, body: Any = None, **named: Any) -> httpx.Response:
        if body is not None:
            named["json"] = body
        return self.client.post(path, **named)

    def works(self) -> bool:
        """Whether a good request still gets its answer."""
        answer = self.client.post("/v1/decode", json={"z": [[0.1, 0.2, 0.3]]})
        return answer.status_code == 200 and len(answer.json()["x"]) == 1


@contextlib.contextmanager
def served(tiny: Tiny, token: str = "", **limits: Any) -> Iterator[Served]:
    chosen = replace(LIMITS, **limits)
    exported = Exported(tiny.folder, 1)
    binding = bind("127.0.0.1", 0, token)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    with (
        in_background(make_app(exported, binding, chosen), binding, chosen) as url,
        httpx.Client(base_url=url("/"), headers=headers, trust_env=False, timeout=20) as client,
    ):
        yield Served(tiny, exported, binding, client)


@pytest.fixture(scope="module")
def make_served(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    def make(token: str = "", changes: dict[str, Any] | None = None, limits: dict[str, Any] | None = None, **tiny: Any):
        made = Tiny(tmp_path_factory.mktemp("export") / "tiny", **tiny)
        made.write(**(changes or {}))
        return served(made, token, **(limits or {}))

    return make


@pytest.fixture(scope="module")
def plain(make_served: Callable[..., Any]) -> Iterator[Served]:
    """Grey pictures, no labels, no token."""
    with make_served() as server:
        yield server


@pytest.fixture(scope="module")
def labelled(make_served: Callable[..., Any]) -> Iterator[Served]:
    """RGB pictures in [-1, 1] and two classes."""
    with make_served(shape=(3, 6, 5), labels=("cat", "1"), value_range=(-1.0, 1.0)) as server:
        yield server


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    made = Tiny(tmp_path / "tiny")
    made.write()
    return made
