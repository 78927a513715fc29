"""Whole jobs as Python functions: what `import latentscape` offers and the command line calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from latentscape import recipes
from latentscape.contract import Trained
from latentscape.errors import ConfigError
from latentscape.report.html import write_report
from latentscape.runs import RunFolder, free_name
from latentscape.tasks import adopting, evaluating, overrides, showing, tracking, training
from latentscape.tasks.training import Console, Run, Silent
from latentscape.training.settings import TrainSettings


def train(
    model: str,
    data: Any,
    *,
    out: Path | str | None = None,
    init_from: adopting.Sources | None = None,
    finish: bool = True,
    command: str | None = None,
    console: Console | None = None,
    **settings: Any,
) -> Run:
    """Train `model` on `data`; then evaluate it, draw its pictures and write its report, unless `finish` is false.

    model: a name of `latentscape models`. data: a name, a path, an array, a tensor, or an `ImageSet`. settings: any
    training, model or data setting by name: `latent_dim=2, epochs=10, size="64"`. init_from: a run folder or file of
    weights to start from, or one for each part: `{"generator": "G.pt"}`. Returns the run: `.path`, `.model`
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
    command: str = "",
    console: Console | None = None,
) -> Run:
    """Go on with an interrupted run, or train a finished one for more epochs or steps; then as `train`.

    A run that a recipe made is finished as the recipe says: its pictures, companions and films.
    """
    recipe = _recipe_of(path, console or Silent())
    films = showing.Films(path, recipe["film"], data) if recipe and recipe["film"] else None
    run = training.resume(
        path, data=data, epochs=epochs, max_steps=max_steps, command=command, console=console, **_watching(films)
    )
    if finish:
        finish_run(run, recipe, films=films, console=console)
    return run


def finish_run(
    run: Run,
    recipe: dict[str, Any] | None = None,
    *,
    scale: float = 1.0,
    films: showing.Films | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Evaluate, draw the pictures and write the report; without a recipe, the standard pictures.

    recipe: as `recipes.read` gives it; its companions are trained first. scale: see `reproduce`.
    """
    console = console or Silent()
    stage = showing.Stage(run.folder, run.model, run.data)
    console.say("Evaluating.")
    asked = {name: value for name, value in (recipe or {}).get("evaluate", {}).items() if value}
    answer = evaluating.evaluated(run.folder, run.model, run.data, stage.split, keep=True, console=console, **asked)
    if recipe is None:
        console.say("Drawing.")
        showing.show_standard(stage)
    else:
        others = _companions(run, recipe, scale, console)
        console.say("Drawing.")
        showing.show_listed(stage, recipe["show"], others, console.say)
    if films:
        films.finish(run.model, run.steps)
    write_report(run.folder)
    tracking.publish(run.folder, lambda text: console.say(f"Warning: {text}"))
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

    scale: multiplies the number of training steps, its companions' too. settings: override the recipe's. Raises as
    `train`.
    """
    recipe = recipes.read(name)
    for entry in recipe["show"]:
        showing.check(entry)
    data = data if data is not None else recipe["data"]
    films = None
    if recipe["film"]:
        out = out or _place(recipe["model"], data)
        films = showing.Films(out, recipe["film"], data)
    run = training.train(
        recipe["model"],
        data,
        out=out,
        scale=scale,
        command=command,
        console=console,
        recipe=name if name in recipes.paths() else str(Path(name).resolve()),
        **_watching(films),
        **{**recipe["settings"], **settings},
    )
    finish_run(run, recipe, scale=scale, films=films, console=console)
    return run


def _place(model: str, data: Any) -> Path:
    """Where `training.train` would put the run: films must know before it starts."""
    return free_name(Path("runs"), f"{model}-{Path(data).stem if isinstance(data, (str, Path)) else 'data'}")


def _watching(films: showing.Films | None) -> dict[str, Any]:
    return {"watch": films, "watch_every": films.every} if films else {}


def _recipe_of(path: Path | str, console: Console) -> dict[str, Any] | None:
    """The recipe that a run was made by; None for a run without one, or whose recipe is gone."""
    name = RunFolder(path).config()["run"].get("recipe", "")
    if not name:
        return None
    try:
        return recipes.read(name)
    except ConfigError as error:
        console.say(f"The recipe of this run cannot be read, so its pictures are the standard ones: {error}.")
        return None


def _companions(run: Run, recipe: dict[str, Any], scale: float, console: Console) -> dict[str, showing.Stage]:
    """The runs that stand beside this one, each trained and evaluated unless it is already."""
    scale = _budget(run, recipe, scale)
    return {c["name"]: _companion(run, c, scale, console) for c in recipe["companion"]}


def _companion(run: Run, companion: dict[str, Any], scale: float, console: Console) -> showing.Stage:
    """One companion in RUN/companions/NAME: an ordinary run, taken again if whole and resumed if not."""
    path, config = run.path / "companions" / companion["name"], run.folder.config()
    own_data = companion.get("data", "")
    source = own_data or config["run"]["data"] or run.data
    at_hand = None if isinstance(source, str) else source
    console.say(f"Beside it, {companion['name']}:")
    if not (path / "config.toml").exists():
        shared = {name: config["train"][name] for name in ("seed", "threads", "device")}
        settings = ({} if own_data else config["data"]) | shared | companion.get("settings", {})
        training.train(companion["model"], source, out=path, scale=scale, console=console, **settings)
    elif not RunFolder(path).model_path.exists():
        training.resume(path, data=at_hand, console=console)
    folder = RunFolder(path)
    stage = showing.Stage(folder, folder.load_model(), at_hand or evaluating.load_for(folder))
    if folder.metrics() is None:
        evaluating.evaluated(folder, stage.model, stage.images, stage.split, keep=True)
        write_report(folder)
    return stage


def _budget(run: Run, recipe: dict[str, Any], scale: float) -> float:
    """The share of the recipe's steps that the run has made, so that its companions make the same share of theirs.

    Read off the run's settings, since a resumed run was told no scale; `scale` is for models without steps.
    """
    if not isinstance(run.model, Trained):
        return scale
    given = overrides.sort(recipe["model"], recipe["settings"]).train
    asked = overrides.train_settings(
        recipe["model"], run.data.shape, run.model.config, given, run.data.sizes()["train"]
    )
    made = TrainSettings.from_dict(run.folder.config()["train"])
    return _steps(run, made) / _steps(run, asked)


def _steps(run: Run, settings: TrainSettings) -> int:
    size = run.data.sizes()["train"]
    batch_size = size if settings.full_batch else min(settings.batch_size, size)
    assert isinstance(run.model, Trained)
    return training.total_steps(run.model, settings, size, batch_size)


def report(path: Path | str) -> Path:
    """Write the run's report.html anew and return its path."""
    return write_report(RunFolder(path))
