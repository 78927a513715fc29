"""Principal component analysis: the best linear autoencoder, in closed form.

Source: Pearson 1901; Tipping & Bishop 1999 for the Gaussian over latents that samples are drawn from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentscape import contract
from latentscape.config import DataShape, Settings, setting
from latentscape.errors import ConfigError
from latentscape.numerics import linear_algebra

EXACT_UP_TO = 2048
"""Above this many values per example the full covariance is not formed; directions come from randomised passes."""


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """Settings of PCA."""

    variance: float = setting(0.9, "keep as many components as explain this share of the variance", above=0, at_most=1)
    latent_dim: int | None = setting(None, "keep exactly so many components instead", at_least=1)


class Model(contract.Fitted, contract.Reconstructs, contract.Samples):
    """x̂ = μ + W·Wᵀ(x − μ), W the leading eigenvectors of the data's covariance."""

    Config = Config
    mean: Tensor
    components: Tensor
    variances: Tensor
    spectrum: Tensor

    def __init__(self, shape: DataShape, config: Config, classes: int = 0) -> None:
        super().__init__(shape, config, classes)
        limit = shape.size
        if config.latent_dim and config.latent_dim > limit:
            raise ConfigError(
                f"--latent-dim must be at most {limit}, the values of one example ({shape}), got {config.latent_dim}"
            )
        self.latent_dim = config.latent_dim or 0
        self.register_buffer("mean", torch.zeros(shape.size))
        self.register_buffer("components", torch.zeros(shape.size, self.latent_dim))  # D×L, orthonormal columns
        self.register_buffer("variances", torch.zeros(self.latent_dim))  # L, of the training latents
        self.register_buffer("spectrum", torch.zeros(0))  # all eigenvalues computed, falling
        self.register_buffer("total_variance", torch.zeros(()))

    def fit(self, batches: Callable[[], Iterable[Tensor]], report: Callable[[str], None]) -> dict[str, float]:
        """Covariance (or randomised) eigendecomposition in float64; see `Fitted.fit`."""
        n, mean, total = self._moments(batches)
        if self.shape.size <= EXACT_UP_TO:
            values, vectors = linear_algebra.top_eigenpairs(self._covariance(batches, mean, n))
            kept = self._count(values, total)
        else:
            values, vectors, kept = self._randomised(batches, mean, n, total, report)
        self.latent_dim = kept
        self.mean, self.components = mean.float(), vectors[:, :kept].float().contiguous()
        self.variances, self.spectrum, self.total_variance = values[:kept].float(), values.float(), total.float()
        share = float(values[:kept].sum() / total) if total > 0 else 1.0
        report(f"{kept} components explain {share:.1%} of the variance of {n:,} examples")
        return {
            "components": kept,
            "explained_variance": share,
            "compression_numbers": kept / self.shape.size,
            "compression_bytes": 4 * kept / self.shape.size,
        }

    def _moments(self, batches: Callable[[], Iterable[Tensor]]) -> tuple[int, Tensor, Tensor]:
        n, first, second = 0, torch.zeros(self.shape.size, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for x_BX in batches():
            x_BD = x_BX.flatten(1).double()
            n, first, second = n + len(x_BD), first + x_BD.sum(0), second + x_BD.square().sum()
        mean = first / n
        return n, mean, (second / n - mean.square().sum()).clamp_min(0)

    def _covariance(self, batches: Callable[[], Iterable[Tensor]], mean: Tensor, n: int) -> Tensor:
        covariance = torch.zeros(self.shape.size, self.shape.size, dtype=torch.float64)
        for x_BX in batches():
            centred = x_BX.flatten(1).double() - mean
            covariance.addmm_(centred.T, centred, alpha=1 / n)
        return covariance

    def _randomised(self, batches: Any, mean: Tensor, n: int, total: Tensor, report: Any) -> tuple[Tensor, Tensor, int]:
        def apply(v: Tensor) -> Tensor:
            out = torch.zeros_like(v, dtype=torch.float32)
            for x_BX in batches():
                centred = x_BX.flatten(1) - mean.float()
                out.addmm_(centred.T, centred @ v.float(), alpha=1 / n)
            return out.double()

        most = min(n, self.shape.size)
        rank = min(self.config.latent_dim or 64, self.shape.size if self.config.latent_dim else most)
        while True:
            rng = torch.Generator().manual_seed(0)
            values, vectors = linear_algebra.randomised_eigenpairs(apply, self.shape.size, rank, rng)
            kept = self._count(values, total)
            if kept < rank or rank == most or self.config.latent_dim:
                return values, vectors, min(kept, rank)
            report(f"{rank} components explain {float(values.sum() / total):.1%}; taking more")
            rank = min(2 * rank, most)

    def _count(self, values: Tensor, total: Tensor) -> int:
        if self.config.latent_dim:
            return self.config.latent_dim
        share = values.cumsum(0) / total.clamp_min(1e-300)
        return min(int((share < self.config.variance - 1e-12).sum()) + 1, len(values))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:
        # The number of components is known only after fitting, so buffers take the saved sizes.
        for name in ("components", "variances", "spectrum"):
            saved = state_dict.get(prefix + name)
            if saved is not None:
                setattr(self, name, torch.zeros_like(saved))
        self.latent_dim = self.components.shape[1]
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        """Coordinates along the components, z_BL."""
        return (x_BX.flatten(1) - self.mean) @ self.components

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """μ + W·z, x_BX; not clipped to [0, 1]."""
        return (z_BL @ self.components.T + self.mean).view(-1, *self.shape.dims)

    def prior(self, n: int, rng: torch.Generator) -> Tensor:
        """N(0, diag of the training latents' variances), z_NL."""
        z_NL = torch.randn(n, self.latent_dim, generator=rng, device=rng.device)
        return z_NL * self.variances.sqrt()
