"""What latents say about labels and about the posterior."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentscape.contract import HasLikelihood, HasPosterior, Posterior
from latentscape.metrics import neighbours
from latentscape.nets import mlp
from latentscape.numerics import gaussian

READER_HIDDEN, READER_EPOCHS, READER_STEPS, READER_BATCH, READER_RATE = 256, 20, 500, 256, 1e-3
"""The fresh classifier: width of its two hidden layers, epochs (at least so many steps), batch, Adam's first rate."""


def knn_accuracy(train_NL: Tensor, y_train_N: Tensor, test_NL: Tensor, y_test_N: Tensor, k: int = 5) -> float:
    """Share of test examples whose label is that of most of their k nearest training latents (Euclidean)."""
    k, classes = min(k, len(train_NL)), int(y_train_N.max()) + 1
    at_Nk = neighbours.nearest(test_NL, train_NL, k)[1]
    votes_NK = torch.nn.functional.one_hot(y_train_N[at_Nk], classes).sum(1)
    return float((votes_NK.argmax(1) == y_test_N).double().mean())  # the first of classes with equal votes


def fresh_accuracy(
    train_NL: Tensor,
    y_train_N: Tensor,
    test_NL: Tensor,
    y_test_N: Tensor,
    *,
    epochs: int = READER_EPOCHS,
    seed: int = 0,
) -> float:
    """Share of test examples that an MLP L-256-256-K reads rightly, trained on the training latents from scratch.

    Latents are brought to mean 0 and variance 1 first, the rate falls linearly to 0, weights and order are drawn from
    `seed` alone. It judges an adversary: what that could not read, a net that starts anew often can.
    """
    mean_L, std_L = train_NL.mean(0), train_NL.std(0, correction=0).clamp_min(1e-6)
    train_NL, test_NL = (train_NL - mean_L) / std_L, (test_NL - mean_L) / std_L
    classes = int(torch.cat([y_train_N, y_test_N]).max()) + 1
    rng, n = torch.Generator().manual_seed(seed), len(train_NL)
    steps = max(READER_STEPS, epochs * (n // READER_BATCH))
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        net = torch.nn.Sequential(*mlp.layers((train_NL.shape[1], READER_HIDDEN, READER_HIDDEN), norm=False))
        net.append(torch.nn.Linear(READER_HIDDEN, classes))
        optimiser = torch.optim.Adam(net.parameters(), READER_RATE)
        for step in range(steps):
            picks = torch.randint(n, (READER_BATCH,), generator=rng)
            optimiser.param_groups[0]["lr"] = READER_RATE * (1 - step / steps)
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(net(train_NL[picks]), y_train_N[picks]).backward()
            optimiser.step()
    with torch.no_grad():
        return float((net(test_NL).argmax(1) == y_test_N).double().mean())


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
    model: HasPosterior, x_BX: Tensor, y_B: Tensor | None, rng: torch.Generator, q: Posterior | None = None
) -> tuple[Tensor, Tensor | None]:
    """KL(q(z|x) ‖ p(z)) and log p(x|z) − KL per image, B nats each, from one posterior sample per image.

    q: the posterior of these images, where it is at hand. The second is None for a model without a likelihood.
    """
    q = q or model.posterior(x_BX, y_B)
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
