"""Style and label apart: each player's direction, and what decoder and encoder do with a label."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import loops
from latentscape.contract import Batch
from latentscape.errors import AbilityError, ConfigError

IMAGE, CLASSES = (1, 6, 5), 3


def made(**settings: Any) -> Any:
    small = {"net": "mlp", "hidden": (12,), "latent_dim": 4, "discriminator_hidden": (16, 8), "prior_factor": 2}
    return loops.make("style_label_aae", IMAGE, classes=CLASSES, **{**small, "adversary_hidden": (16,), **settings})


def some(n: int = 24) -> Batch:
    x_BX = torch.rand(n, *IMAGE, generator=torch.Generator().manual_seed(1))
    return Batch(x_BX, torch.arange(n) % CLASSES)


def step(model: Any, phase: str, batch: Batch, rate: float) -> dict[str, Tensor]:
    """One plain gradient step of one player; the losses' terms before it."""
    player = next(p for p in model.phases if p.name == phase)
    losses = model(phase, batch, model.draw(phase, batch, torch.Generator().manual_seed(0)))
    moved = player.parameters()
    with torch.no_grad():
        for p, g in zip(moved, torch.autograd.grad(losses.total, moved), strict=True):
            p.sub_(rate * g)
    return {k: v.detach() for k, v in losses.terms.items()}


def terms(model: Any, phase: str, batch: Batch) -> dict[str, float]:
    losses = model(phase, batch, model.draw(phase, batch, torch.Generator().manual_seed(0)))
    return {k: float(v.detach()) for k, v in losses.terms.items()}


# ---- the players ---------------------------------------------------------------------------------------------------


def test_players_and_their_turns() -> None:
    model = made(adversary_turns=3, adversary_rate=2.0, discriminator_rate=4.0)
    assert [p.name for p in model.phases] == ["reconstruct", "discriminate", "accuse"]
    assert [p.repeat for p in model.phases] == [1, 1, 3]
    assert [p.rate for p in model.phases] == [1.0, 4.0, 2.0]
    assert [p.steady for p in model.phases] == [False, True, True]
    alone = made(adversary=False)
    assert [p.name for p in alone.phases] == ["reconstruct", "discriminate"]
    assert not any("adversary" in name for name, _ in alone.named_parameters())


def test_reconstruction_and_label_both_get_better() -> None:
    model, batch = made(), some()
    before = step(model, "reconstruct", batch, 0.3)
    after = terms(model, "reconstruct", batch)
    assert after["recon_nats_per_image"] < float(before["recon_nats_per_image"])
    assert after["label_nats"] < float(before["label_nats"])


def test_the_encoder_s_turn_fools_the_discriminator() -> None:
    model, batch = made(adversary=False, adversarial_weight=100.0), some()
    before = step(model, "reconstruct", batch, 5e-4)
    assert terms(model, "reconstruct", batch)["generator_nats"] < float(before["generator_nats"])


def test_the_encoder_s_turn_blinds_the_adversary() -> None:
    """The adversary's reading comes nearer to the uniform guess, which costs log K, the least there is."""
    model, batch = made(adversary_weight=100.0), some()
    for _ in range(50):
        step(model, "accuse", batch, 0.5)
    before = step(model, "reconstruct", batch, 1e-4)
    after = terms(model, "reconstruct", batch)["blind_nats"]
    assert torch.tensor(float(CLASSES)).log() < after < float(before["blind_nats"])


def test_the_adversary_learns_to_read_the_label_and_leaves_the_encoder_alone() -> None:
    model, batch = made(), some()
    encoder = loops.copied(dict(model.encoder.named_parameters()))
    before = step(model, "accuse", batch, 0.1)
    assert terms(model, "accuse", batch)["adversary_nats"] < float(before["adversary_nats"])
    assert not loops.differing(encoder, dict(model.encoder.named_parameters()))


