"""Arrays to pictures: sheets of images, files with captions, and plots.

Everything here takes and gives numpy arrays; nothing knows what a model is.
"""

from __future__ import annotations

from latentscape.pictures.files import read_captions, save_gif, save_images, save_mp4, save_png
from latentscape.pictures.plots import (
    bars,
    columns,
    curves,
    estimates,
    heatmaps,
    histograms,
    lattice,
    marked,
    scatter,
    small_scatters,
    traces,
)
from latentscape.pictures.sheets import fitted, headed_sheet, panels, rows, sheet, stacked, titled_sheet, to_uint8

__all__ = [
    "bars",
    "columns",
    "curves",
    "estimates",
    "fitted",
    "headed_sheet",
    "heatmaps",
    "histograms",
    "lattice",
    "marked",
    "panels",
    "read_captions",
    "rows",
    "save_gif",
    "save_images",
    "save_mp4",
    "save_png",
    "scatter",
    "sheet",
    "small_scatters",
    "stacked",
    "titled_sheet",
    "to_uint8",
    "traces",
]
