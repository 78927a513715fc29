from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.models.test_pca import angles, fitted, planted

import latentscape
from latentscape import models
from latentscape.config import DataShape
from latentscape.contract import Batch
from latentscape.errors import ConfigError


def build(dims=(1, 8, 8), **settings):
    config = models.model_class("autoencoder").Config(latent_dim=3, **settings)
    return models.build("autoencoder", DataShape(dims), config).eval()


@pytest.mark.parametrize("net", ["mlp", "conv"])
def test_losses_are_means_over_pixels_and_terms_nats_per_image(net):
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model = build(net=net, loss="bce")
    losses = model("reconstruct", Batch(x), {})
    assert losses.total.item() == pytest.approx(F.binary_cross_entropy(model.reconstruct(x), x).item(), rel=1e-5)
    assert losses.terms["recon_nats_per_image"].item() == pytest.approx(64 * losses.total.item(), rel=1e-5)
    model = build(net=net, loss="mse")
    losses = model("reconstruct", Batch(x), {})
    assert losses.total.item() == pytest.approx(F.mse_loss(model.reconstruct(x), x).item(), rel=1e-5)


def test_defaults_are_the_specs_rows():
    config = models.model_class("autoencoder").Config()
    model = models.model_class("autoencoder")
    assert model.training_defaults(DataShape((1, 28, 28)), config) == {"learning_rate": 1e-4}
    assert model.training_defaults(DataShape((5,)), config) == {"learning_rate": 1e-3}
    assert (build().loss, build(net="mlp").loss, build((5,)).loss) == ("bce", "mse", "mse")


def test_a_cross_entropy_needs_images():
    with pytest.raises(ConfigError, match="vectors need"):
        build((5,), loss="bce")


@pytest.mark.slow
def test_a_one_layer_linear_autoencoder_reaches_pcas_error_and_subspace(tmp_path):
    x, _ = planted(n=2000, d=20, noise=0.5)
    pca, _ = fitted(x, latent_dim=3)
    best = (pca.reconstruct(x) - x).square().mean().item()
    settings = {"hidden": (), "latent_dim": 3, "loss": "mse", "learning_rate": 3e-2, "schedule": "cosine"}
    data = latentscape.DataSettings(valid_fraction=0, test_fraction=0)
    images = latentscape.load_data(x.numpy(), data)
    run = latentscape.train(
        "autoencoder", images, out=tmp_path / "run", finish=False, epochs=1500, batch_size=500, **settings
    )
    with torch.no_grad():
        error = (run.model.reconstruct(x) - x).square().mean().item()
    assert error < 1.01 * best
    decoder = run.model.decoder[0].weight.detach()
    assert angles(torch.linalg.qr(decoder).Q, pca.components).min() > 0.999
