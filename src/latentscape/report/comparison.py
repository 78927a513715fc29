"""Runs side by side on one self-contained HTML page, and the words of the same table for a terminal."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from latentscape.errors import ConfigError
from latentscape.pictures import files
from latentscape.report import curves, html, words
from latentscape.runs import RunFolder
from latentscape.tasks import comparing
from latentscape.tasks.training import Console

LOOKS = tuple(f"run-{i}" for i in range(12))
"""Looks of lines: four colours, each solid, dashed and dotted. A thirteenth run looks like the first."""

SHARED_TERMS = ("recon_", "kl_", "elbo_", "bound_", "mse")
"""Loss terms that mean the same in the phase of any model; others are compared within phases of one name."""

OF_LIKELIHOOD = ("recon_nats", "elbo_nats", "bound_nats")
"""Beginnings of terms whose scale is that of the likelihood: lines of different ones never share a chart."""


def compare(
    paths: Sequence[Path | str],
    *,
    out: Path | str = "comparison.html",
    data: Any = None,
    split: str = "test",
    samples: int = 0,
    classifier: Path | str | None = None,
    features: str = "auto",
    group_seeds: bool = True,
    command: str = "",
    console: Console | None = None,
) -> dict[str, Any]:
    """Measure runs on the same examples, write the page that shows them side by side, and return all figures.

    out: the page, an .html file. command: the one that makes the page again. The rest as in `comparing.compare`, whose
    answer is returned with `report`, the page's place. Raises `UserError`.
    """
    out = Path(out)
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"a comparison is written to an .html file, got --out {out}")
    found = comparing.compare(
        paths,
        lambda metric: words.meaning(metric).better,
        data=data,
        split=split,
        samples=samples,
        classifier=classifier,
        features=features,
        group_seeds=group_seeds,
        console=console,
    )
    order = {name: i for i, name in enumerate(words.MEANINGS)}
    found.answer["metrics"].sort(key=lambda row: order.get(row["metric"], len(order)))
    place = html.write_page(out, "comparison.html.jinja", page(found, command))
    return found.answer | {"report": str(place)}


# ---- words -----------------------------------------------------------------------------------------------------


def signed(metric: str, value: float) -> str:
    """A difference with its sign, of shares in percentage points: +0.0031 · −1.20."""
    if words.meaning(metric).percent:
        return f"{100 * value:+.2f}".replace("-", "−")
    return ("+" if value >= 0 else "") + words.number(value, 3)


def number_text(metric: str, value: Any) -> str:
    """A value without its unit; shares in percent, also beyond their ends, where an interval may reach."""
    if words.meaning(metric).percent and isinstance(value, float):
        return f"{100 * value:.1f} %".replace("-", "−")
    return words.measured(metric, value)


def value_text(metric: str, cell: dict[str, Any]) -> str:
    """A cell's value; of several seeds with its standard deviation."""
    if cell["value"] is None:
        return "–"
    text = number_text(metric, cell["value"])
    return f"{text} ± {_spread(metric, cell['deviation'])}" if "deviation" in cell else text


def _spread(metric: str, value: float) -> str:
    return f"{100 * value:.2g} points" if words.meaning(metric).percent else words.number(value, 2)


def interval_text(metric: str, interval: Sequence[float]) -> str:
    """[low, high]."""
    return f"[{', '.join(number_text(metric, end) for end in interval)}]"


def verdict_text(metric: str, cell: dict[str, Any]) -> str:
    """How a cell stands to the best one, in words."""
    between = f" [{', '.join(signed(metric, end) for end in i)}]" if (i := cell.get("difference_interval")) else ""
    unit = " points" if words.meaning(metric).percent else ""
    away = f"{signed(metric, cell['difference'])}{between}{unit}" if "difference" in cell else ""
    return {
        "best": "best",
        "worse": f"told apart: {away}",
        "level": f"not told apart: {away}",
        "unjudged": f"{away}, without an interval",
        "incomparable": "not comparable",
        "missing": "",
        "": "",
    }[cell["verdict"]]


MARKS = {"best": "★", "worse": "", "level": "≈", "unjudged": "?", "incomparable": "≁", "missing": "", "": ""}
"""Signs of the verdicts in a terminal's table."""

LEGEND = {
    "best": "★ best",
    "level": "≈ not told apart from the best",
    "unjudged": "? no interval, not judged",
    "incomparable": "≁ not comparable",
}


FLOORS = {"energy_distance": "prior on prior"}
"""What stands beside a metric: the same measure of what it is compared with, against itself; else real on real."""


