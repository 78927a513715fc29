"""Every command by its name."""

from __future__ import annotations

from collections.abc import Callable

Command = Callable[[list[str]], None]

KNOWN: dict[str, Command] = {}
"""A command takes the words after its name. The first line of its docstring is what the help says of it."""


def command(function: Command) -> Command:
    """Make a function a command under its own name, without the underscore that keeps it from being a keyword."""
    KNOWN[function.__name__.rstrip("_")] = function
    return function
