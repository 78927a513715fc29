"""The command line: thin commands over `latentscape.api` and the tasks; what is heavy is imported when one runs."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

from latentscape.cli import (
    about,
    checking,
    comparing,
    directing,
    exporting,
    judging,
    making,
    serving,
    sharing,
    studying,
    training,
    walking,
)
from latentscape.cli.registry import KNOWN
from latentscape.cli.terminal import Terminal, say
from latentscape.errors import LatentscapeError, UserError
from latentscape.training import launch

THEMES = (
    about,
    training,
    making,
    walking,
    directing,
    checking,
    judging,
    comparing,
    studying,
    exporting,
    serving,
    sharing,
)
"""The files that hold commands, in the order of the help."""

COMMANDS = {name: f for theme in THEMES for name, f in KNOWN.items() if f.__module__ == theme.__name__}

TOGETHER = ("train", "resume", "reproduce")
"""What several processes do together; of everything else, the first one does all."""

__all__ = ["COMMANDS", "Terminal", "main"]


def _help() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}s}{(f.__doc__ or '').strip().splitlines()[0]}" for name, f in COMMANDS.items()]
    return (
        "latentscape: train, measure, look into and use latent-variable models of images.\n\n"
        "usage: latentscape COMMAND …      (latentscape COMMAND --help for its settings)\n\n"
        + "\n".join(lines)
        + "\n\nStart with: latentscape demo"
    )


def main() -> None:
    """Entry point. Exit status: 0 done, 1 failed, 2 bad usage or bad input."""
    # A thread that waits for another spins. By default it spins for milliseconds, which costs a factor of a hundred
    # when another program holds one of the cores; shorter, it yields. Read by the OpenMP library when torch loads it.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    args = [a for a in sys.argv[1:] if a != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Unicode gets a question mark, not a traceback
    debug = len(args) != len(sys.argv) - 1
    if not args or args[0] in ("-h", "--help", "help"):
        print(_help())
        return
    if args[0] in ("-V", "--version"):
        from latentscape.version import __version__

        print(f"latentscape {__version__}")
        return
    try:
        command = COMMANDS.get(args[0])
        if command is None:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            raise UserError(
                f"there is no command {args[0]!r}; "
                + (f"did you mean {near[0]}?" if near else "`latentscape --help` lists them")
            )
        place = launch.place()
        if place.rank and args[0] not in TOGETHER:
            return
        with _heard(place):
            command(args[1:])
    except LatentscapeError as error:
        _fail(str(error), error.exit_status, debug)
    except KeyboardInterrupt:
        _fail("stopped", 1, debug)
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        _fail("the memory does not hold that; choose a smaller model, batch or picture size", 1, debug)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (MemoryError, OSError) as error:
        import errno

        words = {errno.ENOSPC: "no space is left on the disk; free some and go on: what was written before is whole"}
        text = words.get(getattr(error, "errno", None) or 0, f"{type(error).__name__}: {error}")
        _fail(f"{text} (--debug shows where)", 1, debug)


@contextlib.contextmanager
def _heard(place: launch.Place) -> Iterator[None]:
    """Of several processes, only the first one is heard; what is wrong, it says, or an error does that is no one's."""
    if not place.rank:
        yield
        return
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        try:
            yield
        except LatentscapeError as error:
            _end_at_once(error.exit_status)
        except KeyboardInterrupt:
            _end_at_once(1)


def _end_at_once(status: int) -> NoReturn:
    """End a process that is not heard and has nothing to write.

    Without the interpreter's own end: there, PyTorch's connections may find that the first process has gone, and abort.
    """
    os._exit(status)


def _fail(text: str, status: int, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()
    say(f"latentscape: {text}")
    sys.exit(status)
