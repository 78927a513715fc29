"""The label enters both nets as its code and changes what is decoded; row B8's layers are the row's."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import loops
from latentscape import models, recipes
from latentscape.config import DataShape
from latentscape.contract import Batch
from latentscape.errors import AbilityError, ConfigError
from latentscape.models import conditional_autoencoder
from latentscape.tasks import overrides

POINT, IMAGE = (2,), (1, 8, 8)


def made(shape: tuple[int, ...] = POINT, classes: int = 2, **settings: Any) -> conditional_autoencoder.Model:
    small = {"net": "mlp", "hidden": (5, 7), "latent_dim": 1, **settings}
    model = loops.make("conditional_autoencoder", shape, classes=classes, **small)
    assert isinstance(model, conditional_autoencoder.Model)
    return model


def from_recipe(name: str) -> Any:
    recipe = recipes.read(name)
    given = overrides.sort(recipe["model"], recipe["settings"])
    config = overrides.model_settings(recipe["model"], given.model)
    return models.build(recipe["model"], DataShape(POINT), config, classes=2)


def layers(net: nn.Module) -> list[int]:
    """Sizes from input to output."""
    linear = [m for m in net.modules() if isinstance(m, nn.Linear)]
    assert all(a.out_features == b.in_features for a, b in itertools.pairwise(linear))
    return [linear[0].in_features, *(m.out_features for m in linear)]


def by_hand(net: nn.Module, h_BF: Tensor) -> Tensor:
    """Linear layers with ReLU between them."""
    *hidden, last = [m for m in net.modules() if isinstance(m, nn.Linear)]
    for layer in hidden:
        h_BF = (h_BF @ layer.weight.T + layer.bias).clamp_min(0)
    return h_BF @ last.weight.T + last.bias


@pytest.mark.parametrize(
    ("recipe", "encoder", "decoder"),
    [
        ("curves-conditional-course", [3, 32, 64, 1], [2, 64, 32, 2]),
        ("curves-unconditional-course", [2, 32, 64, 1], [1, 64, 32, 2]),
    ],
)
def test_layers_of_the_course_are_the_row_s(recipe: str, encoder: list[int], decoder: list[int]) -> None:
    model = from_recipe(recipe)
    assert layers(model.encoder) == encoder
    assert layers(model.decoder) == decoder
    slopes = {m.negative_slope for m in model.modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.2}
    assert sum(isinstance(m, nn.LeakyReLU) for m in model.modules()) == 4
    assert model.loss == "mse"


@pytest.mark.parametrize("which", ["", "-course"])
def test_the_twins_differ_by_the_label_only(which: str) -> None:
    ours, twin = (recipes.read(f"curves-{kind}{which}") for kind in ("conditional", "unconditional"))
    assert ours["settings"] == twin["settings"]
    assert (ours["model"], twin["model"]) == ("conditional-autoencoder", "autoencoder")
    assert ours["data"] == twin["data"] == "curves"


def test_two_classes_are_one_number_and_three_are_one_hot() -> None:
    two, three = made(classes=2), made(classes=3)
    assert (layers(two.encoder)[0], layers(two.decoder)[0]) == (3, 2)
    assert (layers(three.encoder)[0], layers(three.decoder)[0]) == (5, 4)
    assert layers(made(classes=2, label_code="one-hot").encoder)[0] == 4
    assert layers(made(classes=3, label_code="number").encoder)[0] == 3


@pytest.mark.parametrize(("classes", "codes"), [(2, [[0.0], [1.0]]), (3, [[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])])
def test_the_loss_is_the_squared_error_given_the_label(classes: int, codes: list[list[float]]) -> None:
    model = made(classes=classes).train()
    x_BX, y_B = loops.examples(model, 6), torch.arange(6) % classes
    c_BK = torch.tensor(codes)[y_B]
    z_BL = by_hand(model.encoder, torch.cat([x_BX, c_BK], 1))
    xhat_BX = by_hand(model.decoder, torch.cat([z_BL, c_BK], 1))
    losses = model("reconstruct", Batch(x_BX, y_B), {})
    torch.testing.assert_close(losses.total, (xhat_BX - x_BX).square().mean())
    torch.testing.assert_close(losses.terms["recon_mse"], losses.total)
    model.eval()
    torch.testing.assert_close(model.encode(x_BX, y_B), z_BL)
    torch.testing.assert_close(model.reconstruct(x_BX, y_B), xhat_BX)


def test_an_image_s_label_enters_as_constant_channels() -> None:
    model = made(IMAGE, classes=3, net="conv", width=4).eval()
    seen: list[Tensor] = []
    first = next(m for m in model.encoder.modules() if isinstance(m, nn.Conv2d))
    first.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    x_BX, y_B = loops.examples(model, 3), torch.tensor([0, 1, 2])
    with torch.no_grad():
        model.encode(x_BX, y_B)
    assert torch.equal(seen[0][:, :1], x_BX)
    assert torch.equal(seen[0][:, 1:], torch.eye(3)[:, :, None, None].expand(3, 3, 8, 8))


def test_the_label_changes_the_code_and_what_is_decoded() -> None:
    model = made().eval()
    x_BX, zeros, ones = loops.examples(model, 4), torch.zeros(4, dtype=torch.long), torch.ones(4, dtype=torch.long)
    with torch.no_grad():
        assert (model.encode(x_BX, zeros) - model.encode(x_BX, ones)).abs().min() > 1e-5
        z_BL = torch.linspace(-1, 1, 4)[:, None]
        assert (model.decode(z_BL, zeros) - model.decode(z_BL, ones)).abs().amax(1).min() > 1e-5


def test_missing_labels_are_told_in_a_sentence() -> None:
    model = made().eval()
    with pytest.raises(AbilityError, match="needs a label for each example"):
        model.encode(torch.zeros(1, 2))
    with pytest.raises(AbilityError, match="needs a label for each example"):
        model.decode(torch.zeros(1, 1))
    with pytest.raises(AbilityError, match="needs a label for each example"):
        model("reconstruct", Batch(torch.zeros(1, 2)), {})


def test_data_without_labels_are_refused() -> None:
    with pytest.raises(ConfigError, match="trained with labels and the data has none"):
        made(classes=0)
