"""What latents say about labels and about the posterior."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from latentscape.contract import HasLikelihood, HasPosterior
from latentscape.numerics import gaussian


def knn_accuracy(train_NL: Tensor, y_train_N: Tensor, test_NL: Tensor, y_test_N: Tensor, k: int = 5) -> float:
    """Share of test examples whose label is that of most of their k nearest training latents (Euclidean)."""
    from sklearn.neighbors import KNeighborsClassifier

    k = min(k, len(train_NL))
    classifier = KNeighborsClassifier(k).fit(train_NL.numpy(), y_train_N.numpy())
    return float(np.mean(classifier.predict(test_NL.numpy()) == y_test_N.numpy()))


def kl_nats(model: HasPosterior, x_BX: Tensor, y_B: Tensor | None) -> Tensor:
    """KL(q(z|x) ‖ N(0, I)) per image, B nats."""
    q = model.posterior(x_BX, y_B)
    return gaussian.kl_to_standard(q.mean, q.log_var).sum(1)


def elbo_nats(model: HasPosterior, x_BX: Tensor, y_B: Tensor | None, rng: torch.Generator) -> Tensor:
    """log p(x|z) − KL per image, B nats, with one posterior sample; the model must have a likelihood."""
    assert isinstance(model, HasLikelihood)
    q = model.posterior(x_BX, y_B)
    eps = torch.randn(q.mean.shape, generator=rng, device=rng.device)
    z_BL = gaussian.reparameterise(q.mean, q.log_var, eps)
    return model.log_likelihood(x_BX, z_BL, y_B) - gaussian.kl_to_standard(q.mean, q.log_var).sum(1)


def active_units(mean_NL: Tensor) -> int:
    """Dimensions with Var_x(E[z|x]) above 0.01 (Burda et al. 2016, section 5.2)."""
    return int((gaussian.variance_of_means(mean_NL) > gaussian.ACTIVE_ABOVE).sum())
