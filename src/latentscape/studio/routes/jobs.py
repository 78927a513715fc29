"""Commands that the studio starts: the demo, and what other pages asked for."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from latentscape.errors import UserError
from latentscape.runs import free_name
from latentscape.studio.places import identity
from latentscape.studio.studio import Studio


def router(studio: Studio) -> APIRouter:
    """Routes below /api/jobs, and /api/demo."""
    routes = APIRouter(prefix="/api")

    @routes.get("/jobs")
    def jobs(kind: str = "") -> list[dict[str, Any]]:
        """Jobs of a kind, or all; see `jobs.Job.to_json`."""
        return [job.to_json() for job in studio.jobs.all(kind)]

    @routes.get("/jobs/{job_id}")
    def job(job_id: str) -> dict[str, Any]:
        """One job."""
        return studio.jobs.get(job_id).to_json()

    @routes.post("/jobs/{job_id}/stop")
    def stop(job_id: str) -> dict[str, Any]:
        """Interrupt it as ctrl-C would, and nothing else."""
        return studio.jobs.stop(job_id).to_json()

    @routes.post("/demo")
    def demo() -> dict[str, Any]:
        """Train the demo into a new run."""
        if any(job.state == "running" for job in studio.jobs.all("demo")):
            raise UserError("the demo is being trained already; it appears in the list by itself")
        out = free_name(studio.places.home, "vae-digits")
        return studio.jobs.start("demo", ["demo", "--out", str(out)], {"run": identity(out)}).to_json()

    return routes
