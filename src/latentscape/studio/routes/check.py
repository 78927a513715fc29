"""Requests of the page Check: pictures of one's own through the model, one request for each."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from latentscape.errors import AbilityError
from latentscape.studio import judging, starts
from latentscape.studio.explorer import Explorer, explorer_of
from latentscape.studio.shelf import Opened
from latentscape.studio.studio import Studio


def router(studio: Studio) -> APIRouter:
    """The requests, all below /api/check/RUN."""
    found = APIRouter(prefix="/api/check/{run_id}")

    @found.get("/card")
    async def card(run_id: str) -> dict[str, Any]:
        """What can be checked with this model."""
        return await studio.with_run(run_id, _card)

    @found.get("/normal")
    async def normal(run_id: str, score: str = "", rate: float = judging.DEFAULT_RATE) -> dict[str, Any]:
        """See `judging.normal`."""
        return await studio.with_run(run_id, lambda opened: judging.normal(_able(opened), score, rate))

    @found.get("/discriminator")
    async def discriminator(run_id: str) -> dict[str, Any]:
        """See `judging.discriminator`."""
        return await studio.with_run(run_id, lambda opened: judging.discriminator(explorer_of(opened)))

    @found.post("/judge")
    async def judge(
        run_id: str,
        request: Request,
        score: str = "",
        rate: float = judging.DEFAULT_RATE,
        sigma: float = 0.0,
        seed: int = 0,
        example: int | None = None,
        name: str = "",
    ) -> dict[str, Any]:
        """What the model makes of a picture file, which is the body, or of an example of the data.

        name: what the file is called, for the command alone.
        """
        body = await request.body()

        def work(opened: Opened) -> dict[str, Any]:
            explorer = _able(opened)
            if example is not None:
                x_1X, _, called = explorer.example(example)
                command = ""
            else:
                x_1X, called = starts.picture_from(explorer, body), name[:200] or "your picture"
                options = {"score": score, "rate": rate, "sigma": sigma, "seed": seed}
                command = judging.command_for(explorer, str(opened.known.path), called, **options)
            answer = judging.judged(explorer, x_1X, score=score, rate=rate, sigma=sigma, seed=seed)
            return answer | {"name": called, "command": command}

        return await studio.with_run(run_id, work)

    return found


def _able(opened: Opened) -> Explorer:
    explorer = explorer_of(opened)
    if not any(explorer.can()[ability] for ability in ("score", "discriminate", "classify")):
        raise AbilityError("this model neither reconstructs nor tells apart, so that there is nothing to check with it")
    return explorer


def _card(opened: Opened) -> dict[str, Any]:
    explorer = explorer_of(opened)
    images = explorer.images
    noisy = getattr(explorer.model.config, "noise_std", 0.0) if hasattr(explorer.model.config, "noise") else 0.0
    return {
        "shape": list(explorer.model.shape.dims),
        "image": explorer.model.shape.is_image,
        "can": explorer.can(),
        "scores": judging.score_names(explorer),
        "noise": noisy if getattr(explorer.model.config, "noise", "") == "gaussian" else 0.0,
        "examples": 0 if images is None else len(images.indices(explorer.stage.split)),
        "split": "" if images is None else explorer.stage.split,
        "missing": explorer.missing,
    }
