from __future__ import annotations

import pytest
import torch

import loops
from latentscape.contract import Batch
from latentscape.numerics import mmd


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_loss_is_reconstruction_plus_the_weighted_discrepancy(kernel: str) -> None:
    model = loops.make("wae", (1, 6, 5), net="mlp", hidden=(7,), latent_dim=3, mmd_weight=6.0, kernel=kernel).train()
    x_BX = loops.examples(model, 9)
    draws = model.draw("reconstruct", Batch(x_BX), torch.Generator().manual_seed(0))
    z_BL = model.encode(x_BX)
    make = {"imq": mmd.inverse_multiquadratic, "rbf": mmd.radial_basis}[kernel]
    distance = mmd.mmd2(z_BL, draws["prior"], make(3))
    losses = model("reconstruct", Batch(x_BX), draws)
    torch.testing.assert_close(losses.terms["mmd2"], distance)
    torch.testing.assert_close(losses.total, (model.decode(z_BL) - x_BX).square().mean() + 6.0 / 30 * distance)


def test_training_brings_the_codes_to_the_prior() -> None:
    model = loops.make("wae", (4,), net="mlp", hidden=(8,), latent_dim=2, mmd_weight=100.0)
    rng = torch.Generator().manual_seed(0)
    x_BX = 3 + torch.rand(128, 4, generator=rng)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    first = last = torch.zeros(())
    for step in range(800):
        optimiser.zero_grad()
        losses = model("reconstruct", Batch(x_BX), model.draw("reconstruct", Batch(x_BX), rng))
        losses.total.backward()
        optimiser.step()
        first, last = (losses.terms["mmd2"].detach() if step == 0 else first), losses.terms["mmd2"].detach()
    z_BL = model.encode(x_BX).detach()
    assert float(last) < 0.2 * float(first)
    assert float(z_BL.mean(0).abs().max()) < 0.3
    assert (z_BL.std(0) - 1).abs().max() < 0.3
