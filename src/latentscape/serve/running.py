"""Open an export, listen, serve until told to stop."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from latentscape.errors import UserError
from latentscape.serve.exported import Exported
from latentscape.web.binding import Binding, bind
from latentscape.web.limits import Limits

PORT = 8765


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    folder: str,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str = "",
    names: tuple[str, ...] = (),
    threads: int = 0,
    limits: Limits | None = None,
    ready: Callable[[Binding, Exported], None] = lambda binding, exported: None,
) -> None:
    """Serve the export in `folder`; returns when SIGINT or SIGTERM came and what was under way has ended.

    Args:
        folder: as `latentscape export` writes it.
        host, port, token, names: see `latentscape.web.binding.bind`.
        threads: for one run of the nets; 0: one for each processor.
        limits: see `latentscape.web.limits`.
        ready: is called when the nets are loaded and connections are taken.

    Raises `UserError` for a folder that is no export or is damaged, and for an address that cannot be used.
    """
    from latentscape.serve.app import make_app
    from latentscape.web.runner import serve_app

    if threads < 0:
        raise UserError(f"--threads must be 0 or more, found {threads}")
    limits = limits or Limits()
    exported = Exported(Path(folder), threads or processors())
    binding = bind(host, port, token, PORT, names)
    app = make_app(exported, binding, limits)
    ready(binding, exported)
    serve_app(app, binding, limits)
