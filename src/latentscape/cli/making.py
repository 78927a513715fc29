"""Commands that make pictures with a run: sample, decode, reconstruct, project."""

from __future__ import annotations

import json
from typing import Literal

from latentscape.cli.parsing import JSON, PRECISION, command_line, first, given, parse, settings_of, words_before_flags
from latentscape.cli.registry import command
from latentscape.cli.terminal import Terminal


@command
def sample(args: list[str]) -> None:
    """Draw new pictures from a run's prior."""
    run_path, rest = first(args, "sample", "RUN")
    options = parse(
        "sample RUN",
        rest,
        {
            "n": (int, 64, "how many"),
            "seed": (int, 0, "of the draws"),
            "prior": (
                Literal["auto", "own", "diagonal", "full", "gmm", "flow", "flow-matching"],
                "auto",
                "the model's own, or one fitted to its training latents, which the run folder then keeps; auto: its "
                "own, or a full Gaussian if it has none",
            ),
            "temperature": (float, 1.0, "how far draws stand from the prior's mean, relative to the prior's own"),
            "label": (str, "", "conditional models: the class to draw, by name or number; empty: all in turn"),
            "precision": PRECISION,
            "out": (str, "", "X.npy, X.png, X.gif, X.mp4 or a folder; empty: the run's pictures"),
            "json": JSON,
        },
    )
    from latentscape.tasks.using import sample as draw

    out = draw(
        run_path,
        n=options["n"],
        seed=options["seed"],
        prior=options["prior"],
        out=options["out"] or None,
        temperature=options["temperature"],
        label=options["label"] or None,
        precision=options["precision"],
        command=command_line(),
        report=Terminal().say,
    )
    print(json.dumps(out)) if options["json"] else print(
        f"Wrote {out['n']} samples from {out['prior']} to {out['out']}\nSHA-256 of their values: {out['sha256']}"
    )


@command
def decode(args: list[str]) -> None:
    """Turn latents into pictures: `decode RUN --z NUMBER …`, or the rows of a file: `decode RUN --latents X.npy`."""
    run_path, rest = first(args, "decode", "RUN")
    options = parse(
        "decode RUN",
        rest,
        {
            "z": (tuple[float, ...], (), "one latent by its numbers, all of them, as the studio gives it"),
            "latents": (str, "", "X.npy, a latent a row, as `embed --out X.npy` and `project --out X.npy` write them"),
            "label": (str, "", "conditional models: the class to decode under, by name or number; empty: the first"),
            "out": (str, "", "X.png, X.gif, X.mp4, X.npy or a folder; empty: the run's pictures"),
            "json": JSON,
        },
    )
    from latentscape.tasks.decoding import decode as run

    out = run(
        run_path,
        options["latents"] or None,
        z=options["z"],
        label=options["label"] or None,
        out=options["out"] or None,
        command=command_line(),
    )
    print(json.dumps(out)) if options["json"] else print(f"Wrote {out['n']:,} decoded to {out['out']}")


@command
def reconstruct(args: list[str]) -> None:
    """Put images through a run's model and back, with the error of each."""
    run_path, rest = first(args, "reconstruct", "RUN")
    options = parse(
        "reconstruct RUN",
        rest,
        {
            "data": (str, "", "images to reconstruct; empty: the run's own"),
            "split": (Literal["train", "valid", "test", "all"], "test", "which part of the data; other data: all"),
            "n": (int, 10, "how many, from the first; 0: all"),
            "out": (str, "", "X.npy, X.png (originals above), a folder; empty: the run's pictures"),
            "json": JSON,
        },
    )
    from latentscape.tasks.using import reconstruct as run

    out = run(
        run_path,
        data=options["data"] or None,
        split=options["split"],
        n=options["n"],
        out=options["out"] or None,
        command=command_line(),
    )
    if options["json"]:
        print(json.dumps(out))
        return
    print(
        f"Wrote {out['n']} reconstructions to {out['out']}; mean squared error {out['mse']:.5f}"
        f" (from {min(out['errors']):.5f} to {max(out['errors']):.5f})"
    )


@command
def project(args: list[str]) -> None:
    """Find the latents of real pictures by optimisation, for any model with a decoder: `project RUN [PICTURE …]`."""
    from latentscape.tasks.projecting import Search

    run_path, rest = first(args, "project", "RUN")
    pictures, rest = words_before_flags(rest)
    fields = settings_of(Search)
    options = parse(
        "project RUN [PICTURE …]",
        rest,
        {
            "data": (str, "", "take examples of these data; empty: the run's own"),
            "split": (
                Literal["train", "valid", "test", "all"],
                "test",
                "which part of the run's data; other data: all",
            ),
            "n": (int, 8, "how many of them"),
            "label": (str, "", "conditional models: the pictures' class; empty: the data's, else every one is tried"),
            "out": (str, "", "X.png (originals above) or X.npy (the latents); empty: the run's pictures"),
            "json": JSON,
        },
        fields,
    )
    from latentscape.tasks.projecting import project as run

    out = run(
        run_path,
        pictures,
        data=options["data"] or None,
        split=options["split"],
        n=options["n"],
        label=options["label"] or None,
        out=options["out"] or None,
        command=command_line(),
        console=Terminal(),
        **given(options, fields),
    )
    if options["json"]:
        print(json.dumps(out))
        return
    print(
        f"Wrote the projections of {out['n']} pictures to {out['out']}; mean squared error {out['mse']:.5f}"
        f" (from {min(out['errors']):.5f} to {max(out['errors']):.5f})"
    )
