"""Several runs side by side: the settings that differ, what they cost, what they measure on the same images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentscape import models
from latentscape.contract import (
    Classifies,
    Decodes,
    Encodes,
    HasLikelihood,
    HasPosterior,
    Model,
    Reconstructs,
    Samples,
    Trained,
    require,
)
from latentscape.data import DataSettings, ImageSet
from latentscape.errors import AbilityError, ConfigError, DataError, RunError
from latentscape.latents import encode
from latentscape.metrics import difference
from latentscape.pictures import sheets
from latentscape.runs import RunFolder
from latentscape.tasks import evaluating, showing
from latentscape.tasks.telling_apart import METHODS, Entry, Measured, row
from latentscape.tasks.training import Console, Silent
from latentscape.training.settings import TrainSettings

STRIP = 10
"""Test images whose reconstructions are shown."""

DRAWN, SEED = 40, 0
"""Samples shown of each run, and the seed of their draws."""

FEATURES = ("auto", "classifier", "random")
"""Of `evaluate`'s features those that are one net for all runs; each run's own latents are not."""

NOT_SETTINGS = {"train": {"seed", "threads", "log_every", "checkpoint_every", "keep_checkpoints"}}
"""Settings that do not make two runs different ones: those of the same settings are seeds of one another."""

NOT_SHOWN = {"train": {"seed", "log_every", "checkpoint_every", "keep_checkpoints"}}

_RECONSTRUCTION = (Encodes, Decodes)
NEEDS: dict[str, tuple[type, ...]] = {
    "mse": _RECONSTRUCTION,
    "psnr_db": _RECONSTRUCTION,
    "ssim": _RECONSTRUCTION,
    "bce": _RECONSTRUCTION,
    "kl_nats": (HasPosterior,),
    "active_units": (HasPosterior,),
    "elbo_nats": (HasPosterior, HasLikelihood),
    "iwae_nats": (HasPosterior, HasLikelihood),
    "energy_distance": (Encodes, Samples),
    "inside_fraction": (Encodes, Samples),
    "error_rate": (Classifies,),
}
"""Abilities that a metric asks for; of one that is not here, those to make pictures and to encode them."""


@dataclass(frozen=True)
class Strip:
    """Pictures of one run in a sheet: uint8 H×W×3, or why it has none."""

    name: str
    pixels: sheets.Picture | None
    said: str


@dataclass(frozen=True)
class Sheet:
    """The same thing of every run."""

    title: str
    caption: str
    strips: list[Strip]


@dataclass(frozen=True)
class Comparison:
    """The answer, plain values that fit JSON, and the pictures."""

    answer: dict[str, Any]
    sheets: list[Sheet]


@dataclass
class _Run:
    """A run while it is compared."""

    name: str
    folder: RunFolder
    config: dict[str, Any]
    settings: dict[str, dict[str, Any]]
    about: dict[str, Any] = field(default_factory=dict)
    measured: Measured = field(default_factory=lambda: Measured({}))
    missing: dict[str, str] = field(default_factory=dict)
    strips: dict[str, Strip] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        return int(self.settings["train"]["seed"])

    def setting(self, table: str, key: str) -> Any:
        """A setting's value; None where the model has none of the name, or was not trained by steps."""
        if table == "train" and self.about["budget"]["fitted"]:
            return None
        if key not in self.settings[table]:
            return None
        value = self.settings[table][key]
        return tuple(value) if isinstance(value, list) else "unset" if value is None else value


