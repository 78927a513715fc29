"""Negative log-likelihoods log p(x|z) of decoders, in nats per example (summed over the example's values)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from latentscape.errors import ConfigError
from latentscape.numerics import gaussian


def sum_per_example(values_BX: Tensor) -> Tensor:
    """Sum over everything but the batch: B×… → B."""
    return values_BX.flatten(1).sum(1)


def bernoulli_nll(logits_BX: Tensor, x_BX: Tensor) -> Tensor:
    """−log p(x|z) for Bernoulli pixels given by logits, B nats; grey x in [0, 1] gives the cross-entropy."""
    return sum_per_example(F.binary_cross_entropy_with_logits(logits_BX, x_BX, reduction="none"))


def gaussian_nll(mean_BX: Tensor, x_BX: Tensor, std: float) -> Tensor:
    """−log p(x|z) for Gaussian values with one fixed standard deviation, B nats."""
    log_var = mean_BX.new_tensor(std).log() * 2
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
