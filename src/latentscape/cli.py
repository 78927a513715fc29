"""The command line: thin commands over `latentscape.api`, everything heavy imported when a command runs."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, cast

from latentscape.config import flag
from latentscape.errors import LatentscapeError, UserError

JSON = (bool, False, "print one JSON object on standard output and nothing else there")


# ---- what a person sees --------------------------------------------------------------------------------


def say(text: str = "") -> None:
    """A line for the person, on standard error, so that standard output stays for results."""
    print(text, file=sys.stderr, flush=True)


class Terminal:
    """Sentences and a progress bar on standard error; without a terminal, a line every ten seconds."""

    def say(self, text: str) -> None:
        """One sentence."""
        say(text)

    @contextlib.contextmanager
    def training(self, total_steps: int, batch_size: int) -> Iterator[Callable[[int, int], None]]:
        """A bar with images per second and the time left."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        if not console.is_terminal:
            yield self._lines(total_steps)
            return
        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps, {task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task, seen = bar.add_task("train", total=total_steps, speed=""), [time.monotonic(), 0]

            def tell(step: int, images: int) -> None:
                now = time.monotonic()
                if now - seen[0] >= 0.5:
                    speed = f"{(images - seen[1]) / (now - seen[0]):,.0f} images/s" if seen[1] else ""
                    bar.update(task, completed=step, speed=speed)
                    seen[:] = [now, images]

            yield tell

    def _lines(self, total: int) -> Callable[[int, int], None]:
        first: list[float] = []  # when the first step was done: compiling and the like do not count
        last = time.monotonic()

        def tell(step: int, images: int) -> None:
            nonlocal last
            now = time.monotonic()
            first[:] = first or [now, step, images]
            if now - last >= 10 and step > first[1]:
                speed = (images - first[2]) / (now - first[0])
                left = (total - step) * (now - first[0]) / (step - first[1])
                say(f"step {step:,} of {total:,}, {speed:,.0f} images/s, {left / 60:.1f} min left")
                last = now

        return tell


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on standard output."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    width = None if sys.stdout.isatty() else 120
    made = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left")
    for i, name in enumerate(columns):
        made.add_column(name, justify="right" if i and rows and rows[0][i][:1].isdigit() else "left", overflow="fold")
    for row in rows:
        made.add_row(*map(escape, row))  # names come from users' files: [red] in one is no colour
    Console(width=width).print(made)


def number(value: float) -> str:
    """Four significant digits, no exponent where it can be helped."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) >= 1 else f"{value:.4g}"


def shares(values: dict[str, float], most: int = 10) -> str:
    """A histogram in words, the commonest first: 1: 13 %, 7: 11 %, …"""
    ordered = sorted(values.items(), key=lambda item: -item[1])
    lines = [f"{name}: {100 * share:.3g} %" for name, share in ordered[:most]]
    return "\n".join([*lines, *([f"and {len(ordered) - most:,} more"] if len(ordered) > most else [])])


def show_metrics(answer: dict[str, Any]) -> None:
    """The table at the end of training and evaluation, and what its figures rest on."""
    metrics = {k: shares(v) if isinstance(v, dict) else number(v) for k, v in answer["metrics"].items()}
    rows = [[name, text, answer["protocol"].get(name, "")] for name, text in metrics.items()]
    part = f"all {answer['n']:,} images" if answer["split"] == "all" else f"{answer['n']:,} {answer['split']} images"
    if answer.get("of", answer["n"]) > answer["n"]:
        part += f" of {answer['of']:,} in all"
    table(f"{answer['model']} on {answer['data']}, {part}", ["metric", "value", "how"], rows)
    for line in _beside(answer):
        print(line)


def _beside(answer: dict[str, Any]) -> Iterator[str]:
    """Sample counts and the classifier in words."""
    if counts := answer.get("importance"):
        yield (
            f"iwae_nats: {counts['samples']:,} samples of the posterior for each of {counts['images']:,} images, whose "
            f"elbo_nats is {number(counts['elbo_nats'])}."
        )
    if counts := answer.get("samples"):
        yield (
            f"{counts['drawn']:,} samples from {counts['prior']}; distances compare {counts['compared']:,} of them with "
            f"{counts['compared']:,} images."
        )
    if reader := answer.get("classifier"):
        known = reader["accuracy"] is not None
        how = (
            f", which reads {reader['accuracy']:.2%} of {reader['n']:,} {reader['split']} examples rightly"
            if known
            else ""
        )
        yield f"Read by the classifier in {reader['run']}{how}."


# ---- commands --------------------------------------------------------------------------------


def demo(args: list[str]) -> None:
    """Train a VAE on the embedded digits, measure it and write its report (under a minute)."""
    options = _parse("demo", args, {"out": (str, "", "run folder; empty: runs/vae-digits-N")})
    run = _api().reproduce("demo", out=options["out"] or None, command=_command(), console=Terminal())
    _done(run)
    say(f"""
Next: open {run.folder.report_path} in a browser, then try
  latentscape sample {run.path} --n 100 --out more.png
  latentscape models
  latentscape train vae --data PATH/TO/YOUR/IMAGES --size 64""")


def models(args: list[str]) -> None:
    """List the models; with a name and --shape, its layers, parameters and FLOPs."""
    from latentscape import models as room

    if not args or args[0].startswith("-"):
        _parse("models", args, {})
        table("", ["model", "what it is"], [[k, v] for k, v in room.summaries().items()])
        print("`latentscape models NAME --shape 1x28x28` shows a model's layers, `train NAME --help` its settings.")
        return
    name, rest = args[0], args[1:]
    from latentscape.tasks import overrides

    fields = _settings(room.model_class(name).Config)
    options = _parse(
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
    _summary(name, options, overrides.model_settings(name, _given(options, fields)))


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


def recipes(args: list[str]) -> None:
    """List the recipes that `reproduce` runs."""
    from latentscape import recipes as room

    _parse("recipes", args, {})
    rows = [
        [name, r["row"], r["model"], r["data"], r["title"]] for name, r in ((n, room.read(n)) for n in room.paths())
    ]
    table("", ["recipe", "row", "model", "data", "what it shows"], rows)


def doctor(args: list[str]) -> None:
    """Say what this machine offers and what stands in the way."""
    options = _parse("doctor", args, {"json": JSON})
    from latentscape.tasks.doctor import examine

    facts, advice = examine()
    if options["json"]:
        print(json.dumps({**facts, "advice": advice}))
        return
    table("", ["what", "found"], [[k.replace("_", " "), str(v)] for k, v in facts.items()])
    for line in advice or ["All is well."]:
        print(line)


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

    fields = _settings(DataSettings)
    options = _parse(f"data {what} DATA", args[1:] if not args[0].startswith("-") else args, {"json": JSON}, fields)
    return load_data(args[0], DataSettings.from_dict(_given(options, fields)), progress=True), options


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
    options = _parse("data fetch NAME", args[1:] if not args[0].startswith("-") else args, own)
    from latentscape.data import fetch

    print(f"{args[0]} lies in {fetch(args[0], options['address'] or None, say)}")


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

    fields = [f for s in (room.model_class(name).Config, TrainSettings, DataSettings) for f in _settings(s)]
    options = _parse(
        f"train {name}",
        args[1:],
        {
            "data": (str, "", "a name (digits, shapes, curves, mnist, …) or a path to images or arrays"),
            "out": (str, "", f"run folder; empty: runs/{name}-DATA-N"),
            "init_from": (
                str,
                "",
                "start from the weights of a run folder or a file, or of one for each part: generator=G.pt,discriminator=RUN",
            ),
            "bare": (bool, False, "only train: no evaluation, pictures or report"),
            "json": JSON,
        },
        fields,
        required=("data",),
    )
    if not options["data"]:
        raise UserError(f"`train {name}` needs --data: a name such as digits or mnist, or the path of images or arrays")
    run = _api().train(
        name,
        options["data"],
        out=options["out"] or None,
        init_from=options["init_from"] or None,
        finish=not options["bare"],
        command=_command(),
        console=Terminal(),
        **_given(options, fields),
    )
    _done(run, options["json"])


def resume(args: list[str]) -> None:
    """Go on with an interrupted run, or train a finished one longer."""
    run_path, rest = _first(args, "resume", "RUN")
    options = _parse(
        "resume RUN",
        rest,
        {
            "epochs": (int, 0, "train until so many epochs in all"),
            "max_steps": (int, 0, "train until so many steps in all"),
            "bare": (bool, False, "only train: no evaluation, pictures or report"),
            "json": JSON,
        },
    )
    run = _api().resume(
        run_path,
        finish=not options["bare"],
        epochs=options["epochs"] or None,
        max_steps=options["max_steps"] or None,
        console=Terminal(),
    )
    _done(run, options["json"])


def reproduce(args: list[str]) -> None:
    """Run a recipe: train, evaluate, and draw what it must show."""
    name, rest = _first(args, "reproduce", "RECIPE")
    options = _parse(
        "reproduce RECIPE",
        rest,
        {
            "data": (str, "", "other data than the recipe's"),
            "scale": (float, 1.0, "multiply the number of training steps"),
            "seed": (int, 0, "of weights, order and draws"),
            "out": (str, "", "run folder; empty: runs/MODEL-DATA-N"),
            "json": JSON,
        },
    )
    run = _api().reproduce(
        name,
        data=options["data"] or None,
        scale=options["scale"],
        out=options["out"] or None,
        command=_command(),
        console=Terminal(),
        **({"seed": options["seed"]} if "seed" in options["named"] else {}),
    )
    _done(run, options["json"])


def evaluate(args: list[str]) -> None:
    """Measure a run on a split of its data, or on other data."""
    run_path, rest = _first(args, "evaluate", "RUN")
    options = _parse(
        "evaluate RUN",
        rest,
        {
            "data": (str, "", "other data than the run's own, brought to its shape"),
            "split": (Literal["train", "valid", "test", "all"], "test", "which part of the data"),
            "samples": (
                int,
                0,
                "draw so many samples and judge them with a classifier (fid, precision, recall, …); 0: none",
            ),
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
        console=Terminal(),
    )
    if options["json"]:
        print(json.dumps(answer))
        return
    show_metrics(answer)
    if options["data"] and answer["n"] < answer["of"]:
        say(f"Measured the {answer['split']} part only; --split all measures all {answer['of']:,} images.")


def sample(args: list[str]) -> None:
    """Draw new pictures from a run's prior."""
    run_path, rest = _first(args, "sample", "RUN")
    options = _parse(
        "sample RUN",
        rest,
        {
            "n": (int, 64, "how many"),
            "seed": (int, 0, "of the draws"),
            "prior": (
                Literal["auto", "own", "full", "diagonal"],
                "auto",
                "the model's own, or a Gaussian fitted to its training latents",
            ),
            "temperature": (float, 1.0, "multiplies the prior's standard deviation"),
            "label": (str, "", "conditional models: the class to draw, by name or number; empty: all in turn"),
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
        command=_command(),
    )
    print(json.dumps(out)) if options["json"] else print(
        f"Wrote {out['n']} samples from {out['prior']} to {out['out']}\nSHA-256 of their values: {out['sha256']}"
    )


def reconstruct(args: list[str]) -> None:
    """Put images through a run's model and back, with the error of each."""
    run_path, rest = _first(args, "reconstruct", "RUN")
    options = _parse(
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
        command=_command(),
    )
    if options["json"]:
        print(json.dumps(out))
        return
    print(
        f"Wrote {out['n']} reconstructions to {out['out']}; mean squared error {out['mse']:.5f}"
        f" (from {min(out['errors']):.5f} to {max(out['errors']):.5f})"
    )


def project(args: list[str]) -> None:
    """Find the latents of real pictures by optimisation, for any model with a decoder: `project RUN [PICTURE …]`."""
    from latentscape.tasks.projecting import Search

    run_path, rest = _first(args, "project", "RUN")
    count = next((i for i, word in enumerate(rest) if word.startswith("-")), len(rest))
    fields = _settings(Search)
    options = _parse(
        "project RUN [PICTURE …]",
        rest[count:],
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
        rest[:count],
        data=options["data"] or None,
        split=options["split"],
        n=options["n"],
        label=options["label"] or None,
        out=options["out"] or None,
        command=_command(),
        console=Terminal(),
        **_given(options, fields),
    )
    if options["json"]:
        print(json.dumps(out))
        return
    print(
        f"Wrote the projections of {out['n']} pictures to {out['out']}; mean squared error {out['mse']:.5f}"
        f" (from {min(out['errors']):.5f} to {max(out['errors']):.5f})"
    )


def import_(args: list[str]) -> None:
    """Make a run folder from weights trained elsewhere: `import MODEL --weights FILE`; then use it as any run."""
    from latentscape import models as room
    from latentscape.data.settings import DataSettings

    name = args[0] if args and not args[0].startswith("-") else ""
    if not name and not {"-h", "--help"} & set(args):
        raise UserError("`import` is followed by a MODEL: latentscape import MODEL --weights FILE --shape 1x28x28")
    groups = (room.model_class(name).Config, DataSettings) if name else (DataSettings,)
    fields = [f for s in groups for f in _settings(s)]
    options = _parse(
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
        command=_command(),
        console=Terminal(),
        **_given(options, fields),
    )
    print(json.dumps(out)) if options["json"] else print(f"The run lies in {out['run']}")


def probe(args: list[str]) -> None:
    """Ask a discriminator about real pictures, its generator's, noise and your own: `probe RUN [FILE …]`."""
    run_path, rest = _first(args, "probe", "RUN")
    count = next((i for i, word in enumerate(rest) if word.startswith("-")), len(rest))
    options = _parse(
        "probe RUN [FILE …]",
        rest[count:],
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
        rest[:count],
        n=options["n"],
        figures_n=options["figures_n"],
        seed=options["seed"],
        split=options["split"],
        data=options["data"] or None,
        out=options["out"] or None,
        command=_command(),
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


def report(args: list[str]) -> None:
    """Write a run's report.html anew."""
    run_path, rest = _first(args, "report", "RUN")
    _parse("report RUN", rest, {})
    print(f"Wrote {_api().report(run_path)}")


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    f.__name__.rstrip("_"): f
    for f in (
        demo,
        models,
        recipes,
        doctor,
        data,
        train,
        resume,
        reproduce,
        import_,
        evaluate,
        sample,
        reconstruct,
        project,
        probe,
        report,
    )
}


# ---- the machinery --------------------------------------------------------------------------------


def _api() -> Any:
    from latentscape import api

    return api


def _command() -> str:
    import shlex

    return shlex.join(["latentscape", *sys.argv[1:]])


def _first(args: list[str], command: str, what: str) -> tuple[str, list[str]]:
    if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
        raise UserError(f"`{command}` is followed by a {what}: latentscape {command} {what}")
    return (args[0], args[1:]) if args[0] not in ("-h", "--help") else ("", args)


def _settings(cls: type) -> list[dataclasses.Field]:
    """The fields of a group of settings with their types resolved."""
    import typing

    hints = typing.get_type_hints(cls)
    fields = list(dataclasses.fields(cls))
    for f in fields:
        f.type = cast(Any, hints[f.name])
    return fields


def _given(options: dict[str, Any], fields: list[dataclasses.Field]) -> dict[str, Any]:
    """The settings that the user named; the others stay at the model's and the package's defaults."""
    return {f.name: options[f.name] for f in fields if f.name in options["named"]}


def _parse(
    command: str,
    args: list[str],
    own: dict[str, tuple[Any, Any, str]],
    fields: list[dataclasses.Field] | None = None,
    required: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Parse flags with tyro. `own`: name → (type, default, help); `fields`: settings. `named` is what the user gave.

    required: those of `own` that the help calls so; the command itself refuses to go on without them.
    """
    import tyro

    from latentscape.config import range_words

    made: list[Any] = []
    for name, (kind, default, text) in own.items():
        hint = "(required)" if name in required else f"(default: {_shown(default)})"
        arg = tyro.conf.arg(help=text, help_behavior_hint=hint)
        made.append((name, Annotated[kind, arg], dataclasses.field(default=default)))
    for f in fields or []:
        words = "; ".join(w for w in (f.metadata["help"], range_words(f)) if w)
        arg = tyro.conf.arg(help=words, help_behavior_hint=f"(default: {_shown(f.default)})", metavar=_metavar(f.type))
        made.append((f.name, Annotated[cast(Any, f.type), arg], dataclasses.field(default=f.default)))
    doc = (COMMANDS[command.split()[0]].__doc__ or "").strip()
    parsed = _tyro(dataclasses.make_dataclass("Arguments", made), args, f"latentscape {command}", doc)
    flags = {a.split("=")[0].replace("_", "-") for a in args}
    named = {m[0] for m in made if flags & {flag(m[0]), "--no-" + flag(m[0])[2:]}}
    return {name: getattr(parsed, name) for name in (m[0] for m in made)} | {"named": named}


def _tyro(kind: type, args: list[str], prog: str, doc: str) -> Any:
    """tyro's parser; its framed error becomes one sentence."""
    import tyro

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, args=args, prog=prog, description=doc)
    except SystemExit as ended:
        if ended.code in (0, None):
            raise
    inside: list[str] = []
    for line in said.getvalue().splitlines()[1:]:  # the first line is the frame's title
        text = line.strip("│| ")
        if set(text) <= set("─-+╭╮╰╯"):
            if inside:
                break
        else:
            inside.append(text)
    raise UserError(f"{' '.join(inside).rstrip('.')}; `{prog} --help` lists the settings")


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return " ".join(map(str, default))
    return {None: "unset", "": "unset"}.get(default, str(default)) if not isinstance(default, (list, dict)) else ""


def _metavar(kind: Any) -> str | None:
    import typing

    args = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        return "INT..."
    if typing.get_origin(kind) is Literal:
        return "{" + ",".join(map(str, args)) + "}"
    kind = next((a for a in args if a is not type(None)), kind)
    return {int: "INT", float: "FLOAT", str: "TEXT", bool: None}.get(kind)


def _done(run: Any, as_json: bool = False) -> None:
    """The table at the end and where things are."""
    answer = run.folder.metrics()
    if as_json:
        print(
            json.dumps(
                {
                    "run": str(run.path),
                    "steps": run.steps,
                    "seconds": run.seconds,
                    "ended": run.ended,
                    "warnings": run.warnings,
                    "metrics": (answer or {}).get("metrics", {}),
                }
            )
        )
        return
    if answer:
        show_metrics(answer)
    speed = f", {run.images / run.seconds:,.0f} images/s" if run.seconds and run.steps else ""
    took = (
        f"Trained {run.steps:,} steps in {run.seconds:.1f} s{speed}" if run.steps else f"Fitted in {run.seconds:.1f} s"
    )
    say(f"{took}: {run.ended}.")
    say(f"The run lies in {run.path}" + (f", its report is {run.folder.report_path}." if answer else "."))


def _help() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}s}{(f.__doc__ or '').strip().splitlines()[0]}" for name, f in COMMANDS.items()]
    return (
        "latentscape: train, measure, look into and use latent-variable models of images.\n\n"
        "usage: latentscape COMMAND …      (latentscape COMMAND --help for its settings)\n\n"
        + "\n".join(lines)
        + "\n\nStart with: latentscape demo"
    )


