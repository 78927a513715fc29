"""What pages are told of a run: a short card for the list, a whole one for its own pages."""

from __future__ import annotations

import functools
import math
import shlex
from pathlib import Path
from typing import Any

from latentscape.contract import abilities
from latentscape.errors import LatentscapeError
from latentscape.report import words
from latentscape.runs import RunFolder
from latentscape.studio import sheets
from latentscape.studio.following import Follower
from latentscape.studio.places import Known
from latentscape.studio.shelf import newest_step, version_of
from latentscape.studio.state import held, state_of
from latentscape.tasks import comparing

FIRST_METRICS = ("elbo_nats", "fid", "psnr_db", "mse", "error_rate", "energy_distance", "knn_accuracy")
"""Of the metrics a run has, the first of these stands in the list, until the user chooses another."""

SHEETS = ("samples", "reconstructions", "class_grid", "grid", "map")
"""Of a run's pictures, the first of these is its thumbnail; else the first of all."""


def summary(known: Known, log: Follower) -> dict[str, Any]:
    """The card for the list. A run that cannot be read says why, as its state, instead of being left out.

    id, name, model, data, state {word, text}, progress (0…1 while it trains), step, seconds, images, metrics (as
    `metrics` gives them), headline: the key of the metric to show, picture: the name of its sheet or "", warnings: how
    many detectors spoke, version: see `card_version`.
    """
    try:
        with log.lock:
            log.read()
            mark = (card_version(known), log.generation, log.offset, held(known.folder))
            if log.card is None or log.card[0] != mark:
                log.card = mark, _summary(known, log, mark[0])
            return log.card[1]
    except LatentscapeError as error:
        return _damaged(known, str(error))


def _summary(known: Known, log: Follower, version: str) -> dict[str, Any]:
    folder = known.folder
    config, data = _config(folder), folder.data()
    state, found = state_of(known, log, config), metrics(folder)
    return {
        "id": known.id,
        "name": known.name,
        "model": str(config["run"]["model"]),
        "data": str(data.get("name") or config["run"]["data"] or "arrays"),
        "state": {"word": state.word, "text": state.text},
        "progress": _progress(config["train"], log) if state.word == "training" else None,
        "step": log.step,
        "seconds": log.seconds,
        "images": log.images,
        "metrics": found,
        "headline": _headline(found),
        "picture": _sheet(folder),
        "warnings": len({w.get("detector") for w in log.warnings}),
        "version": version,
    }


def _damaged(known: Known, why: str) -> dict[str, Any]:
    state = {"word": "failed", "text": why}
    nothing = dict.fromkeys(("progress", "step", "seconds", "images"))
    empty = {"model": "", "data": "", "metrics": [], "headline": "", "picture": "", "warnings": 0, "version": ""}
    return {"id": known.id, "name": known.name, "state": state, **nothing, **empty}


def whole(known: Known, log: Follower) -> dict[str, Any]:
    """The card for the run's own pages: `summary` and

    abilities: what the model can do, the words of `contract.abilities`, with "reconstruct" for one that encodes and
    decodes. trouble: why it cannot be opened, or "". latent_dim (0: none), shape [C, H, W] or [D], is_image, classes,
    labels (their names), needs_labels, value_range, attributes (their names), parameters (how many), has_weights.
    config, environment, data_facts: rows of a name and a text. command, commands: what made it, what goes on from it.
    pictures, notes, warnings_said, fitted, measured_on, has_report, path.
    Raises `RunError` for a run that cannot be read.
    """
    folder = known.folder
    config, data = folder.config(), folder.data()
    card = summary(known, log) | model_facts(folder)
    place = shlex.quote(str(known.path))
    evaluation = folder.metrics() or {}
    with log.lock:
        card |= {
            "notes": log.notes,
            "warnings_said": warnings(log, evaluation),
            "fitted": [[name.replace("_", " "), words.plain(value)] for name, value in log.fitted.items()],
        }
    return card | {
        "path": str(known.path),
        "command": folder.command(),
        "commands": {
            "resume": f"latentscape resume {place}",
            "evaluate": f"latentscape evaluate {place} --split test",
            "report": f"latentscape report {place}",
        },
        "config": {name: _settings(table) for name, table in config.items() if isinstance(table, dict)},
        "environment": _settings(folder.environment()),
        "data_facts": _settings(data),
        "measured_on": _measured_on(evaluation),
        "pictures": pictures(folder),
        "has_report": folder.report_path.is_file(),
    }


