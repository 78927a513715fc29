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
    rows, columns = torch.meshgrid(axis.flip(0), axis, indexing="ij")
    z = center_L.repeat(steps * steps, 1)
    z[:, dims[0]] = columns.reshape(-1)
    z[:, dims[1]] = rows.reshape(-1)
    return z


def plane(z_NL: Tensor) -> tuple[Tensor, str, str]:
    """Latents as N×2 for a map, with axis names: as they are for L = 2, padded for L = 1, else two principal axes."""
    if z_NL.shape[1] == 2:
        return z_NL, "z1", "z2"
    if z_NL.shape[1] == 1:
        return torch.cat([z_NL, torch.zeros_like(z_NL)], 1), "z1", ""
    centred = (z_NL - z_NL.mean(0)).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(z_NL))
    share = values.flip(0)[:2] / values.sum().clamp_min(1e-300)
    top = (centred @ vectors.flip(1)[:, :2]).float()
    return top, f"first principal axis ({share[0]:.0%} of variance)", f"second ({share[1]:.0%})"


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
