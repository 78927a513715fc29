"""A run's learning in pictures: the frames of its films, and sheets that the studio draws as checkpoints appear.

A recipe may ask for films, whose frames lie in the run's pictures. A run without them is watched: each new checkpoint
that somebody looks at gives a sheet, which stays in memory as long as the studio runs. Nothing is written into the run.
"""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

from PIL import Image

from latentscape.pictures import sheets
from latentscape.runs import RunFolder
from latentscape.studio.places import Known, NotThere
from latentscape.studio.shelf import Opened, newest_step
from latentscape.tasks.showing import PICTURES

MOST = 200
"""Sheets that are kept of one run and kind; of more, every second older one is forgotten."""

SIDE = 720


class Sheets:
    """The sheets drawn in this studio, by run and kind."""

    def __init__(self) -> None:
        self._drawn: dict[tuple[str, str], dict[int, bytes]] = {}
        self._lock = threading.Lock()

    def steps(self, known: Known, kind: str) -> list[int]:
        """Steps of which there is a sheet."""
        with self._lock:
            return sorted(self._drawn.get((known.id, kind), {}))

    def get(self, known: Known, kind: str, step: int) -> bytes:
        """A sheet as PNG, or `NotThere`."""
        with self._lock:
            png = self._drawn.get((known.id, kind), {}).get(step)
        if png is None:
            raise NotThere("that sheet is not kept any more; move the slider to another step")
        return png

    def draw(self, opened: Opened, kind: str) -> int:
        """Draw a sheet with the run's newest weights unless it is there, and return its step. Call it on the worker."""
        step = newest_step(opened.folder)
        if step is None:
            raise NotThere("the run has no checkpoint yet; its first sheet comes with it")
        if step not in self.steps(opened.known, kind):
            stage = opened.bare() if kind == "samples" else opened.stage()
            png = _png(sheets.fitted(PICTURES[kind](stage).pixels, SIDE))
            with self._lock:
                kept = self._drawn.setdefault((opened.known.id, kind), {})
                kept[step] = png
                if len(kept) > MOST:
                    for old in sorted(kept)[1:-1:2]:
                        del kept[old]
        return step


def kinds(facts: dict[str, Any]) -> list[str]:
    """Sheets that a model can give at once, without fitting anything; facts: as `cards.model_facts` gives them."""
    able = facts["abilities"]
    found = []
    if facts["is_image"] and "sample" in able:
        found.append("samples")
    if facts["is_image"] and "reconstruct" in able:
        found.append("reconstructions")
    return found


# ---- films -------------------------------------------------------------------------------------------------------


def films(folder: RunFolder) -> list[dict[str, Any]]:
    """The run's films: name, title, the steps of their frames."""
    room = folder.frames_path
    found = []
    for place in sorted(room.iterdir()) if room.is_dir() else []:
        if steps := sorted(int(p.stem) for p in place.glob("*.png") if p.stem.isdecimal()):
            found.append({"name": place.name, "title": place.name.replace("_", " "), "steps": steps})
    return found


def frame(folder: RunFolder, film: str, step: int) -> Path:
    """Where a frame lies, found among those that are there, or `NotThere`."""
    for known in films(folder):
        if known["name"] == film and step in known["steps"]:
            return folder.frames_path / known["name"] / f"{step:09d}.png"
    raise NotThere("the run has no such frame; reload the page")


def _png(pixels: sheets.Picture) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
