"""Serve the studio until it is told to stop."""

from __future__ import annotations

import logging
import os
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from latentscape.studio.app import make_app
from latentscape.studio.places import check_roots
from latentscape.web.binding import bind
from latentscape.web.guard import Guard
from latentscape.web.limits import Limits
from latentscape.web.runner import serve_app

USUAL_PORT = 8600

LIMITS = replace(Limits(), stop_seconds=1)
"""A studio that is told to stop does not wait for pictures that nobody will see."""


def launch(
    runs: Sequence[str | Path],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str = "",
    open_browser: bool = True,
    say: Callable[[str], None] = print,
) -> None:
    """Serve until ctrl-C. `say` is told the address, in a sentence.

    runs: run folders, or folders that hold runs; none: ./runs. host, port, token: as in `web.binding.bind`; an address
    beyond this machine needs a token. Raises `UserError` before anything is served.
    """
    roots = check_roots(runs)
    binding = bind(host, port, token, usual=USUAL_PORT)
    studio_app = make_app(roots)
    app = Guard(studio_app, binding, LIMITS)
    address = binding.url()
    say(f"The studio is at {address} (ctrl-C ends it).")
    if open_browser:
        # In a thread of its own: a browser that runs in the terminal would keep the server waiting.
        threading.Thread(target=webbrowser.open, args=(address,), name="studio-browser", daemon=True).start()
    logging.getLogger("uvicorn.error").addFilter(_is_no_farewell)
    serve_app(app, binding, LIMITS)
    if studio_app.state.studio.worker.busy:
        sys.stderr.flush()
        os._exit(0)  # an interpreter that ends would wait for the model that is just being loaded or asked


def _is_no_farewell(record: logging.LogRecord) -> bool:
    """That requests are dropped at the end is what ctrl-C was for."""
    return "graceful shutdown exceeded" not in record.getMessage()
