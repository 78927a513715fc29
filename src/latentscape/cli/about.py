"""Commands that say what there is: models, recipes, data, this machine."""

from __future__ import annotations

import json
from typing import Any

from latentscape.cli.parsing import JSON, api, command_line, given, parse, settings_of
from latentscape.cli.registry import command
from latentscape.cli.terminal import Terminal, done, say, table
from latentscape.errors import UserError


@command
def demo(args: list[str]) -> None:
    """Train a VAE on the embedded digits, measure it and write its report (under a minute)."""
    options = parse("demo", args, {"out": (str, "", "run folder; empty: runs/vae-digits-N")})
    run = api().reproduce("demo", out=options["out"] or None, command=command_line(), console=Terminal())
    done(run)
    say(f"""
Next: open {run.folder.report_path} in a browser, then try
  latentscape sample {run.path} --n 100 --out more.png
  latentscape models
  latentscape train vae --data PATH/TO/YOUR/IMAGES --size 64""")


@command
def models(args: list[str]) -> None:
    """List the models; with a name and --shape, its layers, parameters and FLOPs."""
    from latentscape import models as room

    if not args or args[0].startswith("-"):
        parse("models", args, {})
        table("", ["model", "what it is"], [[k, v] for k, v in room.summaries().items()])
        print("`latentscape models NAME --shape 1x28x28` shows a model's layers, `train NAME --help` its settings.")
        return
    name, rest = args[0], args[1:]
    from latentscape.tasks import overrides

    fields = settings_of(room.model_class(name).Config)
    options = parse(
        f"models {name}",
        rest,
        {
            "shape": (str, "1x28x28", "of the data: 3x64x64 (C×H×W), 28x28 (grey) or 2 (a vector)"),
            "classes": (int, 0, "labels of the data"),
        },
        fields,
    )
    if room.model_class(name).needs_labels and not options["classes"]:
        raise UserError(f"{name} is built for a number of labels; give it, for example: --classes 10")
    _summary(name, options, overrides.model_settings(name, given(options, fields)))


def _summary(name: str, options: dict[str, Any], settings: Any) -> None:
    from latentscape.config import DataShape
    from latentscape.tasks.summarise import summarise

    shape = DataShape.parse(options["shape"])
    summary = summarise(name, shape, settings, options["classes"])
    rows = [[y.name, y.kind, "×".join(map(str, y.output)), f"{y.parameters:,}", f"{y.flops:,}"] for y in summary.layers]
    if rows:
        table(f"{name} for {shape}", ["layer", "kind", "output", "parameters", "FLOPs per example"], rows)
    print(
        f"{summary.parameters:,} parameters, {summary.flops:,} FLOPs per example forward"
        + (", about three times that in a training step." if summary.flops else ".")
    )
    for note in summary.notes:
        print(note)


@command
def recipes(args: list[str]) -> None:
    """List the recipes that `reproduce` runs."""
    from latentscape import recipes as room

    parse("recipes", args, {})
    rows = [
        [name, r["row"], r["model"], r["data"], r["title"]] for name, r in ((n, room.read(n)) for n in room.paths())
    ]
    rows += [[name, r["row"], "a chain", "", r["title"]] for name, r in ((n, room.chain(n)) for n in room.chains())]
    table("", ["recipe", "row", "model", "data", "what it shows"], rows)


@command
def doctor(args: list[str]) -> None:
    """Say what this machine offers and what stands in the way."""
    options = parse("doctor", args, {"json": JSON})
    from latentscape.tasks.doctor import examine

    facts, advice = examine()
    if options["json"]:
        print(json.dumps({**facts, "advice": advice}))
        return
    table("", ["what", "found"], [[k.replace("_", " "), str(v)] for k, v in facts.items()])
    for line in advice or ["All is well."]:
        print(line)


@command
def data(args: list[str]) -> None:
    """`data info DATA` says what is there; `data pack DATA` fills the cache; `data fetch NAME` downloads a set."""
    actions = {"info": _data_info, "pack": _data_pack, "fetch": _data_fetch}
    if not args or args[0] not in actions:
        if args and args[0] not in ("-h", "--help"):
            raise UserError(f"`data` is followed by info, pack or fetch, got {args[0]!r}")
        print("latentscape data info DATA | pack DATA | fetch NAME\n\n" + (data.__doc__ or ""))
        return
    if len(args) < 2 or (args[1].startswith("-") and args[1] not in ("-h", "--help")):
        raise UserError(
            f"`data {args[0]}` is followed by a name or a path, for example: latentscape data {args[0]} digits"
        )
    actions[args[0]](args[1:])


def _read(args: list[str], what: str) -> tuple[Any, dict[str, Any]]:
    from latentscape.data import DataSettings, load_data

    fields = settings_of(DataSettings)
    options = parse(f"data {what} DATA", args[1:] if not args[0].startswith("-") else args, {"json": JSON}, fields)
    return load_data(args[0], DataSettings.from_dict(given(options, fields)), progress=True), options


def _data_info(args: list[str]) -> None:
    images, options = _read(args, "info")
    from latentscape.data import describe

    facts = describe(images)
    if options["json"]:
        print(json.dumps(facts))
        return
    table(
        f"{images.name}: {len(images):,} examples of {images.shape}",
        ["what", "found"],
        [[k.replace("_", " "), _plain(v)] for k, v in facts.items() if not _empty(v)],
    )


def _empty(value: Any) -> bool:
    return value in (None, [], {}, "") or (isinstance(value, dict) and value.get("count") == 0)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_plain(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):  # a list of groups of files: a line per group
        joint = "\n" if value and isinstance(value[0], (list, tuple)) else ", "
        return joint.join(_plain(v) for v in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _data_pack(args: list[str]) -> None:
    images, options = _read(args, "pack")
    from latentscape.data import describe

    facts = describe(images)
    where = facts.get("cache") or facts.get("cache_path") or ""
    if options["json"]:
        print(json.dumps(facts))
    elif where:
        print(f"Packed {len(images):,} examples of {images.shape} into {where}; training reads them from there.")
    else:
        print(f"{images.name} needs no packing: it is read at once ({len(images):,} examples of {images.shape}).")


def _data_fetch(args: list[str]) -> None:
    own = {"address": (str, "", "base address to try first")}
    options = parse("data fetch NAME", args[1:] if not args[0].startswith("-") else args, own)
    from latentscape.data import fetch

    print(f"{args[0]} lies in {fetch(args[0], options['address'] or None, say)}")