def budget_rows(answer: dict[str, Any]) -> list[tuple[str, list[str], bool]]:
    """What the entries cost: name, a text for each entry, and whether it is marked for not being the same in all."""
    entries = answer["entries"]

    def row(name: str, key: str, shown: Any = words.number) -> tuple[str, list[str], bool]:
        values = [e[key] for e in entries]
        texts = ["–" if v is None else shown(v) for v in values]
        trained = {v for e, v in zip(entries, values, strict=True) if not e["fitted"]}
        return name, texts, key in ("steps", "images") and len(trained) > 1

    return [
        row("steps", "steps"),
        row("images seen", "images"),
        row("training time", "seconds", words.duration),
        row("parameters", "parameters"),
    ]


def table_rows(answer: dict[str, Any]) -> Iterator[list[str]]:
    """The rows of a terminal's table: model, differing settings, budget, metrics; a cell for each entry."""
    yield ["model", *(e["model"] for e in answer["entries"])]
    if len({tuple(e["seeds"]) for e in answer["entries"]}) > 1 or len(answer["entries"]) < len(answer["runs"]):
        yield ["seeds", *(", ".join(map(str, e["seeds"])) for e in answer["entries"])]
    for setting in answer["settings"]:
        if setting["differs"]:
            yield [setting["name"], *map(_setting_text, setting["values"])]
    for name, texts, marked in budget_rows(answer):
        yield [f"{name} !!" if marked else name, *texts]
    for found in answer["metrics"]:
        if any(isinstance(c["value"], dict) for c in found["cells"]):
            continue  # histograms are on the page
        metric, sense = found["metric"], {"higher": " ↑", "lower": " ↓", "": ""}[found["better"]]
        yield [metric + sense, *(_cell_text(metric, c) for c in found["cells"])]
        if any("floor" in c for c in found["cells"]):
            floors = (number_text(metric, c["floor"]) if "floor" in c else "–" for c in found["cells"])
            yield [f"  {FLOORS.get(metric, 'real on real')}", *floors]


def warned(answer: dict[str, Any]) -> list[tuple[str, list[str], str]]:
    """Each detector that spoke while runs trained: its name, the runs, and what it said of the first."""
    found: dict[str, tuple[list[str], str]] = {}
    for run in answer["runs"]:
        for warning in run["warnings"]:
            found.setdefault(warning["detector"], ([], warning["text"]))[0].append(run["name"])
    return [(detector.replace("_", " "), names, text) for detector, (names, text) in found.items()]


def legend(answer: dict[str, Any]) -> Iterator[str]:
    """How to read the table: its signs, its intervals, why something is not comparable or missing."""
    cells = [c for row in answer["metrics"] for c in row["cells"]]
    signs = [text for verdict, text in LEGEND.items() if any(c["verdict"] == verdict for c in cells)]
    if signs:
        yield f"{', '.join(signs)}; ↑ higher is better, ↓ lower. In brackets: 95 % intervals."
    for name in dict.fromkeys(r["features"] for r in answer["runs"] if r["features"]):
        yield f"Samples are compared on {name}."
    for row in answer["metrics"]:
        if row["unranked"]:
            yield f"≁ {row['metric']}: {row['unranked']}."
    reasons: dict[str, list[str]] = {}
    for row in answer["metrics"]:
        for why in dict.fromkeys(c["why"] for c in row["cells"] if c.get("why")):
            reasons.setdefault(why, []).append(row["metric"])
    for why, metrics in reasons.items():
        yield f"– {', '.join(metrics)}: {why}."


def _cell_text(metric: str, cell: dict[str, Any]) -> str:
    lines = [f"{value_text(metric, cell)} {MARKS[cell['verdict']]}".strip()]
    if "interval" in cell:
        lines.append(interval_text(metric, cell["interval"]))
    return "\n".join(lines)


def _setting_text(value: Any) -> str:
    return "–" if value is None else "unset" if value == "" else words.plain(value)


# ---- the page --------------------------------------------------------------------------------------------------


def page(found: comparing.Comparison, command: str) -> dict[str, Any]:
    """Everything that the template shows, by name."""
    answer = found.answer
    notes = _Notes()
    return {
        "answer": answer,
        "names": [e["name"] for e in answer["entries"]],
        "subject": f"{answer['n']:,} {answer['split']} examples of {answer['data']}",
        "warned": warned(answer),
        "metrics": [_metric(row, answer, notes) for row in answer["metrics"]],
        "notes": notes.texts,
        "settings": [(s["name"], [_setting_text(v) for v in s["values"]]) for s in answer["settings"] if s["differs"]],
        "lacking": [
            (s["name"], [_setting_text(v) for v in s["values"]]) for s in answer["settings"] if not s["differs"]
        ],
        "budget": budget_rows(answer),
        "features": list(dict.fromkeys(r["features"] for r in answer["runs"] if r["features"])),
        "machines": [e["machine"] or "–" for e in answer["entries"]],
        "sheets": [_sheet(s, command) for s in found.sheets],
        "charts": charts(answer),
        "chart_box": curves.BOX,
        "looks": LOOKS,
        "command": command,
    }


