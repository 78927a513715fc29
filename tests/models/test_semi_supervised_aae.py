"""Semi-supervised AAE: each of the five players moves the game its own way, and labels that are hidden say nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import loops
from latentscape.contract import Batch
from latentscape.nets import conv

SHAPE = (1, 8, 8)
PLAYERS = ["generate", "discriminate_style", "discriminate_labels", "reconstruct", "supervise"]


def made(shape: tuple[int, ...] = SHAPE, **settings: Any) -> Any:
    given = {
        "net": "mlp",
        "hidden": (24,),
        "latent_dim": 3,
        "discriminator_hidden": (16,),
        "noise_std": 0.0,
        "category_warmup": 0,
    }
    return loops.make("semi_supervised_aae", shape, **{**given, **settings}).train()


def batch(model: Any, n: int = 32, *, labelled: int = 32, step: float = 0.0) -> Batch:
    """Examples of which the first `labelled` have a label."""
    y_B = torch.where(torch.arange(n) < labelled, torch.arange(n) % 3, -1)
    return Batch(loops.examples(model, n), y_B, step=torch.tensor(step))


def drawn(model: Any, phase: str, given: Batch) -> dict[str, Tensor]:
    """The draws of a phase and those of the shared forward."""
    rng = torch.Generator().manual_seed(1)
    return model.draw("shared", given, rng) | model.draw(phase, given, rng)


def losses(model: Any, phase: str, given: Batch, draws: dict[str, Tensor] | None = None) -> Any:
    draws = draws if draws is not None else drawn(model, phase, given)
    return model(phase, given, draws | model.shared(given, draws))


def moved(model: Any, phase: str, measure: Callable[[], Tensor], *, rate: float = 0.05, steps: int = 8) -> float:
    """How much `measure` grows over plain gradient steps of one phase on the same batch and draws."""
    given = batch(model)
    draws = drawn(model, phase, given)
    (player,) = (p for p in model.phases if p.name == phase)
    with torch.no_grad():
        before = measure()
    for _ in range(steps):
        found = torch.autograd.grad(losses(model, phase, given, draws).total, player.parameters())
        for p, g in zip(player.parameters(), found, strict=True):
            p.data.sub_(rate * g)
    with torch.no_grad():
        return float(measure() - before)


def judged(model: Any, x_BX: Tensor, z_NL: Tensor | None = None) -> Tensor:
    """The style's discriminator on the codes of examples, or on other styles beside the examples' labels."""
    z_NL = model.encode(x_BX) if z_NL is None else z_NL
    return model.discriminator(model.told(z_NL, model.classify(x_BX).softmax(1)))


# ---- the players ---------------------------------------------------------------------------------------------------


def test_there_are_five_players_and_the_labelled_turn_is_the_last() -> None:
    phases = made().phases
    assert [p.name for p in phases] == PLAYERS
    assert [p.labelled for p in phases] == [False, False, False, False, True]
    assert [p.low_precision for p in phases] == [False, False, False, True, True]


def test_the_encoder_makes_its_styles_pass_for_draws_of_the_prior() -> None:
    model = made(category_weight=0.0)
    x_BX = batch(model).x
    assert moved(model, "generate", lambda: judged(model, x_BX).mean()) > 0


def test_the_encoder_makes_its_labels_pass_for_one_hot_vectors() -> None:
    model = made(category_weight=50.0)
    x_BX = batch(model).x
    assert moved(model, "generate", lambda: model.label_discriminator(model.classify(x_BX).softmax(1)).mean()) > 0


def test_the_styles_discriminator_tells_draws_from_styles() -> None:
    model = made()
    given = batch(model)
    prior_NL = model.prior(320, torch.Generator().manual_seed(3))

    def gap() -> Tensor:
        return judged(model, given.x, prior_NL).mean() - judged(model, given.x).mean()

    assert moved(model, "discriminate_style", gap) > 0


def test_the_labels_discriminator_tells_one_hot_vectors_from_labels() -> None:
    model = made()
    given, one_hot = batch(model), torch.eye(3)

    def gap() -> Tensor:
        labels = model.classify(given.x).softmax(1)
        return model.label_discriminator(one_hot).mean() - model.label_discriminator(labels).mean()

    assert moved(model, "discriminate_labels", gap) > 0


def test_the_reconstruction_gets_closer() -> None:
    model = made()
    given = batch(model)
    assert moved(model, "reconstruct", lambda: (model.reconstruct(given.x) - given.x).square().mean(), rate=0.5) < 0


def test_the_supervised_turn_reads_labels_better_and_leaves_the_style_s_head_alone() -> None:
    model = made()
    given = batch(model)
    head = loops.copied(model.encoder.style.state_dict())
    assert moved(model, "supervise", lambda: F.cross_entropy(model.classify(given.x), given.y)) < 0
    assert not loops.differing(head, model.encoder.style.state_dict())


def test_three_labels_sort_three_clouds() -> None:
    """Played to the end, every point is in one class for sure, all classes are as frequent, and the class is right."""
    rng = torch.Generator().manual_seed(0)
    truth_N = torch.arange(300) % 3
    x_ND = 3 * torch.eye(5)[truth_N] + 0.5 * torch.randn(300, 5, generator=rng)
    model = made((5,), hidden=(32,), latent_dim=2, noise_std=0.3)
    optimisers = {p.name: torch.optim.Adam(p.parameters(), 2e-3) for p in model.phases}
    known = Batch(x_ND[:3], truth_N[:3])
    for _ in range(250):
        picks = torch.randint(0, 300, (64,), generator=rng)
        hidden = Batch(x_ND[picks], torch.full((64,), -1))
        shared = model.run_shared(hidden, rng)
        for p in model.phases:
            given = known if p.labelled else hidden
            total = model(p.name, given, model.draw(p.name, given, rng) | shared).total
            model.zero_grad()
            total.backward(inputs=p.parameters())
            optimisers[p.name].step()
    with torch.no_grad():
        label_NK = model.eval().classify(x_ND).softmax(1)
    assert float(label_NK.amax(1).mean()) > 0.95
    assert float((label_NK.argmax(1) == truth_N).double().mean()) > 0.95
    assert torch.allclose(label_NK.mean(0), torch.full((3,), 1 / 3), atol=0.05)


# ---- losses --------------------------------------------------------------------------------------------------------


def test_losses_are_those_of_the_paper() -> None:
    model = made(noise_std=0.3, category_weight=2.0, adversarial_weight=0.5, prior_factor=2)
    given = batch(model, labelled=20)
    eps = model.draw("shared", given, torch.Generator().manual_seed(1))["eps"]
    z_BL, logits_BK = model.encoder(given.x + 0.3 * eps)
    label_BK = logits_BK.softmax(1)
    told_BN = torch.cat([z_BL, label_BK], 1)
    fooled = (
        F.softplus(-model.discriminator(told_BN)).mean() + 2 * F.softplus(-model.label_discriminator(label_BK)).mean()
    )
    torch.testing.assert_close(losses(model, "generate", given).total, 0.5 * fooled)
    draws = drawn(model, "discriminate_labels", given)
    one_hot = torch.eye(3)[draws["category"]]
    assert one_hot.shape == (64, 3)
    logit_N = model.label_discriminator(torch.cat([label_BK, one_hot]))
    truth_N = torch.cat([torch.zeros(32), torch.ones(64)])
    expected = F.binary_cross_entropy_with_logits(logit_N, truth_N)
    torch.testing.assert_close(losses(model, "discriminate_labels", given, draws).total, expected)
    known = drawn(model, "supervise", given)
    _, logits_BK = model.encoder(given.x + 0.3 * known["eps"])
    expected = F.cross_entropy(logits_BK[:20], given.y[:20])
    torch.testing.assert_close(losses(model, "supervise", given, known).total, expected)
    recon = drawn(model, "reconstruct", given)
    z_BL, logits_BK = model.encoder(given.x + 0.3 * recon["eps"])
    expected = F.binary_cross_entropy_with_logits(model.decoder(z_BL, logits_BK.softmax(1)), given.x)
    torch.testing.assert_close(losses(model, "reconstruct", given, recon).total, expected)


@pytest.mark.parametrize("told", [True, False])
def test_the_style_s_discriminator_sees_what_styles_say_of_labels_if_it_is_told_them(told: bool) -> None:
    """Styles ±1 that are the label's, and draws ±1 that are not: alike but for the label, which leaves 0.48 nats."""
    model = made((5,), latent_dim=1, style_given_label=told)
    optimiser = torch.optim.Adam(model.discriminator.parameters(), 1e-2)
    place_B = torch.arange(200)
    style_BL, prior_BL = (1.0 - 2 * sign_B[:, None] for sign_B in (place_B % 2, place_B // 100))
    draws = {"style": style_BL, "label": torch.eye(3)[place_B % 2], "prior": prior_BL}
    for _ in range(100):
        total = model("discriminate_style", Batch(torch.zeros(200, 5)), draws).total
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    consistent = 0.75 * (math.log(3) - 2 / 3 * math.log(2))  # three quarters of all, and two thirds of those are codes
    assert float(total.detach()) == pytest.approx(consistent if told else math.log(2), abs=0.03)


def test_the_style_gives_way_and_not_the_label() -> None:
    model = made(category_weight=0.0)
    total = losses(model, "generate", batch(model)).total
    (slope,) = torch.autograd.grad(total, model.encoder.label.weight)
    assert float(slope.abs().max()) == 0


@pytest.mark.parametrize("phase", PLAYERS)
def test_hidden_labels_say_nothing(phase: str) -> None:
    """Only the supervised turn reads labels, and of those only what is known."""
    model, n = made(), 32
    some = batch(model, n, labelled=12)
    others = Batch(some.x, torch.where(some.y >= 0, (some.y + 1) % 3, -1), step=some.step)
    none = Batch(some.x, torch.full((n,), -1), step=some.step)
    draws = drawn(model, phase, some)
    totals = [float(losses(model, phase, b, draws).total.detach()) for b in (some, others, none)]
    if phase != "supervise":
        assert totals[0] == totals[1] == totals[2]
        return
    assert totals[0] != totals[1]
    assert totals[2] == 0
    y_known = Batch(some.x[:12], some.y[:12], step=some.step)
    alone = losses(model, phase, y_known, {"eps": draws["eps"][:12]}).total.detach()
    assert float(alone) == pytest.approx(totals[0], rel=1e-5)


def test_the_discriminators_leave_the_encoder_alone() -> None:
    model = made()
    for phase in ("discriminate_style", "discriminate_labels"):
        total = losses(model, phase, batch(model)).total
        found = torch.autograd.grad(total, list(model.encoder.parameters()), allow_unused=True)
        assert all(g is None for g in found)


def test_the_labels_adversary_warms_up_over_steps_and_stands_at_its_end_outside_training() -> None:
    model = made(category_warmup=100)
    totals = []
    for step in (0.0, 50.0, 100.0, 1000.0):
        found = losses(model, "generate", batch(model, step=step))
        totals.append(float(found.total.detach() - found.terms["style_nats"].detach()))
    label = float(found.terms["label_nats"].detach())
    assert totals == pytest.approx([0, label / 2, label, label], abs=1e-6)
    given = batch(model)
    held_out = losses(model, "generate", Batch(given.x, given.y))
    assert float(held_out.total.detach()) == pytest.approx(float(held_out.terms["style_nats"].detach()) + label)


def test_noise_is_on_the_encoder_s_input_in_training_alone() -> None:
    model = made(noise_std=0.5)
    given = batch(model)
    draws = drawn(model, "reconstruct", given)
    still = {"eps": torch.zeros_like(draws["eps"])}
    noisy, clean = (losses(model, "reconstruct", given, d).total.detach() for d in (draws, still))
    assert not torch.equal(noisy, clean)
    torch.testing.assert_close(model.encoder(given.x)[1], model.classify(given.x))


def test_fooling_costs_log_two_where_the_discriminators_know_nothing() -> None:
    model = made()
    for net in (model.discriminator, model.label_discriminator):
        nn.init.zeros_(net.net[-1].weight)
        nn.init.zeros_(net.net[-1].bias)
    assert float(losses(model, "generate", batch(model)).total.detach()) == pytest.approx(2 * math.log(2))


@pytest.mark.parametrize("norm", ["none", "joint", "separate"])
def test_every_norm_of_the_discriminators_plays(norm: str, tmp_path: Path) -> None:
    model = made(discriminator_norm=norm)
    loop = loops.make_loop(model, loops.small_set(SHAPE), tmp_path)
    loop.model.train()
    loop.step()
    assert bool(model.notes()) == (norm == "separate")


# ---- nets and use --------------------------------------------------------------------------------------------------


def test_the_decoder_may_be_another_net_than_the_encoder() -> None:
    model = made(net="conv", width=4, decoder="mlp")
    kinds = [
        {type(m) for m in net.modules()} & {nn.Conv2d, conv.NarrowConv2d} for net in (model.encoder, model.decoder)
    ]
    assert kinds == [{nn.Conv2d}, set()]


def test_it_reads_labels_and_decodes_styles_under_any() -> None:
    model = made().eval()
    given = batch(model)
    with torch.no_grad():
        assert model.classify(given.x).shape == (32, 3)
        z_BL = model.encode(given.x)
        sheets = [model.decode(z_BL, torch.full((32,), k)) for k in range(3)]
    assert all(sheet.shape == given.x.shape for sheet in sheets)
    assert not torch.equal(sheets[0], sheets[1])
