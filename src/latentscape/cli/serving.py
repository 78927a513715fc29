"""The command that answers over HTTP: serve."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from latentscape.cli.parsing import first, parse
from latentscape.cli.registry import command
from latentscape.cli.terminal import say

if TYPE_CHECKING:
    from latentscape.serve.exported import Exported
    from latentscape.web.binding import Binding
    from latentscape.web.limits import Limits


@command
def serve(args: list[str]) -> None:
    """Answer over HTTP with an exported model, without torch: `serve EXPORT`."""
    folder, rest = first(args, "serve", "EXPORT")
    options = parse(
        "serve EXPORT",
        rest,
        {
            "host": (str, "127.0.0.1", "address to listen on; one that other machines reach needs a --token"),
            "port": (int, -1, "port to listen on; -1: 8765 or a free one near it, 0: any free one"),
            "token": (
                str,
                "",
                "what requests must carry; auto: one is made and printed; empty: LATENTSCAPE_TOKEN of the environment",
            ),
            "name": (tuple[str, ...], (), "further host names of this server, such as that of a proxy in front of it"),
            "threads": (int, 0, "for one run of the nets; 0: one for each processor"),
            "batch": (int, 256, "most examples in one request"),
            "concurrency": (int, 128, "most requests that are worked on at once"),
            "json": (bool, False, "print one JSON object on standard output when the server is ready"),
        },
    )
    from latentscape.serve.running import run

    run(
        folder,
        host=options["host"],
        port=None if options["port"] == -1 else options["port"],
        token=options["token"] or os.environ.get("LATENTSCAPE_TOKEN", ""),
        names=options["name"],
        threads=options["threads"],
        limits=_limits(options["batch"], options["concurrency"]),
        ready=_tell_json if options["json"] else _tell,
    )
    say("Stopped.")


def _limits(batch: int, concurrency: int) -> Limits:
    from latentscape.errors import UserError
    from latentscape.web.limits import Limits

    if batch < 1 or concurrency < 1:
        raise UserError("--batch and --concurrency must be at least 1")
    return Limits(batch=batch, concurrency=concurrency)


def _tell(binding: Binding, exported: Exported) -> None:
    say(f"{exported.card.name} can {', '.join(exported.abilities)} at {binding.url('/')} (Ctrl-C stops)")
    if binding.token:
        say(f"Programs send: Authorization: Bearer {binding.token}")
        say("What goes over the network is not encrypted: put a proxy with TLS before it where others can listen.")


def _tell_json(binding: Binding, exported: Exported) -> None:
    told = {"url": binding.url("/").partition("?")[0], "token": binding.token, "abilities": exported.abilities}
    print(json.dumps(told), flush=True)
