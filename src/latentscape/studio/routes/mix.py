"""Requests of the page Mix: walks between slots, and files of what was mixed. Everything else it asks of Latent's."""

from __future__ import annotations

from typing import Any

import torch
from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from torch import Tensor

from latentscape.errors import ConfigError
from latentscape.studio import mixing, starts
from latentscape.studio.explorer import Explorer, explorer_of
from latentscape.studio.shelf import Opened
from latentscape.studio.studio import Studio


class End(BaseModel):
    """One end of a walk: its latent, and what a command may call it."""

    z: list[float]
    example: int | None = None
    file: str = Field(default="", max_length=200)


class WalkAsked(BaseModel):
    """From one end to the other."""

    ends: list[End] = Field(min_length=2, max_length=2)
    steps: int = 10
    spherical: bool = False
    label: int | None = None


class Mixed(BaseModel):
    """What is saved: rows of latents, or a walk; labels by number, one for all or one each."""

    rows: list[list[float]] = Field(default=[], max_length=mixing.MOST_STEPS)
    labels: list[int] = Field(default=[], max_length=mixing.MOST_STEPS)
    walk: WalkAsked | None = None
    form: str = "png"


def router(studio: Studio) -> APIRouter:
    """The requests, all below /api/mix/RUN."""
    found = APIRouter(prefix="/api/mix/{run_id}")

    @found.post("/walk")
    async def walk(run_id: str, asked: WalkAsked) -> dict[str, Any]:
        """The walk's latents, and the command that makes it again."""

        def work(opened: Opened) -> dict[str, Any]:
            explorer = _able(opened)
            z_SL = _walked(explorer, asked)
            return {"z": [row.tolist() for row in z_SL], "command": _command(explorer, opened, asked)}

        return await studio.with_run(run_id, work)

    @found.post("/file")
    async def file(run_id: str, asked: Mixed) -> Response:
        """What was mixed as a file."""

        def work(opened: Opened) -> bytes:
            explorer = _able(opened)
            z_ML, command, caption = _rows(explorer, opened, asked)
            if asked.form == "npy" and asked.walk:
                z_ML = z_ML[[0, -1]]  # the ends, as `interpolate --latents` reads them
            labels = [explorer.label(k) for k in asked.labels] or [_label(explorer, asked)]
            return mixing.saved(explorer, z_ML, labels, asked.form, caption=caption, command=command)

        data = await studio.with_run(run_id, work)
        name = "ends.npy" if asked.form == "npy" else f"mixed.{asked.form}"
        headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
        return Response(data, media_type=mixing.FORMATS[asked.form], headers=headers)

    return found


def _able(opened: Opened) -> Explorer:
    explorer = explorer_of(opened)
    explorer.stage_for_decoding()
    return explorer


def _walked(explorer: Explorer, asked: WalkAsked) -> Tensor:
    a_1L, b_1L = (starts.latent_from(end.z, explorer.latent_dim) for end in asked.ends)
    return mixing.walk(a_1L[0], b_1L[0], asked.steps, asked.spherical)


def _label(explorer: Explorer, asked: Mixed) -> int | None:
    return explorer.label(asked.walk.label if asked.walk else None)


def _command(explorer: Explorer, opened: Opened, asked: WalkAsked) -> str:
    ends = [mixing.Slot(end.example, end.file) for end in asked.ends]
    label = explorer.label(asked.label)
    return mixing.walk_command(explorer, str(opened.known.path), ends, asked.steps, asked.spherical, label)


def _rows(explorer: Explorer, opened: Opened, asked: Mixed) -> tuple[Tensor, str, str]:
    """The latents to save, their command, and a caption."""
    if asked.walk:
        kind = "spherical" if asked.walk.spherical else "linear"
        caption = f"The {kind} path between two latents in {asked.walk.steps} steps, decoded."
        return _walked(explorer, asked.walk), _command(explorer, opened, asked.walk), caption
    if not asked.rows:
        raise ConfigError("there is nothing to save yet; fill the slots first")
    z_ML = torch.cat([starts.latent_from(row, explorer.latent_dim) for row in asked.rows])
    label = explorer.label(asked.labels[0] if asked.labels else None)
    command = starts.command_for(explorer, str(opened.known.path), asked.rows[0], label)
    return z_ML, command if len(z_ML) == 1 else "", f"{len(z_ML)} latents, decoded."
