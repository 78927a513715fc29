"""Commands that make a run: train, resume, reproduce, import."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

from latentscape.cli.parsing import JSON, api, command_line, first, given, parse, settings_of
from latentscape.cli.registry import command
from latentscape.cli.terminal import Terminal, done
from latentscape.errors import UserError


def _join() -> bool:
    """Join the other processes that torchrun or srun started, if any; whether this one leads them."""
    from latentscape.training import distributed

    return distributed.join().leads


@command
def train(args: list[str]) -> None:
    """Train a model: `train MODEL --data DATA`; then evaluate it, draw its pictures and write its report."""
    from latentscape import models as room

    if not args or args[0] in ("-h", "--help"):
        print(
            "latentscape train MODEL --data DATA [settings]\n\nDATA is a name (digits, shapes, curves, mnist, …) or a "
            "path to images or arrays. MODEL is one of:"
        )
        for name, summary in room.summaries().items():
            print(f"  {name:14s} {summary}")
        print("\n`latentscape train MODEL --help` lists the model's settings.")
        return
    name = args[0]
    from latentscape.data.settings import DataSettings
    from latentscape.training.settings import TrainSettings

    fields = [f for s in (room.model_class(name).Config, TrainSettings, DataSettings) for f in settings_of(s)]
    options = parse(
        f"train {name}",
        args[1:],
        {
            "data": (str, "", "a name (digits, shapes, curves, mnist, …) or a path to images or arrays"),
            "out": (str, "", f"run folder; empty: runs/{name}-DATA-N"),
            "init_from": (
                str,
                "",
                "start from the weights of a run folder or a file, or of one for each part: "
                "generator=G.pt,discriminator=RUN",
            ),
            "bare": (bool, False, "only train: no evaluation, pictures or report"),
            "json": JSON,
        },
        fields,
        required=("data",),
    )
    if not options["data"]:
        raise UserError(f"`train {name}` needs --data: a name such as digits or mnist, or the path of images or arrays")
    leads = _join()
    run = api().train(
        name,
        options["data"],
        out=options["out"] or None,
        init_from=options["init_from"] or None,
        finish=leads and not options["bare"],
        command=command_line(),
        console=Terminal(),
        **given(options, fields),
    )
    if leads:
        done(run, options["json"])


@command
def resume(args: list[str]) -> None:
    """Go on with an interrupted run, or train a finished one longer."""
    run_path, rest = first(args, "resume", "RUN")
    options = parse(
        "resume RUN",
        rest,
        {
            "epochs": (int, 0, "train until so many epochs in all"),
            "max_steps": (int, 0, "train until so many steps in all"),
            "bare": (bool, False, "only train: no evaluation, pictures or report"),
            "json": JSON,
        },
    )
    leads = _join()
    run = api().resume(
        run_path,
        finish=leads and not options["bare"],
        epochs=options["epochs"] or None,
        max_steps=options["max_steps"] or None,
        command=command_line(),
        console=Terminal(),
    )
    if leads:
        done(run, options["json"])


@command
def reproduce(args: list[str]) -> None:
    """Run a recipe, or a chain of them: train, evaluate, and draw what it must show."""
    name, rest = first(args, "reproduce", "RECIPE")
    fields = _fields_of(name)
    options = parse(
        "reproduce RECIPE",
        rest,
        {
            "data": (str, "", "other data than the recipe's"),
            "scale": (float, 1.0, "multiply the number of training steps"),
            "out": (str, "", "run folder; empty: runs/MODEL-DATA-N (a chain: runs/RECIPE)"),
            "init_from": (str, "", "the run that a later stage of a chain starts from"),
            "json": JSON,
        },
        fields,
    )
    leads = _join()
    run = api().reproduce(
        name,
        data=options["data"] or None,
        scale=options["scale"],
        out=options["out"] or None,
        init_from=options["init_from"] or None,
        command=command_line(),
        console=Terminal(),
        **given(options, fields),
    )
    if leads:
        done(run, options["json"])


def _fields_of(name: str) -> list[dataclasses.Field]:
    """The settings that a recipe can be given, with its own as their defaults; of a chain, those of all its stages.

    Without a name, as in the help, those that every recipe can be given.
    """
    from latentscape import models as room
    from latentscape import recipes
    from latentscape.data.settings import DataSettings
    from latentscape.training.settings import TrainSettings

    if not name:
        return [*settings_of(TrainSettings), *settings_of(DataSettings)]
    found: list[dict[str, dataclasses.Field]] = []
    for stage in recipes.stages(name) or [name]:
        recipe = recipes.read(stage)
        groups = (room.model_class(recipe["model"]).Config, TrainSettings, DataSettings)
        found.append({f.name: _preset(f, recipe["settings"]) for group in groups for f in settings_of(group)})
    return [f for key, f in found[0].items() if all(key in stage for stage in found)]


def _preset(field: dataclasses.Field, settings: dict[str, Any]) -> dataclasses.Field:
    """The field with the recipe's value as its default; of another type, `reproduce` refuses it."""
    value = settings.get(field.name, field.default)
    value = tuple(value) if isinstance(value, list) else value
    kinds = {type(field.default), int} if isinstance(field.default, float) else {type(field.default)}
    if field.default is not None and type(value) not in kinds:
        return field
    field = copy.copy(field)
    field.default = value
    return field


@command
def import_(args: list[str]) -> None:
    """Make a run folder from weights trained elsewhere: `import MODEL --weights FILE`; then use it as any run."""
    from latentscape import models as room
    from latentscape.data.settings import DataSettings

    name = args[0] if args and not args[0].startswith("-") else ""
    if not name and not {"-h", "--help"} & set(args):
        raise UserError("`import` is followed by a MODEL: latentscape import MODEL --weights FILE --shape 1x28x28")
    groups = (room.model_class(name).Config, DataSettings) if name else (DataSettings,)
    fields = [f for s in groups for f in settings_of(s)]
    options = parse(
        f"import {name or 'MODEL'}",
        args[1:] if name else args,
        {
            "weights": (str, "", "a file for the whole model, or one for each part: generator=G.pt,discriminator=D.pt"),
            "shape": (str, "", "of what they were trained on: 3x64x64 (C×H×W), 28x28 (grey) or 2 (a vector)"),
            "classes": (int, 0, "labels of what they were trained on"),
            "data": (str, "", "what they were trained on, instead of its shape and classes: a name or a path"),
            "out": (str, "", f"run folder; empty: runs/{name or 'MODEL'}-imported-N"),
            "json": JSON,
        },
        fields,
        required=("weights",),
    )
    if not options["weights"]:
        raise UserError(f"`import {name}` needs --weights: a file, or part=file,part=file")
    from latentscape.tasks.importing import import_weights

    out = import_weights(
        name,
        options["weights"],
        shape=options["shape"] or None,
        classes=options["classes"],
        data=options["data"] or None,
        out=options["out"] or None,
        command=command_line(),
        console=Terminal(),
        **given(options, fields),
    )
    print(json.dumps(out)) if options["json"] else print(f"The run lies in {out['run']}")
