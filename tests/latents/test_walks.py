"""Planes, quantiles, and how much a coordinate matters, against closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentscape.latents import walks
from latentscape.latents.importance import importance


def test_a_spanned_plane_reads_like_a_picture() -> None:
    origin, axes = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[1.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    z = walks.spanned(origin, axes, torch.tensor([0.0, 10.0]), torch.tensor([-1.0, 0.0, 1.0]))
    assert z.shape == (6, 3)
    assert z[0].tolist() == [1, 1, 3]  # the top left: least to the right, highest
    assert z[1].tolist() == [11, 1, 13]
    assert z[4].tolist() == [1, 3, 3]  # the bottom left


def test_coordinate_axes_leave_the_others_where_they_are() -> None:
    origin, axes = walks.coordinate_axes(torch.tensor([9.0, 8.0, 7.0]), (2, 0))
    assert origin.tolist() == [0, 8, 0]
    assert axes.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_normal_quantiles_cut_the_normal_into_equal_parts() -> None:
    z = walks.normal_quantiles(8)
    expected = torch.distributions.Normal(0.0, 1.0).cdf(z)
    torch.testing.assert_close(expected, (torch.arange(8) + 0.5) / 8, atol=1e-6, rtol=0)
    torch.testing.assert_close(z, -z.flip(0), atol=1e-6, rtol=0)


def test_principal_axes_are_those_that_were_planted() -> None:
    rng = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(4, 4, generator=rng)).Q
    std = torch.tensor([3.0, 1.0, 0.3, 0.1])
    z_NL = 5 + torch.randn(20_000, 4, generator=rng) * std @ basis.T
    axes_LL, share_L = walks.principal_axes(z_NL)
    assert float((axes_LL.float() @ basis).diagonal().abs().min()) > 0.999
    torch.testing.assert_close(share_L.float(), std.square() / std.square().sum(), atol=0.01, rtol=0)


def test_importance_of_a_linear_decoder_is_the_variance_that_it_explains() -> None:
    """x = A·z: (A eᵢ σᵢ)², mean over values, wherever it is measured."""
    rng = torch.Generator().manual_seed(0)
    A_DL, std_L, z_BL = (torch.randn(*s, generator=rng) for s in ((6, 3), (3,), (7, 3)))
    found = importance(lambda z: z @ A_DL.T + 4, z_BL, std_L.abs())
    expected = (A_DL.square().mean(0) * std_L.square()).double()
    torch.testing.assert_close(found.mean_L, expected, rtol=1e-4, atol=1e-6)
    assert float(found.error_L.max()) < 1e-5
    assert found.order() == expected.argsort(descending=True).tolist()


def test_importance_asks_the_decoder_and_not_the_spread() -> None:
    """A coordinate that varies widely and moves nothing is the last."""
    found = importance(lambda z: z[:, 1:], torch.zeros(4, 3), torch.tensor([100.0, 0.1, 0.2]))
    assert found.order() == [2, 1, 0]
    assert float(found.mean_L[0]) == 0


def test_importance_is_a_mean_over_the_base_latents_with_its_error() -> None:
    """x = z²: the change over one σ round z is 2zσ, so that its square depends on where it is measured."""
    z_BL = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    effects = (2 * z_BL[:, 0] * 0.5).square().double()
    found = importance(torch.square, z_BL, torch.tensor([0.5]))
    assert float(found.mean_L) == pytest.approx(float(effects.mean()))
    assert float(found.error_L) == pytest.approx(float(effects.std() / 2))
    assert float(importance(torch.square, z_BL[:1], torch.tensor([0.5])).error_L) == 0


def test_rows_of_the_decoded_batch_belong_to_their_base_latents() -> None:
    """Labels repeat twice: the first half are moved ahead, the second behind."""
    seen: list[Tensor] = []

    def decode(z: Tensor) -> Tensor:
        seen.append(z)
        return z

    importance(decode, torch.tensor([[1.0, 5.0], [2.0, 6.0]]), torch.tensor([2.0, 4.0]))
    assert seen[0].tolist() == [[2, 5], [3, 6], [0, 5], [1, 6]]
    assert seen[1].tolist() == [[1, 7], [2, 8], [1, 3], [2, 4]]