def main() -> None:
    """Entry point. Exit status: 0 done, 1 failed, 2 bad usage or bad input."""
    # A thread that waits for another spins. By default it spins for milliseconds, which costs a factor of a hundred when
    # another program holds one of the cores; shorter, it yields to it. Read by the OpenMP library when torch loads it.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    args = [a for a in sys.argv[1:] if a != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Unicode gets a question mark, not a traceback
    debug = len(args) != len(sys.argv) - 1
    if not args or args[0] in ("-h", "--help", "help"):
        print(_help())
        return
    if args[0] in ("-V", "--version"):
        from latentscape.version import __version__

        print(f"latentscape {__version__}")
        return
    try:
        command = COMMANDS.get(args[0])
        if command is None:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            raise UserError(
                f"there is no command {args[0]!r}; "
                + (f"did you mean {near[0]}?" if near else "`latentscape --help` lists them")
            )
        command(args[1:])
    except LatentscapeError as error:
        _fail(str(error), error.exit_status, debug)
    except KeyboardInterrupt:
        _fail("stopped", 1, debug)
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        _fail("the memory does not hold that; choose a smaller model, batch or picture size", 1, debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (MemoryError, OSError) as error:
        import errno

        words = {errno.ENOSPC: "no space is left on the disk; free some and go on: what was written before is whole"}
        text = words.get(getattr(error, "errno", None) or 0, f"{type(error).__name__}: {error}")
        _fail(f"{text} (--debug shows where)", 1, debug)


def _fail(text: str, status: int, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    say(f"latentscape: {text}")
    sys.exit(status)


if __name__ == "__main__":
    main()
