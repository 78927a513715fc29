"""Commands that walk through latent space: interpolate, traverse, grid, transfer."""

from __future__ import annotations

import json
from typing import Any, Literal

from latentscape.cli.parsing import JSON, command_line, first, given, parse, settings_of, words_before_flags
from latentscape.cli.registry import command

DATA = (str, "", "other data than the run's own to take latents from")
SPLIT = (Literal["train", "valid", "test", "all"], "test", "which part of the run's data; other data: all")
LATENTS = (str, "", "X.npy: start from these latents, as `project --out X.npy` writes them")
LABEL = "conditional models: the class to decode under, by name or number; empty: "


@command
def interpolate(args: list[str]) -> None:
    """Walk between two pictures, two examples or two random latents: `interpolate RUN [A B]`."""
    from latentscape.tasks.walking import Interpolation
    from latentscape.tasks.walking import interpolate as run

    run_path, rest = first(args, "interpolate", "RUN")
    ends, rest = words_before_flags(rest)
    fields = settings_of(Interpolation)
    own = {
        "label": (str, "", LABEL + "the ends' own, a row each"),
        "latents": LATENTS,
        "data": DATA,
        "split": SPLIT,
        "out": (str, "", "X.png, X.gif, X.mp4, X.npy or a folder; empty: the run's pictures"),
        "json": JSON,
    }
    options = parse("interpolate RUN [A B]", rest, own, fields)
    out = run(run_path, ends, command=command_line(), **_shared(options, own), **given(options, fields))
    if options["json"]:
        print(json.dumps(out))
        return
    lengths = out["lengths"]
    print(
        f"Wrote the {out['path']} walk of {out['steps']} steps from {out['from']} to {out['to']} to {out['out']}; the "
        f"latents are {out['distance']:.3g} apart, their length goes from {lengths['from']:.3g} to {lengths['to']:.3g} "
        f"and is {lengths['shortest']:.3g} where it is shortest"
    )


@command
def traverse(args: list[str]) -> None:
    """Move one latent coordinate after another, the most important first: `traverse RUN [PICTURE]`."""
    from latentscape.tasks.walking import Traversal
    from latentscape.tasks.walking import traverse as run

    run_path, rest = first(args, "traverse", "RUN")
    pictures, rest = words_before_flags(rest)
    fields = settings_of(Traversal)
    own = {
        "label": (str, "", LABEL + "the picture's own, else the first"),
        "latents": LATENTS,
        "data": DATA,
        "split": SPLIT,
        "out": (str, "", "X.png, X.gif, X.mp4, X.npy or a folder; empty: the run's pictures"),
        "json": JSON,
    }
    options = parse("traverse RUN [PICTURE]", rest, own, fields)
    out = run(run_path, pictures, command=command_line(), **_shared(options, own), **given(options, fields))
    if options["json"]:
        print(json.dumps(out))
        return
    shown = {entry["coordinate"]: entry for entry in out["importances"]}
    print(f"Wrote {len(out['shown'])} of {len(shown)} latent coordinates about {out['about']} to {out['out']}")
    print("coordinate  importance  ± standard error  std")
    for c in out["shown"]:
        entry = shown[c]
        print(f"{'z' + str(c):10s}  {entry['importance']:<10.3g}  {entry['standard_error']:<16.2g}  {entry['std']:.3g}")


@command
def grid(args: list[str]) -> None:
    """Decode a lattice over a plane of the latent space."""
    from latentscape.tasks.planes import Lattice
    from latentscape.tasks.planes import grid as run

    run_path, rest = first(args, "grid", "RUN")
    fields = settings_of(Lattice)
    own = {
        "label": (str, "", LABEL + "all, a panel each"),
        "data": DATA,
        "out": (str, "", "X.png, X.npy or a folder; empty: the run's pictures"),
        "json": JSON,
    }
    options = parse("grid RUN", rest, own, fields)
    out = run(run_path, command=command_line(), **_shared(options, own), **given(options, fields))
    print(json.dumps(out)) if options["json"] else print(
        f"Wrote {out['steps']}×{out['steps']} places of the plane of {out['axes'][0]} (from {out['right'][0]:.3g} to "
        f"{out['right'][1]:.3g}) and {out['axes'][1]} (from {out['up'][0]:.3g} to {out['up'][1]:.3g}) to {out['out']}"
    )


@command
def transfer(args: list[str]) -> None:
    """Keep the style of pictures and change their label, with conditional models: `transfer RUN [PICTURE …]`."""
    from latentscape.tasks.transferring import transfer as run

    run_path, rest = first(args, "transfer", "RUN")
    pictures, rest = words_before_flags(rest)
    own = {
        "to": (tuple[str, ...], (), "classes to change to, by name or number; empty: all, at most 20"),
        "n": (int, 10, "how many examples, where no pictures are given"),
        "data": (str, "", "take examples of these data; empty: the run's own"),
        "split": SPLIT,
        "out": (str, "", "X.png, X.npy or a folder; empty: the run's pictures"),
        "json": JSON,
    }
    options = parse("transfer RUN [PICTURE …]", rest, own)
    out = run(run_path, pictures, command=command_line(), **_shared(options, own))
    print(json.dumps(out)) if options["json"] else print(
        f"Wrote {out['n']} pictures under {len(out['to'])} classes to {out['out']}; mean squared error of the "
        f"reconstructions {out['mse']:.5f}"
    )


def _shared(options: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """What a task takes beside its settings; empty texts are what was not given."""
    return {name: None if options[name] == "" else options[name] for name in own if name != "json"}
