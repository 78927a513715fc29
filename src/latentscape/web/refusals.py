"""Answers that say no: JSON `{"error": "one sentence"}`, whoever in the application refuses."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from latentscape.errors import UserError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]

LOG = logging.getLogger("latentscape.web")

BROKEN = "the server failed at this request; what went wrong stands in its own log"


class Refused(UserError):
    """A request that is answered with `status` (4xx or 503) and one sentence."""

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.headers = status, headers or {}


def body_of(sentence: str) -> bytes:
    """The JSON that carries a sentence."""
    return json.dumps({"error": sentence}, ensure_ascii=False).encode()


async def answer(send: Send, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
    """Send a refusal on a connection whose response has not begun."""
    body = body_of(sentence)
    said = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    raw = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in said.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def say_errors(app: FastAPI) -> None:
    """Make a FastAPI application answer every error with one sentence; a `UserError` that is not `Refused` is a 400."""
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException
    from starlette.responses import Response

    def respond(status: int, sentence: str, headers: Any = None) -> Response:
        return Response(body_of(sentence), status, headers, "application/json")

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return respond(error.status_code, _http_sentence(request, error), error.headers)

    async def validation(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return respond(422, validation_sentence(list(error.errors())))

    async def user(_: Request, error: Exception) -> Response:
        if isinstance(error, Refused):
            return respond(error.status, str(error), error.headers)
        return respond(400, str(error))

    async def broken(_: Request, __: Exception) -> Response:  # Starlette raises the error again: the guard logs it
        return respond(500, BROKEN)

    app.add_exception_handler(Exception, broken)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(UserError, user)


def _http_sentence(request: Request, error: Any) -> str:
    """Starlette's own errors are a status's phrase; what to do is added."""
    if error.status_code == 404 and error.detail == HTTPStatus.NOT_FOUND.phrase:
        return "there is nothing at this address; see the list of addresses in the documentation of the server"
    if error.status_code == 405:
        methods = (error.headers or {}).get("Allow", "another method")
        return f"this address does not answer {request.method[:10]}; use {methods}"
    if error.status_code == 400 and error.detail == "There was an error parsing the body":
        return "the body cannot be read; send what the Content-Type says"
    return str(error.detail)


def validation_sentence(errors: list[Any]) -> str:
    """The first of pydantic's errors as a sentence: where, and what it must be; never what was sent."""
    first = errors[0]
    place = [str(part) for part in first["loc"]]
    if place == ["body"]:
        place = []
    elif len(place) > 1 and place[0] in ("body", "query", "path", "header"):
        place = place[1:]
    where = ".".join(place)[:80] or "the body"
    text = str(first["msg"]).removeprefix("Value error, ").rstrip(".")[:200]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{where}: {text[:1].lower()}{text[1:]}{more}"
