"""Whole HTML pages that lie in a run's folder: shown, and trusted with nothing."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import Response

from latentscape.studio.places import NotThere

POLICY = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts"
)
"""A report holds its own style and script. In the sandbox it is of no origin: it cannot ask the studio anything."""


def whole_page(path: Path) -> Response:
    """A page by the place where the package wrote it; `NotThere` where it has gone."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NotThere("there is no such page yet; write it with: latentscape report RUN") from error
    headers = {"content-security-policy": POLICY, "cache-control": "no-cache"}
    return Response(content, headers=headers, media_type="text/html; charset=utf-8")