def compare(
    paths: Sequence[Path | str],
    better: Callable[[str], str],
    *,
    data: Any = None,
    split: str = "test",
    samples: int = 0,
    classifier: Path | str | None = None,
    features: str = "auto",
    group_seeds: bool = True,
    console: Console | None = None,
) -> Comparison:
    """Measure runs anew on the same examples, and say what tells them apart.

    better: metric → "higher", "lower" or "" where neither is. data: measure all on these data; without it all must have
    been trained on the same (`DataError`). samples, classifier: as in `evaluate`, where a run has samples.
    features: what samples are compared on, one of `FEATURES`.
    group_seeds: runs that differ in their seed alone are one entry, with mean and spread over the seeds.
    """
    console = console or Silent()
    if features not in FEATURES:
        raise ConfigError(
            f"--features must be one of {', '.join(FEATURES)}, which are the same for every run, got {features!r}"
        )
    runs = _open(paths)
    images = _images(runs, data)
    positions = _positions(images, split)
    for run in runs:
        console.say(f"Measuring {run.name}.")
        _measure(run, images, split, positions, console, samples=samples, classifier=classifier, features=features)
    groups = _groups(runs) if group_seeds else [[r] for r in runs]
    entries = [Entry(_group_name(group), [r.measured for r in group]) for group in groups]
    names = list(dict.fromkeys(m for r in runs for m in r.measured.metrics))
    rows = [row(m, entries, better(m)) for m in names if not (m.endswith("_floor") and m[:-6] in names)]
    for found in rows:
        _say_what_lacks(found, groups)
    answer = {
        "data": images.name,
        "split": split,
        "n": len(images.indices(split)),
        "samples": samples,
        "confidence": difference.CONFIDENCE,
        "runs": [r.about for r in runs],
        "entries": [_entry(entry.name, group) for entry, group in zip(entries, groups, strict=True)],
        "settings": _settings(groups),
        "metrics": rows,
        "methods": {k: METHODS[k] for k in METHODS if any(c.get("method") == k for f in rows for c in f["cells"])},
        "cautions": list(_cautions(runs, groups, data is not None)),
    }
    return Comparison(answer, _sheets(groups, images, split, positions))


# ---- runs and their data ---------------------------------------------------------------------------------------


def _open(paths: Sequence[Path | str]) -> list[_Run]:
    """The runs under names that tell them apart: their folders' own, or the paths as given. `ConfigError` for one."""
    folders = [RunFolder(p) for p in paths]
    places = [f.path.resolve() for f in folders]
    if len(set(places)) < 2 or len(set(places)) < len(places):
        twice = next((f for f in folders if places.count(f.path.resolve()) > 1), None)
        what = f"{twice.path} is given twice" if twice else f"got {len(paths)}"
        raise ConfigError(f"compare takes two or more different runs, and {what}; latentscape compare RUN RUN")
    short = [f.name for f in folders]
    names = short if len(set(short)) == len(short) else [str(p) for p in paths]
    configs = [f.config() for f in folders]
    return [_Run(n, f, c, _all_settings(c)) for n, f, c in zip(names, folders, configs, strict=True)]


