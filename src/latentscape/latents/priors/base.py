"""What every fitted prior can do, and the whitening that the learned ones share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from latentscape.numerics import gaussian

Report = Callable[[str], None]
"""Takes a sentence about progress."""

FLOOR = 1e-3
"""Latents that vary less than so, in units of the largest standard deviation, count as dead; see `Whitening`."""

SMALLEST = 1e-6
"""The standard deviation of constants, where nothing else gives a scale."""

AT_ONCE = 5_000
"""Latents pushed through a net at once."""


@dataclass(frozen=True)
class Budget:
    """How much a fit may take.

    latents: most latents that are used; more are drawn from at random. steps: most steps of a flow or of flow matching.
    components: numbers of Gaussians that a mixture is tried with; held-out likelihood chooses. sampler_steps: of the
    integrator that flow matching samples with.
    """

    latents: int = 60_000
    steps: int = 3_000
    components: tuple[int, ...] = (10, 30, 100)
    sampler_steps: int = 16


class Prior(ABC):
    """A distribution over latents. `figures` is what the fit says of itself: latents used, seconds, steps, …"""

    kind: ClassVar[str]
    mean_L: Tensor
    figures: dict[str, Any]

    @abstractmethod
    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """n draws z_NL, float32 on the CPU. `rng` is a generator of the CPU."""

    @abstractmethod
    def packed(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and JSON settings that `unpacked` makes the prior of again."""

    @classmethod
    @abstractmethod
    def unpacked(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Prior:
        """Inverse of `packed`."""


class Density(Prior):
    """A prior that says how likely a latent is."""

    @abstractmethod
    def log_prob(self, z_NL: Tensor) -> Tensor:
        """log p(z) in nats, N float32."""


@dataclass(frozen=True)
class Whitening:
    """z → u = (z − mean)·into with uncorrelated coordinates of unit variance, most varying first; float64.

    Only the first `live` coordinates are to be learned. The others (constant latents, latents that others determine)
    stand for N(0, 1) of a scale of `FLOOR`, so that every prior stays a density over all of z and nothing is divided
    by zero.
    """

    mean_L: Tensor
    into_LL: Tensor
    live: int
    back_LL: Tensor = field(init=False)
    log_det: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "back_LL", torch.linalg.inv(self.into_LL))
        object.__setattr__(self, "log_det", float(torch.linalg.slogdet(self.into_LL).logabsdet))

    @classmethod
    def of(cls, z_NL: Tensor) -> Whitening:
        """The whitening of latents: each is standardised, then they are rotated to their principal axes."""
        z = z_NL.double()
        mean_L, std_L = z.mean(0), z.std(0, unbiased=False)
        scale_L = std_L.clamp_min(max(FLOOR * float(std_L.max()), SMALLEST))
        standard = (z - mean_L) / scale_L
        values_L, axes_LL = torch.linalg.eigh(standard.T @ standard / len(z))
        values_L, axes_LL = values_L.flip(0), axes_LL.flip(1)
        live = int((values_L > FLOOR**2).sum())
        return cls(mean_L, axes_LL / scale_L[:, None] / values_L.clamp_min(FLOOR**2).sqrt(), live)

    def into(self, z_NL: Tensor) -> Tensor:
        """z → u, float64."""
        return (z_NL.double() - self.mean_L) @ self.into_LL

    def back(self, u_NL: Tensor) -> Tensor:
        """u → z, float32."""
        return (self.mean_L + u_NL.double() @ self.back_LL).float()


class Whitened(Prior):
    """A prior of whitened latents u; the coordinates that are not alive are N(0, 1)."""

    def __init__(self, whitening: Whitening, figures: Mapping[str, Any] | None = None) -> None:
        self.whitening = whitening
        self.mean_L = whitening.mean_L.float()
        self.figures = dict(figures or {})

    @abstractmethod
    def sample_live(self, n: int, rng: torch.Generator) -> Tensor:
        """n draws u_NK of the live coordinates; not asked where none is alive."""

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """See `Prior`."""
        size, live = len(self.mean_L), self.whitening.live
        dead = torch.randn(n, size - live, generator=rng, dtype=torch.float64)
        if not live or not n:
            return self.whitening.back(torch.cat([dead.new_zeros(n, live), dead], 1))
        with torch.no_grad():
            return self.whitening.back(torch.cat([self.sample_live(n, rng).double(), dead], 1))

    def packed(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Prior`; kinds add their own."""
        w = self.whitening
        return {"mean": w.mean_L, "into": w.into_LL}, {"live": w.live, "figures": self.figures}


class WhitenedDensity(Whitened, Density):
    """A `Whitened` prior with a density."""

    @abstractmethod
    def log_prob_live(self, u_NK: Tensor) -> Tensor:
        """log density of the live coordinates, N; not asked where none is alive."""

    def log_prob(self, z_NL: Tensor) -> Tensor:
        """See `Density`."""
        u_NL, live = self.whitening.into(z_NL), self.whitening.live
        dead_N = gaussian.log_prob(u_NL[:, live:], torch.zeros_like(u_NL[:, live:])).sum(1)
        with torch.no_grad():
            live_N = self.log_prob_live(u_NL[:, :live]).double() if live else torch.zeros_like(dead_N)
        return (live_N + dead_N + self.whitening.log_det).float()


def whitening_of(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Whitening:
    """The whitening that `Whitened.packed` kept."""
    return Whitening(tensors["mean"], tensors["into"], settings["live"])


def held_out(u_NK: Tensor, rng: torch.Generator, share: float = 0.1, most: int = 5_000) -> tuple[Tensor, Tensor]:
    """Two random parts, to fit and to judge by; fewer than 10 rows serve as both."""
    order = torch.randperm(len(u_NK), generator=rng)
    n = min(most, math.floor(share * len(u_NK)))
    return (u_NK[order[n:]], u_NK[order[:n]]) if n else (u_NK, u_NK)


def in_parts(function: Callable[[Tensor], Tensor], x_NX: Tensor) -> Tensor:
    """A function of rows, `AT_ONCE` rows at a time."""
    return torch.cat([function(part) for part in x_NX.split(AT_ONCE)])
