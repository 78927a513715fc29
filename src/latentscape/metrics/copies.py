"""Whether samples repeat each other, or the training images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from latentscape.metrics import neighbours

CLOSEST = 0.001
"""Two samples are near-duplicates when they are as near as the nearest real images are: those 0.1 %."""


def nearest_others(x_NF: Tensor) -> Tensor:
    """Each row's squared distance to the nearest other row, N float64."""
    return neighbours.nearest(x_NF, x_NF, own=True)[0][:, 0]


def duplicates(fake: tuple[Tensor, ...], real: tuple[Tensor, ...]) -> Tensor:
    """Which of M samples nearly equal another one, M truths.

    Both are distances to the nearest other of their own set, in one or several spaces; as many real images as samples,
    since neighbours draw nearer where there are more. A sample counts when it is no farther than the `CLOSEST` quantile
    of the real images' in every space: alike in pixels, and in what features see.
    """
    near_M = torch.ones(len(fake[0]), dtype=torch.bool)
    for fake_M, real_N in zip(fake, real, strict=True):
        near_M &= fake_M <= torch.quantile(real_N, CLOSEST, interpolation="lower")
    return near_M


@dataclass(frozen=True)
class Memorised:
    """share: of samples that are nearer to a training image; deviation: of that share under chance."""

    share: float
    deviation: float


def memorised(fake_MF: Tensor, train_NF: Tensor, held_out_NF: Tensor) -> Memorised:
    """Share of samples whose nearest training image is nearer than the nearest of as many held-out ones; ties are half.

    The three-sample view of data copying (Meehan et al. 2020), with nearest neighbours in place of their rank test: to
    a model that has learned the distribution and not the images, the sets are alike, and the share is ½ on average.
    It scatters with the images, too: samples that share a nearest image are won or lost together. If the parts were
    drawn by chance, the share's variance is ¼·Σ w², w being the share of samples that each image is nearest to.
    """
    if len(train_NF) != len(held_out_NF):
        raise ValueError(f"both parts must have the same size, got {len(train_NF)} and {len(held_out_NF)}")
    to_train, at_train = (found[:, 0] for found in neighbours.nearest(fake_MF, train_NF))
    to_held_out, at_held_out = (found[:, 0] for found in neighbours.nearest(fake_MF, held_out_NF))
    won_M = (to_train < to_held_out).double() + 0.5 * (to_train == to_held_out).double()
    image_M = torch.where(to_train <= to_held_out, at_train, len(train_NF) + at_held_out)
    weight_N = torch.bincount(image_M, minlength=2 * len(train_NF)).double() / len(fake_MF)
    return Memorised(float(won_M.mean()), 0.5 * math.sqrt(float(weight_N.square().sum())))
