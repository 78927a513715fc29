"""What every page of the studio shares: the runs, one worker for inference, open models, logs, sheets, jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from latentscape.studio.following import Followers
from latentscape.studio.jobs import Jobs
from latentscape.studio.places import Known, Places
from latentscape.studio.sheets import Sheets
from latentscape.studio.shelf import Opened, Shelf
from latentscape.studio.worker import Worker

P = ParamSpec("P")
R = TypeVar("R")


class Studio:
    """One studio over some folders of runs. Routes get it and hold nothing of their own."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.places = Places(roots)
        self.worker = Worker()
        self.shelf = Shelf()
        self.logs = Followers()
        self.sheets = Sheets()
        self.jobs = Jobs()

    def run(self, run_id: str) -> Known:
        """The run of an id; `NotThere` (a 404) for any other."""
        return self.places.get(run_id)

    async def with_run(
        self, run_id: str, function: Callable[Concatenate[Opened, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call `function(opened, …)` on the worker with the run's model open."""
        known = self.run(run_id)
        return await self.worker.do(lambda: function(self.shelf.open(known), *args, **kwargs))

    async def newest_with_run(
        self,
        slot: str,
        run_id: str,
        function: Callable[Concatenate[Opened, P], R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """The same for what follows a pointer: dropped (a 409) when a newer call for the slot comes before it begins.

        slot: what the page calls the thing that moves, the same for all its requests; see `static/js/api.js`.
        """
        known = self.run(run_id)
        return await self.worker.newest(
            slot and f"{run_id}/{slot}", lambda: function(self.shelf.open(known), *args, **kwargs)
        )

    def close(self) -> None:
        """Ask jobs that the studio started to stop; runs that they train keep what they have."""
        self.jobs.close()
