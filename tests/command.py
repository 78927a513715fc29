"""The command line called in this process, as a person would call it."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from typing import Any
from unittest import mock

from latentscape import cli


@dataclass(frozen=True)
class Answer:
    """Exit status, standard output and standard error."""

    status: int
    out: str
    err: str


def latentscape(*args: Any) -> Answer:
    """Run `latentscape ARGS`."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    argv = ["latentscape", *map(str, args)]
    with mock.patch.object(sys, "argv", argv), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Answer(status, out.getvalue(), err.getvalue())


def refusal(*args: Any, status: int = 2) -> str:
    """The one sentence with which `latentscape ARGS` refuses."""
    answer = latentscape(*args)
    assert "Traceback" not in answer.err
    lines = answer.err.splitlines()
    assert answer.status == status, answer
    assert len(lines) == 1, answer
    assert lines[0].startswith("latentscape: ")
    assert answer.out == ""
    return lines[0].removeprefix("latentscape: ")
