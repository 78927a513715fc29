"""uvicorn with every time and size bounded, quiet, and stopping well."""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from latentscape.errors import LatentscapeError
from latentscape.web.binding import Binding
from latentscape.web.limits import Limits
from latentscape.web.refusals import ASGI, body_of

STATUS = {400: b"Bad Request", 408: b"Request Timeout"}


class Protocol(H11Protocol):
    """uvicorn's HTTP/1.1 with a time limit for headers, a limit of connections, and JSON for what is not HTTP."""

    def __init__(self, *args: Any, limits: Limits, **named: Any) -> None:
        super().__init__(*args, **named)
        self.limits = limits
        self.heading: Any = None  # the timer while a request's line and headers have not come whole

    def connection_made(self, transport: Any) -> None:
        """Close at once what is one too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            transport.abort()
            return
        self._time_headers()

    def data_received(self, data: bytes) -> None:
        """Headers that come byte by byte do not start the time anew."""
        super().data_received(data)
        self._time_headers()

    def on_response_complete(self) -> None:
        """What has come of the next request already is timed as well."""
        super().on_response_complete()
        if self.conn.trailing_data[0]:
            self._unset_keepalive_if_required()
            self._time_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_timing()
        super().connection_lost(exc)

    def _time_headers(self) -> None:
        waiting = self.conn.their_state is h11.IDLE and not self.transport.is_closing()
        between = self.timeout_keep_alive_task is not None
        if not waiting or between:
            self._stop_timing()
        elif self.heading is None:
            self.heading = self.loop.call_later(self.limits.header_seconds, self._too_slow)

    def _stop_timing(self) -> None:
        if self.heading is not None:
            self.heading.cancel()
            self.heading = None

    def _too_slow(self) -> None:
        self.heading = None
        if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
            self._refuse(408, f"the headers did not come whole within {self.limits.header_seconds:g} s")

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP, in the words of every other refusal; uvicorn calls it."""
        self._refuse(400, "this is not a valid HTTP request")

    def _refuse(self, status: int, sentence: str) -> None:
        body = body_of(sentence)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            (b"x-content-type-options", b"nosniff"),
        ]
        # A response that has begun already cannot be taken back: then the connection only ends.
        with contextlib.suppress(h11.LocalProtocolError):
            head = h11.Response(status_code=status, headers=headers, reason=STATUS[status])
            parts = [self.conn.send(event) for event in (head, h11.Data(data=body), h11.EndOfMessage())]
            self.transport.write(b"".join(part for part in parts if part))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # the application's answer, if it makes one, has nowhere to go
            self.cycle.message_event.set()
        self.transport.close()


class Server(uvicorn.Server):
    """A server that stops at the first SIGINT or SIGTERM and returns, and at the second drops what is under way."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Without uvicorn's raising of the signal once more at the end: a server that was told to stop did well."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _server(app: ASGI, limits: Limits) -> Server:
    config = uvicorn.Config(
        app,  # pyright: ignore[reportArgumentType]  (uvicorn's own names for the same types)
        loop="asyncio",
        http=functools.partial(Protocol, limits=limits),  # pyright: ignore[reportArgumentType]
        ws="none",
        lifespan="auto",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=limits.idle_seconds,
        timeout_graceful_shutdown=limits.stop_seconds,
        h11_max_incomplete_event_size=limits.header_bytes,
    )
    return Server(config)


def serve_app(app: ASGI, binding: Binding, limits: Limits | None = None) -> None:
    """Serve until SIGINT or SIGTERM. `app` should be a `Guard`. What is under way then may end."""
    try:
        _server(app, limits or Limits()).run([binding.listener])
    finally:
        binding.listener.close()


@contextlib.contextmanager
def in_background(
    app: ASGI, binding: Binding, limits: Limits | None = None, *, within: float = 30.0
) -> Iterator[Callable[[str], str]]:
    """Serve from a thread while the block runs: for tests and notebooks. Yields path → address, without the token."""
    server = _server(app, limits or Limits())
    thread = threading.Thread(target=server.run, args=([binding.listener],), name="latentscape server", daemon=True)
    thread.start()
    end = time.monotonic() + within
    while not server.started and thread.is_alive() and time.monotonic() < end:
        time.sleep(0.005)
    if not server.started:
        raise LatentscapeError("the server did not start; what went wrong stands above")
    try:
        yield lambda path: binding.url(path).partition("?token=")[0]
    finally:
        server.should_exit = True
        thread.join(within)
        binding.listener.close()