def news(known: Known, log: Follower, generation: int, records: int) -> dict[str, Any]:
    """What a page that has seen `records` records of a generation has not: all of it if the generation is another one.

    generation, records: what to give back next time. charts: see `Follower.charts`. state, step, seconds, images,
    progress (0…1, None where it is not known), version: as in the card, which is to be asked for again when it changes.
    checkpoint: the newest one's step, or None. films: see `sheets.films`. sheets: kinds that can be drawn.
    """
    folder = known.folder
    config = _config(folder)
    with log.lock:
        log.read()
        seen = records if generation == log.generation else 0
        told = {
            "generation": log.generation,
            "records": log.records,
            "charts": log.charts(seen),
            "step": log.step,
            "seconds": log.seconds,
            "images": log.images,
            "progress": _progress(config["train"], log),
            "state": state_of(known, log, config).__dict__,
        }
    return told | {
        "version": card_version(known),
        "checkpoint": newest_step(folder),
        "films": sheets.films(folder),
        "sheets": sheets.kinds(model_facts(folder)),
    }


def _progress(train: dict[str, Any], log: Follower) -> float | None:
    """The share of the training that is done, by steps or by epochs, whichever ends it first."""
    shares = [
        done / asked
        for done, asked in ((log.step, train.get("max_steps")), (log.epoch, train.get("epochs")))
        if done is not None and isinstance(asked, int) and asked
    ]
    return min(1.0, max(shares)) if shares else None


def model_facts(folder: RunFolder) -> dict[str, Any]:
    """What the run's model can do and of what size it is, without its weights; `trouble`: why it cannot be built."""
    config, data = _config(folder), folder.data()
    return {
        **_built(str(folder.path.resolve()), _changed(folder)),
        "shape": list(config["run"]["shape"]),
        "is_image": len(config["run"]["shape"]) == 3,
        "classes": config["run"]["classes"],
        "labels": list(data.get("labels", {})),
        "attributes": [str(name) for name in data.get("attributes") or []],
        "has_weights": bool(version_of(folder)),
    }


@functools.lru_cache(maxsize=200)
def _built(path: str, changed: int) -> dict[str, Any]:
    """Facts of a model built from its settings; `changed` makes a rewritten config.toml another question."""
    folder = RunFolder(path)
    try:
        model = folder.build_model()
    except LatentscapeError as error:
        nothing = {"latent_dim": 0, "needs_labels": False, "value_range": "unit", "parameters": 0, "likelihood": ""}
        return {"abilities": [], **nothing, "trouble": str(error)}
    able = abilities(type(model))
    if "encode" in able and "decode" in able:
        able.append("reconstruct")
    return {
        "abilities": able,
        "latent_dim": int(getattr(model, "latent_dim", 0)),
        "needs_labels": bool(model.needs_labels),
        "value_range": model.value_range,
        "parameters": sum(p.numel() for p in model.parameters()),
        "likelihood": comparing.likelihood_of(model, folder.config()),
        "trouble": "",
    }


def _config(folder: RunFolder) -> dict[str, Any]:
    """The run's settings, not to be changed by who asks: reading TOML takes most of the time of a card."""
    return _config_of(folder.path, _changed(folder))


@functools.lru_cache(maxsize=2_000)
def _config_of(path: Path, changed: int) -> dict[str, Any]:
    return RunFolder(path).config()


def _changed(folder: RunFolder) -> int:
    return folder.config_path.stat().st_mtime_ns


