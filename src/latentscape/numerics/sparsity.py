"""How active a code is, and what it costs to be active."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SMALLEST = 1e-6
"""Mean activations are kept this far from 0 and 1, where the divergence has no finite gradient."""


def activation(z: Tensor) -> Tensor:
    """How active a unit is, in [0, 1), same shape as z: a = 2·(sigmoid(|z|) − ½) = tanh(|z| / 2) (spec row B5)."""
    return torch.tanh(z.abs() / 2)


def bernoulli_kl(rho: float, q: Tensor) -> Tensor:
    """KL(Bernoulli(ρ) ‖ Bernoulli(q)) in nats, same shape as q; 0 < ρ < 1, q is clamped away from 0 and 1 (Ng 2011)."""
    q = q.clamp(SMALLEST, 1 - SMALLEST)
    return rho * (math.log(rho) - q.log()) + (1 - rho) * (math.log1p(-rho) - torch.log1p(-q))
