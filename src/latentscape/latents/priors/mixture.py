"""A mixture of Gaussians with full covariances, fitted by expectation maximisation (scikit-learn's)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from latentscape.latents.priors.base import Budget, Report, WhitenedDensity, Whitening, held_out, whitening_of

RIDGE = 1e-4
"""Added to each component's variances (whitened latents have variance 1), so that none can collapse onto a point."""

ROUNDS = 60
"""Most rounds of expectation maximisation."""

FITTED_TO = 20_000
"""Most latents a mixture is fitted to: a round takes time in proportion, and twice as many change little."""


class Mixture(WhitenedDensity):
    """Σ_m weight_m·N(mean_m, factor_m·factor_mᵀ) in whitened latents."""

    kind: ClassVar[str] = "gmm"

    def __init__(
        self, whitening: Whitening, weight_M: Tensor, mean_MK: Tensor, factor_MKK: Tensor, figures: Any = None
    ) -> None:
        super().__init__(whitening, figures)
        self.weight_M, self.mean_MK, self.factor_MKK = weight_M, mean_MK, factor_MKK

    def sample_live(self, n: int, rng: torch.Generator) -> Tensor:
        """See `Whitened`."""
        which_N = torch.multinomial(self.weight_M, n, True, generator=rng)
        eps_NK = torch.randn(n, self.mean_MK.shape[1], generator=rng, dtype=torch.float64)
        u_NK = self.mean_MK[which_N]
        for m in which_N.unique().tolist():
            u_NK[which_N == m] += eps_NK[which_N == m] @ self.factor_MKK[m].T
        return u_NK

    def log_prob_live(self, u_NK: Tensor) -> Tensor:
        """See `WhitenedDensity`."""
        return torch.logsumexp(torch.stack([self._component(u_NK, m) for m in range(len(self.weight_M))]), 0)

    def _component(self, u_NK: Tensor, m: int) -> Tensor:
        """log weight_m + log N(u; mean_m, …), N."""
        factor = self.factor_MKK[m]
        eps_KN = torch.linalg.solve_triangular(factor, (u_NK - self.mean_MK[m]).T, upper=False)
        norm = factor.diagonal().log().sum() + 0.5 * len(factor) * math.log(2 * math.pi)
        return self.weight_M[m].log() - 0.5 * eps_KN.square().sum(0) - norm

    def packed(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Prior`."""
        tensors, settings = super().packed()
        return {**tensors, "weight": self.weight_M, "means": self.mean_MK, "factors": self.factor_MKK}, settings

    @classmethod
    def unpacked(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Mixture:
        """See `Prior`."""
        parts = tensors["weight"], tensors["means"], tensors["factors"]
        return cls(whitening_of(tensors, settings), *parts, settings["figures"])


def fit_mixture(z_NL: Tensor, seed: int, report: Report, budget: Budget) -> Mixture:
    """Mixtures with one component and with each number in `budget.components`; held-out likelihood picks one."""
    whitening = Whitening.of(z_NL)
    u_NK = whitening.into(z_NL)[:, : whitening.live]
    train, held = held_out(u_NK, torch.Generator().manual_seed(seed))
    train = train[:FITTED_TO]
    best, best_nats = _expectation_maximisation(train, 1, seed, whitening), -math.inf
    if whitening.live:
        best_nats = float(best.log_prob_live(held).mean())
        for components in (c for c in budget.components if 1 < c <= len(train) // 2):
            tried = _expectation_maximisation(train, components, seed, whitening)
            nats = float(tried.log_prob_live(held).mean())
            report(f"Mixture of {components} Gaussians: {nats:.2f} nats on held-out, whitened latents.")
            if nats > best_nats:
                best, best_nats = tried, nats
    best.figures = {"components": len(best.weight_M), "fitted_to": len(train)}
    return best


def _expectation_maximisation(u_NK: Tensor, components: int, seed: int, whitening: Whitening) -> Mixture:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    if components == 1:  # in closed form, also where nothing is alive
        size = u_NK.shape[1]
        centred = u_NK - u_NK.mean(0)
        cov_KK = centred.T @ centred / len(u_NK) + RIDGE * torch.eye(size, dtype=torch.float64)
        factor_MKK = torch.linalg.cholesky(cov_KK)[None]
        return Mixture(whitening, torch.ones(1, dtype=torch.float64), u_NK.mean(0)[None], factor_MKK)
    mixture = GaussianMixture(
        components, reg_covar=RIDGE, max_iter=ROUNDS, tol=1e-2, init_params="k-means++", random_state=seed % 2**32
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the rounds are a budget, and held-out latents judge
        mixture.fit(u_NK.numpy())
    found = (torch.as_tensor(x) for x in (mixture.weights_, mixture.means_, mixture.covariances_))
    weight_M, mean_MK, cov_MKK = found
    return Mixture(whitening, weight_M, mean_MK, torch.linalg.cholesky(cov_MKK))
