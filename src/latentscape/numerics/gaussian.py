"""Diagonal Gaussians over latents. All values are in nats; `log_var` is the log of the variance."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def reparameterise(mean_BL: Tensor, log_var_BL: Tensor, eps_BL: Tensor) -> Tensor:
    """z = μ + σ·ε, so that ∂z/∂μ = 1 and ∂z/∂log σ = σ·ε (Kingma & Welling 2014, eq. 4)."""
    return mean_BL + torch.exp(0.5 * log_var_BL) * eps_BL


def kl_to_standard(mean_BL: Tensor, log_var_BL: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) per dimension, B×L: ½(μ² + σ² − log σ² − 1) (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mean_BL.square() + log_var_BL.exp() - log_var_BL - 1)


def kl(mean_p: Tensor, log_var_p: Tensor, mean_q: Tensor, log_var_q: Tensor) -> Tensor:
    """KL(p ‖ q) of two diagonal Gaussians per dimension, same shape as the inputs."""
    ratio = (log_var_p - log_var_q).exp()
    return 0.5 * (ratio + (mean_p - mean_q).square() * (-log_var_q).exp() - 1 + log_var_q - log_var_p)


def log_prob(x: Tensor, mean: Tensor, log_var: Tensor | float = 0.0) -> Tensor:
    """log N(x; μ, σ²) per element, same shape as `x`."""
    log_var = torch.as_tensor(log_var, dtype=x.dtype, device=x.device)
    return -0.5 * (math.log(2 * math.pi) + log_var + (x - mean).square() * (-log_var).exp())


def variance_of_means(mean_NL: Tensor) -> Tensor:
    """Var_x(E[z|x]) per dimension, L: the activity statistic of Burda et al. 2016, section 5.2."""
    return mean_NL.var(dim=0, unbiased=False)


ACTIVE_ABOVE = 0.01
"""A latent dimension is active if Var_x(E[z|x]) is above this (Burda et al. 2016)."""
