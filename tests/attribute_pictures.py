"""A folder of small pictures with a table: what each attribute does to the pixels is known."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

AGE, GLASSES = (slice(0, 4), slice(None)), (slice(4, 8), slice(0, 4))
"""Where an 8×8 picture is brighter with age (its upper half), and where with glasses (a quarter below)."""


def make(folder: Path, n: int = 80, *, table: bool = True) -> Path:
    """n grey pictures, and `labels.csv` beside them: file, age (5 of them unknown), glasses (yes, no), label, split."""
    rng, place = np.random.default_rng(0), folder / "people"
    place.mkdir(parents=True)
    rows = []
    for i in range(n):
        age, glasses = rng.uniform(0, 80), bool(rng.integers(2))
        pixels = np.full((8, 8), 60.0) + rng.normal(0, 6, (8, 8))
        pixels[AGE] += 1.5 * age
        pixels[GLASSES] += 100 * glasses
        pixels[4:, 4:] += rng.uniform(0, 100)  # something that no column speaks of
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / f"{i:03d}.png")
        known = f"{age:.2f}" if i >= 5 else ""
        part = "test" if i % 4 == 0 else "train"
        rows.append([f"{i:03d}.png", known, "yes" if glasses else "no", "old" if age > 40 else "young", part])
    if table:
        with (folder / "labels.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["file", "age", "glasses", "label", "split"], *rows])
    return place


def brightness(x_NCHW: np.ndarray, where: tuple[slice, slice]) -> np.ndarray:
    """Mean over a part of each picture."""
    return x_NCHW[(slice(None), slice(None), *where)].mean((1, 2, 3))
