"""What the pages Runs and Run ask: cards of runs, curves, pictures, frames of films."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from latentscape.studio import cards, sheets
from latentscape.studio.places import NotThere
from latentscape.studio.studio import Studio
from latentscape.studio.wholes import whole_page

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

    @routes.get("/{run_id}/report")
    def report(run_id: str) -> Response:
        """The run's report."""
        return whole_page(studio.run(run_id).folder.report_path)

    @routes.get("/{run_id}/news")
    def news(run_id: str, generation: int = 0, records: int = 0) -> dict[str, Any]:
        """How the run stands, and what its log says that a page has not seen; see `cards.news`."""
        known = studio.run(run_id)
        told = cards.news(known, studio.logs.of(known), generation, records)
        drawn = {kind: studio.sheets.steps(known, kind) for kind in told["sheets"]}
        return told | {"sheets": drawn}

    @routes.get("/{run_id}/frames/{film}/{step}")
    def frame(run_id: str, film: str, step: int) -> Response:
        """A frame of one of the run's films."""
        path = sheets.frame(studio.run(run_id).folder, film, step)
        return FileResponse(path, media_type="image/png", headers={"cache-control": "no-cache"})

    @routes.post("/{run_id}/sheets/{kind}")
    async def draw(run_id: str, kind: str) -> dict[str, int]:
        """Draw a sheet with the run's newest weights; says of which step it is."""
        known = studio.run(run_id)
        if kind not in sheets.kinds(cards.model_facts(known.folder)):
            raise NotThere("this model has no such sheet")
        return {"step": await studio.with_run(run_id, studio.sheets.draw, kind)}

    @routes.get("/{run_id}/sheets/{kind}/{step}")
    def sheet(run_id: str, kind: str, step: int) -> Response:
        """A sheet that was drawn."""
        png = studio.sheets.get(studio.run(run_id), kind, step)
        return Response(png, media_type="image/png", headers={"cache-control": "private, max-age=3600"})

    return routes
