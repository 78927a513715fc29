"""Requests of the page Latent: the map, the sliders, and the picture that follows the pointer.

Latents to decode come as little-endian float32 numbers; decoded pictures go as bytes (`explorer.as_bytes`), so that
nothing is packed or parsed between the pointer and the picture.
"""

from __future__ import annotations

from typing import Any

import torch
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from latentscape.errors import ConfigError
from latentscape.studio import attributes, maps, mixing, sliders, starts
from latentscape.studio.explorer import Explorer, explorer_of
from latentscape.studio.shelf import Opened
from latentscape.studio.studio import Studio

BYTES = "application/octet-stream"
NO_STORE = {"cache-control": "no-store"}


class PlaneAsked(BaseModel):
    """kind, coordinates and through as `maps.plane` takes them; colour: what dots are coloured by."""

    kind: str = ""
    coordinates: list[int] = Field(default=[], max_length=2)
    through: list[list[float]] = Field(default=[], max_length=3)
    colour: str = ""


class Lasso(BaseModel):
    """Dots by number."""

    dots: list[int] = Field(max_length=20_000)


class Place(BaseModel):
    """A latent: its numbers and the class (by number) it is decoded under; seed: a draw that nobody has moved.

    slot: see `Studio.newest_with_run`; each open page has its own, so that none overtakes another's.
    """

    z: list[float]
    label: int | None = None
    seed: int | None = None
    slot: str = Field(default="", max_length=60)


def router(studio: Studio) -> APIRouter:
    """The requests, all below /api/latent/RUN."""
    found = APIRouter(prefix="/api/latent/{run_id}")
    _about(found, studio)
    _moving(found, studio)
    _beginning(found, studio)
    return found


def _about(found: APIRouter, studio: Studio) -> None:
    @found.get("/card")
    async def card(run_id: str) -> dict[str, Any]:
        """What the model can do and what the data knows: what is not among it is not on the page."""
        return await studio.with_run(run_id, _card)

    @found.get("/sliders")
    async def some_sliders(run_id: str, first: int = 0, count: int = 10) -> dict[str, Any]:
        """See `sliders.sliders`."""
        return await studio.with_run(run_id, lambda opened: sliders.sliders(_able(opened), first, count))

    @found.post("/plane")
    async def plane(run_id: str, asked: PlaneAsked) -> dict[str, Any]:
        """See `maps.as_json`."""

        def work(opened: Opened) -> dict[str, Any]:
            explorer = _able(opened)
            seen = maps.plane(explorer, asked.kind, asked.coordinates, asked.through)
            return maps.as_json(explorer, seen, asked.colour)

        return await studio.with_run(run_id, work)

    @found.get("/dot/{index}")
    async def dot(run_id: str, index: int) -> Response:
        """The picture of a dot."""

        def work(opened: Opened) -> bytes:
            explorer = _able(opened)
            if not 0 <= index < len(explorer.dots().z):
                raise ConfigError(f"dots are 0 to {len(explorer.dots().z) - 1:,}, got {index}")
            return explorer.bytes_of(explorer.pictures_of_dots(torch.tensor([index])))

        return Response(await studio.with_run(run_id, work), media_type=BYTES)

    @found.post("/lasso")
    async def lasso(run_id: str, asked: Lasso) -> dict[str, Any]:
        """See `maps.lassoed`."""
        return await studio.with_run(run_id, lambda opened: maps.lassoed(_able(opened), asked.dots))

    @found.get("/direction")
    async def direction(run_id: str, name: str, method: str = "mean-difference") -> dict[str, Any]:
        """See `attributes.direction`."""
        return await studio.with_run(run_id, lambda opened: attributes.direction(_able(opened), name, method))


