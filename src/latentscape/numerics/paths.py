"""Paths through latent space."""

from __future__ import annotations

import torch
from torch import Tensor


def linear(a_BL: Tensor, b_BL: Tensor, steps: int) -> Tensor:
    """(1−t)·a + t·b at `steps` values of t from 0 to 1, end points included: steps×B×L."""
    t = torch.linspace(0, 1, steps, device=a_BL.device).view(-1, 1, 1)
    return (1 - t) * a_BL + t * b_BL


def spherical(a_BL: Tensor, b_BL: Tensor, steps: int) -> Tensor:
    """Great-circle interpolation (Shoemake 1985; White 2016, section 2.1), steps×B×L.

    The direction turns along the arc while the length goes linearly; where the two are (nearly) parallel or one is
    zero the arc is undefined and the straight line is taken.
    """
    t = torch.linspace(0, 1, steps, device=a_BL.device).view(-1, 1, 1)
    na, nb = a_BL.norm(dim=-1, keepdim=True), b_BL.norm(dim=-1, keepdim=True)
    cos = ((a_BL / na.clamp_min(1e-12)) * (b_BL / nb.clamp_min(1e-12))).sum(-1, keepdim=True)
    angle = torch.arccos(cos.clamp(-1, 1))
    sin = torch.sin(angle)
    arc = torch.sin((1 - t) * angle) * a_BL / na.clamp_min(1e-12) + torch.sin(t * angle) * b_BL / nb.clamp_min(1e-12)
    arc = arc / sin.clamp_min(1e-12) * ((1 - t) * na + t * nb)
    turns = (sin > 1e-3) & (na > 1e-8) & (nb > 1e-8)
    return torch.where(turns, arc, linear(a_BL, b_BL, steps))
