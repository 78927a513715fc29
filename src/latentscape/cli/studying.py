"""The command that shows runs in a browser: studio."""

from __future__ import annotations

from latentscape.cli.parsing import parse, words_before_flags
from latentscape.cli.registry import command
from latentscape.cli.terminal import say


@command
def studio(args: list[str]) -> None:
    """Look at runs in a browser, live: `studio`, `studio RUN…`, or `studio` and folders that hold runs."""
    paths, rest = words_before_flags(args)
    options = parse(
        "studio [RUN …]",
        rest,
        {
            "host": (str, "127.0.0.1", "address to listen on; one that other machines reach needs a --token"),
            "port": (int, -1, "port to listen on; -1: 8600 or a free one near it, 0: any free one"),
            "token": (str, "", "what a browser must show to be let in; auto: one is made and printed"),
            "browser": (bool, True, "open the page in the browser"),
        },
    )
    from latentscape.studio.launch import launch

    launch(
        paths,
        host=options["host"],
        port=None if options["port"] == -1 else options["port"],
        token=options["token"],
        open_browser=options["browser"],
        say=say,
    )