class _Notes:
    """Numbered notes below a table, each said once."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def number(self, text: str) -> int:
        """The number of the note with this text."""
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def _metric(row: dict[str, Any], answer: dict[str, Any], notes: _Notes) -> dict[str, Any]:
    metric = row["metric"]
    cells = []
    for cell, entry in zip(row["cells"], answer["entries"], strict=True):
        shown = {
            "verdict": cell["verdict"] or "plain",
            "value": value_text(metric, cell),
            "interval": interval_text(metric, cell["interval"]) if "interval" in cell else "",
            "stands": verdict_text(metric, cell),
            "floor": f"{FLOORS.get(metric, 'real on real')}: {number_text(metric, cell['floor'])}"
            if "floor" in cell
            else "",
            "is_long": isinstance(cell["value"], dict),
            "why": cell.get("why", ""),
            "note": 0,
            "name": entry["name"],
        }
        if shown["why"]:
            shown["note"] = notes.number(f"{shown['why'][:1].upper()}{shown['why'][1:]}.")
        if cell["verdict"] == "incomparable":
            shown["note"] = notes.number(f"{words.meaning(metric).name}: {row['unranked']}.")
        cells.append(shown)
    methods = sorted({c["method"] for c in row["cells"] if "method" in c})
    return {
        "key": metric,
        "about": words.meaning(metric),
        "cells": cells,
        "method": "; ".join(answer["methods"][m] for m in methods),
    }


def _sheet(sheet: comparing.Sheet, command: str) -> dict[str, Any]:
    strips = []
    for strip in sheet.strips:
        address, width = "", 0
        if strip.pixels is not None:
            address, width = _address(strip, sheet, command), strip.pixels.shape[1]
        strips.append({"name": strip.name, "said": strip.said, "address": address, "width": width})
    return {"title": sheet.title, "caption": sheet.caption, "strips": strips}


def _address(strip: comparing.Strip, sheet: comparing.Sheet, command: str) -> str:
    """The picture as a PNG inside the page, with its words in its own text fields, so that a saved copy keeps them."""
    assert strip.pixels is not None
    with tempfile.TemporaryDirectory() as folder:
        title, caption = f"{sheet.title}: {strip.name}", f"{sheet.caption} {strip.said}".strip()
        path = files.save_png(Path(folder) / "x.png", strip.pixels, title=title, caption=caption, command=command)
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


# ---- curves ----------------------------------------------------------------------------------------------------


def charts(answer: dict[str, Any]) -> list[curves.Chart]:
    """A chart for every loss term that two runs have in common; held-out values where all of them have such.

    The total of a run is left out, since runs weigh its terms differently.
    """
    look = {name: LOOKS[i % len(LOOKS)] for i, e in enumerate(answer["entries"]) for name in e["runs"]}
    logs = {run["name"]: RunFolder(run["path"]).log() for run in answer["runs"]}
    series: dict[tuple[str, str], dict[str, dict[str, curves.Points]]] = {}
    for run in answer["runs"]:
        for kind in ("train", "held_out"):
            records = [r for r in logs[run["name"]] if r.get("kind") == kind]
            terms = dict.fromkeys(t for r in records for t in r.get("terms", {}))
            for term in (t for t in terms if t.rpartition("/")[2] != "total"):
                if points := curves.points_of(records, "terms", term):
                    series.setdefault(_shared_name(term, run["likelihood"]), {}).setdefault(run["name"], {})[kind] = (
                        points
                    )
    made = []
    for (term, likelihood), of_run in series.items():
        if len(of_run) < 2:
            continue
        kind = "held_out" if all("held_out" in kinds for kinds in of_run.values()) else "train"
        lines = {name: kinds[kind] for name, kinds in of_run.items() if kind in kinds}
        phase, _, last = term.rpartition("/")
        title, unit = words.term_words(last)
        parts = [title, f"{phase.replace('_', ' ')} phase" if phase else "", likelihood]
        title = f"{', '.join(filter(None, parts))}: {kind.replace('_', ' ').replace('train', 'training')}"
        made.append(curves.chart(title, unit, lines, [look[name] for name in lines]))
    return [chart for chart in made if chart is not None]


def _shared_name(term: str, likelihood: str) -> tuple[str, str]:
    """What terms of different runs are matched by: the name, and for some the likelihood."""
    last = term.rpartition("/")[2]
    return (last if last.startswith(SHARED_TERMS) else term), likelihood if last.startswith(OF_LIKELIHOOD) else ""
