"""Priors that latents are brought to: how to draw from them, and where those with a sharp edge lie.

The shapes are those of Makhzani et al. 2015 (https://arxiv.org/abs/1511.05644), figures 2 and 3, and of spec row B23.
Every sampler takes its randomness from the generator it is handed, and draws on that generator's device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from latentscape.errors import ConfigError

HALF_SIDE = 2.5
"""The uniform prior fills the cube [−2.5, 2.5]ᴸ; masks are laid over the same square."""

PETALS, PETAL_AT, PETAL_LONG, PETAL_WIDE = 10, 1.4, 0.5, 0.1
"""The mixture: how many Gaussians, how far from the origin, standard deviation along and across their direction."""

RING_RADIUS, RING_STD = 2.0, 0.1
"""The ring: its radius, and the standard deviation of the distance from it."""

ROLL_RADIUS, ROLL_TURNS, ROLL_STD = 2.5, 2.0, 0.05
"""The Swiss roll: its outer radius, how often it turns, and the standard deviation of each coordinate."""

_LATTICE = ((-1.5, -0.7), (-0.5, 0.3), (0.5, 1.3))
BOXES = (*((*a, *b) for a in _LATTICE for b in _LATTICE), (-0.5, 0.3, -2.3, -1.7))
"""The boxes, (z1 from, z1 to, z2 from, z2 to): a 3×3 lattice and one below it; each holds the same mass."""

FLAT = ("ring", "swiss-roll", "boxes")
"""Priors that lie in the plane, so that only two latent dimensions fit."""


def sample(kind: str, n: int, dims: int, rng: torch.Generator) -> Tensor:
    """n draws z_NL of a prior by name: a key of `SAMPLERS`. One that needs two dimensions raises `ConfigError`."""
    check(kind, dims)
    return SAMPLERS[kind](n, dims, rng)


def check(kind: str, dims: int) -> None:
    """Raise `ConfigError` for a prior of the plane in other than two dimensions."""
    if kind in FLAT and dims != 2:
        raise ConfigError(f"--prior {kind} lies in the plane, so --latent-dim must be 2, got {dims}")


def inside(kind: str, z_NL: Tensor) -> Tensor | None:
    """Which points lie where the prior has mass, N bool; None for a prior without a sharp edge."""
    return SUPPORTS[kind](z_NL) if kind in SUPPORTS else None


def uniform(n: int, dims: int, rng: torch.Generator) -> Tensor:
    """U[−2.5, 2.5]ᴸ."""
    return HALF_SIDE * (2 * _uniform(n, dims, rng) - 1)


def gaussian(n: int, dims: int, rng: torch.Generator) -> Tensor:
    """N(0, I)."""
    return torch.randn(n, dims, generator=rng, device=rng.device)


def mixture(n: int, dims: int, rng: torch.Generator) -> Tensor:
    """Ten Gaussians like petals round the origin, each stretched along its own direction.

    Two dimensions: directions evenly round the circle. Others: ten fixed random ones.
    """
    which_N = torch.randint(0, PETALS, (n,), generator=rng, device=rng.device)
    direction_NL = petal_directions(dims).to(rng.device)[which_N]
    noise_NL = gaussian(n, dims, rng)
    along_N1 = (noise_NL * direction_NL).sum(1, keepdim=True)
    # Covariance w²·I + (l² − w²)·u·uᵀ: the noise is w wide everywhere, and l long along u.
    return (PETAL_AT + (PETAL_LONG - PETAL_WIDE) * along_N1) * direction_NL + PETAL_WIDE * noise_NL


def petal_directions(dims: int) -> Tensor:
    """The mixture's unit vectors, 10×L; the same whenever they are asked for."""
    if dims == 2:
        angle_K = torch.arange(PETALS) * (2 * math.pi / PETALS)
        return torch.stack([angle_K.cos(), angle_K.sin()], 1)
    fixed = torch.randn(PETALS, dims, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(fixed, dim=1)


def ring(n: int, dims: int, rng: torch.Generator) -> Tensor:
    """A circle of radius 2 with Gaussian noise on the radius."""
    angle_N = 2 * math.pi * _uniform(n, 1, rng)[:, 0]
    radius_N = RING_RADIUS + RING_STD * gaussian(n, 1, rng)[:, 0]
    return radius_N[:, None] * torch.stack([angle_N.cos(), angle_N.sin()], 1)


def swiss_roll(n: int, dims: int, rng: torch.Generator) -> Tensor:
    """r = R·√u at the angle 2π·turns·√u, u ~ U[0, 1), with a little noise: about even along the arc."""
    root_N = _uniform(n, 1, rng)[:, 0].sqrt()
    angle_N = 2 * math.pi * ROLL_TURNS * root_N
    arc_N2 = ROLL_RADIUS * root_N[:, None] * torch.stack([angle_N.cos(), angle_N.sin()], 1)
    return arc_N2 + ROLL_STD * gaussian(n, 2, rng)


def boxes(n: int, dims: int, rng: torch.Generator) -> Tensor:
    """Uniform in each of `BOXES`, which are drawn equally often."""
    which_N = torch.randint(0, len(BOXES), (n,), generator=rng, device=rng.device)
    corner_N4 = torch.tensor(BOXES, device=rng.device)[which_N]
    low_N2, high_N2 = corner_N4[:, 0::2], corner_N4[:, 1::2]
    return low_N2 + (high_N2 - low_N2) * _uniform(n, 2, rng)


def in_cube(z_NL: Tensor) -> Tensor:
    """Which points lie in [−2.5, 2.5]ᴸ, N bool."""
    return (z_NL.abs() <= HALF_SIDE).all(1)


def in_boxes(z_N2: Tensor) -> Tensor:
    """Which points lie in one of `BOXES`, N bool."""
    corner_K4 = torch.tensor(BOXES, device=z_N2.device, dtype=z_N2.dtype)
    low_K2, high_K2 = corner_K4[:, 0::2], corner_K4[:, 1::2]
    return ((z_N2[:, None] >= low_K2) & (z_N2[:, None] <= high_K2)).all(2).any(1)


def _uniform(n: int, dims: int, rng: torch.Generator) -> Tensor:
    return torch.rand(n, dims, generator=rng, device=rng.device)


SAMPLERS: dict[str, Callable[[int, int, torch.Generator], Tensor]] = {
    "uniform": uniform,
    "gaussian": gaussian,
    "mixture": mixture,
    "ring": ring,
    "swiss-roll": swiss_roll,
    "boxes": boxes,
}
"""Prior name → function of the count, the dimensions and a generator."""

SUPPORTS: dict[str, Callable[[Any], Tensor]] = {"uniform": in_cube, "boxes": in_boxes}
"""Prior name → which points lie where it has mass, for priors with a sharp edge."""
