"""What the page Compare asks: runs beside each other, and the same measured anew as a job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from latentscape.studio import beside
from latentscape.studio.places import NotThere
from latentscape.studio.studio import Studio
from latentscape.studio.wholes import whole_page
from latentscape.training.checkpoint import from_json


class Chosen(BaseModel):
    """Runs by their ids."""

    runs: list[str] = Field(min_length=2, max_length=beside.MOST)


def router(studio: Studio) -> APIRouter:
    """Routes below /api/compare."""
    routes = APIRouter(prefix="/api/compare")

    @routes.get("")
    def compare(run: Annotated[list[str], Query()]) -> dict[str, Any]:
        """Runs beside each other, from what lies in their folders."""
        known = [studio.run(i) for i in run]
        return beside.beside(known, [studio.logs.of(k) for k in known])

    @routes.post("/measure")
    def measure(chosen: Chosen) -> dict[str, Any]:
        """Start `latentscape compare`, which measures the runs on the same images."""
        paths = [str(studio.run(i).path) for i in chosen.runs]
        out = studio.jobs.room() / "comparison.html"
        words = ["compare", *paths, "--no-group-seeds", "--json", "--out", str(out)]
        shown = ["compare", *paths, "--no-group-seeds"]
        return studio.jobs.start("compare", words, {"out": str(out)}, shown=shown).to_json()

    @routes.get("/measured/{job_id}")
    def measured(job_id: str) -> dict[str, Any]:
        """What a job of `measure` said, once it is done."""
        job = _done(studio, job_id)
        try:
            return beside.measured_page(from_json(job.output()), Path(job.about["out"]))
        except (json.JSONDecodeError, KeyError) as error:
            raise NotThere("the comparison ended without an answer; start it again") from error

    @routes.get("/measured/{job_id}/page")
    def page(job_id: str) -> Response:
        """The page that it wrote."""
        return whole_page(Path(_done(studio, job_id).about["out"]))

    return routes


def _done(studio: Studio, job_id: str) -> Any:
    job = studio.jobs.get(job_id)
    if job.kind != "compare" or job.state != "done":
        raise NotThere("that comparison is not done; wait for it, or start it again")
    return job
