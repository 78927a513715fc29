"""The concrete (Gumbel-softmax) distribution: a categorical choice relaxed so that gradients pass through it.

Source: Maddison et al. 2017 (https://arxiv.org/abs/1611.00712), eq. 10; Jang et al. 2017, eq. 2, is the same.
"""

from __future__ import annotations

import torch
from torch import Tensor


def gumbel(uniform: Tensor) -> Tensor:
    """Standard Gumbel values, same shape, from U[0, 1) by the inverse of exp(−exp(−g)); finite at 0 and near 1."""
    info = torch.finfo(uniform.dtype)
    return -torch.log(-torch.log(uniform.clamp(info.tiny, 1 - info.eps)))


def relaxed(logits_KD: Tensor, uniform_KD: Tensor, temperature: Tensor | float) -> Tensor:
    """K draws, each D weights that sum to 1: softmax((logits + g) / T). T → 0 gives one-hot draws of softmax(logits).

    `temperature` is above 0; `uniform_KD` is U[0, 1).
    """
    return torch.softmax((logits_KD + gumbel(uniform_KD)) / temperature, dim=-1)
