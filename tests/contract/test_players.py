"""The loop with several players: a toy GAN (shared fakes, repeated and clipped critic) and a toy AAE (three phases)."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

import loops
from latentscape.contract import Batch
from latentscape.training.loop import Loop
from loops import differing, make, make_loop, small_set

SHAPE = (1, 4, 4)


def gan_loop(folder: Path, **settings: Any) -> Loop:
    return make_loop(make("toy_gan", SHAPE), small_set(SHAPE), folder, **{"learning_rate": 0.05, **settings})


def test_the_shared_forward_runs_once_a_step_and_batchnorm_moves_once(tmp_path: Path) -> None:
    loop = gan_loop(tmp_path)
    loop.model.train()
    norm = loop.model.generator[1]
    for step in range(1, 4):
        loop.step()
        assert int(norm.num_batches_tracked) == step
    assert loop.model.calls == {"shared": 3, "criticise": 9, "clip": 9, "generate": 3}


def test_gradients_reach_the_generator_through_the_shared_fakes(tmp_path: Path) -> None:
    loop = gan_loop(tmp_path)
    loop.model.train()
    before = loops.copied(loop.model.generator.state_dict())
    loop.step()
    assert "3.weight" in differing(before, loop.model.generator.state_dict())


def test_no_gradient_of_one_player_is_left_for_another(tmp_path: Path) -> None:
    """The critic's gradient at its step is the critic loss's own, although the generator's loss passes through it."""
    loop = gan_loop(tmp_path)
    loop.model.train()
    found: list[torch.Tensor] = []
    critic = loop.model.critic[1].weight

    def expected() -> torch.Tensor:
        x_BX, fake_BX = loop.model.seen[-1], last_fake[-1].detach()
        gap = loop.model.critic(fake_BX).mean() - loop.model.critic(x_BX).mean()
        return torch.autograd.grad(gap, critic)[0]

    last_fake: list[torch.Tensor] = []
    shared = loop.model.shared
    loop.model.shared = lambda batch, draws: last_fake.append((out := shared(batch, draws))["fake"]) or out
    loop.optimisers["criticise"].register_step_pre_hook(
        lambda o, a, k: found.append((critic.grad - expected()).abs().max())
    )
    for _ in range(3):
        loop.step()
    assert len(found) == 9
    assert torch.stack(found).max() < 1e-7


