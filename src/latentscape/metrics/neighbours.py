"""Nearest neighbours and distances below a limit, exact to float64 at the speed of float32 matrix products.

A product gives every squared distance with a known bound on its error; the few comparisons that this error could turn
are made again from the differences themselves, in float64.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK_BYTES = 16 << 20
"""Distances held at once; 10,000 × 10,000 of them would be 400 MB."""

SPARE = 4
"""Candidates that are looked at beyond the k nearest by the product's distances."""

_ROUND = 2.0**-24
"""Half a unit in the last place of 1 in float32."""


def squared(a_NF: Tensor, b_NF: Tensor) -> Tensor:
    """‖a − b‖² of rows paired by broadcasting, float64: 0 for equal rows, and the same whichever way round."""
    return (a_NF.double() - b_NF.double()).square().sum(-1)


def nearest(a_NF: Tensor, b_MF: Tensor, k: int = 1, *, own: bool = False) -> tuple[Tensor, Tensor]:
    """Each row's k nearest of `b_MF`: squared distances, N×k float64, ascending, and their positions, N×k.

    own: both are the same set, and no row is its own neighbour (equal rows at other places are). Needs at least k
    others (`ValueError`).
    """
    others = len(b_MF) - own
    if others < k:
        raise ValueError(f"the {k}-th neighbour needs more than {k - 1 + own} points, got {len(b_MF)}")
    found, where = [], []
    for start, s_BM, bound_BM in _blocks(a_NF, b_MF):
        rows = torch.arange(len(s_BM))
        if own:
            s_BM[rows, start + rows] = torch.inf
        few = s_BM.topk(min(k + SPARE, others), largest=False)
        exact_BK = squared(a_NF[start : start + len(s_BM), None], b_MF[few.indices])
        order = exact_BK.argsort(dim=1, stable=True)[:, :k]
        exact_Bk, at_Bk = exact_BK.gather(1, order), few.indices.gather(1, order)
        if few.indices.shape[1] < others:
            # What is no candidate has a product's distance of at least the last candidate's.
            least_B, last_B = few.values[:, -1] - bound_BM.amax(1), exact_Bk[:, -1]
            again = ((least_B < last_B) & (last_B > 0)).nonzero()[:, 0]
            if len(again):
                at_Bk[again] = _looked_up(a_NF, b_MF, start + again, k, own)
                exact_Bk[again] = squared(a_NF[start + again, None], b_MF[at_Bk[again]])
        found.append(exact_Bk)
        where.append(at_Bk)
    return torch.cat(found), torch.cat(where)


def _looked_up(a_NF: Tensor, b_MF: Tensor, rows: Tensor, k: int, own: bool) -> Tensor:
    """Positions of the k nearest to some rows, by float64 distances to all."""
    found = []
    for part in rows.split(max(1, BLOCK_BYTES // (8 * len(b_MF)))):
        every_BM = torch.cdist(a_NF[part].double(), b_MF.double(), compute_mode="donot_use_mm_for_euclid_dist")
        if own:
            every_BM[torch.arange(len(part)), part] = torch.inf
        found.append(every_BM.topk(k, largest=False).indices)
    return torch.cat(found)


def within(a_NF: Tensor, b_MF: Tensor, limits: list[Tensor]) -> Iterator[tuple[slice, list[Tensor]]]:
    """Which pairs lie within squared limits: for every block of rows of a, its place and a B×M truth for each limit.

    limits: float64, M (one for each row of b) or N×1 (one for each row of a). At most equal counts as within.
    """
    for start, s_BM, bound_BM in _blocks(a_NF, b_MF):
        place, inside = slice(start, start + len(s_BM)), []
        for limit in limits:
            limit = limit[place] if limit.dim() == 2 else limit[None]
            gap_BM = s_BM - limit.float()
            near_BM = gap_BM <= 0
            _settle(near_BM, gap_BM.abs_() <= bound_BM + 2 * _ROUND * limit.float(), a_NF[place], b_MF, limit)
            inside.append(near_BM)
        yield place, inside


def _settle(near_BM: Tensor, unsure_BM: Tensor, a_BF: Tensor, b_MF: Tensor, limit: Tensor) -> None:
    """Decide the unsure pairs of a block from their differences, in place."""
    pairs = unsure_BM.nonzero()
    for part in pairs.split(max(1, BLOCK_BYTES // (8 * a_BF.shape[1]))):
        i, j = part.unbind(1)
        most = limit.expand(near_BM.shape)[i, j]
        near_BM[i, j] = squared(a_BF[i], b_MF[j]) <= most


def _blocks(a_NF: Tensor, b_MF: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """A block's start, squared distances B×M by float32 products, and a bound on the error of each.

    ‖a‖² + ‖b‖² − 2ab of centred rows: the sum of F products errs by at most F·2⁻²⁴·|a||b| (Higham 2002, eq. 3.5), and
    |a||b| ≤ (‖a‖² + ‖b‖²)/2; what centring, rounding and the two sums add is below 8 such units.
    """
    center_F = b_MF.double().mean(0)
    a, b = (a_NF.double() - center_F).float(), (b_MF.double() - center_F).float()
    a2_N, b2_M = a.double().square().sum(1).float(), b.double().square().sum(1).float()
    rows = max(1, BLOCK_BYTES // (4 * len(b)))
    for start in range(0, len(a), rows):
        sum_BM = a2_N[start : start + rows, None] + b2_M
        s_BM = torch.addmm(sum_BM, a[start : start + rows], b.T, alpha=-2)
        yield start, s_BM, sum_BM.mul_((a.shape[1] + 8) * _ROUND)
