"""Quantisation against a plain search, autograd and closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from latentscape.numerics import vector_quantisation as vq


def test_the_nearest_entry_is_the_one_at_the_smallest_distance() -> None:
    rng = torch.Generator().manual_seed(0)
    z_ND, codebook_KD = torch.randn(50, 3, generator=rng), torch.randn(7, 3, generator=rng)
    distances = [[float((z - e).norm()) for e in codebook_KD] for z in z_ND]
    assert vq.nearest(z_ND, codebook_KD).tolist() == [row.index(min(row)) for row in distances]


def test_the_lowest_of_two_equal_entries_is_taken() -> None:
    assert vq.nearest(torch.zeros(1, 2), torch.tensor([[3.0, 0.0], [1.0, 0.0], [1.0, 0.0]])).tolist() == [1]


def test_gradients_go_straight_through_and_not_to_the_codebook() -> None:
    z = torch.tensor([0.2, 0.9], requires_grad=True)
    e = torch.tensor([0.0, 1.0], requires_grad=True)
    out = vq.straight_through(z, e)
    torch.testing.assert_close(out, e)
    out.square().sum().backward()
    torch.testing.assert_close(z.grad, 2 * e.detach())  # d(out²)/d(out), taken at the quantised value
    assert e.grad is None


def test_use_counts_every_entry() -> None:
    assert vq.use(torch.tensor([3, 0, 3, 3]), 5).tolist() == [1, 0, 0, 3, 0]


@pytest.mark.parametrize(
    ("counts", "expected"), [([5.0, 0.0, 0.0], 1.0), ([2.0, 2.0, 2.0], 3.0), ([1.0, 1.0, 0.0], 2.0)], ids=str
)
def test_perplexity_is_the_number_of_entries_in_even_use(counts: list[float], expected: float) -> None:
    torch.testing.assert_close(vq.perplexity(torch.tensor(counts)), torch.tensor(expected))


def test_perplexity_of_uneven_use() -> None:
    expected = math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    torch.testing.assert_close(vq.perplexity(torch.tensor([3.0, 1.0])), torch.tensor(expected))
