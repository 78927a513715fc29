"""What a decoder's output means: the distribution p(x|z) that variational models share as settings and as a module."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from latentscape.config import DataShape, Settings, setting
from latentscape.numerics import likelihood

SMALLEST_LOG_STD = -6.0
"""A learned σ stays above e⁻⁶ = 0.0025, finer than the 1/255 between two stored pixel values."""


@dataclass(frozen=True, kw_only=True)
class LikelihoodSettings(Settings):
    """Which p(x|z)."""

    likelihood: Literal["auto", "bernoulli", "continuous-bernoulli", "gaussian"] = setting(
        "auto", "p(x|z); auto: bernoulli for images, else gaussian"
    )
    noise_std: float = setting(0.1, "gaussian: standard deviation in data units (learned: its start)", above=0)
    learn_noise: Literal["no", "shared", "per-value"] = setting(
        "no", "gaussian: σ fixed; one learned for all values (σ-VAE); or given by the decoder for every value"
    )
    output: Literal["auto", "sigmoid", "linear"] = setting(
        "auto", "gaussian: what makes the mean of the decoder's output; auto: sigmoid for images"
    )


class Likelihood(nn.Module):
    """p(x|z) from a decoder's output, for one data shape.

    kind: "bernoulli", "continuous-bernoulli" or "gaussian". One learned σ: Rybkin et al. 2021 (σ-VAE).
    """

    def __init__(self, shape: DataShape, settings: LikelihoodSettings) -> None:
        super().__init__()
        auto = "bernoulli" if shape.is_image else "gaussian"
        self.kind = auto if settings.likelihood == "auto" else settings.likelihood
        likelihood.check_pixels(self.kind != "gaussian", shape.is_image)
        self.shape, self.std = shape, settings.noise_std
        self.squashed = settings.output == "sigmoid" or (settings.output == "auto" and shape.is_image)
        self.learned = settings.learn_noise if self.kind == "gaussian" else "no"
        if self.learned == "shared":
            self.log_std = nn.Parameter(torch.tensor(math.log(self.std)))

    @property
    def output(self) -> DataShape:
        """The shape the decoder must give: twice the channels (or length) where it gives σ as well."""
        first, *rest = self.shape.dims
        return DataShape((2 * first, *rest)) if self.learned == "per-value" else self.shape

    def split(self, out_BX: Tensor) -> tuple[Tensor, Tensor | float]:
        """Decoder output → what the mean is made of, B×(shape), and log σ (a number, or per value)."""
        if self.learned == "per-value":
            raw_BX, log_std_BX = out_BX.chunk(2, dim=1)
            # Zero at initialisation is the σ of the settings, and softplus keeps it above the floor without a dead end.
            log_std_BX = log_std_BX + math.log(self.std)
            return raw_BX, SMALLEST_LOG_STD + nn.functional.softplus(log_std_BX - SMALLEST_LOG_STD)
        if self.learned == "shared":
            return out_BX, self.log_std.clamp_min(SMALLEST_LOG_STD)
        return out_BX, math.log(self.std)

    def mean(self, out_BX: Tensor) -> Tensor:
        """E[x|z] from decoder output, in [0, 1] for images unless a Gaussian's output is set linear."""
        if self.kind == "bernoulli":
            return torch.sigmoid(out_BX)
        if self.kind == "continuous-bernoulli":
            return likelihood.continuous_bernoulli_mean(out_BX)
        raw_BX, _ = self.split(out_BX)
        return torch.sigmoid(raw_BX) if self.squashed else raw_BX

    def nll(self, out_BX: Tensor, x_BX: Tensor) -> Tensor:
        """−log p(x|z) in nats per example, B."""
        if self.kind == "bernoulli":
            return likelihood.bernoulli_nll(out_BX, x_BX)
        if self.kind == "continuous-bernoulli":
            return likelihood.continuous_bernoulli_nll(out_BX, x_BX)
        return likelihood.gaussian_nll(self.mean(out_BX), x_BX, self.split(out_BX)[1])
