"""What a course notebook does: per-item dataset, default DataLoader, eager float32, the loss fetched every step.

Nothing here comes from latentscape; the nets are written out as the notebooks write them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class Images(Dataset):
    """uint8 N×C×H×W images, one at a time, as float in [0, 1], or in [-1, 1] if `signed`."""

    def __init__(self, x_NCHW: Tensor, y_N: Tensor, *, signed: bool = False) -> None:
        self.x_NCHW, self.y_N, self.signed = x_NCHW, y_N, signed

    def __len__(self) -> int:
        return len(self.x_NCHW)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        x = self.x_NCHW[i].float() / 255
        return 2 * x - 1 if self.signed else x, self.y_N[i]


# ---- B3: the convolutional autoencoder ---------------------------------------------------------------------------


def conv_autoencoder(latent_dim: int = 24) -> nn.Sequential:
    """The spec's B3 at 28×28: encoder and decoder, the sigmoid included."""
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
    return nn.Sequential(nn.Sequential(*encoder), nn.Sequential(*decoder, nn.Conv2d(32, 1, 7, 1, 1), nn.Sigmoid()))


# ---- B12: the MLP VAE --------------------------------------------------------------------------------------------


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


# ---- B16: the DCGAN ----------------------------------------------------------------------------------------------


def dcgan_generator(latent_dim: int = 100) -> nn.Sequential:
    """1→5→9→21→25→28."""
    layers: list[nn.Module] = [nn.Unflatten(1, (latent_dim, 1, 1))]
    before = latent_dim
    for filters, stride in ((512, 1), (256, 1), (128, 2), (64, 1)):
        layers += [nn.ConvTranspose2d(before, filters, 5, stride, bias=False), nn.BatchNorm2d(filters), nn.ReLU()]
        before = filters
    return nn.Sequential(*layers, nn.ConvTranspose2d(64, 1, 4, bias=False), nn.Sigmoid())


def dcgan_discriminator() -> nn.Sequential:
    """28→14→7→3, the mean over the picture, one logit."""
    layers: list[nn.Module] = [nn.Conv2d(1, 64, 4, 2, 1, bias=False), nn.LeakyReLU()]
    for before, filters in ((64, 128), (128, 256)):
        layers += [nn.Conv2d(before, filters, 4, 2, 1, bias=False), nn.BatchNorm2d(filters), nn.LeakyReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 1))


def dcgan_weights(m: nn.Module) -> None:
    """For `apply`."""
    if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(m.weight, 0, 0.02)
    elif isinstance(m, nn.BatchNorm2d):
        nn.init.normal_(m.weight, 1, 0.02)
        nn.init.zeros_(m.bias)


# ---- B13: the ResNet-18 autoencoder ------------------------------------------------------------------------------


class Block(nn.Module):
    """ResNet-18's basic block."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class MirroredBlock(nn.Module):
    """The decoder's: filters, and where asked the size, change in the second convolution."""

    def __init__(self, before: int, after: int, scale: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, before, 3, 1, 1, bias=False), nn.BatchNorm2d(before)
        up = [nn.Upsample(scale_factor=scale)] if scale > 1 else []
        self.conv2, self.bn2 = nn.Sequential(*up, nn.Conv2d(before, after, 3, 1, 1, bias=False)), nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if scale > 1 or before != after:
            self.shortcut = nn.Sequential(*up, nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


def resnet_autoencoder(latent_dim: int = 512, size: int = 56) -> nn.Sequential:
    """The spec's B13 for size×size×3: encoder (the latents are the global means) and decoder, output in [-1, 1]."""
    encoder: list[nn.Module] = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    before = 64
    for filters, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        encoder += [Block(before, filters, stride), Block(filters, filters, 1)]
        before = filters
    encoder += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    decoder: list[nn.Module] = [nn.Linear(latent_dim, 512 * 16), nn.Unflatten(1, (512, 4, 4)), nn.Upsample(size // 8)]
    for filters, scale in ((256, 2), (128, 2), (64, 2), (64, 1)):
        decoder += [MirroredBlock(before, filters, scale), MirroredBlock(filters, filters, 1)]
        before = filters
    return nn.Sequential(nn.Sequential(*encoder), nn.Sequential(*decoder, nn.Conv2d(64, 3, 3, 1, 1), Signed()))


class Signed(nn.Module):
    """2·sigmoid − 1."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * torch.sigmoid(x) - 1


# ---- training ----------------------------------------------------------------------------------------------------

NETS: dict[str, Callable[[], nn.Module]] = {
    "mlp-vae": MlpVae,
    "conv-autoencoder": conv_autoencoder,
    "dcgan": lambda: nn.ModuleList([dcgan_generator(), dcgan_discriminator()]),
    "resnet-autoencoder": resnet_autoencoder,
}
"""The nets of each workload."""


def start(workload: str, x_NCHW: Tensor, batch_size: int, device: str) -> tuple[nn.Module, Iterator[float]]:
    """The net and its training: one step per `next`, giving the loss, for ever. x_NCHW is uint8."""
    data = Images(x_NCHW, torch.zeros(len(x_NCHW), dtype=torch.int64), signed=workload == "resnet-autoencoder")
    loader = DataLoader(data, batch_size=batch_size, shuffle=True)
    net = NETS[workload]().to(device).train()
    if isinstance(net, nn.ModuleList):
        return net, train_gan(net[0], net[1], loader, device)
    return net, train_autoencoder(workload, net, loader, device)


def train_autoencoder(workload: str, net: nn.Module, loader: DataLoader, device: str) -> Iterator[float]:
    """Adam at the workload's rate."""
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3 if workload == "mlp-vae" else 1e-4)
    while True:
        for x, _ in loader:
            x = x.to(device)
            if isinstance(net, MlpVae):
                loss = net.loss(x)
            else:
                difference = F.mse_loss if workload == "resnet-autoencoder" else F.binary_cross_entropy
                loss = difference(net(x), x)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            yield loss.item()


def train_gan(generator: nn.Module, discriminator: nn.Module, loader: DataLoader, device: str) -> Iterator[float]:
    """The discriminator on real, then on fake pictures, one update; the generator on the same fakes."""
    generator.apply(dcgan_weights)
    discriminator.apply(dcgan_weights)
    of_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    of_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    criterion = nn.BCEWithLogitsLoss()
    while True:
        for x, _ in loader:
            x = x.to(device)
            real, fake = torch.ones(len(x), 1, device=device), torch.zeros(len(x), 1, device=device)
            discriminator.zero_grad()
            loss_real = criterion(discriminator(x), real)
            loss_real.backward()
            made = generator(torch.randn(len(x), 100, device=device))
            loss_fake = criterion(discriminator(made.detach()), fake)
            loss_fake.backward()
            of_d.step()
            generator.zero_grad()
            loss_g = criterion(discriminator(made), real)
            loss_g.backward()
            of_g.step()
            yield loss_real.item() + loss_fake.item() + loss_g.item()
