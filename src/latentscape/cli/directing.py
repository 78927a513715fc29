"""Commands about directions and places in latent space: arithmetic, map, embed."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from latentscape.cli.parsing import JSON, PRECISION, command_line, first, parse, words_before_flags
from latentscape.cli.registry import command
from latentscape.cli.terminal import number, table
from latentscape.errors import ConfigError

SPLITS = Literal["train", "valid", "test", "all"]


@command
def arithmetic(args: list[str]) -> None:
    """Add and subtract latents, or move pictures along an attribute: `arithmetic RUN [A B C | FILE …]`.

    Three words A B C are A − B + C: files, or classes of the data, each standing for its next example. Beside
    --attribute, --with and --without, or --direction the words are files to move.
    """
    run_path, rest = first(args, "arithmetic", "RUN")
    words, rest = words_before_flags(rest)
    options = parse("arithmetic RUN [A B C | FILE …]", rest, _arithmetic_flags())
    shared = {"data": options["data"] or None, "split": options["split"], "label": options["label"] or None}
    shared |= {"out": options["out"] or None, "command": command_line()}
    if any(options[name] for name in ("attribute", "having", "without", "direction")):
        _move(run_path, words, options, shared)
    else:
        _combine(run_path, words, options, shared)


def _arithmetic_flags() -> dict[str, tuple[Any, Any, str]]:
    import tyro

    return {
        "plus": (tuple[str, ...], (), "sums: files or classes to add"),
        "minus": (tuple[str, ...], (), "sums: files or classes to subtract"),
        "average": (int, 1, "sums: a class stands for the mean latent of so many examples"),
        "attribute": (str, "", "directions: an attribute of the data, or a class"),
        "table": (str, "", "directions: CSV, TSV or Parquet that has the attribute in a column"),
        "having": (Annotated[str, tyro.conf.arg(name="with")], "", "directions: folder of pictures with something"),
        "without": (str, "", "directions: folder of pictures without it"),
        "direction": (str, "", "directions: X.npy that this command wrote"),
        "method": (
            Literal["mean-difference", "linear"],
            "mean-difference",
            "directions: change of the mean latent, or the way a linear reading rises fastest",
        ),
        "without_changing": (tuple[str, ...], (), "directions: attributes whose linear reading stays as it is"),
        "strengths": (
            tuple[float, ...],
            (-2.0, -1.0, 0.0, 1.0, 2.0),
            "directions: in standard deviations of the latents' projection",
        ),
        "n": (int, 8, "directions: how many examples are moved, unless there are files"),
        "data": (str, "", "data with the classes, the attribute and the examples; empty: the run's own"),
        "split": (SPLITS, "test", "which part of the data examples are from"),
        "label": (str, "", "conditional models: the class of your own pictures"),
        "out": (str, "", "X.png, X.npy (a latent, or what one unit of strength adds), of directions X.gif, X.mp4"),
        "json": JSON,
    }


def _combine(run_path: str, words: list[str], options: dict[str, Any], shared: dict[str, Any]) -> None:
    from latentscape.tasks.arithmetic import combine

    _refuse(
        options, ("table", "method", "without_changing", "strengths", "n"), "directions, so that it needs --attribute"
    )
    plus, minus = options["plus"], options["minus"]
    if words and (plus or minus):
        raise ConfigError("give three words A B C, or --plus and --minus, not both")
    if words and len(words) != 3:
        raise ConfigError(
            f"A − B + C needs three words, got {len(words)}; say others with --plus and --minus, or move pictures "
            "along an --attribute"
        )
    if words:
        plus, minus = (words[0], words[2]), (words[1],)
    out = combine(run_path, plus, minus, average=options["average"], **shared)
    if options["json"]:
        print(json.dumps(out))
        return
    print(f"Wrote {out['sum']} to {out['out']}")
    if "distance" in out:
        parts = ", ".join(f"{d:.2f}" for d in out["distances"])
        print(
            f"The sum lies at {out['distance']:.2f} of the usual distance from the middle of the training latents, its "
            f"parts at {parts}"
        )


def _move(run_path: str, words: list[str], options: dict[str, Any], shared: dict[str, Any]) -> None:
    from latentscape.tasks.arithmetic import move

    _refuse(options, ("plus", "minus", "average"), "sums, and this is a direction")
    names = ("attribute", "table", "having", "without", "direction", "method", "without_changing", "strengths", "n")
    out = move(run_path, words, **{name: options[name] for name in names}, **shared)
    if options["json"]:
        print(json.dumps(out))
        return
    moved = f"{out['n']:,} {'picture' if out['n'] == 1 else 'pictures'} moved along " if "n" in out else ""
    print(f"Wrote {moved}{out['of']} to {out['out']}")
    if "correlation" in out:
        print(
            f"Its correlation with {out['attribute']} is {out['correlation']:.3f} on {out['n_held_out']:,} held-out "
            "examples"
        )


def _refuse(options: dict[str, Any], names: tuple[str, ...], what: str) -> None:
    """Flags that would be read by nothing are a mistake."""
    given = [name for name in names if name in options["named"]]
    if given:
        raise ConfigError(f"--{given[0].replace('_', '-')} is for {what}")


@command
def map(args: list[str]) -> None:
    """Draw the latents of a set in the plane, coloured by label or attribute: `map RUN [FILE …]` marks your own."""
    run_path, rest = first(args, "map", "RUN")
    pictures, rest = words_before_flags(rest)
    options = parse(
        "map RUN [FILE …]",
        rest,
        {
            "method": (
                Literal["auto", "coordinates", "pca", "umap"],
                "auto",
                "the two coordinates that vary most, two principal axes, or UMAP; auto: coordinates for 2, else pca",
            ),
            "colour_by": (str, "", "label, an attribute or a class of the data, or none; empty: label if there is one"),
            "thumbnails": (int, 0, "draw at most so many examples' pictures over their points, none over another"),
            "n": (
                int,
                5_000,
                "examples, the first ones or evenly spaced where the set lists class after class; 0: all",
            ),
            "data": (str, "", "other data than the run's own, brought to its shape"),
            "split": (SPLITS, "test", "which part of the run's data; other data: all"),
            "label": (str, "", "conditional models: the class of your own pictures"),
            "seed": (int, 0, "of umap and of the choice of thumbnails"),
            "out": (str, "", "X.png, or X.npy for the places in the plane; empty: the run's pictures"),
            "json": JSON,
        },
    )
    from latentscape.tasks.mapping import draw_map

    out = draw_map(
        run_path,
        pictures,
        **{name: options[name] for name in ("method", "colour_by", "thumbnails", "n", "split", "seed")},
        data=options["data"] or None,
        label=options["label"] or None,
        out=options["out"] or None,
        command=command_line(),
    )
    print(json.dumps(out)) if options["json"] else print(
        f"Wrote a map of {out['n']:,} latents by {out['axes'][0]} and {out['axes'][1]} to {out['out']}"
    )


@command
def embed(args: list[str]) -> None:
    """Write the latents of a set or of your own pictures, and what they tell: `embed RUN [FILE …]`."""
    run_path, rest = first(args, "embed", "RUN")
    pictures, rest = words_before_flags(rest)
    options = parse(
        "embed RUN [FILE …]",
        rest,
        {
            "data": (str, "", "other data than the run's own, brought to its shape"),
            "split": (SPLITS, "test", "which part of the run's data; other data: all"),
            "label": (str, "", "conditional models: the class of your own pictures"),
            "scores": (bool, True, "read labels and attributes off the latents, where the data has them"),
            "precision": PRECISION,
            "out": (str, "", "X.npy, X.csv or X.parquet; empty: the run's pictures/latents.npy"),
            "json": JSON,
        },
    )
    from latentscape.tasks.embedding import embed as write

    out = write(
        run_path,
        pictures,
        data=options["data"] or None,
        split=options["split"],
        label=options["label"] or None,
        scores=options["scores"],
        precision=options["precision"],
        out=options["out"] or None,
    )
    if options["json"]:
        print(json.dumps(out))
        return
    print(f"Wrote {out['n']:,} latents of {out['latent_dim']} numbers to {out['out']}")
    _show_scores(out)


def _show_scores(answer: dict[str, Any]) -> None:
    """What was read off the latents, a line each."""
    if "fitted_to" not in answer:
        return
    rows = [
        [name, number(answer[name]), how]
        for name, how in (
            ("knn_accuracy", "5 nearest training latents, Euclidean"),
            ("probe_accuracy", "logistic regression on standardised latents"),
        )
        if name in answer
    ]
    rows += [[f"r2 of {name}", number(value), "linear regression"] for name, value in answer.get("r2", {}).items()]
    title = f"Fitted to {answer['fitted_to']:,} training latents, read on {answer['read_on']:,} {answer['read_split']}"
    table(title, ["metric", "value", "how"], rows)
