"""A density over vectors as an invertible chain of autoregressive maps.

Source: MADE, Germain et al. 2015 (https://arxiv.org/abs/1502.03509, section 3) for the masks; Papamakarios et al. 2017
(https://arxiv.org/abs/1705.07057, eq. 2 to 4) for the maps: z_i = ε_i·exp(s_i(z_<i)) + m_i(z_<i).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL = 0.01
"""Standard deviation of the last layer's first weights: the flow starts near the identity, so z starts near N(0, I)."""

LARGEST_LOG_SCALE = 3.0
"""One map stretches or shrinks a coordinate by at most e³ ≈ 20, which keeps early training finite."""


class MaskedLinear(nn.Linear):
    """A linear layer of which output j sees input i only where `mask` (out×in) is 1."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """B×in → B×out."""
        return F.linear(input, self.weight * self.mask, self.bias)


class Made(nn.Module):
    """z_BL → two numbers per coordinate, B×L each; those of coordinate i depend on coordinates before i only."""

    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        order_L = torch.arange(size)
        # Hidden unit of degree d sees coordinates up to d, and is seen by those after d. All degrees are in use.
        degree_H = torch.arange(hidden) % max(size - 1, 1)
        into, within = degree_H[:, None] >= order_L, degree_H[:, None] >= degree_H
        out = order_L[:, None] > degree_H
        last = MaskedLinear(torch.cat([out, out]).float())
        nn.init.normal_(last.weight, std=SMALL)
        nn.init.zeros_(last.bias)
        layers = [MaskedLinear(into.float()), nn.ReLU(), MaskedLinear(within.float()), nn.ReLU(), last]
        self.net = nn.Sequential(*layers)

    def forward(self, z_BL: Tensor) -> tuple[Tensor, Tensor]:
        """(shift, log scale); the log scale lies within ±`LARGEST_LOG_SCALE`."""
        shift_BL, raw_BL = self.net(z_BL).chunk(2, 1)
        return shift_BL, LARGEST_LOG_SCALE * torch.tanh(raw_BL / LARGEST_LOG_SCALE)


class AutoregressiveFlow(nn.Module):
    """ε ~ N(0, I) → z through `maps` autoregressive maps; the order of the coordinates is reversed between them.

    From z to ε, which the density needs, each map is one pass; from ε to z, which sampling needs, one per coordinate.
    """

    def __init__(self, size: int, maps: int, hidden: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(Made(size, hidden) for _ in range(maps))

    def inverse(self, z_BL: Tensor) -> tuple[Tensor, Tensor]:
        """z → ε and log |det ∂ε/∂z|, B×L and B."""
        log_det_B = z_BL.new_zeros(len(z_BL))
        for made in reversed(self.maps):
            shift_BL, log_scale_BL = made(z_BL)
            z_BL = ((z_BL - shift_BL) * torch.exp(-log_scale_BL)).flip(1)
            log_det_B = log_det_B - log_scale_BL.sum(1)
        return z_BL, log_det_B

    def forward(self, eps_BL: Tensor) -> Tensor:
        """ε → z."""
        z_BL = eps_BL
        for made in self.maps:
            eps_BL, z_BL = z_BL.flip(1), torch.zeros_like(z_BL)
            for i in range(z_BL.shape[1]):
                shift_BL, log_scale_BL = made(z_BL)
                now_B = eps_BL[:, i] * torch.exp(log_scale_BL[:, i]) + shift_BL[:, i]
                z_BL = torch.cat([z_BL[:, :i], now_B[:, None], z_BL[:, i + 1 :]], 1)
        return z_BL
