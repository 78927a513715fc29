"""Runs beside each other, from what lies in their folders: figures, settings, curves, sheets.

Nothing is measured here: the figures are those of each run's own last evaluation, and are told apart by their intervals
alone. `latentscape compare` measures anew, on the same images; `measured_page` shows what it says.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latentscape import models
from latentscape.data import DataSettings
from latentscape.errors import ConfigError
from latentscape.report import comparison, curves, words
from latentscape.runs import RunFolder
from latentscape.studio import cards
from latentscape.studio.following import HELD_OUT, Follower, plain_points
from latentscape.studio.places import Known
from latentscape.tasks import comparing
from latentscape.tasks.telling_apart import Entry, Measured, row
from latentscape.training.settings import TrainSettings

MOST = 12
"""Runs that can be told apart by colour and dash."""

SHEETS = ("reconstructions.png", "samples.png", "class_grid.png", "interpolation.png", "grid.png", "map.png")
"""Pictures of which two runs' stand side by side, in this order; others follow."""


def beside(runs: Sequence[Known], logs: Sequence[Follower]) -> dict[str, Any]:
    """Everything that the page shows of two or more runs; `ConfigError` for fewer, for more than `MOST`, for one twice.

    runs: cards. metrics: see `metric_rows`. settings: those that differ. charts: curves of all runs. sheets: pictures
    that two of them have. cautions: sentences. command: what measures them anew.
    """
    if not 2 <= len(runs) <= MOST or len({k.id for k in runs}) < len(runs):
        raise ConfigError(f"choose two to {MOST} different runs in the list to compare them, got {len(runs)}")
    found = [cards.summary(k, log) for k, log in zip(runs, logs, strict=True)]
    folders = [k.folder for k in runs]
    return {
        "runs": found,
        "metrics": metric_rows(_stored(runs)),
        "settings": _settings(folders),
        "charts": _charts(runs, logs),
        "sheets": _sheets(runs),
        "cautions": _cautions(runs, found),
        "command": shlex.join(["latentscape", "compare", *(str(k.path) for k in runs)]),
    }


# ---- figures -----------------------------------------------------------------------------------------------------


def metric_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `telling_apart.row` in words: key, name, unit, better, meaning, and a cell for each run.

    A cell has text, interval, verdict (of `comparison.LEGEND`, "worse", "missing" or "") and stands: how it compares
    with the best.
    """
    order = {name: i for i, name in enumerate(words.MEANINGS)}
    return [_metric(r) for r in sorted(rows, key=lambda r: order.get(r["metric"], len(order)))]


def _metric(found: dict[str, Any]) -> dict[str, Any]:
    metric, about = found["metric"], words.meaning(found["metric"])
    cells = [
        {
            "text": comparison.value_text(metric, cell),
            "interval": comparison.interval_text(metric, cell["interval"]) if "interval" in cell else "",
            "verdict": cell["verdict"],
            "stands": comparison.verdict_text(metric, cell),
            "why": cell.get("why", ""),
        }
        for cell in found["cells"]
    ]
    said = {"name": about.name, "unit": about.unit, "better": about.better, "meaning": about.text}
    return {"key": metric, **said, "unranked": found["unranked"], "cells": cells}


def _stored(runs: Sequence[Known]) -> list[dict[str, Any]]:
    """The runs' last evaluations, told apart by their intervals where all were measured on the same examples."""
    evaluations = [k.folder.metrics() or {} for k in runs]
    alike = len({(e.get("data"), e.get("split"), e.get("n")) for e in evaluations if e}) <= 1
    entries = [
        Entry(k.name, [Measured(_flat(e), e.get("intervals") or {}, {}, _likelihood(k.folder))])
        for k, e in zip(runs, evaluations, strict=True)
    ]
    names = list(dict.fromkeys(m for e in evaluations for m in _flat(e)))
    shown = [m for m in names if not (m.endswith("_floor") and m.removesuffix("_floor") in names)]
    return [row(m, entries, words.meaning(m).better if alike else "") for m in shown]


def _flat(evaluation: dict[str, Any]) -> dict[str, Any]:
    return evaluation.get("metrics") or {}


def _likelihood(folder: RunFolder) -> str:
    """What the run's log-probability is of: bounds of different likelihoods are never ranked."""
    return cards.model_facts(folder)["likelihood"]


# ---- settings ----------------------------------------------------------------------------------------------------


def _settings(folders: Sequence[RunFolder]) -> list[dict[str, Any]]:
    """Settings that are not the same in all runs, those first of which two have different values (`differs`)."""
    whole = [_complete(f.config()) for f in folders]
    names = dict.fromkeys(key for settings in whole for key in settings)
    found = []
    for name in names:
        table, _, key = name.partition(".")
        values = [settings.get(name) for settings in whole]
        there = [v for v in values if v is not None]
        differs = any(v != there[0] for v in there)
        if (differs or len(there) < len(values)) and key not in comparing.NOT_SHOWN.get(table, ()):
            texts = ["–" if v is None else v or "unset" for v in values]
            found.append({"name": name, "values": texts, "differs": differs})
    return sorted(found, key=lambda f: not f["differs"])


