"""Whole sets through a model in bf16: near float32, and float32 is left as it was."""

from __future__ import annotations

import pytest
import torch

from latentscape import models
from latentscape.config import DataShape
from latentscape.contract import Batch
from latentscape.errors import ConfigError
from latentscape.latents import encode
from latentscape.tasks.using import in_bf16


@pytest.mark.parametrize("net", ["mlp", "conv"])
def test_bf16_is_near_float32(net: str) -> None:
    config = models.model_class("vae").Config(net=net, latent_dim=4)
    model = models.build("vae", DataShape((1, 16, 16)), config, 0, 0).eval()
    rng = torch.Generator().manual_seed(0)
    x_NX, z_NL = torch.rand(70, 1, 16, 16, generator=rng), torch.randn(70, 4, generator=rng)
    batches = [Batch(part) for part in x_NX.split(32)]
    pictures, latents = encode.decode_all(model, z_NL, batch_size=32), encode.encode_all(model, batches)[0]
    rough, rough_z = encode.decode_all(model, z_NL, bf16=True), encode.encode_all(model, batches, bf16=True)[0]
    assert rough.dtype == rough_z.dtype == torch.float32
    assert rough.is_contiguous()
    assert not torch.equal(rough, pictures)
    assert torch.allclose(rough, pictures, atol=0.02)
    assert torch.allclose(rough_z, latents, atol=0.05)


def test_only_two_precisions_are_known() -> None:
    assert in_bf16("bf16")
    assert not in_bf16("float32")
    with pytest.raises(ConfigError, match="--precision must be float32 or bf16, got 'half'"):
        in_bf16("half")
