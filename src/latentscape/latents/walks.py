"""Walks through latent space: codes to decode."""

from __future__ import annotations

import torch
from torch import Tensor

from latentscape.errors import AbilityError


def lattice(center_L: Tensor, dims: tuple[int, int], low: float, high: float, steps: int) -> Tensor:
    """steps² codes over a square of two latent coordinates, the others at `center_L`; z of shape (steps², L).

    Row by row as a picture is read: the second coordinate falls from `high` at the top, the first rises to the right.
    """
    axis = torch.linspace(low, high, steps)
    return spanned(*coordinate_axes(center_L, dims), axis, axis)


def coordinate_axes(center_L: Tensor, dims: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The plane of two latent coordinates: its origin, `center_L` with these at 0, and their directions, 2×L."""
    origin_L = center_L.clone()
    origin_L[list(dims)] = 0
    return origin_L, torch.eye(len(center_L), dtype=center_L.dtype)[list(dims)]


def spanned(origin_L: Tensor, axes_2L: Tensor, right_C: Tensor, up_R: Tensor) -> Tensor:
    """origin + right·axes[0] + up·axes[1] for each of C places to the right and R upwards, (R·C)×L.

    Row by row as a picture is read: the first row has the last place of `up_R`.
    """
    rows, columns = torch.meshgrid(up_R.flip(0), right_C, indexing="ij")
    return origin_L + columns.reshape(-1, 1) * axes_2L[0] + rows.reshape(-1, 1) * axes_2L[1]


def normal_quantiles(steps: int) -> Tensor:
    """Places that cut N(0, 1) into `steps` equal parts in the middle of each: Φ⁻¹((i − ½) / steps), ascending."""
    middles = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    return torch.special.ndtri(middles).float()


def principal_axes(z_NL: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors of most variance, the most first, L×L (one a row), and the share of variance along each, L."""
    centred = (z_NL - z_NL.mean(0)).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(z_NL))
    return vectors.flip(1).T, values.flip(0) / values.sum().clamp_min(1e-300)


def plane(z_NL: Tensor) -> tuple[Tensor, str, str]:
    """Latents as N×2 for a map, with axis names: as they are for L = 2, padded for L = 1, else two principal axes."""
    if z_NL.shape[1] == 2:
        return z_NL, "z1", "z2"
    if z_NL.shape[1] == 1:
        return torch.cat([z_NL, torch.zeros_like(z_NL)], 1), "z1", ""
    axes_LL, share_L = principal_axes(z_NL)
    top = ((z_NL - z_NL.mean(0)).double() @ axes_LL[:2].T).float()
    return top, f"first principal axis ({share_L[0]:.0%} of variance)", f"second ({share_L[1]:.0%})"


def most_varying(z_NL: Tensor) -> tuple[int, int]:
    """The plane to decode: (0, 1) for L = 2, else the two coordinates of largest variance, the larger one first.

    Raises `AbilityError` for L = 1.
    """
    if z_NL.shape[1] == 1:
        raise AbilityError("a grid needs at least two latent dimensions, and this model has one")
    if z_NL.shape[1] == 2:
        return 0, 1
    first, second = z_NL.var(0).topk(2).indices.tolist()
    return first, second


def sweep(center_L: Tensor, dim: int, low: float, high: float, steps: int) -> Tensor:
    """`steps` codes with one coordinate running from `low` to `high`, the others at `center_L`; z of steps×L."""
    z = center_L.repeat(steps, 1)
    z[:, dim] = torch.linspace(low, high, steps)
    return z
