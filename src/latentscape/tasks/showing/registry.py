"""The pictures by name: each function marked `@picture` is one that recipes name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from latentscape.pictures.sheets import Picture


@dataclass(frozen=True)
class Drawing:
    """A picture before it is a file: uint8 H×W×3, a title, and a caption that states numbers, split and counts."""

    pixels: Picture
    title: str
    caption: str


PICTURES: dict[str, Callable[..., Drawing]] = {}
"""Picture name → function of a stage and options."""


def picture(function: Callable[..., Drawing]) -> Callable[..., Drawing]:
    """Enter a function into `PICTURES` under its name."""
    PICTURES[function.__name__] = function
    return function
