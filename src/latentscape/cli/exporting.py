"""Commands that turn runs into what other programs use: export."""

from __future__ import annotations

import json
from typing import Any, Literal

from latentscape.cli.parsing import JSON, command_line, first, parse
from latentscape.cli.registry import command
from latentscape.cli.terminal import say


@command
def export(args: list[str]) -> None:
    """Write a run's model as ONNX files, or as a web page that runs it in the browser: `export RUN --format web`."""
    run_path, rest = first(args, "export", "RUN")
    options = parse(
        "export RUN",
        rest,
        {
            "format": (
                Literal["onnx", "web"],
                "onnx",
                "onnx: a file for each ability, with a card; web: a page that runs the model in the browser",
            ),
            "out": (str, "", "a new or empty folder; empty: exports/NAME-onnx or exports/NAME-web"),
            "force": (bool, False, "replace an export that is there"),
            "data": (str, "", "take examples from these data instead of the run's own"),
            "json": JSON,
        },
    )
    out = _export(options["format"])(
        run_path,
        options["out"] or None,
        data=options["data"] or None,
        force=options["force"],
        command=command_line(),
    )
    if options["json"]:
        print(json.dumps(out))
        return
    for note in out["notes"]:
        say(note)
    for name, file in out["files"].items():
        print(f"{name}: {file['bytes']:,} bytes, differs from PyTorch by at most {file['parity']:.1e}")
    print(_next_step(options["format"], out))


def _export(format: str) -> Any:
    if format == "web":
        from latentscape.export.web import export as job
    else:
        from latentscape.export.onnx import export as job
    return job


def _next_step(format: str, out: dict[str, Any]) -> str:
    if format == "onnx":
        return f"The export lies in {out['out']}; its README.md says how to use it."
    return (
        f"The explorer lies in {out['out']}, {out['bytes'] / 2**20:.1f} MiB: put it on any web host, or try it with "
        f"python -m http.server --directory {out['out']}"
    )
