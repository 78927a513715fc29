"""Negative log-likelihoods log p(x|z) of decoders, in nats per example (summed over the example's values)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from latentscape.errors import ConfigError
from latentscape.numerics import gaussian

SMALL_LOGIT = 1e-2
"""Below this the closed forms of the continuous Bernoulli are 0/0 and their Taylor series take over."""


def sum_per_example(values_BX: Tensor) -> Tensor:
    """Sum over everything but the batch: B×… → B."""
    return values_BX.flatten(1).sum(1)


def bernoulli_nll(logits_BX: Tensor, x_BX: Tensor) -> Tensor:
    """−log p(x|z) for Bernoulli pixels given by logits, B nats; grey x in [0, 1] gives the cross-entropy."""
    return sum_per_example(F.binary_cross_entropy_with_logits(logits_BX, x_BX, reduction="none"))


def continuous_bernoulli_log_norm(logits: Tensor) -> Tensor:
    """log C(λ) of the continuous Bernoulli, same shape: with the logit l of λ, C = l / tanh(l / 2), and 2 at l = 0.

    Loaiza-Ganem & Cunningham 2019, eq. 4, in terms of the logit, which keeps it exact near λ = ½.
    """
    near = logits.abs() < SMALL_LOGIT
    safe = torch.where(near, torch.ones_like(logits), logits)
    return torch.where(near, math.log(2) + logits.square() / 12, (safe / torch.tanh(safe / 2)).log())


def continuous_bernoulli_mean(logits: Tensor) -> Tensor:
    """Mean of the continuous Bernoulli, in [0, 1]: λ/(2λ − 1) − 1/l, ½ + l/12 near l = 0 (same paper, eq. 8)."""
    near = logits.abs() < SMALL_LOGIT
    safe = torch.where(near, torch.ones_like(logits), logits)
    return torch.where(near, 0.5 + logits / 12, torch.sigmoid(safe) / torch.tanh(safe / 2) - 1 / safe)


def continuous_bernoulli_nll(logits_BX: Tensor, x_BX: Tensor) -> Tensor:
    """−log p(x|z) for pixels in [0, 1] as what they are, a density on [0, 1], B nats (negative values are common)."""
    return bernoulli_nll(logits_BX, x_BX) - sum_per_example(continuous_bernoulli_log_norm(logits_BX))


def gaussian_nll(mean_BX: Tensor, x_BX: Tensor, log_std: Tensor | float) -> Tensor:
    """−log p(x|z) for Gaussian values, B nats; `log_std`: log of the standard deviation, one for all or per value."""
    log_var = 2 * torch.as_tensor(log_std, dtype=mean_BX.dtype, device=mean_BX.device)
    return -sum_per_example(gaussian.log_prob(x_BX, mean_BX, log_var))


def squared_error(xhat_BX: Tensor, x_BX: Tensor) -> Tensor:
    """Σ (x̂ − x)² per example, B."""
    return sum_per_example((xhat_BX - x_BX).square())


def check_pixels(bernoulli: bool, is_image: bool) -> None:
    """A Bernoulli needs values in [0, 1], which only images promise. Raises `ConfigError`."""
    if bernoulli and not is_image:
        raise ConfigError(
            "a Bernoulli likelihood (bce) needs images with pixels in [0, 1]; vectors need gaussian (mse)"
        )
