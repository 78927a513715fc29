"""Precision and recall against the definition written out, and on samplers whose faults are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentscape.metrics import manifold


def points(n: int, seed: int, features: int = 4) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(seed))


def written_out(real: Tensor, fake: Tensor, k: int) -> tuple[float, float]:
    """Equations 1 and 2 of the paper, point by point."""

    def inside(x: Tensor, region: Tensor) -> bool:
        for i, centre in enumerate(region):
            others = torch.cat([region[:i], region[i + 1 :]])
            reach = (others - centre).double().square().sum(1).sqrt().sort().values[k - 1]
            if (x - centre).double().square().sum().sqrt() <= reach:
                return True
        return False

    precision = sum(inside(x, real) for x in fake) / len(fake)
    return precision, sum(inside(x, fake) for x in real) / len(real)


@pytest.mark.parametrize("k", [1, 3])
def test_it_is_the_definition(k: int) -> None:
    real, fake = points(40, 0), points(30, 1) * 0.7 + 0.6
    precision, recall = manifold.precision_recall(real, fake, k)
    assert (precision, recall) == written_out(real, fake, k)
    assert 0 < precision < 1
    assert 0 < recall < 1


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = points(57, 0), points(43, 1) + 0.5
    whole = manifold.precision_recall(real, fake)
    monkeypatch.setattr(manifold, "BLOCK_BYTES", 8 * 57 * 10)
    assert manifold.precision_recall(real, fake) == whole


def test_identical_sets_are_perfect_and_distant_ones_nothing() -> None:
    x_NF = points(200, 0, features=64) * 1000
    assert manifold.precision_recall(x_NF, x_NF.flip(0)) == (1.0, 1.0)
    assert manifold.precision_recall(x_NF, x_NF + 1e5) == (0.0, 0.0)


def test_repeated_points_have_no_reach_and_still_hold_each_other() -> None:
    x_NF = points(3, 0).repeat_interleave(10, 0) * 100
    assert manifold.radii(x_NF).eq(0).all()
    assert manifold.precision_recall(x_NF, x_NF.flip(0)) == (1.0, 1.0)


def test_real_against_real_is_high_in_both() -> None:
    precision, recall = manifold.precision_recall(points(1000, 0), points(1000, 1))
    assert precision > 0.85
    assert recall > 0.85


def test_a_collapsed_sampler_has_precision_and_no_recall() -> None:
    collapsed = 0.05 * points(1000, 1)
    precision, recall = manifold.precision_recall(points(1000, 0), collapsed)
    assert precision > 0.95
    assert recall < 0.05


def test_a_sampler_that_scatters_has_recall_and_little_precision() -> None:
    precision, recall = manifold.precision_recall(points(1000, 0), 6 * points(1000, 1))
    assert precision < 0.1
    assert recall > 0.9


def test_a_dropped_mode_costs_recall_in_its_share() -> None:
    modes = torch.zeros(1000, 4)
    modes[:300, 0] = 100
    precision, recall = manifold.precision_recall(points(1000, 0) + modes, points(1000, 1))
    assert precision > 0.8
    assert recall == pytest.approx(0.7, abs=0.06)


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 3 points"):
        manifold.precision_recall(points(3, 0), points(9, 0))
