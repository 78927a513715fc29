"""A trained model as ONNX files with a card and a page about them: what runs where there is no PyTorch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latentscape.export import about, folder, graphs
from latentscape.export.about import Subject
from latentscape.export.graphs import Graph
from latentscape.export.readme import readme

README = "README.md"


def export(
    path: Path | str,
    out: Path | str | None = None,
    *,
    data: Any = None,
    force: bool = False,
    command: str = "",
) -> dict[str, Any]:
    """Write encoder.onnx, decoder.onnx, discriminator.onnx and classifier.onnx, as far as the model has them.

    Beside them card.json and README.md. out: a new or empty folder; exports/NAME-onnx if None; force: it may be an
    older export, which is replaced. data: where examples are taken from, to compare graph and model on and to say where
    latents lie; the run's own if None. Nothing is written unless every graph gives what the model gives, to
    `graphs.TOLERANCE`. Says where it is, each file's size and parity, and what was left out. Raises `UserError`,
    `RunFailed`.
    """
    graphs.require_packages()
    subject = Subject.open(path, data, command)
    target = folder.target_of(subject.folder, out, "onnx", force)
    made, notes = checked(subject)
    command = command or f"latentscape export {subject.folder.name} --format onnx"
    files, card = contents(subject, made, command)
    folder.write(target, files, card, force=force)
    return answer(subject, target, card, notes)


def checked(subject: Subject, without: Sequence[str] = ()) -> tuple[list[Graph], list[str]]:
    """Every graph of the run's model, compared with it, and sentences on what cannot be one; `without`: files."""
    parts, notes = graphs.parts_of(subject.model)
    if not subject.has_data:
        notes.append("The run names no data, so graphs and model were compared on random inputs alone.")
    return [graphs.make(subject.model, part, subject.trials) for part in parts if part.file not in without], notes


def contents(subject: Subject, made: Sequence[Graph], command: str) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of an export, name → content, and its card."""
    card = about.card(subject, made, command)
    card["files"] = {graph.part.file: _described(graph) for graph in made}
    about.check_finite({name: card[name] for name in ("prior", "latents", "score") if name in card})
    files = {graph.part.file: graph.content for graph in made}
    return files | {README: readme(card).encode()}, card


def _described(graph: Graph) -> dict[str, Any]:
    return {
        "sha256": hashlib.sha256(graph.content).hexdigest(),
        "bytes": len(graph.content),
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "parity": graph.parity,
    }


def answer(subject: Subject, target: Path, card: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """What the command prints."""
    files = {name: {"bytes": f["bytes"], "parity": f["parity"]} for name, f in card["files"].items()}
    return {"run": str(subject.folder.path), "out": str(target), "files": files, "notes": notes}
