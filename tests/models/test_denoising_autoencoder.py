"""The input is corrupted as the settings say, the target is clean, and nothing is corrupted outside training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import loops
from latentscape.contract import Batch, Draws
from latentscape.errors import ConfigError
from latentscape.models import denoising_autoencoder

IMAGE = (1, 9, 12)


def made(shape: tuple[int, ...] = IMAGE, **settings: Any) -> denoising_autoencoder.Model:
    return loops.make("denoising_autoencoder", shape, **{"net": "mlp", "hidden": (6,), "latent_dim": 3, **settings})


def drawn(model: denoising_autoencoder.Model, n: int = 50) -> tuple[Tensor, Draws]:
    x_BX = loops.examples(model, n)
    return x_BX, model.draw("reconstruct", Batch(x_BX), torch.Generator().manual_seed(1))


def test_gaussian_noise_is_added_and_not_clipped() -> None:
    model = made(noise_std=0.3)
    x_BX, draws = drawn(model)
    noisy = model.corrupt(x_BX, draws)
    torch.testing.assert_close(noisy - x_BX, 0.3 * draws["eps"])
    assert noisy.min() < -0.3
    assert float((noisy - x_BX).std()) == pytest.approx(0.3, rel=0.03)


def test_salt_and_pepper_set_their_share_to_the_ends() -> None:
    model = made(noise="salt-and-pepper", noise_amount=0.4)
    x_BX, draws = drawn(model)
    noisy = model.corrupt(x_BX, draws)
    assert float((noisy != x_BX).float().mean()) == pytest.approx(0.4, abs=0.02)
    assert set(noisy[noisy != x_BX].tolist()) == {0.0, 1.0}


def test_dropped_values_are_blank() -> None:
    model = made((5,), noise="drop", noise_amount=0.25)
    x_BX, draws = drawn(model, 2000)
    noisy = model.corrupt(x_BX, draws)
    assert float((noisy == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert torch.equal(noisy[noisy != 0], x_BX[noisy != 0])


@pytest.mark.parametrize(("side", "pixels"), [(0, 9), (5, 25), (20, 108)])
def test_a_square_of_the_asked_side_is_blank(side: int, pixels: int) -> None:
    model = made(noise="square", square_side=side)
    x_BX, draws = drawn(model)
    assert ((model.corrupt(x_BX, draws) == 0).flatten(1).sum(1) == pixels).all()


def test_the_loss_is_of_the_clean_example() -> None:
    model = made(loss="mse").train()
    x_BX, draws = drawn(model)
    losses = model("reconstruct", Batch(x_BX), draws)
    xhat_BX = model.decoder(model.encoder(x_BX + 0.3 * draws["eps"]))
    torch.testing.assert_close(losses.total, (xhat_BX - x_BX).square().mean())


def test_reconstructing_corrupts_nothing() -> None:
    model = made().eval()
    x_BX, _ = drawn(model)
    with torch.no_grad():
        torch.testing.assert_close(model.reconstruct(x_BX), model.decoder(model.encoder(x_BX)))


def test_vectors_have_no_squares() -> None:
    with pytest.raises(ConfigError, match="needs images"):
        made((5,), noise="square")
