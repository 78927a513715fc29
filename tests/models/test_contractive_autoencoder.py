from __future__ import annotations

from typing import Any

import pytest
import torch

import loops
from latentscape.contract import Batch
from latentscape.models import contractive_autoencoder


def made(shape: tuple[int, ...], **settings: Any) -> contractive_autoencoder.Model:
    return loops.make("contractive_autoencoder", shape, **{"latent_dim": 3, "contraction": 0.5, **settings}).train()


def true_norm(model: contractive_autoencoder.Model, x_BX: torch.Tensor) -> torch.Tensor:
    """Mean over examples of ‖∂z/∂x‖²_F from autograd's full Jacobian."""
    jacobians = [torch.autograd.functional.jacobian(lambda x: model.encode(x[None])[0], x) for x in x_BX]
    return torch.stack([j.square().sum() for j in jacobians]).mean()


@pytest.mark.parametrize("code", ["sigmoid", "tanh", "linear"])
@pytest.mark.parametrize("shape", [(5,), (2, 4, 3)])
def test_one_layer_penalty_is_autograd_s_jacobian(shape: tuple[int, ...], code: str) -> None:
    model = made(shape, net="mlp", hidden=(), code=code)
    assert model.one_layer
    assert not model.phases[0].double_backward
    x_BX = loops.examples(model, 6)
    losses = model("reconstruct", Batch(x_BX), model.draw("reconstruct", Batch(x_BX), torch.Generator()))
    torch.testing.assert_close(losses.terms["jacobian_norm"], true_norm(model, x_BX), rtol=1e-5, atol=1e-5)
    recon = model.reconstruction(model.decoder(model.encode(x_BX)), x_BX).total
    torch.testing.assert_close(losses.total, recon + 0.5 * losses.terms["jacobian_norm"])


@pytest.mark.parametrize("code", ["sigmoid", "linear"])
def test_deep_penalty_agrees_with_autograd_on_average(code: str) -> None:
    model = made((5,), net="mlp", hidden=(6,), code=code, probes=4000)
    assert model.phases[0].double_backward
    x_BX = loops.examples(model, 4)
    draws = model.draw("reconstruct", Batch(x_BX), torch.Generator().manual_seed(0))
    assert set(draws["signs"].unique().tolist()) == {-1.0, 1.0}
    found = float(model("reconstruct", Batch(x_BX), draws).terms["jacobian_norm"].detach())
    assert found == pytest.approx(float(true_norm(model, x_BX)), rel=0.05)


def test_training_contracts() -> None:
    """With the penalty the Jacobian ends smaller than without, at the same steps."""
    norms = {}
    for weight in (0.0, 0.5):
        model = made((1, 4, 4), net="mlp", hidden=(8,), contraction=weight, probes=2)
        x_BX, rng = loops.examples(model, 32), torch.Generator().manual_seed(0)
        optimiser = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(60):
            optimiser.zero_grad()
            model("reconstruct", Batch(x_BX), model.draw("reconstruct", Batch(x_BX), rng)).total.backward()
            optimiser.step()
        norms[weight] = float(true_norm(model, x_BX))
    assert norms[0.5] < 0.5 * norms[0.0]


def test_the_loss_is_there_without_gradients_too() -> None:
    """Held-out losses are taken under no_grad; the penalty needs a derivative all the same."""
    model = made((1, 8, 8)).eval()
    x_BX = loops.examples(model, 4)
    with torch.no_grad():
        losses = model("reconstruct", Batch(x_BX), model.draw("reconstruct", Batch(x_BX), torch.Generator()))
    assert float(losses.terms["jacobian_norm"].detach()) > 0
