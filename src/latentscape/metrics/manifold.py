"""Two sets compared as regions: are samples among the real examples, and is everything real among them?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latentscape.metrics import neighbours

NEIGHBOURS = 3
"""Precision and recall: a set's region is the union of balls that reach to each point's third neighbour."""

DENSE_NEIGHBOURS = 5
"""Density and coverage: the balls reach to the fifth one (Naeem et al. 2020)."""


@dataclass(frozen=True)
class Region:
    """A set of points N×F with each one's squared distances to its nearest and k-th nearest other point, N float64."""

    points: Tensor
    nearest_N: Tensor
    reach_N: Tensor
    dense_reach_N: Tensor


def region(x_NF: Tensor, k: int = NEIGHBOURS, dense_k: int = DENSE_NEIGHBOURS) -> Region:
    """The region of a set, which must have more points than neighbours are counted (`ValueError`)."""
    squared_NK, _ = neighbours.nearest(x_NF, x_NF, max(k, dense_k), own=True)
    return Region(x_NF, squared_NK[:, 0], squared_NK[:, k - 1], squared_NK[:, dense_k - 1])


@dataclass(frozen=True)
class Overlap:
    """What the four scores are means of.

    precise_M: whether a fake lies in the real region. recalled_N: whether a real point lies in the fakes' region.
    density_M: in how many real balls a fake lies, over their k: float64. covered_N: whether a real ball holds a fake.
    """

    precise_M: Tensor
    recalled_N: Tensor
    density_M: Tensor
    covered_N: Tensor


def overlap(real: Region, fake: Region, dense_k: int = DENSE_NEIGHBOURS) -> Overlap:
    """Improved precision and recall (Kynkäänniemi et al. 2019, eq. 1 and 2), density and coverage (Naeem et al. 2020).

    Density is eq. 3 and coverage eq. 5 of the latter. A fake is precise if it is no farther from some real point than
    that point's k-th real neighbour; recall is the same with the sets exchanged. Euclidean distances, exact. All depend
    on the counts: compare at equal ones.
    """
    n, m = len(real.points), len(fake.points)
    precise_M, density_M = torch.zeros(m, dtype=torch.bool), torch.zeros(m, dtype=torch.float64)
    recalled_N, covered_N = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)
    limits = [real.reach_N, real.dense_reach_N, fake.reach_N[:, None]]
    for place, (in_real, in_dense, in_fake) in neighbours.within(fake.points, real.points, limits):
        precise_M[place] = in_real.any(1)
        density_M[place] = in_dense.sum(1).double() / dense_k
        covered_N |= in_dense.any(0)
        recalled_N |= in_fake.any(0)
    return Overlap(precise_M, recalled_N, density_M, covered_N)
