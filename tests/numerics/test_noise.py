from __future__ import annotations

import pytest
import torch

from latentscape.numerics import noise

RNG = torch.Generator().manual_seed(0)
X = torch.rand(40, 1, 9, 12, generator=RNG)


def test_gaussian_noise_has_its_spread_and_is_not_clipped() -> None:
    eps = torch.randn(X.shape, generator=RNG)
    noisy = noise.gaussian(X, eps, 0.3)
    assert torch.equal(noisy, X + 0.3 * eps)
    assert noisy.min() < 0
    assert noisy.max() > 1


@pytest.mark.parametrize("amount", [0.0, 0.2, 1.0])
def test_salt_and_pepper_change_their_share_in_equal_parts(amount: float) -> None:
    u = torch.rand(400, 100, generator=RNG)
    out = noise.salt_and_pepper(torch.full((400, 100), 0.5), u, amount, -1.0, 2.0)
    for value in (-1.0, 2.0):
        assert float((out == value).float().mean()) == pytest.approx(amount / 2, abs=0.006)
    assert float((out == 0.5).float().mean()) == pytest.approx(1 - amount, abs=0.01)


def test_dropping_changes_its_share() -> None:
    out = noise.drop(torch.full((400, 100), 0.5), torch.rand(400, 100, generator=RNG), 0.25, 0.0)
    assert float((out == 0).float().mean()) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize(("side", "rows", "columns"), [(4, 4, 4), (10, 9, 10), (50, 9, 12)])
def test_masked_squares_lie_inside_and_differ(side: int, rows: int, columns: int) -> None:
    corners = torch.rand(len(X), 2, generator=RNG)
    inside = noise.square(corners, side, 9, 12)
    assert inside.shape == (40, 1, 9, 12)
    assert (inside.any(3).sum(2) == rows).all()
    assert (inside.any(2).sum(2) == columns).all()
    assert (inside.sum((1, 2, 3)) == rows * columns).all()
    out = noise.mask_square(X, corners, side, 0.25)
    assert (out[inside] == 0.25).all()
    assert torch.equal(out[~inside], X[~inside])


def test_every_place_of_the_square_is_reached() -> None:
    edge = torch.tensor([[0.0, 0.0], [1 - 2**-24, 1 - 2**-24]])
    inside = noise.square(edge, 4, 9, 12)
    assert inside[0, 0, :4, :4].all()
    assert inside[1, 0, -4:, -4:].all()
