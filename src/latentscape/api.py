"""Whole jobs as Python functions: what `import latentscape` offers and the command line calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from latentscape import recipes
from latentscape.config import flag
from latentscape.contract import Trained
from latentscape.errors import ConfigError
from latentscape.report.html import write_report
from latentscape.runs import RunFolder, free_name, is_run
from latentscape.tasks import adopting, evaluating, overrides, showing, tracking, training
from latentscape.tasks.training import Console, Run, Silent
from latentscape.training import distributed
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
    init_from: adopting.Sources | None = None,
    command: str | None = None,
    console: Console | None = None,
    **settings: Any,
) -> Run:
    """Run a recipe: train with its settings, evaluate, draw what its row of the specification must show.

    scale: multiplies the number of training steps, its companions' too. init_from: as in `train`; a recipe that starts
    from another one's run needs it. settings: override the recipe's. A chain of recipes is run into a folder for each
    below `out` (runs/NAME), and goes on where it stopped; the last one's run is returned. Raises as `train`.
    """
    if stages := recipes.stages(name):
        if init_from is not None:
            raise ConfigError(
                f"{name} is a chain of recipes, each of which starts from the one before; leave --init-from out"
            )
        place = Path(out) if out is not None else Path("runs") / name
        return _chained(stages, place, data=data, scale=scale, command=command, console=console, **settings)
    recipe = recipes.read(name)
    for entry in recipe["show"]:
        showing.check(entry)
    if recipe["init_from"] and init_from is None:
        raise ConfigError(_where_from(name, recipe["init_from"]))
    data = data if data is not None else recipe["data"]
    films = None
    crew = distributed.crew()
    if recipe["film"] and crew.leads:
        out = out or _place(recipe["model"], data)
        films = showing.Films(out, recipe["film"], data)
    run = training.train(
        recipe["model"],
        data,
        out=out,
        scale=scale,
        init_from=init_from,
        command=command,
        console=console,
        recipe=name if name in recipes.paths() else str(Path(name).resolve()),
        **_watching(films),
        **{**recipe["settings"], **settings},
    )
    if run.leads:
        finish_run(run, recipe, scale=scale, films=films, console=console)
    return run


def _where_from(name: str, before: str) -> str:
    chain = recipes.chain_of(name)
    whole = f", or run all of its chain: latentscape reproduce {chain}" if chain else ""
    return f"{name} starts from a run of {before}; say which: --init-from RUN{whole}"


def _chained(
    stages: list[str], place: Path, *, data: Any, command: str | None, console: Console | None, **how: Any
) -> Run:
    """The stages of a chain in their order, each a run in `place`; what is whole is taken as it is."""
    told, together = console or Silent(), distributed.crew().size > 1
    run = None
    for number, name in enumerate(stages):
        crew = distributed.join() if together else distributed.crew()
        path, recipe = place / name, recipes.read(name)
        state = crew.lead(lambda path=path, name=name: _state(path, name, how, data))
        if crew.leads:
            told.say(f"Stage {number + 1} of {len(stages)}, {name}: {_SAID[state]} {path}.")
        if state == "whole":
            run = None
        elif state == "begun":
            run = resume(path, data=_at_hand(data), finish=crew.leads, command=command or "", console=console)
        else:
            before = place / recipe["init_from"] if recipe["init_from"] else None
            run = reproduce(name, data=data, out=path, init_from=before, command=command, console=console, **how)
    return run or _whole_run(place / stages[-1], data)


_SAID = {"whole": "whole already, in", "begun": "going on in", "new": "into"}


def _state(path: Path, name: str, how: dict[str, Any], data: Any) -> str:
    """Whether a stage of a chain is "whole", "begun" or "new". One made with other settings raises `ConfigError`."""
    if not is_run(path):
        return "new"
    folder = RunFolder(path)
    config = folder.config()
    made = {**config["data"], **config["model"], **config["train"]}
    for key, value in how.items():
        has = made.get(key)
        if key != "scale" and has != (list(value) if isinstance(value, tuple) else value):
            raise ConfigError(
                f"{path} was made with {flag(key)} {has}, not {value}; give another --out, or leave it out"
            )
    if isinstance(data, (str, Path)) and training.source_of(data) != config["run"]["data"]:
        raise ConfigError(f"{path} was made from {config['run']['data']}, not {data}; give another --out")
    return "whole" if folder.model_path.exists() and folder.report_path.exists() else "begun"


def _at_hand(data: Any) -> Any:
    """Data that a run folder cannot name."""
    return None if isinstance(data, (str, Path)) else data


def _whole_run(path: Path, data: Any) -> Run:
    """A finished run as `train` gives it."""
    folder = RunFolder(path)
    done = folder.log()[-1]
    images = evaluating.load_for(folder, _at_hand(data))
    return Run(
        folder, folder.load_model(), images, done.get("reason", ""), done.get("seconds", 0.0), done.get("step", 0)
    )


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
    if not is_run(path):
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
    asked = overrides.train_settings(recipe["model"], run.data.shape, run.model.config, given, run.data.to_train)
    made = TrainSettings.from_dict(run.folder.config()["train"])
    return _steps(run, made) / _steps(run, asked)


def _steps(run: Run, settings: TrainSettings) -> int:
    size = run.data.to_train
    batch_size = size if settings.full_batch else min(settings.batch_size, size)
    assert isinstance(run.model, Trained)
    return training.total_steps(run.model, settings, size, batch_size)


def report(path: Path | str) -> Path:
    """Write the run's report.html anew and return its path."""
    return write_report(RunFolder(path))