def _all_settings(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The tables train, model and data, with what config.toml leaves out: unset settings, those of later versions."""
    kinds = {"train": TrainSettings, "model": models.model_class(config["run"]["model"]).Config, "data": DataSettings}
    return {table: kind.from_dict(config[table]).to_dict() for table, kind in kinds.items()}


def _images(runs: list[_Run], data: Any) -> ImageSet:
    """The set that all runs are measured on. `DataError` where it is not one, or does not fit a run."""
    if data is None:
        _refuse_other_data(runs)
    images = evaluating.load_for(runs[0].folder, data)
    known = runs[0].folder.data().get("fingerprint")
    if data is None and images.fingerprint != known:
        raise DataError(
            f"the data at {runs[0].config['run']['data']} is not what the runs were trained on; put the old data back, "
            "or name the data to measure them on with --data"
        )
    for run in runs:
        shape, classes = tuple(run.config["run"]["shape"]), run.config["run"]["classes"]
        if images.shape.dims != shape:
            raise DataError(
                f"{images.name} has examples of {images.shape}, and {run.name} was built for "
                f"{'×'.join(map(str, shape))}; only runs for one shape can be compared"
            )
        if run.folder.build_model().needs_labels and images.classes != classes:
            raise DataError(
                f"{run.name} knows {classes} classes, and {images.name} has {images.classes or 'no'} labels; give data "
                "labelled like the run's own"
            )
    return images


def _refuse_other_data(runs: list[_Run]) -> None:
    """`DataError` naming two runs that were not trained on the same data, split and labels included."""
    first = runs[0]
    for run in runs:
        if not run.folder.data().get("fingerprint"):
            raise DataError(
                f"{run.name} does not say what data it was trained on; measure all runs on one set with --data"
            )
        if run.folder.data()["fingerprint"] != first.folder.data()["fingerprint"]:
            raise DataError(
                f"{first.name} was trained on {_said_data(first)} and {run.name} on {_said_data(run)}"
                f"{_read_otherwise(first, run)}; compare runs of the same data, or measure all on one set with --data"
            )


def _said_data(run: _Run) -> str:
    about = run.folder.data()
    n, shape = about.get("n"), "×".join(map(str, about.get("shape") or run.config["run"]["shape"]))
    count = f"{n:,} examples of {shape}" if isinstance(n, int) else shape
    return f"{about.get('name') or 'data without a name'} ({count}, fingerprint {str(about['fingerprint'])[:8]})"


def _read_otherwise(one: _Run, other: _Run) -> str:
    """Settings that let the same files be other data."""
    a, b = one.settings["data"], other.settings["data"]
    named = [f"{k} {a.get(k)} and {b.get(k)}" for k in sorted(a.keys() | b.keys()) if a.get(k) != b.get(k)]
    same = one.config["run"]["data"] == other.config["run"]["data"]
    return f", which were read with {', '.join(named)}" if named and same else ""


# ---- measuring -------------------------------------------------------------------------------------------------


def _measure(
    run: _Run,
    images: ImageSet,
    split: str,
    positions: Tensor,
    console: Console,
    **judged: Any,
) -> None:
    """Fill a run with its figures and pictures; its model is dropped afterwards. judged: how samples are."""
    model = run.folder.load_model()
    if not (isinstance(model, Decodes) and isinstance(model, (Samples, Encodes))):
        judged["samples"] = 0
    answer = evaluating.evaluated(run.folder, model, images, split, keep=False, console=console, **judged)
    values = evaluating.per_image(model, images, split)
    own = {m: list(_own_interval(v)) for m, v in values.items() if len(v) > 1 and bool(v.isfinite().all())}
    intervals = own | {m: i for m, i in (answer.get("intervals") or {}).items() if i is not None}
    run.measured = Measured(answer["metrics"], intervals, values, likelihood_of(model, run.config))
    run.missing = {m: _why_missing(model, run.config["run"]["model"], m) for m in evaluating.PROTOCOL}
    run.about = {
        "name": run.name,
        "path": str(run.folder.path),
        "model": run.config["run"]["model"],
        "recipe": run.config["run"].get("recipe", ""),
        "seed": run.seed,
        "command": run.folder.command(),
        "budget": _budget(run.folder, run.config, model),
        "machine": _machine(run.folder.environment()),
        "likelihood": run.measured.likelihood,
        "told_labels": model.needs_labels,
        "features": (answer.get("features") or {}).get("name", ""),
        "doubts": list(answer.get("warnings", ())),
        "samples_from": (answer.get("samples") or {}).get("prior", ""),
        "metrics": answer["metrics"],
        "intervals": intervals,
        "warnings": _warnings(run.folder.log()),
    }
    stage = showing.Stage(run.folder, model, images)
    run.strips = {"reconstructions": _rebuilt(run, stage, positions, split), "samples": _drawn(run, stage)}


def _own_interval(values_N: Tensor) -> difference.Interval:
    return difference.percentile_interval(difference.resampled_means(values_N[:, None])[:, 0])


def likelihood_of(model: Model, config: dict[str, Any]) -> str:
    """What the model's log-probability is of, in words; "" for a model that has none."""
    kind = getattr(getattr(model, "likelihood", None), "kind", "")
    if not kind and config["model"].get("loss") == "bce":
        kind = "bernoulli"
    if not kind:
        return f"{config['run']['model']}'s own likelihood" if isinstance(model, HasLikelihood) else ""
    scale = " on [−1, 1]" if model.value_range == "signed" else ""
    return f"{kind} likelihood{scale}{', given the label' if model.needs_labels else ''}"


def _why_missing(model: Model, name: str, metric: str) -> str:
    """Why a model has no such metric, in words."""
    called = f"{'an' if name[:1] in 'aeio' else 'a'} {name}"
    if metric in ("label_agreement", "transfer_agreement") and not model.needs_labels:
        return f"{called} reads no labels"
    if metric == "style_accuracy":
        return f"{called} is not meant to keep labels out of its latent"
    for ability in NEEDS.get(metric, (Decodes, Encodes)):
        try:
            require(model, ability, called)
        except AbilityError as error:
            return str(error)
    return f"it is not measured for {called}"


def _budget(folder: RunFolder, config: dict[str, Any], model: Model) -> dict[str, Any]:
    """What the training took. steps: turns of the generator (or of the only player); None where nothing is known."""
    log = folder.log()
    done = next((r for r in reversed(log) if r.get("kind") == "done"), None)
    newest = {
        k: next((r[k] for r in reversed(log) if r.get(k) is not None), None) for k in ("step", "images", "seconds")
    }
    players = (
        {p.name: sum(q.numel() for q in p.parameters()) for p in model.phases} if isinstance(model, Trained) else {}
    )
    fitted = any(r.get("kind") == "fitted" for r in log)
    return {
        "steps": None if fitted else newest["step"],
        "images": newest["images"],
        "seconds": newest["seconds"],
        "parameters": sum(t.numel() for t in model.parameters()) or _fitted_numbers(model),
        "parameters_moved_by": players,
        "fitted": fitted,
        "finished": done is not None or bool(config["run"].get("imported")),
        "imported": bool(config["run"].get("imported")),
        "ended": str((done or {}).get("reason", "")),
    }


def _fitted_numbers(model: Model) -> int:
    """How many numbers a model without parameters has learned."""
    return sum(t.numel() for t in model.buffers() if t.is_floating_point())


def _machine(environment: dict[str, Any]) -> str:
    """What seconds depend on, in words."""
    device = str(environment.get("device") or "")
    if device == "cpu":
        threads = environment.get("threads")
        return f"{environment.get('processor') or 'CPU'}, {threads} thread{'s' * (threads != 1)}"
    return device


def _warnings(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The newest words of each detector that spoke."""
    found = {str(r.get("detector")): r for r in log if r.get("kind") == "warning"}
    return [{"detector": d, "step": r.get("step"), "text": str(r.get("text", ""))} for d, r in found.items()]


# ---- entries, settings, cautions -------------------------------------------------------------------------------


def _groups(runs: list[_Run]) -> list[list[_Run]]:
    """Runs whose settings and budgets agree, all of different seeds, together; in the order they were given."""
    found: dict[str, list[_Run]] = {}
    for run in runs:
        budget = run.about["budget"]
        key = {
            t: {k: v for k, v in run.settings[t].items() if k not in NOT_SETTINGS.get(t, ())}
            for t in ("train", "model")
        }
        data = (
            run.folder.data().get("fingerprint"),
            run.config["data"].get("flip"),
            run.config["data"].get("max_shift"),
        )
        state = (run.config["run"]["model"], run.config["run"].get("init_from"), budget["finished"], budget["imported"])
        found.setdefault(json.dumps([key, data, state], sort_keys=True, default=str), []).append(run)
    groups = []
    for group in found.values():
        distinct = len({r.seed for r in group}) == len(group)
        groups += [group] if distinct else [[r] for r in group]
    return sorted(groups, key=lambda g: runs.index(g[0]))


def _group_name(group: list[_Run]) -> str:
    return (
        group[0].name if len(group) == 1 else f"{group[0].name} and {len(group) - 1} more seed{'s' * (len(group) > 2)}"
    )


def _entry(name: str, group: list[_Run]) -> dict[str, Any]:
    """One column: its runs, and its budget, with seconds as the mean over seeds."""
    budgets = [r.about["budget"] for r in group]

    def mean(key: str) -> Any:
        found = [b[key] for b in budgets if b[key] is not None]
        return sum(found) / len(found) if len(found) == len(budgets) else None

    return {
        "name": name,
        "model": group[0].about["model"],
        "runs": [r.name for r in group],
        "seeds": [r.seed for r in group],
        "steps": mean("steps"),
        "images": mean("images"),
        "seconds": mean("seconds"),
        "parameters": budgets[0]["parameters"],
        "fitted": budgets[0]["fitted"],
        "machine": ", ".join(dict.fromkeys(r.about["machine"] for r in group)),
        "samples_from": group[0].about["samples_from"],
    }


def _settings(groups: list[list[_Run]]) -> list[dict[str, Any]]:
    """Settings that are not the same in all entries, first those of which two have different values (`differs`).

    values: one per entry, None where its model has no such setting; several seeds' different ones in a list.
    """
    found = []
    tables = ("train", "model", "data")
    names = dict.fromkeys(
        (t, k) for g in groups for t in tables for k in g[0].settings[t] if k not in NOT_SHOWN.get(t, ())
    )
    for table, key in names:
        values = [_one(list(dict.fromkeys(r.setting(table, key) for r in g))) for g in groups]
        there = [v for v in values if v is not None]
        differs = any(v != there[0] for v in there)
        if differs or len(there) < len(values):
            found.append({"name": f"{table}.{key}", "values": values, "differs": differs})
    return sorted(found, key=lambda f: not f["differs"])


def _one(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else [v for v in values if v is not None]


def _say_what_lacks(found: dict[str, Any], groups: list[list[_Run]]) -> None:
    """Beside every empty cell, why it is empty."""
    for cell, group in zip(found["cells"], groups, strict=True):
        if cell["verdict"] == "missing":
            run = group[0]
            cell["why"] = run.missing.get(found["metric"]) or f"it is not measured for {run.about['model']}"


def _cautions(runs: list[_Run], groups: list[list[_Run]], other_data: bool) -> Iterator[str]:
    """What a reader must know before believing the table, a sentence each."""
    budgets = [r.about["budget"] for r in runs]
    uneven = [_uneven(runs, what) for what in ("steps", "images")]
    if any(uneven):
        yield (
            f"Unequal budgets: {'; '.join(u for u in uneven if u)}. What tells these runs apart may be the length of "
            "their training."
        )
    if closed := [r.name for r in runs if r.about["budget"]["fitted"]]:
        yield f"Fitted in closed form, without steps: {', '.join(closed)}."
    if elsewhere := [r.name for r, b in zip(runs, budgets, strict=True) if b["imported"]]:
        yield f"Weights from elsewhere, of whose training nothing is known: {', '.join(elsewhere)}."
    for run, b in zip(runs, budgets, strict=True):
        if not b["finished"]:
            yield f"{run.name} is not finished at step {b['steps'] or 0:,}; its newest checkpoint is measured."
    if len({r.about["machine"] for r in runs if r.about["machine"]}) > 1:
        yield "Seconds were taken on different machines or numbers of threads and do not compare."
    told = [r.name for r in runs if r.about["told_labels"]]
    if 0 < len(told) < len(runs):
        yield f"Told each image's label, unlike the others: {', '.join(told)}."
    for run in runs:
        yield from (f"{run.name}: {doubt[:-1] if doubt.endswith('.') else doubt}." for doubt in run.about["doubts"])
    if other_data and len({r.folder.data().get("fingerprint") for r in runs}) > 1:
        yield "The runs were trained on different data."
    if any(len(g) == 1 for g in groups) and any(len(g) > 1 for g in groups):
        yield "A run without further seeds is told apart from others over images alone."


def _uneven(runs: list[_Run], what: str) -> str:
    """steps 4,685 (a, b) and 7,496 (c); "" where all that have any have the same."""
    found: dict[int, list[str]] = {}
    for run in runs:
        budget = run.about["budget"]
        if not budget["fitted"] and budget[what] is not None:
            found.setdefault(budget[what], []).append(run.name)
    if len(found) < 2:
        return ""
    return f"{what} " + ", ".join(f"{n:,} ({', '.join(names)})" for n, names in sorted(found.items()))


# ---- pictures --------------------------------------------------------------------------------------------------


def _positions(images: ImageSet, split: str) -> Tensor:
    """Positions in a split of the images that all runs rebuild: the first, or evenly spaced ones of sorted classes.

    Where there are labels, only images that have one, so that models that read labels can take part.
    """
    rows = images.indices(split)
    if images.labels is None:
        return torch.arange(min(STRIP, len(rows)))
    y_N = images.labels[rows]
    known = (y_N >= 0).nonzero()[:, 0]
    n = min(STRIP, len(known))
    in_blocks = int((y_N[1:] != y_N[:-1]).sum()) <= images.classes and len(known) > n
    return known[torch.arange(n) * len(known) // n] if in_blocks else known[:n]


def _rebuilt(run: _Run, stage: showing.Stage, positions: Tensor, split: str) -> Strip:
    model = stage.model
    if not isinstance(model, Reconstructs):
        return Strip(run.name, None, run.missing["mse"])
    batch = stage.at(positions, split)
    with torch.no_grad():
        xhat = model.reconstruct(batch.x, batch.y)
    return _strip(run, stage, xhat, len(positions), "")


def _drawn(run: _Run, stage: showing.Stage) -> Strip:
    try:
        stage.need(Decodes, "it cannot make pictures from latents")
        z_NL, source = showing.prior_codes(stage, DRAWN, SEED)
    except (AbilityError, RunError) as error:
        return Strip(run.name, None, str(error))
    y_N = torch.arange(DRAWN) % stage.model.classes if stage.model.needs_labels else None
    x = encode.decode_all(stage.need(Decodes), z_NL, y_N)
    under = "" if y_N is None else ", under each class in turn"
    return _strip(run, stage, x, STRIP, f"latents from {source}{under}")


def _strip(run: _Run, stage: showing.Stage, x_NX: Tensor, columns: int, said: str) -> Strip:
    pixels = sheets.sheet(stage.unit(x_NX), columns) if stage.model.shape.is_image else None
    return Strip(run.name, pixels, said if pixels is not None else "")


def _sheets(groups: list[list[_Run]], images: ImageSet, split: str, positions: Tensor) -> list[Sheet]:
    """What the first run of every entry makes; nothing of vectors."""
    if not images.shape.is_image:
        return []
    shown = [g[0] for g in groups]
    x_NCHW = images.examples(images.indices(split)[positions], "unit").numpy()
    originals = Strip("the images", sheets.sheet(x_NCHW, STRIP), "")
    return [
        Sheet(
            "Reconstructions",
            f"The same {len(positions)} {split} images by every run, the images themselves first.",
            [originals, *(run.strips["reconstructions"] for run in shown)],
        ),
        Sheet(
            "Samples",
            f"{DRAWN} draws of each run's prior, seed {SEED}. Latents of different runs mean different things, so that "
            "samples do not correspond.",
            [run.strips["samples"] for run in shown],
        ),
    ]
