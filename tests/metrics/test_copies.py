"""Copies of training images are seen, held-out ones are not; repeated samples are counted."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentscape.metrics import copies, shares


def points(n: int, seed: int, features: int = 10) -> Tensor:
    return torch.randn(n, features, generator=torch.Generator().manual_seed(seed))


def interval(found: copies.Memorised) -> shares.Interval:
    return shares.around(found.share, found.deviation, 0.0, 1.0)


def test_copies_of_the_training_set_are_memorised_and_held_out_images_are_not() -> None:
    train, held_out, fresh = points(500, 0), points(500, 1), points(500, 2)
    copied = copies.memorised(train[:300] + 0.01 * points(300, 3), train, held_out)
    assert copied.share == 1
    assert interval(copied)[0] > 0.5
    low, high = interval(copies.memorised(fresh, train, held_out))
    assert low < 0.5 < high
    part = torch.cat([train[:100], fresh[:400]])  # one sample in five is a copy
    assert interval(copies.memorised(part, train, held_out))[0] > 0.5
    assert copies.memorised(held_out, train, held_out).share == 0


def test_ties_are_half() -> None:
    x = points(50, 0)
    assert copies.memorised(x, x, x).share == 0.5


def test_chance_is_left_as_seldom_as_the_interval_says() -> None:
    """Also where a few images are nearest to most samples: these lie between all of them."""
    for shrunk in (1.0, 0.3):
        outside = 0
        for seed in range(200):
            low, high = interval(
                copies.memorised(shrunk * points(200, 3 * seed), points(200, 3 * seed + 1), points(200, 3 * seed + 2))
            )
            outside += not low <= 0.5 <= high
        assert outside / 200 < 0.1


def test_a_generator_of_one_picture_is_not_accused_by_chance() -> None:
    found = copies.memorised(points(1, 0).expand(100, -1), points(100, 1), points(100, 2))
    assert found.share in (0.0, 1.0)
    low, high = interval(found)
    assert low <= 0.5 <= high


def test_parts_of_unequal_size_are_refused() -> None:
    with pytest.raises(ValueError, match="same size, got 5 and 6"):
        copies.memorised(points(4, 0), points(5, 1), points(6, 2))


def test_duplicates_are_alike_in_every_space() -> None:
    real = points(1000, 0)
    fake = points(1000, 1)
    fake[500:600] = fake[:100] + 1e-4
    near = [(copies.nearest_others(x),) for x in (fake, real)]
    twice_M = copies.duplicates(*near)
    assert twice_M[:100].all()
    assert twice_M[500:600].all()
    assert int(twice_M.sum()) <= 204
    apart = copies.nearest_others(points(1000, 2))
    both_M = copies.duplicates((*near[0], apart), (*near[1], copies.nearest_others(real)))
    assert int(both_M.sum()) <= 2  # in the other space they are as far apart as real ones


def test_real_images_are_hardly_ever_duplicates() -> None:
    near = [(copies.nearest_others(points(2000, seed)),) for seed in range(2)]
    assert float(copies.duplicates(*near).double().mean()) < 0.01
