"""The command that puts runs side by side: compare."""

from __future__ import annotations

from typing import Any, Literal

from latentscape.cli.parsing import JSON, command_line, parse, words_before_flags
from latentscape.cli.registry import command
from latentscape.cli.terminal import Terminal, table


@command
def compare(args: list[str]) -> None:
    """Put runs side by side, and say which differences the measurements support: `compare RUN RUN …`."""
    paths, rest = words_before_flags(args)
    options = parse(
        "compare RUN RUN …",
        rest,
        {
            "data": (str, "", "measure all runs on these data; empty: on their own, which must be the same"),
            "split": (Literal["train", "valid", "test", "all"], "test", "which part of the data"),
            "samples": (int, 0, "draw so many samples from each and judge them (fid, precision, recall, …); 0: none"),
            "classifier": (str, "", "run of a classifier that reads them; empty: one trained on the data, once"),
            "features": (
                Literal["auto", "classifier", "random"],
                "auto",
                "what samples are compared on; auto: the classifier where there are labels, else the random net",
            ),
            "group_seeds": (bool, True, "take runs that differ in their seed alone together: mean and spread"),
            "out": (str, "comparison.html", "the page"),
            "json": JSON,
        },
    )
    from latentscape.report import comparison

    answer = comparison.compare(
        paths,
        out=options["out"],
        data=options["data"] or None,
        split=options["split"],
        samples=options["samples"],
        classifier=options["classifier"] or None,
        features=options["features"],
        group_seeds=options["group_seeds"],
        command=command_line(),
        console=Terminal(),
    )
    if options["json"]:
        from latentscape.training.checkpoint import to_json

        print(to_json(answer))
        return
    _show(answer)


def _show(answer: dict[str, Any]) -> None:
    """The cautions, the table, and how to read it."""
    from latentscape.report import comparison

    for caution in answer["cautions"]:
        print(f"!! {caution}")
    for detector, names, _ in comparison.warned(answer):
        print(f"!! Warned of {detector} while training: {', '.join(names)}.")
    title = f"{len(answer['runs'])} runs on {answer['n']:,} {answer['split']} examples of {answer['data']}"
    table(title, ["", *(e["name"] for e in answer["entries"])], list(comparison.table_rows(answer)))
    for line in comparison.legend(answer):
        print(line)
    print(f"Wrote the page with pictures and curves to {answer['report']}")
