from __future__ import annotations

import numpy as np
import pytest
import torch

from latentscape import models
from latentscape.config import DataShape
from latentscape.errors import ConfigError


def planted(n=3000, d=20, k=3, seed=0, noise=0.05):
    """n vectors with three strong directions, and those directions (d×k, orthonormal)."""
    rng = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(d, k, generator=rng)).Q
    z = torch.randn(n, k, generator=rng) * torch.tensor([5.0, 3.0, 2.0])
    return 4.0 + z @ basis.T + noise * torch.randn(n, d, generator=rng), basis


def fitted(x, batch=700, **settings):
    model = models.build("pca", DataShape((x.shape[1],)), models.model_class("pca").Config(**settings))
    figures = model.fit(lambda: x.split(batch), lambda text: None)
    return model.eval(), figures


def angles(a, b):
    """Cosines of the principal angles between two subspaces."""
    return torch.linalg.svdvals(a.T @ b)


def test_it_recovers_a_planted_subspace_and_its_variances():
    x, basis = planted()
    model, figures = fitted(x, variance=0.99)
    assert figures["components"] == 3
    assert angles(model.components, basis).min() > 0.9999
    assert model.variances.tolist() == pytest.approx([25, 9, 4], rel=0.08)
    assert (model.components.T @ model.components - torch.eye(3)).abs().max() < 1e-5


def test_the_reconstruction_is_that_of_numpys_svd():
    x, _ = planted(n=200, d=12)
    model, _ = fitted(x, latent_dim=5)
    centred = (x - x.mean(0)).double().numpy()
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    expected = (u[:, :5] * s[:5]) @ vt[:5] + x.mean(0).numpy()
    assert np.abs(model.reconstruct(x).numpy() - expected).max() < 1e-4


@pytest.mark.parametrize("share", [0.5, 0.65, 0.9, 0.99, 1.0])
def test_it_keeps_the_fewest_components_that_explain_the_share(share):
    x, _ = planted(d=8)
    model, figures = fitted(x, variance=share)
    cumulated = (model.spectrum.double() / model.spectrum.double().sum()).cumsum(0)
    k = model.latent_dim
    assert cumulated[k - 1] >= share - 1e-6
    assert k == 1 or cumulated[k - 2] < share
    assert figures["explained_variance"] == pytest.approx(cumulated[k - 1].item(), abs=1e-5)
    assert figures["compression_numbers"] == k / 8


def test_the_randomised_directions_agree_with_the_exact_ones(monkeypatch):
    x, _ = planted(d=60)
    exact, _ = fitted(x, variance=0.95)
    monkeypatch.setattr(models.importlib.import_module("latentscape.models.pca"), "EXACT_UP_TO", 10)
    for settings in ({"variance": 0.95}, {"latent_dim": 3}):
        rough, _ = fitted(x, **settings)
        assert rough.latent_dim == exact.latent_dim == 3
        assert (rough.components - exact.components).abs().max() < 1e-3
        assert rough.variances.tolist() == pytest.approx(exact.variances.tolist(), rel=1e-3)


def test_more_components_than_the_first_try_are_taken_when_the_share_asks_for_them(monkeypatch):
    x = torch.randn(400, 150, generator=torch.Generator().manual_seed(0))
    exact, _ = fitted(x, variance=0.9)
    monkeypatch.setattr(models.importlib.import_module("latentscape.models.pca"), "EXACT_UP_TO", 10)
    rough, _ = fitted(x, variance=0.9)
    assert exact.latent_dim > 64
    assert abs(rough.latent_dim - exact.latent_dim) <= 1


def test_samples_have_the_training_latents_variances():
    model, _ = fitted(planted()[0], variance=0.99)
    z = model.prior(20_000, torch.Generator().manual_seed(0))
    assert z.var(0).tolist() == pytest.approx(model.variances.tolist(), rel=0.05)


def test_constant_data_and_too_many_components():
    model, _ = fitted(torch.full((10, 4), 0.5))
    assert torch.allclose(model.reconstruct(torch.full((2, 4), 0.5)), torch.full((2, 4), 0.5))
    with pytest.raises(ConfigError, match="at most 4"):
        fitted(torch.rand(10, 4), latent_dim=5)