def _moving(found: APIRouter, studio: Studio) -> None:
    @found.post("/decode")
    async def decode(run_id: str, request: Request, slot: str = "", label: str = "") -> Response:
        """Latents → pictures. label: a class's number, or one for each latent, separated by commas.

        slot: see `Studio.newest_with_run`: of what follows a pointer only the newest is decoded.
        """
        body = await request.body()

        def work(opened: Opened) -> bytes:
            explorer = _able(opened)
            z_ML = starts.latents_from(body, explorer.latent_dim)
            labels = [explorer.label(one) for one in numbers(label)]
            x_MX = explorer.decode(z_ML, labels[0]) if len(labels) == 1 else mixing.decoded(explorer, z_ML, labels)
            return explorer.bytes_of(x_MX)

        return Response(await studio.newest_with_run(slot[:60], run_id, work), media_type=BYTES, headers=NO_STORE)

    @found.post("/nearest")
    async def nearest(run_id: str, place: Place) -> dict[str, Any]:
        """The training pictures nearest to what a latent decodes to; asked when the pointer rests."""

        def work(opened: Opened) -> dict[str, Any]:
            explorer = _able(opened)
            z_1L = starts.latent_from(place.z, explorer.latent_dim)
            return maps.nearest(explorer, explorer.decode(z_1L, explorer.label(place.label)))

        return await studio.newest_with_run(place.slot, run_id, work)

    @found.post("/command")
    async def command(run_id: str, place: Place) -> dict[str, str]:
        """The command that makes a picture again."""

        def work(opened: Opened) -> dict[str, str]:
            explorer = _able(opened)
            starts.latent_from(place.z, explorer.latent_dim)
            label = explorer.label(place.label)
            run = str(opened.known.path)
            return {"command": starts.command_for(explorer, run, place.z, label, place.seed)}

        return await studio.with_run(run_id, work)


def _beginning(found: APIRouter, studio: Studio) -> None:
    @found.get("/start")
    async def start(
        run_id: str, seed: int | None = None, example: int | None = None, dot: int | None = None
    ) -> dict[str, Any]:
        """A place to begin: a draw, an example of the data, a dot of the map, or else the mean; see `starts`."""

        def work(opened: Opened) -> dict[str, Any]:
            explorer = _able(opened)
            if seed is not None:
                return starts.at_seed(explorer, seed)
            if example is not None:
                return starts.at_example(explorer, example)
            return starts.at_mean(explorer) if dot is None else starts.at_dot(explorer, dot)

        return await studio.with_run(run_id, work)

    @found.post("/encode")
    async def encode(run_id: str, request: Request, label: int | None = None) -> dict[str, Any]:
        """The latent of a picture file, which is the body; its name stays in the browser."""
        body = await request.body()
        return await studio.with_run(run_id, lambda opened: starts.at_upload(_able(opened), body, label))


def _able(opened: Opened) -> Explorer:
    """The run's explorer; `AbilityError` for a model without a decoder, which has nothing to show here."""
    explorer = explorer_of(opened)
    explorer.stage_for_decoding()
    return explorer


def numbers(text: str) -> list[int | None]:
    """Whole numbers separated by commas; nothing is one None. `ConfigError` for anything else."""
    try:
        return [int(word) for word in text.split(",")] if text else [None]
    except ValueError:
        raise ConfigError(f"labels are whole numbers separated by commas, got {text[:40]!r}") from None


def _card(opened: Opened) -> dict[str, Any]:
    explorer = explorer_of(opened)
    shape = explorer.model.shape
    images = explorer.images
    return {
        "model": opened.folder.config()["run"]["model"],
        "run": str(opened.known.path),
        "shape": list(shape.dims),
        "image": shape.is_image,
        "latent_dim": getattr(explorer.model, "latent_dim", 0),
        "labels": explorer.labels if explorer.can()["labels"] else [],
        "can": explorer.can(),
        "attributes": attributes.choices(explorer),
        "examples": 0 if images is None else len(images.indices(explorer.stage.split)),
        "split": "" if images is None else explorer.stage.split,
        "missing": explorer.missing,
    }
