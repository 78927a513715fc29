from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

import loops
from latentscape import models
from latentscape.config import DataShape
from latentscape.contract import Batch
from latentscape.errors import AbilityError, ConfigError
from latentscape.models import conditional_vae

IMAGE = (1, 6, 5)


def made(**settings: Any) -> conditional_vae.Model:
    return loops.make("conditional_vae", IMAGE, **{"net": "mlp", "hidden": (7,), "latent_dim": 2, **settings}).train()


def test_loss_is_the_elbo_given_the_label() -> None:
    model = made(beta=1.5, reduction="sum")
    x_BX, y_B, eps_BL = loops.examples(model, 6), torch.arange(6) % 3, torch.randn(6, 2)
    mean_BL, log_var_BL = model.encoder(x_BX).chunk(2, 1)
    z_BL = mean_BL + (log_var_BL / 2).exp() * eps_BL
    one_hot = torch.nn.functional.one_hot(y_B, 3).float()
    logits = model.decoder.net(torch.cat([z_BL, one_hot], 1))
    recon = -Bernoulli(logits=logits, validate_args=False).log_prob(x_BX).flatten(1).sum(1).mean()
    kl = kl_divergence(Normal(mean_BL, (log_var_BL / 2).exp()), Normal(0.0, 1.0)).sum(1).mean()
    losses = model("elbo", Batch(x_BX, y_B), {"eps": eps_BL})
    torch.testing.assert_close(losses.total, recon + 1.5 * kl)


def test_the_label_changes_the_picture_and_not_the_code() -> None:
    model = made().eval()
    x_BX, zeros, ones = loops.examples(model, 4), torch.zeros(4, dtype=torch.long), torch.ones(4, dtype=torch.long)
    with torch.no_grad():
        assert torch.equal(model.encode(x_BX, zeros), model.encode(x_BX, ones))
        z_BL = model.encode(x_BX)
        assert (model.decode(z_BL, zeros) - model.decode(z_BL, ones)).abs().max() > 1e-4


def test_the_label_may_enter_the_encoder() -> None:
    model = made(label_encoder=True).eval()
    x_BX, y_B = loops.examples(model, 4), torch.zeros(4, dtype=torch.long)
    with torch.no_grad():
        assert not torch.equal(model.encode(x_BX, y_B), model.encode(x_BX, y_B + 1))
        with pytest.raises(AbilityError, match="needs a label"):
            model.encode(x_BX)


def test_it_asks_for_labels_in_a_sentence() -> None:
    with pytest.raises(AbilityError, match="needs a label"):
        made().eval().decode(torch.zeros(1, 2))
    with pytest.raises(ConfigError, match="trained with labels and the data has none"):
        models.build("conditional-vae", DataShape(IMAGE), conditional_vae.Config(), classes=0)


def test_the_default_rate_is_the_row_s() -> None:
    """Spec row B22: Adam 1e-2 with B9's nets."""
    chosen = conditional_vae.Model.training_defaults(DataShape((1, 28, 28)), conditional_vae.Config())
    assert chosen == {"learning_rate": 1e-2, "epochs": 5}
