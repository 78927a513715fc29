"""The parts of E_x KL(q(z|x) ‖ p(z)): what z says of x, how its dimensions depend on each other, how each is spread."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentscape.numerics import gaussian


def decompose(z_BL: Tensor, mean_BL: Tensor, log_var_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Index-code mutual information, total correlation and dimension-wise KL to N(0, 1); each 0-dim, in nats.

    Chen et al. 2018, eq. 2. `z_BL` are samples of the batch's posteriors N(mean, exp(log_var)). q(z) is the mixture of
    the batch's own posteriors: the paper's minibatch weighting (eq. S6) with log M in place of log(N·M), a constant
    that no gradient sees, so that the parts depend on the batch alone. They add up to the sampled KL.
    """
    log_q_BBL = gaussian.log_prob(z_BL[:, None], mean_BL[None], log_var_BL[None])
    log_b = math.log(len(z_BL))
    conditional_B = gaussian.log_prob(z_BL, mean_BL, log_var_BL).sum(1)
    joint_B = log_q_BBL.sum(2).logsumexp(1) - log_b
    product_B = (log_q_BBL.logsumexp(1) - log_b).sum(1)
    prior_B = gaussian.log_prob(z_BL, torch.zeros_like(z_BL)).sum(1)
    return (conditional_B - joint_B).mean(), (joint_B - product_B).mean(), (product_B - prior_B).mean()


def permute_dimensions(z_BL: Tensor, uniform_BL: Tensor) -> Tensor:
    """Each dimension shuffled over the batch by itself: a sample of Π q(zⱼ) (Kim & Mnih 2018, algorithm 1)."""
    return torch.gather(z_BL, 0, uniform_BL.argsort(0))
