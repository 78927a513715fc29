"""The latents of given examples, found by gradient descent through a decoder: for models without an encoder.

Source: Karras et al. 2020 (https://arxiv.org/abs/1912.04958), appendix D: Adam with a rate that rises over the first
twentieth of the steps and falls by a cosine over the last quarter, and noise on the latent that falls to none over the
first three quarters, so that the search leaves poor valleys while there is time to find better ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

RISE, FALL, NOISY = 0.05, 0.25, 0.75
"""Shares of all steps: of the rate's rise, of its fall, and with noise."""

NOISE = 0.05
"""Standard deviation of the noise at the start, in standard deviations of the prior."""

Objective = Callable[[Tensor], Tensor]
"""z_ML → what is to be small, M: each from its own row of z alone."""


@dataclass(frozen=True)
class Frame:
    """Where a prior lies, by draws: mean and standard deviation of each coordinate, L each.

    Searches run in u = (z − mean) / std, so that a rate and a noise mean the same for every model.
    """

    mean_L: Tensor
    std_L: Tensor

    @classmethod
    def of(cls, z_NL: Tensor) -> Frame:
        """Of draws; a coordinate that hardly varies counts as varying by a thousandth of the widest one."""
        std_L = z_NL.std(0, correction=0)
        return cls(z_NL.mean(0), std_L.clamp_min(max(1e-3 * float(std_L.max()), 1e-6)))

    def to(self, device: torch.device) -> Frame:
        """The same on a device."""
        return Frame(self.mean_L.to(device), self.std_L.to(device))

    def nats(self, z_ML: Tensor) -> Tensor:
        """½·mean over coordinates of u², M: −log N(z; mean, std²) in nats per coordinate, without its constant."""
        return 0.5 * ((z_ML - self.mean_L) / self.std_L).square().mean(1)


def rate_at(progress: float) -> float:
    """The rate as a share of the largest one; progress: 0 before the first step, 1 after the last."""
    rise = min(1.0, progress / RISE)
    fall = min(1.0, (1 - progress) / FALL)
    return rise * (0.5 - 0.5 * math.cos(math.pi * fall))


def noise_at(progress: float) -> float:
    """The noise in standard deviations of the prior."""
    return NOISE * max(0.0, 1 - progress / NOISY) ** 2


def search(
    start_ML: Tensor, objective: Objective, frame: Frame, *, steps: int, rate: float, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Go down from each of M starts by itself, all at once; z_ML and the objective there (M), never above the start's.

    rate: Adam's largest, in standard deviations of the prior. rng: a CPU generator, so that a seed means the same
    noise on every device.
    """
    with torch.no_grad():
        before_M = objective(start_ML)
    u_ML = ((start_ML - frame.mean_L) / frame.std_L).requires_grad_(True)
    optimiser = torch.optim.Adam([u_ML], lr=rate, betas=(0.9, 0.999))
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * rate_at((step + 1) / (steps + 1))
        noise_ML = noise_at(step / steps) * torch.randn(u_ML.shape, generator=rng).to(u_ML.device)
        # Rows are independent and Adam works number by number, so that the sum searches for each by itself.
        total = objective(frame.mean_L + frame.std_L * (u_ML + noise_ML)).sum()
        u_ML.grad = torch.autograd.grad(total, u_ML)[0]
        optimiser.step()
    with torch.no_grad():
        z_ML = frame.mean_L + frame.std_L * u_ML.detach()
        after_M = objective(z_ML)
        better = after_M < before_M  # False where it is not a number
        return torch.where(better[:, None], z_ML, start_ML), torch.where(better, after_M, before_M)
