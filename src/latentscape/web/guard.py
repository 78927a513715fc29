"""The gate before an application: who asks, from where, how much, how slowly, and what every answer carries.

It wraps any ASGI application as the outermost layer. In order: the size of the headers (uvicorn bounds them only
while they are incomplete), the Host header (DNS rebinding), the token, the origin
of what changes something (cross-site requests), the body (size and time, read whole before the application starts),
the number of requests at once. Every answer gets the security headers, every error is one sentence of JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from latentscape.web.binding import Binding
from latentscape.web.limits import Limits
from latentscape.web.refusals import ASGI, BROKEN, LOG, Message, Receive, Refused, Scope, Send, answer, body_of

READING = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing, so that their origin does not matter."""

LINGER_SECONDS = 1.0
"""How long what a refused client is still sending is read and thrown away."""


def content_security_policy(wasm: bool = False) -> str:
    """Everything from this server only, nothing inline. wasm: WebAssembly may be compiled, as onnxruntime-web does."""
    script = "'self' 'wasm-unsafe-eval'" if wasm else "'self'"
    return (
        f"default-src 'none'; script-src {script}; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' blob:; font-src 'self'; connect-src 'self'; worker-src 'self' blob:; "
        "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def security_headers(policy: str) -> dict[str, str]:
    """What every answer carries unless the application has said it itself."""
    return {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
    }


class Guard:
    """Wrap an ASGI application: `Guard(app, binding)`.

    Args:
        app: FastAPI, Starlette or any other ASGI application.
        binding: the address, the names and the token.
        limits: of bodies and of requests at once.
        wasm: pages may compile WebAssembly.
        open_paths: exact paths that need no token and are answered however many requests are under way.
    """

    def __init__(
        self,
        app: ASGI,
        binding: Binding,
        limits: Limits | None = None,
        *,
        wasm: bool = False,
        open_paths: Iterable[str] = (),
    ) -> None:
        self.app, self.binding, self.limits = app, binding, limits or Limits()
        self.open_paths = frozenset(open_paths)
        self.headers = [(k.encode(), v.encode()) for k, v in security_headers(content_security_policy(wasm)).items()]
        self.cookie = f"latentscape-{binding.port}"
        self.pass_phrase = hmac.new(binding.token.encode(), b"latentscape cookie", hashlib.sha256).hexdigest()
        self.working = 0
        self.held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = False

        async def guarded(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                said = {name.lower() for name, _ in message.get("headers", ())}
                more = [pair for pair in self.headers if pair[0] not in said]
                message = {**message, "headers": [*message.get("headers", ()), *more]}
            await send(message)

        try:
            await self._admitted(scope, receive, guarded)
        except Refused as refusal:
            if not began:
                await _refuse(refusal, receive, guarded)
        except ClientGone:
            return
        except Exception:
            LOG.exception("%s %s failed", scope["method"], scope["path"])
            if not began:
                await answer(guarded, 500, BROKEN)

    async def _admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _Headers(scope)
        if headers.bytes > self.limits.header_bytes:
            raise Refused(431, f"the headers are larger than {self.limits.header_bytes:,} bytes; send fewer")
        self._check_host(headers)
        is_open = scope["path"] in self.open_paths
        if self.binding.token and not is_open and await self._let_in(scope, headers, send):
            return
        if scope["method"] not in READING:
            check_origin(headers)
        body = await self._body(headers, receive)
        try:
            if self.working >= self.limits.concurrency and not is_open:
                raise Refused(503, "the server is busy; try again in a second", {"retry-after": "1"})
            self.working += 1
            try:
                await self.app(scope, _replay(body, receive), send)
            finally:
                self.working -= 1
        finally:
            self.held_bytes -= len(body)

    def _check_host(self, headers: _Headers) -> None:
        if not self.binding.knows(headers.one("host")):
            raise Refused(
                400,
                "the Host header names another server; ask this one by the address that it printed when it started",
            )

    async def _let_in(self, scope: Scope, headers: _Headers, send: Send) -> bool:
        """Refuse who has no token. True if the request is answered: the token of a link was changed into a cookie."""
        kind, _, given = headers.one("authorization").partition(" ")
        if kind.lower() == "bearer" and _same(given.strip(), self.binding.token):
            return False
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if scope["method"] in ("GET", "HEAD") and any(_same(v, self.binding.token) for k, v in query if k == "token"):
            await self._change_into_cookie(scope, query, send)
            return True
        if _same(_cookie(headers.all("cookie"), self.cookie), self.pass_phrase):
            return False
        raise Refused(
            401,
            "this server needs its token: send the header Authorization: Bearer TOKEN, or open the address that it "
            "printed when it started",
            {"www-authenticate": "Bearer"},
        )

    async def _change_into_cookie(self, scope: Scope, query: list[tuple[str, str]], send: Send) -> None:
        """The same page without the token in its address, so that it stays out of histories and bookmarks."""
        rest = urlencode([(k, v) for k, v in query if k != "token"])
        path = "/" + scope.get("raw_path", b"/").decode("ascii", "replace").lstrip("/\\")  # //host would lead elsewhere
        cookie = f"{self.cookie}={self.pass_phrase}; HttpOnly; SameSite=Strict; Path=/"
        where = path + (f"?{rest}" if rest else "")
        headers = [(b"location", where.encode("latin-1", "replace")), (b"set-cookie", cookie.encode())]
        await send({"type": "http.response.start", "status": 303, "headers": [*headers, (b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def _body(self, headers: _Headers, receive: Receive) -> bytes:
        """The whole body, counted into `held_bytes`."""
        declared = headers.one("content-length")
        if declared.isdecimal() and int(declared[:20]) > self.limits.body_bytes:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    part = message.get("body", b"")
                    if len(body) + len(part) > self.limits.body_bytes:
                        raise self._too_large()
                    if self.held_bytes + len(part) > self.limits.held_bytes:
                        raise Refused(503, "the server is busy; try again in a second", {"retry-after": "1"})
                    body += part
                    self.held_bytes += len(part)
                    if not message.get("more_body", False):
                        return bytes(body)
        except BaseException as error:
            self.held_bytes -= len(body)
            if isinstance(error, TimeoutError):
                raise Refused(
                    408, f"the body did not come whole within {self.limits.body_seconds:g} s; send it faster"
                ) from None
            raise

    def _too_large(self) -> Refused:
        return Refused(413, f"the body is larger than {self.limits.body_bytes:,} bytes; send less at once")


async def _refuse(refusal: Refused, receive: Receive, send: Send) -> None:
    """Answer, then read on for a moment: a client that is still sending would see a reset, not the answer."""
    body = body_of(str(refusal))
    said = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",  # what is left of the body is not read, so no other request can follow it
        **refusal.headers,
    }
    headers = [(name.encode(), value.encode()) for name, value in said.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            message = await receive()
            while message["type"] == "http.request" and message.get("more_body", False):
                message = await receive()
    await send({"type": "http.response.body", "body": b""})


class ClientGone(Exception):
    """The client closed the connection before its body was whole: there is no one to answer."""


def check_origin(headers: _Headers) -> None:
    """Refuse what a page of another site sends. Programs send neither header; browsers always do."""
    origin, host = headers.one("origin"), headers.one("host")
    if origin and (urlsplit(origin).netloc if origin.count("//") == 1 else "").lower() != host.lower():
        raise Refused(403, "a page of another site may not use this server; open the server's own page")
    if headers.one("sec-fetch-site") not in ("", "same-origin", "none"):
        raise Refused(403, "a page of another site may not use this server; open the server's own page")


class _Headers:
    """A request's headers; a second one of a kind that must be single makes it empty."""

    def __init__(self, scope: Scope) -> None:
        self.pairs = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        line = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        self.bytes = line + sum(len(name) + len(value) for name, value in self.pairs)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.pairs if key == name.encode()]

    def one(self, name: str) -> str:
        found = self.all(name)
        return found[0] if len(found) == 1 else ""


def _same(given: str, secret: str) -> bool:
    """Compared in a time that does not tell how much of it was right."""
    return bool(given) and hmac.compare_digest(given.encode(), secret.encode())


def _cookie(headers: list[str], name: str) -> str:
    for header in headers:
        try:
            found = SimpleCookie(header).get(name)
        except CookieError:
            continue
        if found is not None:
            return found.value
    return ""


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that hands the body over in one piece and then waits for the client to go."""
    handed = False

    async def replayed() -> Message:
        nonlocal handed
        if handed:
            return await receive()
        handed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
