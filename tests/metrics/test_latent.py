from __future__ import annotations

import pytest
import torch

from latentscape import models
from latentscape.config import DataShape
from latentscape.contract import Posterior
from latentscape.metrics import latent


def test_knn_reads_separated_clusters_and_guesses_on_shuffled_labels():
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 3
    z = 10 * torch.nn.functional.one_hot(y).float() + torch.randn(300, 3, generator=rng)
    assert latent.knn_accuracy(z[:200], y[:200], z[200:], y[200:]) == 1.0
    mixed = y[torch.randperm(300, generator=rng)]
    assert latent.knn_accuracy(z[:200], mixed[:200], z[200:], mixed[200:]) < 0.6


def test_knn_with_fewer_examples_than_neighbours():
    z = torch.tensor([[0.0], [1.0], [9.0]])
    y = torch.tensor([0, 0, 1])
    assert latent.knn_accuracy(z, y, z[:2], y[:2]) == 1.0


def test_active_units_counts_dimensions_that_follow_the_image():
    rng = torch.Generator().manual_seed(0)
    mean = torch.randn(1000, 4, generator=rng) * torch.tensor([1.0, 0.2, 0.05, 0.0])
    assert latent.active_units(mean) == 2  # variances 1, 0.04, 0.0025, 0


def vae(mean: float, log_var: float):
    model = models.build("vae", DataShape((1, 4, 4)), models.model_class("vae").Config(net="mlp", latent_dim=2)).eval()
    model.posterior = lambda x, y=None: Posterior(torch.full((len(x), 2), mean), torch.full((len(x), 2), log_var))
    return model


def test_kl_is_summed_over_dimensions():
    assert latent.kl_nats(vae(2.0, 0.0), torch.zeros(3, 1, 4, 4), None).tolist() == [4.0, 4.0, 4.0]


def test_elbo_is_likelihood_minus_kl():
    model, x = vae(1.0, -60.0), torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    z = torch.ones(5, 2)  # σ → 0: the sample is the mean
    expected = model.log_likelihood(x, z) - latent.kl_nats(model, x, None)
    got = latent.elbo_nats(model, x, None, torch.Generator().manual_seed(0))
    assert got.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
