"""Arrays to pictures: sheets of images, files with captions, and plots.

Everything here takes and gives numpy arrays; nothing knows what a model is.
"""

from __future__ import annotations

from latentscape.pictures.files import read_captions, save_gif, save_images, save_mp4, save_png
from latentscape.pictures.plots import bars, curves, heatmaps, histograms, lattice, scatter, small_scatters
from latentscape.pictures.sheets import rows, sheet, titled_sheet, to_uint8

__all__ = [
    "bars",
    "curves",
    "heatmaps",
    "histograms",
    "lattice",
    "read_captions",
    "rows",
    "save_gif",
    "save_images",
    "save_mp4",
    "save_png",
    "scatter",
    "sheet",
    "small_scatters",
    "titled_sheet",
    "to_uint8",
]
