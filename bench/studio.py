"""From the pointer to the picture: the studio's page Latent in headless Chromium, its server on the same machine.

    python -m bench.studio --data mnist --json studio.json

A convolutional VAE on MNIST with L = 2 and L = 24, trained for some steps only, since weights do not change the time.
Timed is what a person waits for: from the dispatch of a pointermove on the plane to the new pixels on the
canvas, through the browser's own request, the server, the decoder and back. Twice: one move after the other, each
waited for; and sixty moves a second without waiting, where pictures that were overtaken are dropped, timed is each
picture that is drawn, and how many of them come a second.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import machine  # first: it sets what OpenMP reads when torch loads it

# isort: split
from latentscape.studio.places import identity
from latentscape.tasks import training

LATENT = (2, 24)

LAUNCH = "import sys; from latentscape.studio.launch import launch; launch(sys.argv[1:], port=0, open_browser=False)"

HELPERS = """
  const map = document.querySelector(".map"), box = map.getBoundingClientRect(), out = [];
  map.setPointerCapture = () => {};
  const at = (type, i) => map.dispatchEvent(new PointerEvent(type, {
    clientX: box.x + box.width * (0.5 + 0.35 * Math.sin(i / 7)),
    clientY: box.y + box.height * (0.5 + 0.35 * Math.cos(i / 11)), pointerId: 1, bubbles: true}));
  const rest = (ms) => new Promise((f) => setTimeout(f, Math.max(0, ms)));
"""
"""at(type, i): a pointer's event at the i-th place of a curve over the map."""

ONE_BY_ONE = (
    "async (moves) => {"
    + HELPERS
    + """
  const drawn = () => new Promise((f) => document.addEventListener("drawn", () => f(performance.now()), {once: true}));
  let waited = drawn();
  at("pointerdown", 0);
  await waited;
  for (let i = 1; i <= moves; i += 1) {
    waited = drawn();
    const began = performance.now();
    at("pointermove", i);
    out.push(await waited - began);
    await rest(5);
  }
  at("pointerup", moves);
  return out;
}"""
)

STREAM = (
    "async (moves) => {"
    + HELPERS
    + """
  const note = (event) => out.push(event.detail.ms);
  document.addEventListener("drawn", note);
  const began = performance.now();
  at("pointerdown", 0);
  for (let i = 1; i <= moves; i += 1) {
    at("pointermove", i);
    await rest(began + (1000 * i) / 60 - performance.now());
  }
  at("pointerup", moves);
  const seconds = (performance.now() - began) / 1000;
  await rest(300);
  document.removeEventListener("drawn", note);
  return {ms: out, seconds};
}"""
)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The studio over a folder of runs, in a process of its own; its address."""
    words = [sys.executable, "-c", LAUNCH, str(folder)]
    settings = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=settings) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                    yield found[0]
                    break
        finally:
            process.terminate()


def timed(page: Any, address: str, moves: int) -> dict[str, Any]:
    """Milliseconds of one page."""
    page.goto(address)
    page.wait_for_selector(".map-box .axis-name:not(:empty)", timeout=600_000)
    page.wait_for_selector(".sliders .slider", timeout=600_000)
    page.wait_for_selector(".nearest li", timeout=600_000)
    page.evaluate(ONE_BY_ONE, 20)  # warm
    alone, stream = page.evaluate(ONE_BY_ONE, moves), page.evaluate(STREAM, moves)
    return {
        "one_by_one_ms": figures(alone),
        "at_60_moves_a_second_ms": figures(stream["ms"]),
        "pictures_a_second": len(stream["ms"]) / stream["seconds"],
        "all_ms": alone,
    }


def figures(values: list[float]) -> dict[str, float]:
    """Median, and what 95 and 99 % stay below."""
    ordered = sorted(values)
    below = {f"p{q}": ordered[min(len(ordered) - 1, len(ordered) * q // 100)] for q in (95, 99)}
    return {"median": statistics.median(ordered), **below, "n": len(ordered)}


def printed(answers: list[dict[str, Any]]) -> str:
    """The table."""
    head = ["", "moves", "median", "95 %", "99 %", "at 60/s: median", "95 %", "pictures/s"]
    rows = []
    for a in answers:
        one, many = a["one_by_one_ms"], a["at_60_moves_a_second_ms"]
        cells = [f"{one[k]:.1f}" for k in ("median", "p95", "p99")] + [f"{many[k]:.1f}" for k in ("median", "p95")]
        rows.append([a["model"], f"{one['n']}", *cells, f"{a['pictures_a_second']:.0f}"])
    return machine.table(head, rows) + "\n(milliseconds from the pointer's move to the picture on the canvas)"


def main() -> None:
    """Time what the command line asks for."""
    from playwright.sync_api import sync_playwright

    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("runs", nargs="*", help="run folders of one parent; none: VAEs made for it")
    p.add_argument("--data", default="mnist", help="what VAEs that are made for it are trained on")
    p.add_argument("--moves", type=int, default=200)
    p.add_argument("--json", default="", metavar="FILE", help="write everything there, too")
    args = p.parse_args()
    about, load = machine.describe("cpu"), [os.getloadavg()[0]]
    print(machine.heading(about), flush=True)
    answers: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        runs = [Path(run) for run in args.runs] or list(made(Path(folder), args.data))
        address = stack.enter_context(served(runs[0].parent))
        play = stack.enter_context(sync_playwright())
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        for run in runs:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            answers.append({"model": run.name} | timed(page, f"{address}/run/{identity(run)}/latent", args.moves))
            page.close()
            print(printed(answers), flush=True)
        browser.close()
    load.append(os.getloadavg()[0])  # the browser and the server are in the second
    print(f"load average before and after: {load[0]:.1f}, {load[1]:.1f}")
    machine.report({"machine": about, "load": load, "answers": answers}, args)


def made(folder: Path, data: str) -> Iterator[Path]:
    """Convolutional VAEs, trained for twenty steps."""
    for size in LATENT:
        out = folder / f"conv-vae-{size}"
        training.train("vae", data, out=out, net="conv", latent_dim=size, max_steps=20)
        yield out


if __name__ == "__main__":
    main()
