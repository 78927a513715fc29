"""The gate, before an application of its own, over real connections and by hand where time or memory matter."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from pydantic import BaseModel

from latentscape.errors import AbilityError
from latentscape.web.binding import Binding, bind
from latentscape.web.guard import Guard, content_security_policy
from latentscape.web.limits import Limits
from latentscape.web.refusals import Refused, say_errors
from latentscape.web.runner import in_background

LIMITS = Limits(body_bytes=1000, body_seconds=0.3)
TOKEN = "a-token-of-the-tests"


class Body(BaseModel):
    n: int


def application() -> FastAPI:
    app = FastAPI(docs_url=None, redoc_url=None)
    say_errors(app)

    @app.get("/page")
    async def page(request: Request) -> Any:
        return {"query": str(request.query_params)}

    @app.post("/echo")
    async def echo(request: Request) -> Any:
        return {"length": len(await request.body())}

    @app.post("/typed")
    async def typed(body: Body) -> Any:
        return body

    @app.get("/cached")
    async def cached() -> Any:
        from starlette.responses import Response

        return Response("x", headers={"cache-control": "max-age=60", "referrer-policy": "same-origin"})

    @app.get("/broken")
    async def broken() -> Any:
        raise RuntimeError("a secret of the inside")

    @app.get("/unable")
    async def unable() -> Any:
        raise AbilityError("a GAN has no encoder; choose another model")

    @app.get("/teapot")
    async def teapot() -> Any:
        raise Refused(418, "this is a teapot", {"x-tea": "green"})

    return app


@pytest.fixture(scope="module", params=["", TOKEN], ids=["open", "locked"])
def client(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    binding = bind("127.0.0.1", 0, request.param)
    headers = {"authorization": f"Bearer {request.param}"} if request.param else {}
    with (
        in_background(Guard(application(), binding, LIMITS), binding, LIMITS) as url,
        httpx.Client(base_url=url("/"), headers=headers, trust_env=False) as made,
    ):
        yield made


def test_every_answer_carries_the_headers(client: httpx.Client) -> None:
    for answer in (client.get("/page"), client.get("/nowhere"), client.get("/page", headers={"host": "evil.example"})):
        assert answer.headers["content-security-policy"] == content_security_policy()
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert "camera=()" in answer.headers["permissions-policy"]
        assert "server" not in answer.headers


def test_what_the_application_says_itself_stays(client: httpx.Client) -> None:
    answer = client.get("/cached")
    assert answer.headers.get_list("cache-control") == ["max-age=60"]
    assert answer.headers.get_list("referrer-policy") == ["same-origin"]


def test_the_policy_allows_nothing_inline_and_wasm_on_request() -> None:
    assert "unsafe" not in content_security_policy()
    assert "script-src 'self' 'wasm-unsafe-eval';" in content_security_policy(wasm=True)
    for policy in (content_security_policy(), content_security_policy(wasm=True)):
        assert "unsafe-inline" not in policy
        assert "'unsafe-eval'" not in policy
        assert "http" not in policy


def test_errors_are_sentences(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    def said(answer: httpx.Response) -> tuple[int, str]:
        assert list(answer.json()) == ["error"]
        return answer.status_code, answer.json()["error"]

    assert said(client.get("/unable")) == (400, "a GAN has no encoder; choose another model")
    tea = client.get("/teapot")
    assert said(tea) == (418, "this is a teapot")
    assert tea.headers["x-tea"] == "green"
    assert said(client.get("/nowhere"))[0] == 404
    assert said(client.post("/page")) == (405, "this address does not answer POST; use GET")
    assert said(client.post("/typed", json={"n": "x"}))[1].startswith("n: input should be a valid integer")
    assert said(client.post("/typed", content=b"{"))[0] == 422
    with caplog.at_level(logging.CRITICAL):
        status, sentence = said(client.get("/broken"))
    assert status == 500
    assert "secret" not in sentence


def test_bodies_up_to_the_limit_come_whole(client: httpx.Client) -> None:
    assert client.post("/echo", content=b"x" * 1000).json() == {"length": 1000}
    assert client.post("/echo", content=(b"x" * 100 for _ in range(10))).json() == {"length": 1000}
    assert client.post("/echo", content=b"x" * 1001).status_code == 413
    assert client.post("/echo", content=(b"x" * 100 for _ in range(11))).status_code == 413
    assert client.post("/echo").json() == {"length": 0}


def test_a_link_with_the_token_becomes_a_cookie() -> None:
    binding = bind("127.0.0.1", 0, TOKEN)
    with (
        in_background(Guard(application(), binding), binding) as url,
        httpx.Client(base_url=url("/"), trust_env=False) as browser,
    ):
        assert browser.get("/page").status_code == 401
        assert browser.get("/page?token=wrong-token-of-the-tests").status_code == 401
        first = browser.get(f"/page?a=1&token={TOKEN}&b=%2F")
        assert first.status_code == 303
        assert first.headers["location"] == "/page?a=1&b=%2F"
        cookie = first.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert TOKEN not in cookie
        assert browser.get("/page?a=1").json() == {"query": "a=1"}
        assert browser.post("/echo", content=b"x").json() == {"length": 1}
        assert browser.post("/echo", headers={"origin": "http://evil.example"}).status_code == 403
        name, value = next(iter(browser.cookies.items()))
        browser.cookies.clear()
        for wrong in ("", value[:-1], value + "0", TOKEN):
            assert browser.get("/page", headers={"cookie": f"{name}={wrong}"}).status_code == 401
        assert browser.post(f"/echo?token={TOKEN}").status_code == 401


def test_a_link_with_the_token_leads_nowhere_else() -> None:
    binding = bind("127.0.0.1", 0, TOKEN)
    with (
        in_background(Guard(application(), binding), binding) as url,
        httpx.Client(base_url=url("/"), trust_env=False) as browser,
    ):
        for path in ("//evil.example/x", "///evil.example", "/\\evil.example", "/%5cevil.example"):
            browser.cookies.clear()
            sent = browser.get(url("/").rstrip("/") + path, params={"token": TOKEN})
            assert sent.status_code == 303
            where = sent.headers["location"]
            assert where.startswith("/")
            assert not where.startswith(("//", "/\\"))


def test_streams_see_the_client_go() -> None:
    """After the body, `receive` is the connection's own: a stream ends when its reader does."""
    messages = [{"type": "http.request", "body": b"ab", "more_body": True}, {"type": "http.request", "body": b"c"}]
    messages.append({"type": "http.disconnect"})
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await receive())
        seen.append(await receive())

    async def receive() -> Any:
        return messages.pop(0)

    guarded(app, receive)
    assert seen == [{"type": "http.request", "body": b"abc", "more_body": False}, {"type": "http.disconnect"}]


