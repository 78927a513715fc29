"""What a course notebook does: per-item dataset, default DataLoader, eager float32, the loss fetched every step.

Nothing here comes from latentscape; the nets are written out as the notebooks write them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class Images(Dataset):
    """uint8 N×H×W images, one at a time, as float in [0, 1]."""

    def __init__(self, x_NHW: Tensor, y_N: Tensor) -> None:
        self.x_NHW, self.y_N = x_NHW, y_N

    def __len__(self) -> int:
        return len(self.x_NHW)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.x_NHW[i].unsqueeze(0).float() / 255, self.y_N[i]


def conv_autoencoder(latent_dim: int = 24) -> nn.Module:
    """The spec's B3 at 28×28."""
    encoder: list[nn.Module] = []
    before = 1
    for filters in (32, 64, 128, 256):
        encoder += [nn.Conv2d(before, filters, 3, 2, 1), nn.BatchNorm2d(filters), nn.LeakyReLU()]
        before = filters
    encoder += [nn.Conv2d(256, 512, 1), nn.BatchNorm2d(512), nn.LeakyReLU(), nn.Flatten(), nn.Linear(2048, latent_dim)]
    decoder: list[nn.Module] = [nn.Linear(latent_dim, 512), nn.Unflatten(1, (512, 1, 1))]
    before = 512
    for filters in (256, 128, 64, 32, 32):
        decoder += [nn.ConvTranspose2d(before, filters, 3, 2, 1, 1), nn.BatchNorm2d(filters), nn.LeakyReLU()]
        before = filters
    return nn.Sequential(*encoder, *decoder, nn.Conv2d(32, 1, 7, 1, 1), nn.Sigmoid())


class MlpVae(nn.Module):
    """The spec's B12."""

    def __init__(self, latent_dim: int = 32) -> None:
        super().__init__()
        sizes = (784, 512, 256, 128)
        body = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU(), nn.BatchNorm1d(b))]
        self.encoder = nn.Sequential(nn.Flatten(), *body)
        self.mean, self.log_std = nn.Linear(128, latent_dim), nn.Linear(128, latent_dim)
        up = [(latent_dim, 128), (128, 256), (256, 512)]
        body = [m for a, b in up for m in (nn.Linear(a, b), nn.ReLU(), nn.BatchNorm1d(b))]
        self.decoder = nn.Sequential(*body, nn.Linear(512, 784), nn.Sigmoid())

    def loss(self, x: Tensor) -> Tensor:
        h = self.encoder(x)
        mean, log_std = self.mean(h), self.log_std(h)
        z = mean + torch.exp(log_std) * torch.randn_like(mean)
        recon = F.binary_cross_entropy(self.decoder(z), x.flatten(1), reduction="sum")
        kl = 0.5 * (mean**2 + torch.exp(2 * log_std) - 2 * log_std - 1).sum()
        return recon + kl


def start(workload: str, x_NHW: Tensor, y_N: Tensor, batch_size: int, device: str) -> tuple[nn.Module, Iterator[float]]:
    """The net and its training: one step per `next`, giving the loss, for ever."""
    loader = DataLoader(Images(x_NHW, y_N), batch_size=batch_size, shuffle=True)
    net = (conv_autoencoder() if workload == "conv-autoencoder" else MlpVae()).to(device).train()
    rate = 1e-4 if workload == "conv-autoencoder" else 1e-3
    optimiser = torch.optim.Adam(net.parameters(), lr=rate)

    def steps() -> Iterator[float]:
        while True:
            for x, _ in loader:
                x = x.to(device)
                loss = net.loss(x) if isinstance(net, MlpVae) else F.binary_cross_entropy(net(x), x)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                yield loss.item()

    return net, steps()
