"""The model card of a run: the README.md that stands beside its weights, with what machines read of it at the top."""

from __future__ import annotations

import json
from typing import Any

from latentscape import models
from latentscape.contract import Classifies, Model, Samples, abilities
from latentscape.runs import RunFolder
from latentscape.version import __version__

PICTURES = 6
"""Most pictures on a card; the others lie beside it."""


def card(folder: RunFolder, model: Model, repo: str, licence: str = "") -> str:
    """The card, Markdown with YAML front matter, of what the run folder says.

    repo: where it is loaded from, in the card's own instructions. licence: an identifier such as "mit"; "" leaves it
    open, and the card says so.
    """
    config, answer = folder.config(), folder.metrics() or {}
    name = config["run"]["model"]
    parts = [
        "---\n" + _yaml(_front(folder, model, licence)) + "---",
        f"# {folder.name}",
        f"A `{name}` trained with [latentscape](https://pypi.org/project/latentscape/) {_version(folder)}. "
        f"{models.summaries()[name.replace('_', '-')]}",
        _loading(repo, model),
        "## Data\n\n" + _table(["what", "found"], _data(folder)),
        _figures(answer),
        "## How it was made\n\n```text\n"
        + _fenced(folder.command())
        + "\n```\n\n"
        + _table(["setting", "value"], _made(config)),
        _pictures(folder),
        "## Licence\n\n" + (f"{licence}" if licence else "Not stated: ask whoever shared it before you use it."),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(folder: RunFolder, model: Model, licence: str) -> dict[str, Any]:
    config = folder.config()
    front: dict[str, Any] = {"library_name": "latentscape"}
    if licence:
        front["license"] = licence
    front["tags"] = ["latentscape", config["run"]["model"], *abilities(type(model))]
    if model.shape.is_image and isinstance(model, (Samples, Classifies)):
        front["pipeline_tag"] = _task(model)
    if results := _results(folder, model):
        front["model-index"] = [{"name": folder.name, "results": [results]}]
    return front


def _task(model: Model) -> str:
    """The hub's word for what the model is for."""
    if not model.shape.is_image:
        return "other"
    if isinstance(model, Classifies) and not isinstance(model, Samples):
        return "image-classification"
    return "unconditional-image-generation" if isinstance(model, Samples) else "image-feature-extraction"


def _results(folder: RunFolder, model: Model) -> dict[str, Any]:
    """Figures as the hub's model index has them; nothing where none were measured."""
    answer = folder.metrics() or {}
    figures = [
        {"type": name, "name": name, "value": value}
        for name, value in answer.get("metrics", {}).items()
        if isinstance(value, (int, float))
    ]
    if not figures:
        return {}
    data = str(answer.get("data", "data"))
    return {
        "task": {"type": _task(model)},
        "dataset": {"name": data, "type": data, "split": str(answer.get("split", ""))},
        "metrics": figures,
    }


def _yaml(value: Any, indent: str = "") -> str:
    """Tables, lists and plain values as block YAML; a JSON string is one in YAML too."""
    lines = ""
    entries = value.items() if isinstance(value, dict) else ((None, v) for v in value)
    for key, inner in entries:
        start = f"{indent}-" if key is None else f"{indent}{key}:"
        if isinstance(inner, (dict, list)):
            lines += f"{start}\n{_yaml(inner, indent + '  ')}"
        else:
            lines += f"{start} {json.dumps(inner, ensure_ascii=False)}\n"
    return lines


def _version(folder: RunFolder) -> str:
    return str(folder.environment().get("latentscape", __version__))


def _loading(repo: str, model: Model) -> str:
    place = repo.rstrip("/").rsplit("/", 1)[-1]
    use = "print(model)"
    if isinstance(model, Samples):
        asked = ", torch.arange(4) % model.classes" if model.needs_labels else ""
        use = f"x = model.decode(model.prior(4, torch.Generator().manual_seed(0)){asked})\nprint(x.shape)"
    return f"""## Load it

```bash
pip install "latentscape[hub]"
latentscape pull {repo} --out runs/{place}
```

```python
import torch
from latentscape.tasks.hub import load

model = load({repo!r})  # a torch module in evaluation mode
{use}
```

The weights are safetensors and the settings TOML and JSON: nothing is unpickled."""


def _data(folder: RunFolder) -> list[list[str]]:
    about, run = folder.data(), folder.config()["run"]
    labels = about.get("labels") or {}
    rows = [
        ["name", str(about.get("name", run["data"] or "not named"))],
        ["one example", "×".join(map(str, run["shape"]))],
        ["examples", ", ".join(f"{name} {n:,}" for name, n in (about.get("split") or {}).items())],
        ["labels", ", ".join(list(labels)[:20]) + (", …" if len(labels) > 20 else "")],
        ["fingerprint", str(about.get("fingerprint", ""))],
    ]
    return [row for row in rows if row[1]]


def _figures(answer: dict[str, Any]) -> str:
    metrics = answer.get("metrics", {})
    if not metrics:
        return "## Figures\n\nIt has not been measured."
    intervals, protocol, rows = answer.get("intervals") or {}, answer.get("protocol") or {}, []
    for name, value in metrics.items():
        if not isinstance(value, (int, float)):
            continue
        found = intervals.get(name)
        rows.append([name, f"{value:.4g}", f"{found[0]:.4g} … {found[1]:.4g}" if found else "", protocol.get(name, "")])
    part = f"{answer.get('n', 0):,} {answer.get('split', '')} examples of {answer.get('data', 'the data')}"
    return f"## Figures\n\nOn {part}.\n\n" + _table(["metric", "value", "95 % interval", "how"], rows)


def _made(config: dict[str, Any]) -> list[list[str]]:
    tables = ("model", "train", "data")
    return [[f"{t}.{name}", json.dumps(value, ensure_ascii=False)] for t in tables for name, value in config[t].items()]


def _pictures(folder: RunFolder) -> str:
    lines = []
    for path, words in folder.pictures():
        if path.suffix == ".png" and len(lines) < PICTURES:
            title = _plain(words.get("title") or path.stem).replace("]", ")").replace("[", "(")
            lines.append(f"![{title}](pictures/{path.name})\n\n{_plain(words.get('caption', ''))}".strip())
    return "## Pictures\n\n" + "\n\n".join(lines) if lines else ""


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_plain(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _plain(text: str) -> str:
    """Text that ends no line and no cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def _fenced(text: str) -> str:
    return text.replace("```", "'''")
