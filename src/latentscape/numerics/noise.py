"""Corruptions of examples, as functions of the random numbers they are handed. Nothing is clipped.

Source: Vincent et al. 2010, section 3.3 (additive Gaussian, salt and pepper, masking); masking a whole region rather
than single values is inpainting as in Pathak et al. 2016.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian(x_BX: Tensor, eps_BX: Tensor, std: float) -> Tensor:
    """x + σ·ε; `eps_BX` is standard normal. The result leaves [0, 1], and must: clipped noise has another mean."""
    return x_BX + std * eps_BX


def salt_and_pepper(x_BX: Tensor, uniform_BX: Tensor, amount: float, low: float, high: float) -> Tensor:
    """A share `amount` of the values set to `low` or `high`, half of them each; `uniform_BX` is U[0, 1) per value."""
    pepper, salt = uniform_BX < amount / 2, uniform_BX > 1 - amount / 2
    return torch.where(pepper, low, torch.where(salt, high, x_BX))


def drop(x_BX: Tensor, uniform_BX: Tensor, amount: float, value: float) -> Tensor:
    """A share `amount` of the values set to `value`; `uniform_BX` is U[0, 1) per value."""
    return torch.where(uniform_BX < amount, value, x_BX)


def square(corner_B2: Tensor, side: int, height: int, width: int) -> Tensor:
    """B×1×H×W bool, true inside a square of side×side pixels; `corner_B2` in [0, 1) places it wholly in the picture."""
    side_y, side_x = min(side, height), min(side, width)
    top = (corner_B2[:, 0] * (height - side_y + 1)).floor().view(-1, 1, 1, 1)
    left = (corner_B2[:, 1] * (width - side_x + 1)).floor().view(-1, 1, 1, 1)
    y = torch.arange(height, device=corner_B2.device).view(1, 1, -1, 1)
    x = torch.arange(width, device=corner_B2.device).view(1, 1, 1, -1)
    return (y >= top) & (y < top + side_y) & (x >= left) & (x < left + side_x)


def mask_square(x_BCHW: Tensor, corner_B2: Tensor, side: int, value: float) -> Tensor:
    """One square region of each picture set to `value`; `corner_B2` is U[0, 1)."""
    return torch.where(square(corner_B2, side, *x_BCHW.shape[2:]), value, x_BCHW)
