"""Words of the command line to settings, by tyro."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import shlex
import sys
from typing import Annotated, Any, Literal, cast

from latentscape.cli.registry import KNOWN
from latentscape.config import flag
from latentscape.errors import UserError

JSON = (bool, False, "print one JSON object on standard output and nothing else there")
PRECISION = (
    Literal["float32", "bf16"],
    "float32",
    "bf16: about twice as fast where the processor multiplies it, and off by some thousandths",
)


def api() -> Any:
    """The whole jobs, imported when a command runs."""
    from latentscape import api as jobs

    return jobs


def command_line() -> str:
    """What the user typed, for the words beside a picture."""
    return shlex.join(["latentscape", *sys.argv[1:]])


def first(args: list[str], command: str, what: str) -> tuple[str, list[str]]:
    """The word that a command begins with, "" where its help is asked for, and the others. `UserError` without it."""
    if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
        raise UserError(f"`{command}` is followed by a {what}: latentscape {command} {what}")
    return (args[0], args[1:]) if args[0] not in ("-h", "--help") else ("", args)


def words_before_flags(args: list[str]) -> tuple[list[str], list[str]]:
    """The words before the first flag, such as files, and the rest."""
    count = next((i for i, word in enumerate(args) if word.startswith("-")), len(args))
    return args[:count], args[count:]


def settings_of(cls: type) -> list[dataclasses.Field]:
    """The fields of a group of settings with their types resolved."""
    import typing

    hints = typing.get_type_hints(cls)
    fields = list(dataclasses.fields(cls))
    for f in fields:
        f.type = cast(Any, hints[f.name])
    return fields


def given(options: dict[str, Any], fields: list[dataclasses.Field]) -> dict[str, Any]:
    """The settings that the user named; the others stay at the model's and the package's defaults."""
    return {f.name: options[f.name] for f in fields if f.name in options["named"]}


def parse(
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
    doc = (KNOWN[command.split()[0]].__doc__ or "").strip()
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
        return " ".join(map(str, default)) or "none"
    return {None: "unset", "": "unset"}.get(default, str(default)) if not isinstance(default, (list, dict)) else ""


def _metavar(kind: Any) -> str | None:
    import typing

    args = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        return f"{_metavar(args[0])}..."
    if typing.get_origin(kind) is Literal:
        return "{" + ",".join(map(str, args)) + "}"
    kind = next((a for a in args if a is not type(None)), kind)
    return {int: "INT", float: "FLOAT", str: "TEXT", bool: None}.get(kind)