def card_version(known: Known) -> str:
    """Changes when something of the run's card may have changed that its log does not tell."""
    folder = known.folder
    files = (folder.config_path, folder.metrics_path, folder.report_path, folder.captions_path)
    marks = [f"{p.stat().st_mtime_ns:x}" if p.exists() else "-" for p in files]
    return ".".join([*marks, str(newest_step(folder)), str(folder.model_path.exists())])


# ---- parts -------------------------------------------------------------------------------------------------------


def metrics(folder: RunFolder) -> list[dict[str, Any]]:
    """What the last evaluation measured: key, name, text, unit, interval, value (a number or None), better, meaning."""
    evaluation = folder.metrics() or {}
    order = {name: i for i, name in enumerate(words.MEANINGS)}
    intervals, protocol = evaluation.get("intervals") or {}, evaluation.get("protocol") or {}
    measured = sorted((evaluation.get("metrics") or {}).items(), key=lambda item: order.get(item[0], len(order)))
    rows = []
    for key, value in measured:
        about = words.meaning(key)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        rows.append(
            {
                "key": key,
                "name": about.name,
                "text": words.measured(key, value),
                "unit": about.unit,
                "interval": words.interval(key, intervals.get(key)),
                "value": float(value) if is_number else None,
                "better": about.better,
                "meaning": about.text,
                "protocol": words.plain(protocol[key]) if key in protocol else "",
            }
        )
    return rows


def _headline(found: list[dict[str, Any]]) -> str:
    keys = [m["key"] for m in found if m["value"] is not None]
    return next((key for key in FIRST_METRICS if key in keys), keys[0] if keys else "")


def warnings(log: Follower, evaluation: dict[str, Any]) -> list[dict[str, str]]:
    """Each detector's newest words and when it spoke; then what the evaluation warns of."""
    said: dict[str, list[dict[str, Any]]] = {}
    for record in log.warnings:
        said.setdefault(str(record.get("detector", "warning")), []).append(record)
    found = []
    for detector, records in said.items():
        steps = [words.number(r["step"]) for r in records if isinstance(r.get("step"), int)]
        when = f"at step {steps[0]}" if len(steps) == 1 else ""
        if len(steps) > 1:
            when = f"{len(steps)} times from step {steps[0]} to {steps[-1]}"
        text = str(records[-1].get("text", "No further words were logged."))
        found.append({"detector": detector.replace("_", " "), "text": text, "when": when})
    texts = evaluation.get("warnings")
    cautions = [str(t) for t in texts] if isinstance(texts, list) else []
    return found + [{"detector": "evaluation", "text": text, "when": ""} for text in cautions]


def pictures(folder: RunFolder) -> list[dict[str, Any]]:
    """The run's pictures: file name, title, caption, command, width and height in pixels (0 of films as MP4)."""
    rows = []
    for path, about in folder.pictures():
        width, height = _size(path, path.stat().st_mtime_ns) if path.suffix != ".mp4" else (0, 0)
        title = about.get("title") or path.stem.replace("_", " ").replace("-", " ").capitalize()
        said = {"title": title, "caption": about.get("caption", ""), "command": about.get("command", "")}
        rows.append({"file": path.name, **said, "width": width, "height": height, "film": path.suffix[1:]})
    return rows


@functools.lru_cache(maxsize=2_000)
def _size(path: Path, changed: int) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, Image.DecompressionBombError):
        return 0, 0


def _sheet(folder: RunFolder) -> str:
    names = [path.name for path, _ in folder.pictures() if path.suffix == ".png"]
    wanted = [f"{stem}.png" for stem in SHEETS]
    return next((name for name in wanted if name in names), names[0] if names else "")


def _measured_on(evaluation: dict[str, Any]) -> str:
    n, split = evaluation.get("n"), evaluation.get("split")
    if not isinstance(n, int) or not split:
        return ""
    data = f" of {evaluation['data']}" if evaluation.get("data") else ""
    about = f"Measured on {words.number(n)} examples of the {split} split{data}."
    return f"{about} {evaluation.get('about_intervals') or ''}".strip()


def _settings(table: dict[str, Any]) -> list[list[str]]:
    return [[str(name), words.plain(value)] for name, value in table.items()]
