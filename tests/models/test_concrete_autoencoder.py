"""The concrete autoencoder's loss is eq. 3 of its source with an annealed temperature, and it finds what matters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import loops
from latentscape.config import DataShape
from latentscape.contract import Batch
from latentscape.errors import ConfigError
from latentscape.models import concrete_autoencoder
from latentscape.models.concrete_autoencoder import Config, Model, distinct

IMAGE = (2, 4, 3)


def make(shape: tuple[int, ...] = IMAGE, **settings: Any) -> Model:
    model = loops.make("concrete_autoencoder", shape, **{"hidden": (7,), "latent_dim": 3, **settings})
    assert isinstance(model, Model)
    return model


def batch(step: float | None, shape: tuple[int, ...] = IMAGE) -> Batch:
    x_BX = torch.rand(5, *shape, generator=torch.Generator().manual_seed(0))
    return Batch(x_BX, step=None if step is None else torch.tensor(step))


def drawn(model: Model, at: Batch) -> dict[str, Tensor]:
    return model.draw("reconstruct", at, torch.Generator().manual_seed(1))


def by_hand(model: Model, at: Batch, uniform_KD: Tensor, temperature: float) -> Tensor:
    """Mean over values and images of (x − f(Σ_d m_d x_d))², m = exp((log α + g)/T) normalised."""
    assert model.selectors is not None
    weights = ((model.selectors.logits - (-uniform_KD.log()).log()) / temperature).exp()
    weights = weights / weights.sum(1, keepdim=True)
    z_BK = (at.x.flatten(1)[:, None] * weights).sum(2)
    return (at.x - model.decoder(z_BK)).square().mean()


@pytest.mark.parametrize(("step", "temperature"), [(0.0, 10.0), (50.0, 10.0**0.5), (100.0, 1.0), (500.0, 1.0)], ids=str)
def test_loss_is_that_of_the_source_at_the_annealed_temperature(step: float, temperature: float) -> None:
    model = make(start_temperature=10.0, end_temperature=1.0, anneal_steps=100).train()
    at = batch(step)
    draws = drawn(model, at)
    losses = model("reconstruct", at, draws)
    torch.testing.assert_close(losses.total, by_hand(model, at, draws["uniform"], temperature))
    torch.testing.assert_close(losses.terms["temperature"], torch.tensor(temperature))


@pytest.mark.parametrize(("training", "step"), [(True, None), (False, 3.0), (False, None)])
def test_outside_training_the_selection_is_hard(training: bool, step: float | None) -> None:
    """Held-out losses are those of the selection that would be used, whatever the temperature."""
    model, at = make().train(training), batch(step)
    losses = model("reconstruct", at, drawn(model, at))
    torch.testing.assert_close(losses.total, (at.x - model.reconstruct(at.x)).square().mean())


def test_encoding_gives_the_values_at_the_largest_logits() -> None:
    model, at = make(), batch(None)
    assert model.selectors is not None
    with torch.no_grad():
        model.selectors.weight[:, [5, 0, 17]] += 100 * torch.eye(3)
    assert model.selected().tolist() == [5, 0, 17]
    expected = torch.stack([at.x[:, 0, 1, 2], at.x[:, 0, 0, 0], at.x[:, 1, 1, 2]], 1)
    assert torch.equal(model.encode(at.x), expected)


def test_the_selectors_rate_multiplies_what_a_step_moves_and_not_where_it_starts() -> None:
    slow, fast = (concrete_autoencoder.Selectors(300, 300, rate) for rate in (1.0, 10.0))
    assert abs(float((fast.logits.std() / slow.logits.std()).detach()) - 1) < 0.02
    for selectors, moved in ((slow, 1e-3), (fast, 1e-2)):
        before, optimiser = selectors.logits.detach().clone(), torch.optim.Adam(selectors.parameters(), 1e-3)
        selectors.logits.sum().backward()
        optimiser.step()
        torch.testing.assert_close(before - selectors.logits, torch.full_like(before, moved), rtol=1e-2, atol=0)


def test_given_inputs_are_selected_and_the_decoder_alone_learns() -> None:
    model, at = make(latent_dim=None, indices=(3, 23)).train(), batch(0.0)
    assert model.latent_dim == 2
    assert model.selected().tolist() == [3, 23]
    assert [k for k, _ in model.named_parameters() if not k.startswith("decoder")] == []
    assert drawn(model, at) == {}
    losses = model("reconstruct", at, {})
    torch.testing.assert_close(losses.total, (at.x - model.reconstruct(at.x)).square().mean())
    assert losses.terms.keys() == {"recon_mse"}
    assert "only the decoder learns" in model.notes()[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"latent_dim": 25}, "--latent-dim must be at most 24"),
        ({"latent_dim": None, "indices": (2, 24)}, "--indices must be at most 23"),
        ({"latent_dim": 3, "indices": (2, 4)}, "leave one of them out"),
    ],
)
def test_impossible_selections_are_refused_in_a_sentence(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make(**settings)


@pytest.mark.parametrize(("dims", "k"), [((1, 28, 28), 50), ((1, 8, 8), 8), ((5,), 1)])
def test_an_eighth_of_the_inputs_is_selected_unless_said_otherwise(dims: tuple[int, ...], k: int) -> None:
    assert Model(DataShape(dims), Config()).latent_dim == k


def test_distinct_values_are_counted() -> None:
    assert float(distinct(torch.tensor([4, 2, 4, 4, 0]))) == 3
    assert float(distinct(torch.tensor([1]))) == 1


def test_it_finds_the_inputs_that_carry_the_information() -> None:
    """Three signals s of variance 1, each with a copy c = s + ε, Var ε = 0.49, among six inputs of little variance.

    Given c, Var(s|c) = 1 − 1/1.49 = 0.33 of both is left unexplained; given s, Var(c|s) = 0.49. So the copies are best.
    """
    rng = torch.Generator().manual_seed(0)
    signals = torch.randn(2000, 3, generator=rng)
    copies = signals + 0.7 * torch.randn(2000, 3, generator=rng)
    x_ND = torch.cat([0.1 * torch.randn(2000, 6, generator=rng), copies, signals], 1)
    torch.manual_seed(0)
    model = Model(DataShape((12,)), Config(latent_dim=3, hidden=(32,), anneal_steps=700)).train()
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    terms: dict[str, Tensor] = {}
    for step in range(800):
        at = Batch(x_ND[torch.randint(2000, (64,), generator=rng)], step=torch.tensor(float(step)))
        losses = model("reconstruct", at, model.draw("reconstruct", at, rng))
        terms = losses.terms
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
    assert sorted(model.selected().tolist()) == [6, 7, 8]
    assert terms["mean_largest_probability"] > 0.9
    assert terms["distinct_inputs"] == 3
