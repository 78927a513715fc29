"""The studio in a real browser: a process that serves it, and pages of headless Chromium that say what went wrong."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
LAUNCH = "import sys; from latentscape.studio.launch import launch; launch(sys.argv[1:], port=0, open_browser=False)"
PATIENCE_MS = 120_000


def need_a_browser() -> Any:
    """playwright, or a skip with the reason."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not (Path(CHROMIUM).exists() or shutil.which("chromium")):
        pytest.skip("there is no Chromium on this machine")
    return api


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The studio over a folder of runs, in a process of its own; its address."""
    words = [sys.executable, "-c", LAUNCH, str(folder)]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=settings, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    yield found[0]
                    break
            else:
                raise AssertionError(f"the studio did not start: {said}")
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def browser(api: Any) -> Iterator[Any]:
    """Headless Chromium."""
    with api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=shutil.which("chromium") or CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@contextmanager
def opened(
    chromium: Any, address: str, *, width: int = 1280, scheme: str = "light", refusals: bool = False
) -> Iterator[Any]:
    """A page at an address. At its end the console must have said nothing bad.

    refusals: requests are meant to be refused, which Chromium itself writes into the console.
    """
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=True, reduced_motion="reduce"
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    trouble: list[str] = []
    page.on("console", lambda m: trouble.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.goto(address)
    yield page
    context.close()
    trouble = [text for text in trouble if not (refusals and text.startswith("Failed to load resource"))]
    assert not trouble, trouble


def pixels(page: Any, selector: str) -> np.ndarray:
    """What a canvas holds, uint8 H×W×3."""
    found = page.locator(selector).first.evaluate(
        """c => { const copy = document.createElement("canvas");  // Chromium warns of a canvas that is read twice
                  copy.width = c.width; copy.height = c.height;
                  const at = copy.getContext("2d", {willReadFrequently: true});
                  at.drawImage(c, 0, 0);
                  const data = Array.from(at.getImageData(0, 0, c.width, c.height).data);
                  return {height: c.height, width: c.width, data}; }"""
    )
    return np.array(found["data"], np.uint8).reshape(found["height"], found["width"], 4)[..., :3]


def until(page: Any, condition: str) -> None:
    """Wait for a condition in JavaScript; the page's own policy forbids playwright to do so inside of it."""
    for _ in range(PATIENCE_MS // 100):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"never came true: {condition}")


def fits(page: Any) -> None:
    """Nothing stands out to the right."""
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def unlabelled(page: Any) -> list[str]:
    """Controls that nothing says the name of."""
    return page.evaluate(
        """() => [...document.querySelectorAll("main button, main input, main select, main canvas[tabindex]")]
          .filter((e) => e.offsetParent !== null || e.type === "file")
          .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length))
          .map((e) => e.outerHTML.slice(0, 120))"""
    )
