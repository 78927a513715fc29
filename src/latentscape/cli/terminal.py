"""What a person sees: sentences and progress on standard error, tables and results on standard output."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any


def say(text: str = "") -> None:
    """A line for the person, on standard error, so that standard output stays for results."""
    print(text, file=sys.stderr, flush=True)


class Terminal:
    """Sentences and a progress bar on standard error; without a terminal, a line every ten seconds."""

    def say(self, text: str) -> None:
        """One sentence."""
        say(text)

    @contextlib.contextmanager
    def training(self, total_steps: int, batch_size: int) -> Iterator[Callable[[int, int], None]]:
        """A bar with images per second and the time left."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        if not console.is_terminal:
            yield self._lines(total_steps)
            return
        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps, {task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task, seen = bar.add_task("train", total=total_steps, speed=""), [time.monotonic(), 0]

            def tell(step: int, images: int) -> None:
                now = time.monotonic()
                if now - seen[0] >= 0.5:
                    speed = f"{(images - seen[1]) / (now - seen[0]):,.0f} images/s" if seen[1] else ""
                    bar.update(task, completed=step, speed=speed)
                    seen[:] = [now, images]

            yield tell

    def _lines(self, total: int) -> Callable[[int, int], None]:
        first: list[float] = []  # when the first step was done: compiling and the like do not count
        last = time.monotonic()

        def tell(step: int, images: int) -> None:
            nonlocal last
            now = time.monotonic()
            first[:] = first or [now, step, images]
            if now - last >= 10 and step > first[1]:
                speed = (images - first[2]) / (now - first[0])
                left = (total - step) * (now - first[0]) / (step - first[1])
                say(f"step {step:,} of {total:,}, {speed:,.0f} images/s, {left / 60:.1f} min left")
                last = now

        return tell


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on standard output."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    width = None if sys.stdout.isatty() else 120
    made = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left")
    for i, name in enumerate(columns):
        made.add_column(name, justify="right" if i and rows and rows[0][i][:1].isdigit() else "left", overflow="fold")
    for row in rows:
        made.add_row(*map(escape, row))  # names come from users' files: [red] in one is no colour
    Console(width=width).print(made)


def number(value: float) -> str:
    """Four significant digits, no exponent where it can be helped."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 1 else f"{value:.4g}"


def shares(values: dict[str, float], most: int = 10) -> str:
    """A histogram in words, the commonest first: 1: 13 %, 7: 11 %, …"""
    ordered = sorted(values.items(), key=lambda item: -item[1])
    lines = [f"{name}: {100 * share:.3g} %" for name, share in ordered[:most]]
    return "\n".join([*lines, *([f"and {len(ordered) - most:,} more"] if len(ordered) > most else [])])


def show_metrics(answer: dict[str, Any]) -> None:
    """The table at the end of training and evaluation, and what its figures rest on."""
    metrics = {k: shares(v) if isinstance(v, dict) else number(v) for k, v in answer["metrics"].items()}
    reach = {k: f"{number(low)} to {number(high)}" for k, (low, high) in answer.get("intervals", {}).items()}
    rows = [[name, text, reach.get(name, ""), answer["protocol"].get(name, "")] for name, text in metrics.items()]
    part = f"all {answer['n']:,} images" if answer["split"] == "all" else f"{answer['n']:,} {answer['split']} images"
    if answer.get("of", answer["n"]) > answer["n"]:
        part += f" of {answer['of']:,} in all"
    table(f"{answer['model']} on {answer['data']}, {part}", ["metric", "value", "95 % interval", "how"], rows)
    for line in _beside(answer):
        print(line)
    for warning in answer.get("warnings", ()):
        say(f"Warning: {warning}.")


def _beside(answer: dict[str, Any]) -> Iterator[str]:
    """Sample counts, features, classifier and intervals in words."""
    if counts := answer.get("importance"):
        yield (
            f"iwae_nats: {counts['samples']:,} samples of the posterior for each of {counts['images']:,} images, whose "
            f"elbo_nats is {number(counts['elbo_nats'])}."
        )
    if counts := answer.get("samples"):
        yield (
            f"{counts['drawn']:,} samples from {counts['prior']}; distances compare {counts['compared']:,} of them "
            f"with {counts['compared']:,} images."
        )
    if chosen := answer.get("features"):
        yield f"Compared on {chosen['size']:,} features of {chosen['name']}."
    if reader := answer.get("classifier"):
        known = reader["accuracy"] is not None
        how = (
            f", which reads {reader['accuracy']:.2%} of {reader['n']:,} {reader['split']} examples rightly"
            if known
            else ""
        )
        yield f"Read by the classifier in {reader['run']}{how}."
    if answer.get("intervals"):
        yield answer["about_intervals"]


def done(run: Any, as_json: bool = False) -> None:
    """The table at the end and where things are."""
    answer = run.folder.metrics()
    if as_json:
        print(
            json.dumps(
                {
                    "run": str(run.path),
                    "steps": run.steps,
                    "seconds": run.seconds,
                    "ended": run.ended,
                    "warnings": run.warnings,
                    "metrics": (answer or {}).get("metrics", {}),
                }
            )
        )
        return
    if answer:
        show_metrics(answer)
    speed = f", {run.images / run.seconds:,.0f} images/s" if run.seconds and run.steps else ""
    took = (
        f"Trained {run.steps:,} steps in {run.seconds:.1f} s{speed}" if run.steps else f"Fitted in {run.seconds:.1f} s"
    )
    say(f"{took}: {run.ended}.")
    say(f"The run lies in {run.path}" + (f", its report is {run.folder.report_path}." if answer else "."))
