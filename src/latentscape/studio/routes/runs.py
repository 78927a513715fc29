"""What the pages Runs and Run ask: cards of runs, curves, pictures, frames of films."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from latentscape.studio import cards
from latentscape.studio.places import NotThere
from latentscape.studio.studio import Studio

TYPES = {".png": "image/png", ".gif": "image/gif", ".mp4": "video/mp4"}


def router(studio: Studio) -> APIRouter:
    """Routes below /api/runs."""
    routes = APIRouter(prefix="/api/runs")

    @routes.get("")
    def runs() -> dict[str, Any]:
        """All runs, in the order of their folders."""
        found = studio.places.all()
        return {"runs": [cards.summary(k, studio.logs.of(k)) for k in found], "home": str(studio.places.home)}

    @routes.get("/{run_id}")
    def run(run_id: str) -> dict[str, Any]:
        """One run; see `cards.whole`."""
        known = studio.run(run_id)
        return cards.whole(known, studio.logs.of(known))

    @routes.get("/{run_id}/pictures/{name}")
    def picture(run_id: str, name: str) -> Response:
        """A picture of the run's, by a name that its card lists."""
        for path, _ in studio.run(run_id).folder.pictures():
            if path.name == name and path.is_file():
                return FileResponse(path, media_type=TYPES[path.suffix], headers={"cache-control": "no-cache"})
        raise NotThere("the run has no such picture any more; reload the page")

    return routes
