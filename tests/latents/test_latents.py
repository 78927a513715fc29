"""Fitted priors, lattices and planes, whole sets through a model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import loops
from latentscape.data.batches import Gatherer, in_order
from latentscape.latents import encode, priors, walks


def planted(n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """n draws of a Gaussian with a known mean and covariance."""
    mean = torch.tensor([1.0, -2.0, 0.5])
    factor = torch.tensor([[2.0, 0.0, 0.0], [1.0, 0.5, 0.0], [-0.3, 0.2, 0.1]])
    z_NL = mean + torch.randn(n, 3, generator=torch.Generator().manual_seed(seed)) @ factor.T
    return z_NL, mean, factor @ factor.T


def test_a_full_gaussian_recovers_mean_and_covariance() -> None:
    z_NL, mean, covariance = planted(200_000)
    fitted = priors.fit_gaussian(z_NL)
    torch.testing.assert_close(fitted.mean_L, mean, atol=0.02, rtol=0)
    torch.testing.assert_close(fitted.factor_LL @ fitted.factor_LL.T, covariance, atol=0.03, rtol=0.02)
    assert torch.equal(fitted.factor_LL, fitted.factor_LL.tril())


def test_it_is_the_maximum_likelihood_fit() -> None:
    z_NL, _, _ = planted(50)
    fitted = priors.fit_gaussian(z_NL)
    expected = torch.cov(z_NL.T, correction=0)
    torch.testing.assert_close(fitted.mean_L, z_NL.mean(0))
    torch.testing.assert_close(fitted.factor_LL @ fitted.factor_LL.T, expected, atol=1e-4, rtol=1e-4)


def test_a_diagonal_gaussian_forgets_correlations() -> None:
    z_NL, _, _ = planted(50)
    fitted = priors.fit_gaussian(z_NL, diagonal=True)
    torch.testing.assert_close(fitted.factor_LL, z_NL.std(0, unbiased=False).diag())


@pytest.mark.parametrize("diagonal", [False, True])
def test_samples_follow_what_was_fitted_and_the_seed(diagonal: bool) -> None:
    z_NL, mean, covariance = planted(5000)
    fitted = priors.fit_gaussian(z_NL, diagonal=diagonal)
    drawn, again, other = (fitted.sample(100_000, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(drawn, again)
    assert not torch.equal(drawn, other)
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.1, rtol=0)
    wanted = covariance.diag().diag() if diagonal else covariance
    torch.testing.assert_close(torch.cov(drawn.T), wanted, atol=0.15, rtol=0.05)


def test_dead_dimensions_and_few_examples_do_not_break_the_fit() -> None:
    z_NL = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    z_NL[:, 2] = 7.0
    drawn = priors.fit_gaussian(z_NL).sample(1000, torch.Generator().manual_seed(0))
    assert torch.isfinite(drawn).all()
    torch.testing.assert_close(drawn[:, 2], torch.full((1000,), 7.0), atol=0.02, rtol=0)
    constant = priors.fit_gaussian(torch.ones(3, 2)).sample(5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(constant, torch.ones(5, 2), atol=1e-3, rtol=0)


def test_a_lattice_reads_like_a_picture() -> None:
    """First coordinate to the right, second upwards: the top left is (low, high)."""
    z = walks.lattice(torch.tensor([9.0, 8.0, 7.0]), (2, 0), -1.0, 1.0, 3)
    assert z.shape == (9, 3)
    assert z[:, 2].tolist() == [-1, 0, 1] * 3
    assert z[:, 0].tolist() == [1, 1, 1, 0, 0, 0, -1, -1, -1]
    assert z[:, 1].tolist() == [8.0] * 9


def test_a_plane_is_the_latents_themselves_where_there_are_two() -> None:
    z_N2 = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(walks.plane(z_N2)[0], z_N2)
    assert walks.plane(z_N2)[1:] == ("z1", "z2")
    flat, x, y = walks.plane(z_N2[:, :1])
    assert torch.equal(flat, torch.stack([z_N2[:, 0], torch.zeros(20)], 1))
    assert (x, y) == ("z1", "")


def test_a_plane_of_many_latents_is_that_of_most_variance() -> None:
    rng = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(5, 5, generator=rng)).Q
    scale = torch.tensor([3.0, 2.0, 0.1, 0.1, 0.1])
    g_NL = torch.linalg.qr(torch.randn(500, 5, generator=rng) - 0.0).Q * 500**0.5
    z_NL = 4.0 + (g_NL * scale) @ basis.T
    plane, x, y = walks.plane(z_NL)
    assert plane.shape == (500, 2)
    torch.testing.assert_close(plane.mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.cov(plane.T, correction=0), torch.diag(torch.tensor([9.0, 4.0])), atol=0.2, rtol=0)
    assert x.startswith("first principal axis (69% of variance)")
    assert y == "second (31%)"


def test_constant_latents_have_a_plane() -> None:
    plane, _, _ = walks.plane(torch.ones(10, 4))
    assert torch.isfinite(plane).all()


def test_whole_sets_are_encoded_and_decoded_in_order() -> None:
    model = loops.ready("vae", (1, 8, 8), latent_dim=3, net="mlp", hidden=(8,))
    data = loops.small_set((1, 8, 8))
    source = Gatherer(data, "train", model.value_range, "cpu")
    z_NL, y_N = encode.encode_all(model, in_order(source, 7))
    everything = data.examples(data.indices("train"), "unit")
    with torch.no_grad():
        torch.testing.assert_close(z_NL, model.encode(everything))
        torch.testing.assert_close(encode.decode_all(model, z_NL, batch_size=5), model.decode(z_NL))
    assert torch.equal(y_N, data.labels[:32])
    assert not z_NL.requires_grad


class Halves:
    """Encodes to the first half of a vector, decodes by doubling; remembers the batch sizes that it saw."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        self.seen.append(len(x_BX))
        return x_BX[:, :2]

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        self.seen.append(len(z_BL))
        return torch.cat([z_BL, z_BL if y_B is None else z_BL + y_B[:, None]], 1)

    def state_dict(self) -> dict[str, Tensor]:
        return {"w": torch.zeros(1)}


def test_labels_go_with_their_latents_in_batches_of_the_asked_size() -> None:
    model, z_NL, y_N = Halves(), torch.arange(14.0).view(7, 2), torch.arange(7)
    x_NX = encode.decode_all(model, z_NL, y_N, batch_size=4)
    assert model.seen == [4, 3]
    assert torch.equal(x_NX[:, 2:], z_NL + y_N[:, None])
