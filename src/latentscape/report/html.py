"""A run folder to one self-contained HTML page: no script, style, font or picture comes from anywhere else."""

from __future__ import annotations

import base64
import io
import math
import shlex
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from PIL import Image

from latentscape.pictures.files import atomic
from latentscape.report import curves, words

if TYPE_CHECKING:
    from latentscape.runs import RunFolder

LARGEST = 16 * 2**20
"""Bytes of a picture that is still put into the page; a larger one is named with its place."""

SMALL = 700
"""Width in pixels up to which a picture is shown with its pixels as squares."""

KEY_METRICS = 6

_MEDIA = {".png": "image/png", ".gif": "image/gif", ".mp4": "video/mp4"}

_ORDER = (
    ("reconstruct", "recon"),
    ("sample", "generated"),
    ("map", "latent"),
    ("interpol",),
    ("travers",),
    ("grid", "lattice"),
    ("arithmetic", "transfer"),
    ("denois", "noisy"),
)
"""Words in a picture's file name that give its place on the page, first words first; other pictures follow."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture of the page: where its bytes are (a data address, or nothing if it is too large), size and words."""

    name: str
    address: str
    still: str
    width: int
    height: int
    is_film: bool
    title: str
    caption: str
    command: str

    @property
    def alt(self) -> str:
        """What a reader who cannot see the picture is told."""
        return f"{self.title}. {self.caption}".strip(". ") or self.name

    @property
    def look(self) -> str:
        """The style class: pixels as squares for small pictures, more so for tiny ones."""
        return "tiny" if self.width <= 320 else "small" if self.width <= SMALL else ""

    @property
    def shown_width(self) -> int:
        """Width on the page: tiny pictures are enlarged by a whole factor."""
        return self.width * max(1, 320 // max(self.width, 1))


def write_report(run: RunFolder) -> Path:
    """Write `report.html` into the run folder and return its path.

    Parts that the run does not have yet (metrics, pictures, log) are left out or say how to get them. Raises
    `RunError` if a file of the run is damaged, `UserError` or `DiskFull` if the page cannot be written.
    """
    return write_page(run.report_path, "template.html.jinja", page(run))


def write_page(path: Path, template: str, values: dict[str, Any]) -> Path:
    """Fill one of the templates beside this file and write the page, whole or not at all."""
    room = resources.files("latentscape.report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (room / name).read_text("utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template(template).render(values)
    with atomic(path) as temporary:
        temporary.write_text(html, "utf-8")
    return path


def page(run: RunFolder) -> dict[str, Any]:
    """Everything the template shows, by name."""
    config, data, log = run.config(), run.data(), run.log()
    about, evaluation = _table(config.get("run")), run.metrics() or {}
    state, is_done = _state(log)
    place = shlex.quote(str(run.path))
    return {
        "name": run.path.resolve().name,
        "model": str(about.get("model", "model")),
        "data_name": str(data.get("name") or about.get("data") or "its data"),
        "summary": _summary(about, data, log),
        "state": state,
        "is_done": is_done,
        "key_metrics": _metrics(evaluation)[:KEY_METRICS],
        "metrics": _metrics(evaluation),
        "measured_on": _measured_on(evaluation),
        "warnings": _warnings(log) + _cautions(evaluation),
        "notes": [str(r["text"]) for r in log if r.get("kind") == "note" and r.get("text")],
        "fitted": _fitted(log),
        "figures": _figures(run.pictures()),
        "charts": curves.charts(log),
        "chart_box": curves.BOX,
        "config": {name: _settings(table) for name, table in config.items() if isinstance(table, dict)},
        "data": _rows(data),
        "environment": _rows(run.environment()),
        "command": run.command(),
        "resume_command": f"latentscape resume {place}",
        "evaluate_command": f"latentscape evaluate {place} --split test",
        "report_command": f"latentscape report {place}",
        "sample_command": f"latentscape sample {place}",
    }


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _state(log: list[dict[str, Any]]) -> tuple[str, bool]:
    """How the run ended or how far it is, in words, and whether it is complete."""
    done = next((r for r in reversed(log) if r.get("kind") == "done"), None)
    if done is not None:
        return str(done.get("reason") or ""), True
    steps = [r["step"] for r in log if isinstance(r.get("step"), int)]
    if not steps:
        return "nothing is logged yet", False
    return f"the log ends at step {words.number(steps[-1])}", False


def _summary(about: dict[str, Any], data: dict[str, Any], log: list[dict[str, Any]]) -> str:
    """One sentence: the model, what it was trained on and for how long."""
    model, name = about.get("model", "a model"), data.get("name") or about.get("data") or "data without a name"
    shape = data.get("shape") or about.get("shape") or []
    size = "×".join(map(str, shape)) if len(shape) != 1 else f"{shape[0]} numbers"
    splits = _table(data.get("split") or data.get("splits"))
    count = _number(splits.get("train")) or _number(data.get("n"))
    examples = f" ({words.number(count)} training examples of {size})" if count and size else ""
    steps = max((r["step"] for r in log if isinstance(r.get("step"), int)), default=0)
    spent = [s for r in log if (s := _number(r.get("seconds"))) is not None]
    length = f" for {words.number(steps)} steps" if steps else ""
    time = f" in {words.duration(spent[-1])}" if spent else ""
    return f"{model}, trained on {name}{examples}{length}{time}"


def _metrics(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """All metrics, those with a known meaning first and in their order."""
    order = {name: i for i, name in enumerate(words.MEANINGS)}
    protocol, intervals = _table(evaluation.get("protocol")), _table(evaluation.get("intervals"))
    measured = _table(evaluation.get("metrics"))
    named = sorted(measured.items(), key=lambda item: order.get(item[0], len(order)))
    return [
        {
            "key": name,
            "about": words.meaning(name),
            "text": words.measured(name, value),
            "exact": words.measured(name, value, 6),
            "interval": words.interval(name, intervals.get(name)),
            "floor": _floor(name, measured),
            "unit": words.meaning(name).unit,
            "protocol": words.plain(protocol[name]) if name in protocol else "",
        }
        for name, value in named
    ]


def _floor(name: str, measured: dict[str, Any]) -> str:
    """What real images score in place of samples, in words; "" where that was not measured."""
    beside = next((other for other in (f"{name}_floor", f"{name}_real") if other in measured), "")
    return f"real images: {words.measured(beside, measured[beside])}" if beside else ""


def _measured_on(evaluation: dict[str, Any]) -> str:
    count, split = _number(evaluation.get("n")), evaluation.get("split")
    if count is None or not split:
        return ""
    data = f" of {evaluation['data']}" if evaluation.get("data") else ""
    about = [f"Measured on {words.number(count)} examples of the {split} split{data}."]
    counts, chosen = _table(evaluation.get("samples")), _table(evaluation.get("features"))
    if counts:
        compared, prior = words.plain(counts.get("compared")), words.plain(counts.get("prior"))
        about.append(f"Samples are drawn from {prior}; {compared} are compared with as many images.")
    if chosen:
        about.append(f"They are compared on {words.plain(chosen.get('size'))} features of {chosen.get('name')}.")
    if evaluation.get("about_intervals"):
        about.append(str(evaluation["about_intervals"]))
    return " ".join(about)


def _warnings(log: list[dict[str, Any]]) -> list[dict[str, str]]:
    """One entry per detector: its newest words, and when it spoke."""
    found: dict[str, list[dict[str, Any]]] = {}
    for record in log:
        if record.get("kind") == "warning":
            found.setdefault(str(record.get("detector", "warning")), []).append(record)
    entries = []
    for detector, records in found.items():
        steps = [words.number(r["step"]) for r in records if isinstance(r.get("step"), int)]
        when = f"at step {steps[0]}" if steps else ""
        if len(steps) > 1:
            when = f"{len(steps)} times from step {steps[0]} to {steps[-1]}"
        text = str(records[-1].get("text", "No further words were logged."))
        entries.append({"detector": detector.replace("_", " "), "text": text, "when": when})
    return entries


def _cautions(evaluation: dict[str, Any]) -> list[dict[str, str]]:
    """What the evaluation warns of."""
    found = evaluation.get("warnings")
    texts = [f"{str(text)[:1].upper()}{str(text)[1:]}." for text in found] if isinstance(found, list) else []
    return [{"detector": "evaluation", "text": text, "when": ""} for text in texts]


def _fitted(log: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What a closed-form fit found, as rows."""
    newest = next((r for r in reversed(log) if r.get("kind") == "fitted"), {})
    return [(name.replace("_", " "), words.plain(value)) for name, value in _table(newest.get("terms")).items()]


def _rows(table: dict[str, Any]) -> list[tuple[str, str]]:
    """A table of settings or facts as (name, value) rows; tables inside it give rows of their own."""
    rows: list[tuple[str, str]] = []
    for name, value in table.items():
        plain_name = str(name).replace("_", " ")
        if isinstance(value, dict) and any(isinstance(v, (dict, list)) and v for v in value.values()):
            rows += [(f"{plain_name}: {inner}", text) for inner, text in _rows(value)]
        else:
            rows.append((plain_name, words.plain(value)))
    return rows


def _settings(table: dict[str, Any]) -> list[tuple[str, str]]:
    """Settings under the names that config.toml has for them."""
    return [(name, words.plain(value)) for name, value in table.items()]


def _figures(pictures: list[tuple[Path, dict[str, str]]]) -> list[Figure]:
    found = [f for path, words_ in pictures if (f := _figure(path, _table(words_))) is not None]
    return sorted(found, key=lambda f: _rank(f.name))


def _rank(name: str) -> int:
    lower = name.lower()
    return next((i for i, stems in enumerate(_ORDER) if any(stem in lower for stem in stems)), len(_ORDER))


def _figure(path: Path, about: dict[str, str]) -> Figure | None:
    """The picture as part of the page; None if it is no picture that can be read."""
    media = _MEDIA.get(path.suffix.lower())
    if media is None:
        return None
    try:
        content = path.read_bytes()
        width, height, still = _measure(content) if media.startswith("image") else (0, 0, "")
    except (OSError, Image.DecompressionBombError):
        return None
    address = _address(media, content) if len(content) <= LARGEST else ""
    title = about.get("title") or path.stem.replace("_", " ").replace("-", " ").capitalize()
    texts = (title, about.get("caption", ""), about.get("command", ""))
    return Figure(path.name, address, still, width, height, media.startswith("video"), *texts)


def _measure(content: bytes) -> tuple[int, int, str]:
    """Width, height and, of a moving picture, its last frame for readers who asked for no motion."""
    with Image.open(io.BytesIO(content)) as image:
        frames = getattr(image, "n_frames", 1)
        if frames == 1:
            return image.width, image.height, ""
        image.seek(frames - 1)
        still = io.BytesIO()
        image.convert("RGB").save(still, "PNG")
        return image.width, image.height, _address("image/png", still.getvalue())


def _address(media: str, content: bytes) -> str:
    return f"data:{media};base64,{base64.b64encode(content).decode('ascii')}"
