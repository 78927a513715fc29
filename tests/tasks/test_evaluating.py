"""What is measured on each image by itself, and what is made of it."""

from __future__ import annotations

import pytest
import torch

import loops
from latentscape.data import DataSettings, ImageSet, load_data
from latentscape.tasks import evaluating


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_data("digits", DataSettings(limit=400))


def test_values_per_image_stand_in_the_split_s_order_and_their_means_are_the_metrics(digits: ImageSet) -> None:
    model = loops.ready("vae", (1, 8, 8))
    found = evaluating.per_image(model, digits, "test")
    metrics, n = evaluating.evaluate_model(model, digits, "test")
    assert set(found) == {"mse", "psnr_db", "bce", "ssim", "kl_nats", "elbo_nats"}
    for name, of_N in found.items():
        assert of_N.shape == (n,)
        assert of_N.dtype == torch.float64
        assert float(of_N.mean()) == pytest.approx(metrics[name], rel=1e-9)
    with torch.no_grad():
        x_NX = digits.examples(digits.indices("test"), "unit")
        alone = (model.reconstruct(x_NX[7:8]) - x_NX[7:8]).square().mean()
    assert float(found["mse"][7]) == pytest.approx(float(alone), rel=1e-4)
    assert all(
        torch.equal(a, b) for a, b in zip(found.values(), evaluating.per_image(model, digits).values(), strict=True)
    )
