"""What latents say about labels and about the posterior."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from latentscape.contract import HasLikelihood, HasPosterior, Posterior
from latentscape.numerics import gaussian


def knn_accuracy(train_NL: Tensor, y_train_N: Tensor, test_NL: Tensor, y_test_N: Tensor, k: int = 5) -> float:
    """Share of test examples whose label is that of most of their k nearest training latents (Euclidean)."""
    from sklearn.neighbors import KNeighborsClassifier

    k = min(k, len(train_NL))
    classifier = KNeighborsClassifier(k).fit(train_NL.numpy(), y_train_N.numpy())
    return float(np.mean(classifier.predict(test_NL.numpy()) == y_test_N.numpy()))


def has_standard_prior(model: HasPosterior) -> bool:
    """Whether the model's prior is N(0, I), so that the divergence from it has a closed form."""
    return type(model).log_prior is HasPosterior.log_prior


def divergence(model: HasPosterior, q: Posterior, z_BL: Tensor, y_B: Tensor | None) -> Tensor:
    """KL(q(z|x) ‖ p(z)) per image, B nats: in closed form for N(0, I), else estimated by the one sample z of q."""
    if has_standard_prior(model):
        return gaussian.kl_to_standard(q.mean, q.log_var).sum(1)
    return _log_posterior(q, z_BL) - model.log_prior(z_BL, y_B)


def _log_posterior(q: Posterior, z_BL: Tensor) -> Tensor:
    return gaussian.log_prob(z_BL, q.mean, q.log_var).sum(1)


def kl_and_elbo_nats(
    model: HasPosterior, x_BX: Tensor, y_B: Tensor | None, rng: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """KL(q(z|x) ‖ p(z)) and log p(x|z) − KL per image, B nats each, from one posterior sample per image.

    The second is None for a model without a likelihood.
    """
    q = model.posterior(x_BX, y_B)
    z_BL = gaussian.reparameterise(q.mean, q.log_var, torch.randn(q.mean.shape, generator=rng, device=rng.device))
    kl_B = divergence(model, q, z_BL, y_B)
    return kl_B, model.log_likelihood(x_BX, z_BL, y_B) - kl_B if isinstance(model, HasLikelihood) else None


def iwae_nats(
    model: HasPosterior, x_BX: Tensor, y_B: Tensor | None, samples: int, rng: torch.Generator, decoded: int = 500
) -> Tensor:
    """log (1/K) Σ_k p(x|z_k) p(z_k) / q(z_k|x) per image, B nats, with K = samples (Burda et al. 2016, eq. 8).

    The model must have a likelihood. At most about `decoded` examples are decoded at once, whatever K is.
    """
    assert isinstance(model, HasLikelihood)
    q, n = model.posterior(x_BX, y_B), len(x_BX)
    at_once = max(1, decoded // n)
    total_B = torch.full((n,), -math.inf, dtype=torch.float64, device=x_BX.device)
    for start in range(0, samples, at_once):
        k = min(at_once, samples - start)
        many = Posterior(q.mean.repeat(k, 1), q.log_var.repeat(k, 1))
        eps = torch.randn(many.mean.shape, generator=rng, device=rng.device)
        z_NL = gaussian.reparameterise(many.mean, many.log_var, eps)
        x_NX, y_N = x_BX.repeat(k, *[1] * (x_BX.dim() - 1)), y_B.repeat(k) if y_B is not None else None
        log_weight_N = model.log_likelihood(x_NX, z_NL, y_N) + model.log_prior(z_NL, y_N) - _log_posterior(many, z_NL)
        total_B = torch.logaddexp(total_B, log_weight_N.double().view(k, n).logsumexp(0))
    return total_B - math.log(samples)


def active_units(mean_NL: Tensor) -> int:
    """Dimensions with Var_x(E[z|x]) above 0.01 (Burda et al. 2016, section 5.2)."""
    return int((gaussian.variance_of_means(mean_NL) > gaussian.ACTIVE_ABOVE).sum())