def test_repeated_turns_take_the_next_batch_and_epochs_advance_with_batches(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = []
    loop = gan_loop(tmp_path, epochs=2, log=records.append, log_every=1)
    per_epoch = loop.batches.per_epoch
    assert per_epoch == 4
    loop.run()
    # Two epochs are eight batches; a step takes three of them, so the third step passes the second epoch's end.
    assert loop.batches.taken == 9
    assert loop.progress.step == 3
    assert loop.progress.epoch == 2
    assert loop.progress.images == 9 * 8
    seen = [x_BX.flatten(1) for x_BX in loop.model.seen[: 2 * per_epoch]]
    epochs = [torch.cat(seen[:per_epoch]), torch.cat(seen[per_epoch:])]
    for epoch in epochs:
        assert len(epoch.unique(dim=0)) == 32  # every training image once
    assert not torch.equal(*epochs)
    assert [r["step"] for r in records if r["kind"] == "held_out"] == [2, 3]
    assert [round(r["epoch"], 2) for r in records if r["kind"] == "train"] == [0.75, 1.5, 2.25]


def test_after_step_clips_every_critic_weight_after_every_turn(tmp_path: Path) -> None:
    loop = gan_loop(tmp_path)
    loop.model.train()
    clip = loop.model.config.clip

    def largest(module: torch.nn.Module) -> float:
        return max(float(p.detach().abs().max()) for p in module.parameters())

    assert largest(loop.model.critic) > clip
    sizes: list[float] = []
    loop.optimisers["generate"].register_step_pre_hook(lambda o, a, k: sizes.append(largest(loop.model.critic)))
    for _ in range(3):
        loop.step()
    assert sizes == pytest.approx([clip] * 3)
    assert largest(loop.model.generator) > clip


@pytest.mark.parametrize("phase", ["criticise", "generate"])
def test_each_player_moves_the_score_its_own_way(phase: str, tmp_path: Path) -> None:
    """A small step widens the critic's gap between real and fake, or raises the generator's score."""
    loop = gan_loop(tmp_path, learning_rate=1e-3, optimiser="sgd", beta1=0.0)
    model, batch = loop.model.train(), Batch(torch.rand(8, *SHAPE))
    draws = model.draw("shared", batch, torch.Generator().manual_seed(0))

    @torch.no_grad()
    def score() -> float:
        fake = model.critic(model.decode(draws["z"])).mean()
        return float(model.critic(batch.x).mean() - fake if phase == "criticise" else fake)

    before = score()
    model(phase, batch, model.shared(batch, draws)).total.backward()
    loop.optimisers[phase].step()
    assert score() > before


def test_overlapping_players_each_have_their_own_optimiser(tmp_path: Path) -> None:
    loop = make_loop(make("toy_aae", SHAPE), small_set(SHAPE), tmp_path, learning_rate=0.01)
    loop.model.train()
    for _ in range(4):
        loop.step()
    encoder = {id(p) for p in loop.model.encoder.parameters()}
    held = {n: {id(p) for g in o.param_groups for p in g["params"]} for n, o in loop.optimisers.items()}
    assert encoder < held["reconstruct"]
    assert encoder == held["regularise"]
    assert not encoder & held["discriminate"]
    weight = loop.model.encoder[1].weight
    moments = [loop.optimisers[n].state[weight] for n in ("reconstruct", "regularise")]
    assert [int(m["step"]) for m in moments] == [4, 4]
    assert not torch.equal(moments[0]["exp_avg"], moments[1]["exp_avg"])


def test_the_encoder_moves_in_two_phases_and_the_discriminator_in_its_own(tmp_path: Path) -> None:
    loop = make_loop(make("toy_aae", SHAPE), small_set(SHAPE), tmp_path, learning_rate=0.01)
    loop.model.train()
    moves: list[tuple[str, dict[str, torch.Tensor]]] = []

    def begin(phase: str) -> None:
        moves.append((phase, loops.copied(loop.model.state_dict())))

    for name, optimiser in loop.optimisers.items():
        optimiser.register_step_pre_hook(lambda o, a, k, name=name: begin(name))
    loop.step()
    begin("end")
    rooms = []
    for (phase, before), (_, after) in itertools.pairwise(moves):
        weights = [k for k in before if k.endswith(("weight", "bias"))]
        rooms.append((phase, {k.split(".")[0] for k in weights if not torch.equal(before[k], after[k])}))
    assert rooms == [
        ("reconstruct", {"encoder", "decoder"}),
        ("regularise", {"encoder"}),
        ("discriminate", {"discriminator"}),
    ]


@pytest.mark.parametrize("ema", [0, 100])
@pytest.mark.parametrize("name", ["toy_gan", "toy_aae"])
def test_several_players_resume_bit_for_bit(name: str, ema: int, tmp_path: Path) -> None:
    def fresh(folder: str, **settings: Any) -> Loop:
        return make_loop(
            make(name, SHAPE),
            small_set(SHAPE),
            tmp_path / folder,
            learning_rate=0.01,
            schedule="step",
            schedule_every=1,
            schedule_factor=0.5,
            ema_halflife_images=ema,
            **settings,
        )

    whole = fresh("whole", max_steps=10)
    whole.run()
    half = fresh("half", max_steps=5)
    half.run()
    rest = fresh("half", max_steps=10)
    rest.restore(*rest.checkpoints.newest()[1:])
    rest.progress.finished = ""
    assert rest.progress.step == 5
    rest.run()
    assert rest.batches.taken == whole.batches.taken
    assert not differing(whole.model.state_dict(), rest.model.state_dict())
    assert not differing(whole.evaluated.state_dict(), rest.evaluated.state_dict())
    for phase, optimiser in whole.optimisers.items():
        assert optimiser.param_groups[0]["lr"] == rest.optimisers[phase].param_groups[0]["lr"] < 0.01
    assert torch.equal(whole.rng.get_state(), rest.rng.get_state())
