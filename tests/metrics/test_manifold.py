"""Precision, recall, density and coverage against their definitions, and on samplers whose faults are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentscape.metrics import manifold, neighbours


def points(n: int, seed: int, features: int = 4) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(seed))


def scores(real: Tensor, fake: Tensor, k: int = manifold.NEIGHBOURS) -> tuple[float, float]:
    """Precision and recall."""
    found = manifold.overlap(manifold.region(real, k), manifold.region(fake, k))
    return float(found.precise_M.double().mean()), float(found.recalled_N.double().mean())


def dense(real: Tensor, fake: Tensor, k: int = manifold.DENSE_NEIGHBOURS) -> tuple[float, float]:
    """Density and coverage."""
    found = manifold.overlap(manifold.region(real, 1, k), manifold.region(fake, 1, k), k)
    return float(found.density_M.mean()), float(found.covered_N.double().mean())


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
    precision, recall = scores(real, fake, k)
    assert (precision, recall) == written_out(real, fake, k)
    assert 0 < precision < 1
    assert 0 < recall < 1


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = points(57, 0), points(43, 1) + 0.5
    whole = scores(real, fake)
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 4 * 57 * 10)
    assert scores(real, fake) == whole


def test_identical_sets_are_perfect_and_distant_ones_nothing() -> None:
    x_NF = points(200, 0, features=64) * 1000
    assert scores(x_NF, x_NF.flip(0)) == (1.0, 1.0)
    assert scores(x_NF, x_NF + 1e5) == (0.0, 0.0)


def test_repeated_points_have_no_reach_and_still_hold_each_other() -> None:
    x_NF = points(3, 0).repeat_interleave(10, 0) * 100
    assert manifold.region(x_NF).reach_N.eq(0).all()
    assert scores(x_NF, x_NF.flip(0)) == (1.0, 1.0)


def test_real_against_real_is_high_in_both() -> None:
    precision, recall = scores(points(1000, 0), points(1000, 1))
    assert precision > 0.85
    assert recall > 0.85


def test_a_collapsed_sampler_has_precision_and_no_recall() -> None:
    collapsed = 0.05 * points(1000, 1)
    precision, recall = scores(points(1000, 0), collapsed)
    assert precision > 0.95
    assert recall < 0.05


def test_a_sampler_that_scatters_has_recall_and_little_precision() -> None:
    precision, recall = scores(points(1000, 0), 6 * points(1000, 1))
    assert precision < 0.1
    assert recall > 0.9


def test_a_dropped_mode_costs_recall_in_its_share() -> None:
    modes = torch.zeros(1000, 4)
    modes[:300, 0] = 100
    precision, recall = scores(points(1000, 0) + modes, points(1000, 1))
    assert precision > 0.8
    assert recall == pytest.approx(0.7, abs=0.06)


def test_too_few_points_are_refused() -> None:
    with pytest.raises(ValueError, match="5-th neighbour needs more than 5 points, got 5"):
        manifold.region(points(5, 0))


def dense_written_out(real: Tensor, fake: Tensor, k: int) -> tuple[float, float]:
    """Equations 3 and 5 of Naeem et al. 2020, point by point."""
    counts, covered = 0, 0
    for i, centre in enumerate(real):
        others = torch.cat([real[:i], real[i + 1 :]])
        reach = (others - centre).double().square().sum(1).sort().values[k - 1]
        inside = int(((fake - centre).double().square().sum(1) <= reach).sum())
        counts, covered = counts + inside, covered + (inside > 0)
    return counts / (k * len(fake)), covered / len(real)


@pytest.mark.parametrize("k", [1, 5])
def test_density_and_coverage_are_their_definitions(k: int) -> None:
    real, fake = points(40, 0), points(30, 1) * 0.7 + 0.6
    found = dense(real, fake, k)
    assert found == pytest.approx(dense_written_out(real, fake, k))
    assert 0 < found[1] < 1


def test_real_against_real_has_density_one_and_covers_nearly_all() -> None:
    """Expected coverage of k = 5 at equal counts: 1 − Π (N − i)/(2N − i) over i = 1…5, about 31/32 (ibid., lemma 2)."""
    found = [dense(points(1000, 2 * seed), points(1000, 2 * seed + 1)) for seed in range(5)]
    density, coverage = torch.tensor(found).mean(0).tolist()
    assert density == pytest.approx(1, abs=0.05)
    assert coverage == pytest.approx(31 / 32, abs=0.01)


def test_a_collapsed_sampler_is_dense_and_covers_little() -> None:
    density, coverage = dense(points(1000, 0), 0.05 * points(1000, 1))
    assert density > 0.7
    assert coverage < 0.05


def test_an_outlier_among_the_real_does_not_make_scattered_fakes_dense() -> None:
    """What precision falls for, and density was made against."""
    real, fake = points(500, 0), 3 + 4 * points(500, 1)
    real[:6] *= 60
    assert scores(real, fake)[0] > 0.9
    assert dense(real, fake)[0] < 0.4
