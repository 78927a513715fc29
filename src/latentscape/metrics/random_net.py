"""Features that no one trained: a convolutional net with fixed random weights, for pictures without labels.

Random nets tell sets of pictures apart about as trained ones do where those know nothing of such pictures (Naeem et al.
2020, section 4.4, who take them for digits). The figures rank; how large they are means little.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SEED = 20200226
"""Of the weights; always the same net for the same number of channels."""

WIDTHS, GRIDS = (32, 64, 128, 128), (4, 4, 2, 1)
"""Channels of each stage, and the side of the grid that its activations are averaged on; each stage halves the size."""

FEATURES = 256
"""What the averages of all stages are projected to."""

LARGEST = 64
"""Larger pictures are brought to so many pixels first, by averaging."""


class RandomNet(nn.Module):
    """Pictures on [0, 1] → 256 features, of about variance 1 over the examples that `settle` is shown first."""

    projection_SF: Tensor
    mean_S: Tensor
    scale_S: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(SEED)
        self.convolutions = nn.ModuleList()
        for before, after in zip((channels, *WIDTHS), WIDTHS, strict=False):
            layer = nn.Conv2d(before, after, 3, padding=1, padding_mode="replicate")
            # He's variance keeps the size of activations; a bias lets filters switch at different grey levels.
            std = (2 / (9 * before)) ** 0.5
            layer.weight.data = std * torch.randn(layer.weight.shape, generator=rng)
            layer.bias.data = 0.1 * torch.randn(after, generator=rng)  # type: ignore[union-attr]
            self.convolutions.append(layer)
        size = sum(width * grid**2 for width, grid in zip(WIDTHS, GRIDS, strict=True))
        self.register_buffer("projection_SF", torch.randn(size, FEATURES, generator=rng) / size**0.5)
        self.register_buffer("mean_S", torch.zeros(size))
        self.register_buffer("scale_S", torch.ones(size))

    @torch.no_grad()
    def settle(self, batches: list[Tensor]) -> None:
        """Bring every average to mean 0 and about variance 1 over these pictures.

        What hardly varies there is not blown up: a tenth of the mean variance is added to each.
        """
        averages_NS = torch.cat([self._averages(x_BCHW).cpu() for x_BCHW in batches]).double()
        variance_S = averages_NS.var(0, correction=0)
        device = self.mean_S.device
        self.mean_S = averages_NS.mean(0).float().to(device)
        self.scale_S = (variance_S + 0.1 * variance_S.mean()).clamp_min(1e-12).rsqrt().float().to(device)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B×C×H×W → B×256."""
        return (self._averages(x_BCHW) - self.mean_S) * self.scale_S @ self.projection_SF

    def _averages(self, x_BCHW: Tensor) -> Tensor:
        height, width = x_BCHW.shape[2:]
        if max(height, width) > LARGEST:
            shrunk = LARGEST / max(height, width)
            x_BCHW = F.adaptive_avg_pool2d(x_BCHW, (max(1, round(height * shrunk)), max(1, round(width * shrunk))))
        found = []
        for layer, grid in zip(self.convolutions, GRIDS, strict=True):
            x_BCHW = F.relu(layer(x_BCHW))
            found.append(F.adaptive_avg_pool2d(x_BCHW, grid).flatten(1))
            x_BCHW = F.adaptive_avg_pool2d(x_BCHW, (-(-x_BCHW.shape[2] // 2), -(-x_BCHW.shape[3] // 2)))
        return torch.cat(found, 1)
