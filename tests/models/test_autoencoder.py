"""The autoencoder's two losses and what they mean for its output."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import loops
from latentscape.config import DataShape
from latentscape.contract import Batch
from latentscape.models import autoencoder

IMAGE, VECTOR = (1, 8, 8), (4,)


def make(shape: tuple[int, ...], **settings: Any) -> autoencoder.Model:
    return loops.make("autoencoder", shape, **{"hidden": (7,), "width": 2, "latent_dim": 3, **settings}).eval()


@pytest.mark.parametrize(
    ("shape", "settings", "loss"),
    [
        (IMAGE, {}, "bce"),
        (IMAGE, {"net": "mlp"}, "mse"),
        (IMAGE, {"net": "mlp", "loss": "bce"}, "bce"),
        (IMAGE, {"loss": "mse"}, "mse"),
        (VECTOR, {}, "mse"),
    ],
)
def test_auto_is_cross_entropy_for_conv_nets_and_squared_error_else(
    shape: tuple[int, ...], settings: dict[str, Any], loss: str
) -> None:
    model = make(shape, **settings)
    assert model.loss == loss
    x_BX = torch.rand(5, *shape, generator=torch.Generator().manual_seed(0))
    losses = model("reconstruct", Batch(x_BX), {})
    xhat_BX = model.reconstruct(x_BX)
    if loss == "bce":
        torch.testing.assert_close(losses.total, F.binary_cross_entropy(xhat_BX, x_BX))
        torch.testing.assert_close(losses.terms["recon_nats_per_image"], losses.total * x_BX[0].numel())
        assert xhat_BX.min() >= 0
        assert xhat_BX.max() <= 1
    else:
        torch.testing.assert_close(losses.total, F.mse_loss(xhat_BX, x_BX))
        torch.testing.assert_close(losses.terms["recon_mse"], losses.total)
        torch.testing.assert_close(xhat_BX, model.decoder(model.encoder(x_BX)))


def test_learning_rates_are_the_specification_s() -> None:
    image, defaults = DataShape((1, 28, 28)), autoencoder.Model.training_defaults
    assert defaults(image, autoencoder.Config()) == {"learning_rate": 1e-4}
    assert defaults(image, autoencoder.Config(net="mlp")) == {"learning_rate": 1e-3}
    assert defaults(DataShape((2,)), autoencoder.Config()) == {"learning_rate": 1e-3}


def test_gradient_steps_lower_the_error() -> None:
    model = make(IMAGE, net="mlp", hidden=(32,))
    batch = Batch(torch.rand(16, *IMAGE, generator=torch.Generator().manual_seed(0)))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    totals = []
    for _ in range(60):
        loss = model("reconstruct", batch, {}).total
        totals.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert totals[-1] < 0.4 * totals[0]
