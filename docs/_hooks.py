"""Writes what the program says of itself into pages, so that they cannot fall behind: --help, settings, models."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import sys
import typing
from typing import Any
from unittest import mock


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """MkDocs calls this for every page."""
    for mark, write in (
        ("<!-- COMMANDS -->", _commands),
        ("<!-- SETTINGS -->", _settings),
        ("<!-- MODELS -->", _models),
    ):
        if mark in markdown:
            markdown = markdown.replace(mark, write())
    return markdown


def _commands() -> str:
    from latentscape import cli, models

    names = [[name] for name in cli.COMMANDS if name not in ("train", "data")]
    at = list(cli.COMMANDS).index("data")
    names[at:at] = [["data", "info"], ["data", "pack"], ["data", "fetch", "mnist"]]
    names += [["train", name] for name in models.summaries()]
    return "\n\n".join(f"## {' '.join(n)}\n\n```text\n{_help(n)}\n```" for n in names)


def _help(words: list[str]) -> str:
    from latentscape import cli

    out = io.StringIO()
    plain = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    with (
        mock.patch.dict(os.environ, plain),
        mock.patch.object(sys, "argv", ["latentscape", *words, "--help"]),
        contextlib.redirect_stdout(out),
        contextlib.suppress(SystemExit),
    ):
        cli.main()
    return "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())


def _models() -> str:
    from latentscape import models

    return "\n\n".join(f"::: {module}" for module in models.modules().values())


def _settings() -> str:
    from latentscape import models
    from latentscape.data import DataSettings
    from latentscape.training.settings import TrainSettings

    groups = {"Training": TrainSettings, "Data": DataSettings}
    groups |= {f"Model: {name}": models.model_class(name).Config for name in models.summaries()}
    return "\n\n".join(f"## {title}\n\n{_table(group)}" for title, group in groups.items())


def _table(group: type) -> str:
    from latentscape.config import flag, range_words

    hints = typing.get_type_hints(group)
    rows = ["| setting | values | default | what it is |", "|---|---|---|---|"]
    for f in dataclasses.fields(group):
        words = ", ".join(w for w in (_type(hints[f.name]), range_words(f)) if w)
        default = " ".join(map(str, f.default)) if isinstance(f.default, tuple) else str(f.default)
        shown = "unset" if f.default in (None, "") else default
        rows.append(f"| `{flag(f.name)}` | {words} | {shown} | {f.metadata['help']} |")
    return "\n".join(rows)


def _type(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return ", ".join(f"`{a}`" for a in args)
    if origin is tuple:
        return "whole numbers"
    names = {int: "whole number", float: "number", str: "text", bool: "yes or no"}
    return next((names[a] for a in (hint, *args) if a in names), "")
