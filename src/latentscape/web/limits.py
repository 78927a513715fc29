"""How much a request may ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What is beyond a limit gets a 4xx, or a 503 where trying again will help; nothing of it is worked on."""

    body_bytes: int = 16 << 20
    """Most bytes of one request's body; beyond: 413."""

    body_seconds: float = 20.0
    """A body that has not come whole by then: 408."""

    held_bytes: int = 256 << 20
    """Most bytes of all bodies together that are held at once; beyond: 503."""

    header_bytes: int = 16 << 10
    """Most bytes of a request's line and headers; beyond: 400 or 431."""

    header_seconds: float = 10.0
    """Request line and headers that have not come whole by then: the connection is closed."""

    idle_seconds: int = 30
    """A connection between two requests is closed after so long."""

    connections: int = 1024
    """Most open connections; those beyond are closed at once."""

    concurrency: int = 128
    """Most requests that are worked on at once; beyond: 503 with Retry-After."""

    stop_seconds: int = 5
    """What is under way when the server is told to stop has so long to end."""

    pixels: int = 32_000_000
    """Most pixels of an uploaded picture, by what its header says; beyond: 413."""

    batch: int = 256
    """Most examples in one request; beyond: 413."""
