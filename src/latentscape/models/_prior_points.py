"""A prior given by its user: points in a file, or a picture whose bright pixels carry the mass.

Whatever the file holds, `POINTS` rows come out, so that the size of what a run keeps does not depend on the file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentscape.errors import ConfigError
from latentscape.numerics import priors

POINTS = 10_000
"""Points that stand for the prior (spec row B23)."""

_SEED = 0


def read(file: str, dims: int) -> Tensor:
    """z_NL float32, N = `POINTS`: of an .npy or .csv file (one point a row), else of a picture.

    Fewer points than that are repeated, more are drawn from. Raises `ConfigError`, in one sentence, for a file that is
    missing, unreadable, or has other than `dims` numbers a row. Nothing is unpickled.
    """
    path = Path(file).expanduser()
    if not file:
        raise ConfigError("--prior points needs --prior-file, an .npy or .csv file of points or a mask picture")
    if not path.is_file():
        raise ConfigError(f"there is no prior file {file}; give --prior-file the path of an .npy, a .csv or a picture")
    if path.suffix.lower() in (".npy", ".csv"):
        return _as_many(_points(path, dims))
    if dims != 2:
        raise ConfigError(f"a picture is a prior in the plane, so --latent-dim must be 2, got {dims}")
    return _of_mask(_brightness(path), torch.Generator().manual_seed(_SEED))


def _points(path: Path, dims: int) -> Tensor:
    try:
        if path.suffix.lower() == ".npy":
            found = np.load(path, allow_pickle=False)
        else:
            found = np.loadtxt(path, delimiter=",", ndmin=2)
        points_NL = torch.from_numpy(np.ascontiguousarray(found, np.float32))
    except Exception as error:  # parsers of numbers raise anything
        reason = " ".join(str(error).split())[:120]
        raise ConfigError(f"{path} does not hold points as numbers ({reason}); save one point a row") from None
    if points_NL.dim() != 2 or points_NL.shape[1] != dims or not len(points_NL):
        by = "×".join(map(str, points_NL.shape))
        raise ConfigError(f"{path} must hold rows of {dims} numbers, one for each of --latent-dim, found {by}")
    if not points_NL.isfinite().all():
        raise ConfigError(f"{path} must hold finite numbers, found some that are not; leave those points out")
    return points_NL


def _as_many(points_NL: Tensor) -> Tensor:
    """`POINTS` rows: each as often as the others, give or take one, where there are fewer; else a draw of them."""
    order_N = torch.randperm(len(points_NL), generator=torch.Generator().manual_seed(_SEED))
    return points_NL[order_N[torch.arange(POINTS) % len(points_NL)]]


def _brightness(path: Path) -> Tensor:
    """H×W in [0, 1]; transparent pixels are black."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            plain = image.convert("LA")
    except Exception as error:  # decoders raise anything
        reason = " ".join(str(error).split())[:120]
        raise ConfigError(f"{path} is neither .npy, .csv nor a readable picture ({reason})") from None
    grey, opaque = np.asarray(plain, np.float32).transpose(2, 0, 1) / 255
    if not (grey * opaque).any():
        raise ConfigError(f"{path} is black everywhere; a mask's bright pixels carry the prior's mass")
    return torch.from_numpy(grey * opaque)


def _of_mask(mass_HW: Tensor, rng: torch.Generator) -> Tensor:
    """Pixels drawn by their brightness, and a place in the pixel; the longer side spans [−2.5, 2.5], z2 upwards."""
    height, width = mass_HW.shape
    # Not multinomial, which takes no more than 2²⁴ pixels: the cumulated mass, read at even random heights.
    mass_N = mass_HW.double().flatten().cumsum(0)
    heights = torch.rand(POINTS, generator=rng, dtype=torch.float64) * mass_N[-1]
    picks = torch.searchsorted(mass_N, heights, right=True).clamp_max(len(mass_N) - 1)
    at_N2 = torch.stack([picks % width, picks // width], 1) + torch.rand(POINTS, 2, generator=rng)
    centred_N2 = (at_N2 - torch.tensor([width, height]) / 2) * torch.tensor([1.0, -1.0])
    return (centred_N2 * (2 * priors.HALF_SIDE / max(height, width))).float()