def test_slow_bodies_and_their_memory() -> None:
    guard = Guard(unreached, local(), replace(LIMITS, body_seconds=0.05))

    async def receive() -> Any:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    assert statuses(guarded(guard, receive)) == [408]
    assert guard.held_bytes == 0


def test_all_bodies_together_are_bounded() -> None:
    guard = Guard(unreached, local(), replace(LIMITS, held_bytes=500))

    async def receive() -> Any:
        return {"type": "http.request", "body": b"x" * 600, "more_body": False}

    sent = guarded(guard, receive)
    assert statuses(sent) == [503]
    assert dict(sent[0]["headers"])[b"retry-after"] == b"1"
    assert guard.held_bytes == 0


def test_a_client_that_goes_is_no_error() -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    assert guarded(Guard(unreached, local(), LIMITS), receive) == []


def test_what_fails_after_it_began_is_not_begun_again(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("late")

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    assert statuses(guarded(app, receive)) == [200]
    assert "late" in caplog.text


def test_sockets_are_refused() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    in_thread(Guard(unreached, local())({"type": "websocket"}, unasked, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def unreached(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("the application was reached")


async def unasked() -> Any:
    raise AssertionError("nothing was to be received")


def local() -> Binding:
    made = bind("127.0.0.1", 0)
    made.listener.close()
    return made


def guarded(app: Any, receive: Any) -> list[Any]:
    """What is sent in answer to a POST that comes through `receive`."""
    guard = app if isinstance(app, Guard) else Guard(app, local(), LIMITS)
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }

    async def send(message: Any) -> None:
        sent.append(message)

    in_thread(guard(scope, receive, send))
    return sent


def in_thread(coroutine: Coroutine[Any, Any, None]) -> None:
    # In a thread of its own: a browser that other tests drive keeps a loop running in this one.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, coroutine).result()


def statuses(sent: list[Any]) -> list[int]:
    return [message["status"] for message in sent if message["type"] == "http.response.start"]