def _complete(config: dict[str, Any]) -> dict[str, str]:
    """Every setting in words, with what config.toml leaves out: those of later versions at their defaults."""
    kinds = {"train": TrainSettings, "model": models.model_class(config["run"]["model"]).Config, "data": DataSettings}
    tables = {name: kind.from_dict(config[name]).to_dict() for name, kind in kinds.items()}
    told = {f"{table}.{key}": words.plain(v) for table, values in tables.items() for key, v in values.items()}
    return {"run.model": str(config["run"]["model"])} | told


# ---- curves ------------------------------------------------------------------------------------------------------


def _charts(runs: Sequence[Known], logs: Sequence[Follower]) -> list[dict[str, Any]]:
    """A chart for every loss term that two runs have in common; held-out values where all of them have such.

    As in `comparison.charts`, totals are left out, and terms of different likelihoods are different ones.
    """
    series: dict[tuple[str, str], dict[int, dict[str, curves.Points]]] = {}
    for i, (known, log) in enumerate(zip(runs, logs, strict=True)):
        likelihood = _likelihood(known.folder)
        with log.lock:
            log.read()
            for (table, name, line), values in log.series.items():
                last = name.rpartition("/")[2]
                if table != "terms" or last == "total":
                    continue
                shared = last if last.startswith(comparison.SHARED_TERMS) else name
                key = shared, likelihood if last.startswith(comparison.OF_LIKELIHOOD) else ""
                series.setdefault(key, {}).setdefault(i, {})[line] = values.points()
    return [_chart(name, likelihood, of) for (name, likelihood), of in series.items() if len(of) > 1]


def _chart(name: str, likelihood: str, of: dict[int, dict[str, curves.Points]]) -> dict[str, Any]:
    line = HELD_OUT if all(HELD_OUT in lines for lines in of.values()) else "training"
    phase, _, last = name.rpartition("/")
    title, unit = words.term_words(last)
    parts = [title, f"{phase.replace('_', ' ')} phase" if phase else "", likelihood]
    lines = [
        {"run": i, "points": plain_points(curves.thin(lines.get(line) or next(iter(lines.values()))))}
        for i, lines in of.items()
    ]
    return {"title": f"{', '.join(filter(None, parts))}: {line}", "unit": unit, "lines": lines}


# ---- the rest ----------------------------------------------------------------------------------------------------


def _sheets(runs: Sequence[Known]) -> list[dict[str, Any]]:
    """Pictures that two of the runs have: title, and for each run its file's width and caption, or None."""
    of = [{p["file"]: p for p in cards.pictures(k.folder) if p["film"] == "png"} for k in runs]
    names = [n for n in dict.fromkeys(n for files in of for n in files) if sum(n in files for files in of) > 1]
    names.sort(key=lambda n: SHEETS.index(n) if n in SHEETS else len(SHEETS))
    return [
        {
            "file": name,
            "title": next(files[name]["title"] for files in of if name in files),
            "runs": [files.get(name) for files in of],
        }
        for name in names
    ]


def _cautions(runs: Sequence[Known], found: Sequence[dict[str, Any]]) -> list[str]:
    said = []
    evaluations = [k.folder.metrics() for k in runs]
    measured = {(e.get("data"), e.get("split"), e.get("n")) for e in evaluations if e}
    if len(measured) > 1:
        listed = "; ".join(
            f"{card['name']}: {e.get('n'):,} {e.get('split')} examples of {e.get('data')}"
            for card, e in zip(found, evaluations, strict=True)
            if e and isinstance(e.get("n"), int)
        )
        said.append(f"The runs were not measured on the same examples ({listed}), so none is called best.")
    steps = {card["step"] for card in found if card["step"]}
    if len(steps) > 1:
        listed = ", ".join(f"{card['name']} {words.number(card['step'] or 0)}" for card in found)
        said.append(f"Unequal budgets, in steps: {listed}. What tells these runs apart may be the length of training.")
    unfinished = [card["name"] for card in found if card["state"]["word"] != "done"]
    if unfinished:
        said.append(f"Not finished: {', '.join(unfinished)}.")
    missing = [card["name"] for card, e in zip(found, evaluations, strict=True) if not e]
    if missing:
        said.append(f"Not evaluated yet: {', '.join(missing)}; latentscape evaluate RUN does it.")
    if len({k.folder.data().get("fingerprint") for k in runs}) > 1:
        said.append("The runs were trained on different data.")
    return said


def measured_page(answer: dict[str, Any], report: Path) -> dict[str, Any]:
    """What `latentscape compare --json` said, in words: as `beside`, with whether its own page is there."""
    return {
        "entries": [e["name"] for e in answer["entries"]],
        "metrics": metric_rows(answer["metrics"]),
        "cautions": answer["cautions"],
        "methods": list(answer["methods"].values()),
        "about": f"{answer['n']:,} {answer['split']} examples of {answer['data']}",
        "has_page": report.is_file(),
    }
