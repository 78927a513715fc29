"""A real browser (Debian's Chromium, headless) and a studio to look at."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from latentscape.studio.app import make_app
from latentscape.studio.launch import LIMITS
from latentscape.web.binding import bind
from latentscape.web.guard import Guard
from latentscape.web.runner import in_background

CHROMIUM = os.environ.get("LATENTSCAPE_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]

PATIENCE = 120_000
"""Milliseconds that anything may take to appear: the machine may be busy with other things."""

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}

Serve = Callable[..., AbstractContextManager[Callable[[str], str]]]
"""`serve(root, …)` is a context that serves a studio over folders of runs and gives path → address."""

Open = Callable[..., Any]
"""`open_page(address, …)` is a page of the browser; what its console says of errors fails the test at its end."""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    if not CHROMIUM:
        pytest.skip("needs Chromium (apt install chromium, or LATENTSCAPE_CHROMIUM)")
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Open]:
    """Open an address: width and height by `size`, `dark`, and further options of a browser's context."""
    with contextlib.ExitStack() as left:
        errors: list[str] = []

        def open_(address: str, *, size: dict[str, int] = DESKTOP, dark: bool = False, **options: Any) -> Any:
            scheme = "dark" if dark else "light"
            context = chromium.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce", **options)
            left.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(PATIENCE)
            page.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
            page.on("pageerror", lambda e: errors.append(str(e)))
            page.goto(address)
            return page

        open_.errors = errors  # type: ignore[attr-defined]  (a test that means to cause one takes it out)
        yield open_
        assert errors == []


@pytest.fixture(scope="session")
def serve() -> Serve:
    @contextlib.contextmanager
    def served(*roots: Path) -> Iterator[Callable[[str], str]]:
        binding = bind("127.0.0.1", 0)
        with in_background(Guard(make_app(list(roots)), binding, LIMITS), binding, LIMITS) as address:
            yield address

    return served


@pytest.fixture
def shot(tmp_path: Path) -> Callable[[Any, str], Path]:
    """Keep a picture of a whole page in LATENTSCAPE_SHOTS, for who wants to look, else among the test's files."""
    folder = Path(os.environ.get("LATENTSCAPE_SHOTS") or tmp_path)

    def keep(page: Any, name: str) -> Path:
        page.evaluate("document.querySelectorAll('img[loading=lazy]').forEach((i) => { i.loading = 'eager'; })")
        page.wait_for_timeout(300)
        path = folder / f"{name}.png"
        page.screenshot(path=path, full_page=True)
        return path

    return keep
