from __future__ import annotations

import pytest
import torch

from latentscape.numerics import diversity

CORNERS = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])


def test_distances_of_a_triangle() -> None:
    d_NN = diversity.distances(CORNERS)
    torch.testing.assert_close(d_NN, torch.tensor([[0.0, 3, 4], [3, 0, 5], [4, 5, 0]]))
    assert float(diversity.mean_distance(d_NN)) == pytest.approx(4)
    assert diversity.nearest(d_NN).tolist() == [3, 3, 4]


def test_pictures_are_compared_over_all_their_values() -> None:
    x = torch.rand(7, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    d_NN = diversity.distances(x)
    assert float(d_NN[2, 5]) == pytest.approx(float((x[2] - x[5]).square().sum().sqrt()))
    assert diversity.distances(x.bfloat16()).dtype == torch.float32


def test_equal_examples_far_from_zero_are_at_distance_zero() -> None:
    """The usual expansion of the square would leave a rounding error as large as small distances are."""
    x = 1000 + torch.rand(1, 784, generator=torch.Generator().manual_seed(0)).expand(40, -1)
    assert (diversity.distances(x) == 0).all()


def test_mean_distance_of_normal_numbers_is_the_known_one() -> None:
    x = torch.randn(2000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = 2 / torch.pi**0.5  # E|x − y| of two standard normal numbers
    assert float(diversity.mean_distance(diversity.distances(x))) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(("within", "share"), [(3.0, 0.0), (3.5, 2 / 3), (4.5, 1.0)])
def test_duplicates_have_another_one_nearer_than_asked(within: float, share: float) -> None:
    assert float(diversity.duplicates(diversity.distances(CORNERS), within)) == pytest.approx(share)
