"""Nearest neighbours: float32 products find them, and what is told of them is exact."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentscape.metrics import neighbours


def points(n: int, seed: int, features: int = 6) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(seed))


def all_squared(a: Tensor, b: Tensor) -> Tensor:
    return (a[:, None].double() - b[None].double()).square().sum(2)


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("k", [1, 4])
def test_they_are_those_of_all_distances(k: int, offset: float) -> None:
    """Also far from the origin, where differences of squares lose their digits."""
    a, b = points(70, 0) + offset, points(90, 1) + offset
    squared, at = neighbours.nearest(a, b, k)
    expected = all_squared(a, b).topk(k, largest=False)
    torch.testing.assert_close(squared, expected.values, rtol=1e-12, atol=0)
    assert torch.equal(at, expected.indices)


def test_no_point_is_its_own_neighbour_but_an_equal_one_is() -> None:
    x = torch.tensor([[0.0], [1.0], [1.0], [5.0]])
    squared, at = neighbours.nearest(x, x, own=True)
    assert squared[:, 0].tolist() == [1, 0, 0, 16]
    assert at[1:3, 0].tolist() == [2, 1]


def test_differences_below_the_product_s_error_are_told_apart() -> None:
    """Forty points nearly at one distance in 500 dimensions: float32 orders them by chance, float64 does not."""
    direction = torch.nn.functional.normalize(points(40, 0, 500).double())
    far = torch.arange(40, dtype=torch.float64)[torch.randperm(40, generator=torch.Generator().manual_seed(1))]
    b = 100 * direction * (1 + 1e-9 * far[:, None])
    a = torch.zeros(1, 500, dtype=torch.float64)
    _, at = neighbours.nearest(a, b, 3)
    assert far[at[0]].tolist() == [0, 1, 2]
    limit = all_squared(a, b)[0].sort().values[10].reshape(1)
    (_, (inside,)) = next(neighbours.within(b, a, [limit]))
    assert int(inside.sum()) == 11


def test_at_most_equal_is_within_and_limits_may_belong_to_either_side() -> None:
    a, b = points(50, 0), points(60, 1)
    squared = all_squared(a, b)
    of_b, of_a = squared[7], squared[:, 3:4]
    for place, (by_b, by_a) in neighbours.within(a, b, [of_b, of_a]):
        assert torch.equal(by_b, squared[place] <= of_b)
        assert torch.equal(by_a, squared[place] <= of_a[place])


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_blocks_change_nothing(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = points(40, 0), points(30, 1)
    whole = neighbours.nearest(a, b, 2)
    monkeypatch.setattr(neighbours, "BLOCK_BYTES", 4 * 30 * rows)
    assert all(torch.equal(x, y) for x, y in zip(neighbours.nearest(a, b, 2), whole, strict=True))
    places = [place for place, _ in neighbours.within(a, b, [torch.ones(30, dtype=torch.float64)])]
    assert [i for place in places for i in range(place.start, place.stop)] == list(range(40))
