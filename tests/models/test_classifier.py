"""The classifier: which examples its loss counts, how it moves images, what its features are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

import loops
from latentscape.config import DataShape
from latentscape.contract import Batch
from latentscape.errors import ConfigError
from latentscape.models import classifier

IMAGE, VECTOR = (1, 8, 8), (4,)


def make(shape: tuple[int, ...], **settings: Any) -> classifier.Model:
    model = loops.make("classifier", shape, **{"hidden": (7, 6), "width": 4, **settings})
    assert isinstance(model, classifier.Model)
    return model


def pixels(n: int, shape: tuple[int, ...] = IMAGE, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [IMAGE, VECTOR])
def test_the_loss_is_the_cross_entropy_of_the_labelled_examples(shape: tuple[int, ...]) -> None:
    model = make(shape).eval()
    x_BX, y_B = pixels(6, shape), torch.tensor([0, -1, 2, 1, -1, 0])
    losses = model("classify", Batch(x_BX, y_B), {})
    known, logits_BK = y_B >= 0, model.classify(x_BX)
    torch.testing.assert_close(losses.total, F.cross_entropy(logits_BK[known], y_B[known]))
    torch.testing.assert_close(losses.terms["cross_entropy_nats"], losses.total)
    wrong = (logits_BK[known].argmax(1) != y_B[known]).float().mean()
    torch.testing.assert_close(losses.terms["error_rate"], wrong)


def test_a_batch_without_labels_costs_nothing_and_moves_nothing() -> None:
    model = make(IMAGE).train()
    losses = model("classify", Batch(pixels(4), torch.full((4,), -1)), {})
    losses.total.backward()
    assert losses.total.item() == float(losses.terms["error_rate"]) == 0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


@pytest.mark.parametrize(("shape", "settings"), [(IMAGE, {}), (IMAGE, {"net": "mlp"}), (VECTOR, {})])
def test_features_are_what_the_last_layer_reads(shape: tuple[int, ...], settings: dict[str, Any]) -> None:
    model = make(shape, **settings).eval()
    x_BX = pixels(5, shape)
    features_BF = model.features(x_BX)
    assert features_BF.shape == (5, 6 if settings or shape == VECTOR else classifier.FEATURES)
    torch.testing.assert_close(model.classify(x_BX), features_BF @ model.head.weight.T + model.head.bias)


def test_images_are_moved_as_drawn_in_training_only() -> None:
    model = make((2, 5, 6), shift=2)
    x_BCHW = pixels(3, (2, 5, 6))
    # Shares in [0, 1) stand for −2…2: 0 is −2, 0.5 is 0, 0.99 is 2.
    moved = model._moved(x_BCHW, torch.tensor([[0.5, 0.5], [0.99, 0.5], [0.5, 0.0]]))
    torch.testing.assert_close(moved[0], x_BCHW[0])
    torch.testing.assert_close(moved[1, :, 2:], x_BCHW[1, :, :-2])  # two down
    torch.testing.assert_close(moved[1, :, :2], x_BCHW[1, :, :1].expand(-1, 2, -1))  # the border is repeated
    torch.testing.assert_close(moved[2, :, :, :4], x_BCHW[2, :, :, 2:])  # two to the left
    batch = Batch(x_BCHW, torch.arange(3))
    one, other = {"shift": torch.full((3, 2), 0.5)}, {"shift": torch.full((3, 2), 0.99)}
    model.eval()
    assert torch.equal(model("classify", batch, one).total, model("classify", batch, other).total)
    model.train()
    assert not torch.equal(model("classify", batch, one).total, model("classify", batch, other).total)


def test_draws_reach_every_shift_equally_often() -> None:
    model = make((1, 16, 16), shift=2).train()
    draws = model.draw("classify", Batch(pixels(5000, (1, 16, 16))), torch.Generator().manual_seed(0))["shift"]
    counts = torch.bincount((draws * 5).long()[:, 0], minlength=5)
    assert len(counts) == 5
    assert (counts - 1000).abs().max() < 5 * 1000**0.5


@pytest.mark.parametrize("shape", [(1, 28, 28), (5,)])
def test_images_stay_in_place_by_default(shape: tuple[int, ...]) -> None:
    assert not make(shape).draw("classify", Batch(pixels(2, shape)), torch.Generator())


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 9), (1, 33, 20), (4, 130, 7)])
def test_any_picture_size_gives_as_many_features(shape: tuple[int, ...]) -> None:
    model = make(shape).eval()
    features_BF = model.features(pixels(2, shape))
    assert features_BF.shape == (2, model.head.in_features)
    assert torch.isfinite(features_BF).all()


def test_the_course_s_net_normalises_its_input() -> None:
    settings = {"net": "mlp", "hidden": (16, 32, 64), "input_mean": 0.1307, "input_std": 0.3081}
    model = make((1, 28, 28), **settings).eval()
    sizes = [(m.in_features, m.out_features) for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert sorted(sizes, reverse=True) == [(784, 16), (64, 3), (32, 64), (16, 32)]
    assert [m.num_features for m in model.modules() if isinstance(m, torch.nn.BatchNorm1d)] == [16, 32, 64]
    plain = make((1, 28, 28), net="mlp", hidden=(16, 32, 64)).eval()
    plain.load_state_dict(model.state_dict())
    x_BCHW = pixels(3, (1, 28, 28))
    torch.testing.assert_close(model.classify(x_BCHW), plain.classify((x_BCHW - 0.1307) / 0.3081))


@pytest.mark.parametrize(
    ("shape", "settings", "says"),
    [
        (VECTOR, {"net": "conv"}, "--net conv needs images"),
        (VECTOR, {"shift": 1}, "--shift moves images"),
        (IMAGE, {"shift": 8}, "--shift must be less than the 8 pixels"),
    ],
)
def test_impossible_settings_are_refused(shape: tuple[int, ...], settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make(shape, **settings)


def test_data_without_labels_are_refused() -> None:
    with pytest.raises(ConfigError, match="trained with labels and the data has none"):
        loops.make("classifier", IMAGE, classes=0)


def test_training_defaults_end_at_a_rate_near_zero() -> None:
    conv = classifier.Model.training_defaults(DataShape((1, 28, 28)), classifier.Config())
    assert conv == {"epochs": 4, "batch_size": 128, "schedule": "cosine", "learning_rate": 3e-3}
    assert classifier.Model.training_defaults(DataShape((3,)), classifier.Config())["learning_rate"] == 1e-3


@pytest.mark.parametrize("settings", [{}, {"net": "mlp"}, {"norm": "none"}])
def test_it_learns_what_can_be_learned(settings: dict[str, Any]) -> None:
    model = make(IMAGE, **settings).train()
    y_B = torch.arange(48) % 3
    x_BCHW = pixels(48) * 0.5
    for k in range(3):
        x_BCHW[y_B == k, :, 2 * k : 2 * k + 2] += 0.5
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    first = None
    for _ in range(60):
        losses = model("classify", Batch(x_BCHW, y_B), {})
        first = first or float(losses.terms["error_rate"])
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
    assert first is not None
    assert first > 0.4
    assert (model.eval().classify(x_BCHW).argmax(1) == y_B).float().mean() > 0.95
