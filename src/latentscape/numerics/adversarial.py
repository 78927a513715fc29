"""Losses of players against each other, and the penalties that keep the game stable.

Logits are B, positive for "real". `real` and `fake` are a discriminator's (critic's) logits on data and on generated
examples. Losses are 0-dim means, in nats where they are cross-entropies.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """−E log D(x) − E log(1 − D(G(z))), the sum of both cross-entropies; 2·log 2 for one that cannot tell.

    Source: Goodfellow et al. 2014 (https://arxiv.org/abs/1406.2661), equation 1.
    """
    return F.softplus(-real_B).mean() + F.softplus(fake_B).mean()


def generator_loss(fake_B: Tensor) -> Tensor:
    """−E log D(G(z)), the non-saturating loss (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake_B).mean()


def critic_loss(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """−E f(x) + E f(G(z)); its negative estimates the Wasserstein distance up to the critic's Lipschitz constant.

    Source: Arjovsky et al. 2017 (https://arxiv.org/abs/1701.07875), equation 2.
    """
    return fake_B.mean() - real_B.mean()


def relativistic_loss(ahead_B: Tensor, behind_B: Tensor) -> Tensor:
    """E softplus(−(ahead − behind)) over pairs: what its player wants is that `ahead` has the larger logit.

    The discriminator plays it with ahead = real, the generator with ahead = fake. Source: Jolicoeur-Martineau 2019
    (https://arxiv.org/abs/1807.00734) and Huang et al. 2024 (https://arxiv.org/abs/2501.05441), equation 2.
    """
    return F.softplus(behind_B - ahead_B).mean()


def slopes(logit_B: Tensor, x_BX: Tensor) -> Tensor:
    """∂logit/∂x of each example, of x's shape; differentiable, so that a loss can hold it.

    `x_BX` must have required gradients when the logits were computed, and each logit depend on its own example alone
    (no BatchNorm).
    """
    return torch.autograd.grad(logit_B.sum(), x_BX, create_graph=True)[0]


def between(real_BX: Tensor, fake_BX: Tensor, mix_B: Tensor) -> Tensor:
    """Points on the lines between pairs, `mix_B` in [0, 1] being the share of the real one."""
    mix = mix_B.view(-1, *[1] * (real_BX.dim() - 1))
    return mix * real_BX + (1 - mix) * fake_BX


def gradient_penalty(slope_BX: Tensor) -> Tensor:
    """E (‖∂f/∂x‖₂ − 1)², taken at points `between` real and generated ones.

    Source: Gulrajani et al. 2017 (https://arxiv.org/abs/1704.00028), equation 3.
    """
    squares_B = slope_BX.flatten(1).square().sum(1)
    return ((squares_B + 1e-12).sqrt() - 1).square().mean()  # the root's own slope is infinite at 0


def zero_centred_penalty(slope_BX: Tensor) -> Tensor:
    """E ‖∂f/∂x‖²: R1 at real examples, R2 at generated ones; the usual weight is γ/2.

    Source: Mescheder et al. 2018 (https://arxiv.org/abs/1801.04406), equation 9.
    """
    return slope_BX.flatten(1).square().sum(1).mean()
