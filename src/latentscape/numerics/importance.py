"""Importance-weighted bounds on log p(x)."""

from __future__ import annotations

import math

from torch import Tensor


def bound(log_w_KB: Tensor) -> Tensor:
    """log (1/k)·Σ w over the k samples of each example, B nats (Burda et al. 2016, eq. 8)."""
    return log_w_KB.logsumexp(0) - math.log(len(log_w_KB))
