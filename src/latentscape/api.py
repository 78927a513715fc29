"""Whole jobs as Python functions: what `import latentscape` offers and the command line calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from latentscape import recipes
from latentscape.report.html import write_report
from latentscape.runs import RunFolder
from latentscape.tasks import evaluating, showing, training
from latentscape.tasks.training import Console, Run, Silent


def train(
    model: str,
    data: Any,
    *,
    out: Path | str | None = None,
    init_from: Path | str | None = None,
    finish: bool = True,
    command: str | None = None,
    console: Console | None = None,
    **settings: Any,
) -> Run:
    """Train `model` on `data`; then evaluate it, draw its pictures and write its report, unless `finish` is false.

    model: a name of `latentscape models`. data: a name, a path, an array, a tensor, or an `ImageSet`. settings: any
    training, model or data setting by name: `latent_dim=2, epochs=10, size="64"`. Returns the run: `.path`, `.model`
    (on the CPU, in evaluation mode), `.data`, `.folder`. Raises `UserError` and `RunFailed` of `latentscape.errors`.
    """
    run = training.train(model, data, out=out, init_from=init_from, command=command, console=console, **settings)
    if finish:
        finish_run(run, console=console)
    return run


def resume(
    path: Path | str,
    *,
    data: Any = None,
    finish: bool = True,
    epochs: int | None = None,
    max_steps: int | None = None,
    console: Console | None = None,
) -> Run:
    """Go on with an interrupted run, or train a finished one for more epochs or steps; then as `train`."""
    run = training.resume(path, data=data, epochs=epochs, max_steps=max_steps, console=console)
    if finish:
        finish_run(run, console=console)
    return run


def finish_run(run: Run, show: list[dict[str, Any]] | None = None, console: Console | None = None) -> dict[str, Any]:
    """Evaluate, draw the pictures (`show`: as a recipe lists them; else the standard ones) and write the report."""
    console = console or Silent()
    stage = showing.Stage(run.folder, run.model, run.data)
    console.say("Evaluating.")
    answer = evaluating.evaluated(run.folder, run.model, run.data, stage.split, keep=True)
    console.say("Drawing.")
    if show is None:
        showing.show_standard(stage)
    for entry in show or ():
        showing.show(stage, entry["what"], **{k: v for k, v in entry.items() if k != "what"})
    write_report(run.folder)
    return answer


def reproduce(
    name: str,
    *,
    data: Any = None,
    scale: float = 1.0,
    out: Path | str | None = None,
    command: str | None = None,
    console: Console | None = None,
    **settings: Any,
) -> Run:
    """Run a recipe: train with its settings, evaluate, draw what its row of the specification must show.

    scale: multiplies the number of training steps. settings: override the recipe's. Raises as `train`.
    """
    recipe = recipes.read(name)
    for entry in recipe["show"]:
        showing.check(entry)
    run = training.train(
        recipe["model"],
        data if data is not None else recipe["data"],
        out=out,
        scale=scale,
        command=command,
        console=console,
        **{**recipe["settings"], **settings},
    )
    finish_run(run, recipe["show"], console)
    return run


def report(path: Path | str) -> Path:
    """Write the run's report.html anew and return its path."""
    return write_report(RunFolder(path))
