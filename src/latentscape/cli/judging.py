"""Commands that measure a run: evaluate, probe, report."""

from __future__ import annotations

import json
from typing import Any, Literal

from latentscape.cli.parsing import JSON, api, command_line, first, parse, words_before_flags
from latentscape.cli.registry import command
from latentscape.cli.terminal import Terminal, say, show_metrics, table


@command
def evaluate(args: list[str]) -> None:
    """Measure a run on a split of its data, or on other data."""
    run_path, rest = first(args, "evaluate", "RUN")
    options = parse(
        "evaluate RUN",
        rest,
        {
            "data": (str, "", "other data than the run's own, brought to its shape"),
            "split": (Literal["train", "valid", "test", "all"], "test", "which part of the data"),
            "samples": (
                int,
                0,
                "draw so many samples and judge them beside real images (fid, precision, recall, …); 0: none",
            ),
            "prior": (
                Literal["auto", "own", "diagonal", "full", "gmm", "flow", "flow-matching"],
                "auto",
                "what samples are drawn from: the model's own, or one fitted to its training latents; auto: its own, "
                "else full, a Gaussian",
            ),
            "features": (
                Literal["auto", "classifier", "random", "latents", "inception"],
                "auto",
                "what samples and images are compared on; auto: a classifier where there are labels, else a random net",
            ),
            "inception_weights": (str, "", "pytorch-fid's file of weights, for --features inception"),
            "classifier": (str, "", "run of a classifier that reads them; empty: one trained on the data, once"),
            "importance_samples": (int, 0, "posterior samples per image for the bound iwae_nats; 0: leave it out"),
            "importance_images": (int, 1000, "most images that iwae_nats is measured on; 0: all"),
            "json": JSON,
        },
    )
    from latentscape.tasks.evaluating import evaluate as measure

    answer = measure(
        run_path,
        data=options["data"] or None,
        split=options["split"],
        samples=options["samples"],
        importance_samples=options["importance_samples"],
        importance_images=options["importance_images"],
        classifier=options["classifier"] or None,
        features=options["features"],
        inception_weights=options["inception_weights"] or None,
        prior=options["prior"],
        console=Terminal(),
    )
    if options["json"]:
        print(json.dumps(answer))
        return
    show_metrics(answer)
    if options["data"] and answer["n"] < answer["of"]:
        say(f"Measured the {answer['split']} part only; --split all measures all {answer['of']:,} images.")


@command
def probe(args: list[str]) -> None:
    """Ask a discriminator about real pictures, its generator's, noise and your own: `probe RUN [FILE …]`."""
    run_path, rest = first(args, "probe", "RUN")
    pictures, rest = words_before_flags(rest)
    options = parse(
        "probe RUN [FILE …]",
        rest,
        {
            "n": (int, 10, "pictures of each kind that are shown"),
            "figures_n": (
                int,
                1000,
                "pictures of each kind that the figures are taken over, as far as there are so many",
            ),
            "seed": (int, 0, "of noise and draws"),
            "split": (
                Literal["train", "valid", "test", "all"],
                "test",
                "where real pictures come from; other data: all",
            ),
            "data": (str, "", "real pictures of other data; empty: the run's own"),
            "out": (str, "", "X.png; empty: the run's pictures"),
            "json": JSON,
        },
    )
    from latentscape.tasks.probing import probe as run

    out = run(
        run_path,
        pictures,
        n=options["n"],
        figures_n=options["figures_n"],
        seed=options["seed"],
        split=options["split"],
        data=options["data"] or None,
        out=options["out"] or None,
        command=command_line(),
    )
    if options["json"]:
        print(json.dumps(out))
        return
    _show_probe(out)


def _show_probe(answer: dict[str, Any]) -> None:
    """A line for each kind of picture, and one for each single file."""
    is_probability = answer["says"] == "probability"
    share = "share_judged_real" if is_probability else "share_above_real_median"
    form, rows = ".4f" if is_probability else ".4g", []
    for s in answer["sources"]:
        figures = [format(s[name], form) for name in ("mean", "median")]
        rows.append([s["source"], f"{s['n']:,}", *figures, f"{s[share]:.1%}"])
        for file, value in s.get("files", {}).items():
            values = value if isinstance(value, list) else [value]
            if len(s["files"]) > 1:
                rows.append([f"  {file}", f"{len(values):,}", format(sum(values) / len(values), form), "", ""])
    says = "Probability of being real" if is_probability else "The critic's score"
    above = "above ½" if is_probability else "above real median"
    table(says, ["source", "n", "mean", "median", above], rows)
    print(f"Wrote the pictures with their numbers to {answer['out']}")


@command
def report(args: list[str]) -> None:
    """Write a run's report.html anew."""
    run_path, rest = first(args, "report", "RUN")
    parse("report RUN", rest, {})
    print(f"Wrote {api().report(run_path)}")
