from __future__ import annotations

import pytest
import torch

from latentscape.latents import encode, priors, walks


def planted(n=20_000):
    rng = torch.Generator().manual_seed(0)
    factor = torch.tensor([[1.0, 0.0, 0.0], [0.5, 2.0, 0.0], [-0.3, 0.2, 0.5]])
    return torch.tensor([1.0, -2.0, 3.0]) + torch.randn(n, 3, generator=rng) @ factor.T, factor


def test_a_full_gaussian_recovers_mean_and_covariance():
    z, factor = planted()
    fitted = priors.fit_gaussian(z)
    assert fitted.mean_L.tolist() == pytest.approx([1.0, -2.0, 3.0], abs=0.05)
    assert (fitted.factor_LL @ fitted.factor_LL.T - factor @ factor.T).abs().max() < 0.1
    drawn = fitted.sample(20_000, torch.Generator().manual_seed(1))
    assert (drawn.T.cov() - z.T.cov()).abs().max() < 0.15


def test_a_diagonal_gaussian_keeps_variances_and_drops_covariances():
    z, _ = planted()
    fitted = priors.fit_gaussian(z, diagonal=True)
    assert (fitted.factor_LL.diagonal() - z.std(0)).abs().max() < 1e-2
    assert fitted.factor_LL.tril(-1).abs().max() == 0


def test_dead_dimensions_can_be_fitted():
    z = torch.zeros(50, 3)
    z[:, 0] = torch.linspace(-1, 1, 50)
    assert priors.fit_gaussian(z).sample(4, torch.Generator().manual_seed(0)).isfinite().all()


def test_the_lattice_reads_like_a_picture():
    z = walks.lattice(torch.tensor([7.0, 8.0, 9.0]), (0, 2), -1.0, 1.0, 3)
    assert z[0].tolist() == [-1.0, 8.0, 1.0]  # top left: first coordinate low, second high
    assert z[2].tolist() == [1.0, 8.0, 1.0]
    assert z[6].tolist() == [-1.0, 8.0, -1.0]


def test_the_plane_of_many_dimensions_is_the_two_largest_axes():
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(500, 4, generator=rng) * torch.tensor([0.1, 3.0, 0.2, 1.0])
    top, first, _ = walks.plane(z)
    assert abs(torch.corrcoef(torch.stack([top[:, 0], z[:, 1]]))[0, 1]) > 0.99
    assert abs(torch.corrcoef(torch.stack([top[:, 1], z[:, 3]]))[0, 1]) > 0.99
    assert "90%" in first or "89%" in first
    two = torch.randn(5, 2, generator=rng)
    assert walks.plane(two)[0] is two
    assert walks.plane(two[:, :1])[0].shape == (5, 2)


class Halves:
    """Encodes to the first half of a vector, decodes by doubling; remembers the batch sizes it saw."""

    def __init__(self):
        self.seen: list[int] = []

    def encode(self, x, y=None):
        self.seen.append(len(x))
        return x[:, :2]

    def decode(self, z, y=None):
        self.seen.append(len(z))
        return torch.cat([z, z if y is None else z + y[:, None]], 1)

    def state_dict(self):
        return {"w": torch.zeros(1)}


def test_sets_go_through_in_batches_with_their_labels():
    from types import SimpleNamespace

    x, y = torch.arange(28.0).view(7, 4), torch.arange(7)
    parts = [SimpleNamespace(x=x[i : i + 3], y=y[i : i + 3]) for i in (0, 3, 6)]
    z, labels = encode.encode_all(Halves(), parts)
    assert torch.equal(z, x[:, :2])
    assert torch.equal(labels, y)
    model = Halves()
    out = encode.decode_all(model, z, y, batch_size=4)
    assert model.seen == [4, 3]
    assert torch.equal(out[:, 2:], z + y[:, None])