def test_shrinking_the_style_does_not_evade_the_adversary() -> None:
    model, batch = made(), some()
    with torch.no_grad():
        z_BL = 100 * model.encode(batch.x)
        torch.testing.assert_close(model.adversary(0.1 * z_BL - 3), model.adversary(z_BL), rtol=1e-2, atol=1e-3)


def test_the_discriminator_tells_styles_from_draws_of_the_prior() -> None:
    model, batch = made(), some()
    before = step(model, "discriminate", batch, 0.1)
    assert terms(model, "discriminate", batch)["discriminator_nats"] < float(before["discriminator_nats"])


def test_weights_of_the_losses() -> None:
    batch = some()
    for name, part in (
        ("label_weight", "label_nats"),
        ("adversarial_weight", "generator_nats"),
        ("adversary_weight", "blind_nats"),
    ):
        losses = [made(**{name: w})("reconstruct", batch, {}) for w in (0.0, 2.0)]
        torch.testing.assert_close(losses[1].total, losses[0].total + 2 * losses[0].terms[part])


def test_unknown_labels_count_for_nothing() -> None:
    model, batch = made(), some()
    y_B = batch.y.clone()  # type: ignore[union-attr]
    y_B[5:] = -1
    few = Batch(batch.x, y_B)
    with torch.no_grad():
        read = {"label_nats": model.classify(batch.x), "adversary_nats": model.adversary(model.encode(batch.x))}
    for phase, term in (("reconstruct", "label_nats"), ("accuse", "adversary_nats")):
        expected = torch.nn.functional.cross_entropy(read[term][:5], y_B[:5])
        assert terms(model, phase, few)[term] == pytest.approx(float(expected), rel=1e-5)
    none = Batch(batch.x, torch.full_like(y_B, -1))
    assert terms(model, "accuse", none)["adversary_nats"] == 0


# ---- labels --------------------------------------------------------------------------------------------------------


def test_it_decodes_under_the_label_given_or_its_own() -> None:
    model, batch = made().eval(), some(6)
    with torch.no_grad():
        for p in model.encoder.label.parameters():
            p.mul_(5000)  # sure of what it reads
        z_BL, read_B = model.encode(batch.x), model.classify(batch.x).argmax(1)
        own, told = model.reconstruct(batch.x), model.reconstruct(batch.x, (read_B + 1) % CLASSES)
        torch.testing.assert_close(own, model.decode(z_BL, read_B), atol=1e-3, rtol=0)
        torch.testing.assert_close(told, model.decode(z_BL, (read_B + 1) % CLASSES))
        assert (own - told).abs().max() > 1e-4
        unknown = model.reconstruct(batch.x, torch.full_like(read_B, -1))
        torch.testing.assert_close(unknown, own)
        with pytest.raises(AbilityError, match="needs a label"):
            model.decode(z_BL)


def test_the_encoder_is_not_told_the_label() -> None:
    model, batch = made().eval(), some(6)
    with torch.no_grad():
        assert torch.equal(model.encode(batch.x, batch.y), model.encode(batch.x))


@pytest.mark.parametrize("one_trunk", [False, True])
def test_style_and_label_are_read_off_one_net_or_two(one_trunk: bool) -> None:
    model, batch = made(one_trunk=one_trunk).eval(), some(6)
    with torch.no_grad():
        features_BF, (z_BL, logits_BK) = model.features(batch.x), model.encoder(batch.x)
        torch.testing.assert_close(model.classify(batch.x), model.encoder.label(features_BF))
        torch.testing.assert_close(model.classify(batch.x), logits_BK)
        torch.testing.assert_close(model.encode(batch.x), z_BL)
        assert torch.allclose(z_BL, model.encoder.style(features_BF)) == one_trunk


def test_data_without_labels_is_refused() -> None:
    with pytest.raises(ConfigError, match="trained with labels and the data has none"):
        loops.make("style_label_aae", IMAGE, classes=0)
