"""The held-out loss: what is measured after each epoch, and what steps with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import loops
from latentscape import contract
from latentscape.config import DataShape, Settings
from latentscape.contract import Batch, Draws, Losses, Phase
from loops import make, make_loop, small_set

SHAPE = (1, 4, 4)
NET: dict[str, Any] = {"net": "mlp", "hidden": (8,), "latent_dim": 2}


def held_out_losses(model: Any, folder: Path, held_out_batch: int, **settings: Any) -> list[dict[str, float]]:
    records: list[dict[str, Any]] = []
    loop = make_loop(model, small_set(SHAPE), folder, log=records.append, max_steps=8, **settings)
    held = loop.held_out
    assert held is not None
    (examples,) = [torch.cat([e.x for e in held()])]
    loop.held_out = lambda: iter([Batch(x) for x in examples.split(held_out_batch)])
    loop.run()
    return [r["terms"] for r in records if r["kind"] == "held_out"]


@pytest.mark.parametrize("size", [1, 3, 5, 7])
def test_every_example_counts_alike_whatever_the_batches(size: int, tmp_path: Path) -> None:
    whole = held_out_losses(make("autoencoder", SHAPE, **NET), tmp_path / "whole", 8)
    parts = held_out_losses(make("autoencoder", SHAPE, **NET), tmp_path / "parts", size)
    assert len(whole) == len(parts) == 2
    for a, b in zip(whole, parts, strict=True):
        assert a == pytest.approx(b, rel=1e-6)


def test_schedules_of_the_loss_stand_at_their_end(tmp_path: Path) -> None:
    """Held-out losses of early and late epochs can be compared: they are of the same loss."""
    (first, _) = held_out_losses(make("vae", SHAPE, beta=3.0, beta_warmup_steps=10_000, **NET), tmp_path, 8)
    whole = first["elbo/recon_nats_per_image"] + 3.0 * first["elbo/kl_nats_per_image"]
    assert first["elbo/kl_nats_per_image"] > 1e-3
    assert first["elbo/total"] == pytest.approx(whole / 16, rel=1e-5)


@dataclass(frozen=True, kw_only=True)
class NoSettings(Settings):
    """None."""


class Contractive(contract.Trained):
    """A loss that is a derivative itself."""

    Config = NoSettings

    def __init__(self) -> None:
        super().__init__(DataShape(SHAPE), NoSettings())
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 2), nn.Tanh())
        self.phases = (Phase("contract", (self.encoder,), double_backward=True),)

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        x = batch.x.detach().requires_grad_()
        z: Tensor = self.encoder(x)
        (slope,) = torch.autograd.grad(z.sum(), x, create_graph=True)
        penalty = slope.square().flatten(1).sum(1).mean()
        return Losses(penalty, {"penalty": penalty})


def test_a_loss_made_of_derivatives_is_held_out_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    records: list[dict[str, Any]] = []
    loop = make_loop(Contractive(), small_set(SHAPE), tmp_path, log=records.append, epochs=6, early_stopping=3)
    done = loop.run()
    held = [r["terms"]["contract/total"] for r in records if r["kind"] == "held_out"]
    assert len(held) == 6
    assert held[-1] < held[0]
    assert done.best_epoch == 6


@pytest.mark.parametrize(("steps", "epochs"), [(1, 2), (2, 5), (4, 10)])
def test_a_step_that_passes_several_epochs_steps_schedules_as_often(steps: int, epochs: int, tmp_path: Path) -> None:
    """Five turns of two batches an epoch: the rate after ten epochs is that of ten epochs."""
    with loops.toys_known():
        model = make("toy_gan", SHAPE, critic_turns=5)
    loop = make_loop(
        model, small_set(SHAPE, n=24, held_out=8), tmp_path, batch_size=8, max_steps=steps,
        schedule="step", schedule_every=1, schedule_factor=0.5, learning_rate=1.0, epochs=0,
    )  # fmt: skip
    assert loop.batches.per_epoch == 2
    done = loop.run()
    assert done.epoch == epochs
    assert [o.param_groups[0]["lr"] for o in loop.optimisers.values()] == [0.5**epochs] * 2


def test_the_schedule_leaves_steady_players_alone(tmp_path: Path) -> None:
    """The rates of the others fall, until the run ends because of them."""
    model = make("style_label_aae", SHAPE, net="mlp", hidden=(8,), latent_dim=2, adversary_rate=2.0)
    loop = make_loop(
        model, small_set(SHAPE), tmp_path, schedule="step", schedule_every=1, schedule_factor=0.1,
        learning_rate=1e-3, min_learning_rate=1e-5, epochs=9,
    )  # fmt: skip
    assert loop.run().finished == "the learning rate fell below 1e-05"
    rates = {name: o.param_groups[0]["lr"] for name, o in loop.optimisers.items()}
    assert rates["accuse"] == 2e-3
    assert rates["discriminate"] == pytest.approx(model.config.discriminator_rate * 1e-3)
    assert rates["reconstruct"] < 1e-5
