"""GANs: each player moves the game its own way, fakes are made as often as they should be, parts are taken over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import latentscape
import loops
from latentscape.contract import Batch, Phase, Trained
from latentscape.errors import ConfigError, UserError

SHAPE = (1, 8, 8)
GANS = ["gan", "wgan", "wgan_gp", "r3gan"]


def batch(model: Trained, n: int = 16) -> Batch:
    return Batch(loops.examples(model, n), torch.arange(n) % 3, step=torch.tensor(0.0))


def phase(model: Trained, name: str) -> Phase:
    return next(p for p in model.phases if p.name == name)


def moved(model: Trained, name: str, measure: Callable[[Batch, Tensor], float], *, lr: float, steps: int = 5) -> float:
    """How much `measure` of (batch, noise) grows over plain gradient steps of one phase on the same batch and draws."""
    given, rng = batch(model), torch.Generator().manual_seed(0)
    z = model.prior(len(given.x), rng)
    draws = model.draw(name, given, rng) | {"z": z}
    before = measure(given, z)
    for p in model.parameters():
        p.requires_grad_(False)
    players = phase(model, name).parameters()
    for p in players:
        p.requires_grad_(True)
    for _ in range(steps):
        shared = model.shared(given, {"z": z}) if model.has_shared else {}
        losses = model(name, given, draws | shared)
        for p, g in zip(players, torch.autograd.grad(losses.total, players), strict=True):
            p.data.sub_(lr * g)
    return measure(given, z) - before


def telling(model: Any) -> Callable[[Batch, Tensor], float]:
    """How far the discriminator's mean on real pictures is above that on generated ones."""

    def measure(given: Batch, z: Tensor) -> float:
        with torch.no_grad():
            fake = model.made(z, given.y)
            return float(model.discriminator(given.x).mean() - model.discriminator(fake).mean())

    return measure


@pytest.mark.parametrize("name", GANS)
def test_the_discriminator_learns_to_tell_real_from_generated(name: str) -> None:
    free = {"penalty": 0.0} if name in ("wgan_gp", "r3gan") else {}  # penalties have tests of their own
    model = loops.make(name, SHAPE, width=8, **free).train()
    assert moved(model, model.phases[0].name, telling(model), lr=0.05) > 0


@pytest.mark.parametrize("name", GANS)
def test_the_generator_learns_to_pass_for_real(name: str) -> None:
    model = loops.make(name, SHAPE, width=8).train()
    assert moved(model, "generate", telling(model), lr=0.05) < 0


def test_clipping_holds_every_parameter_of_the_critic(tmp_path: Path) -> None:
    model = loops.make("wgan", SHAPE, width=4)
    loop = loops.make_loop(model, loops.small_set(SHAPE), tmp_path, learning_rate=0.5)
    loop.step()
    largest = max(float(p.detach().abs().max()) for p in loop.model.discriminator.parameters())
    assert largest == pytest.approx(0.01)
    assert max(float(p.detach().abs().max()) for p in loop.model.generator.parameters()) > 0.01


def test_the_penalty_brings_the_slope_of_the_critic_to_one() -> None:
    model = loops.make("wgan_gp", SHAPE, width=8, penalty=1000.0).train()
    for p in model.discriminator.parameters():
        p.data.mul_(1.5)  # steeper than 1 by far

    def steepness(given: Batch, z: Tensor) -> float:
        x = given.x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(model.discriminator(x).sum(), x)
        return abs(float(slope.flatten(1).norm(dim=1).mean()) - 1)

    assert moved(model, "criticise", steepness, lr=1e-6, steps=20) < 0


def test_r1_and_r2_flatten_the_discriminator() -> None:
    model = loops.make("r3gan", SHAPE, width=8, penalty=1000.0).train()

    def steepness(given: Batch, z: Tensor) -> float:
        x = torch.cat([given.x, model.made(z, None).detach()]).requires_grad_()
        (slope,) = torch.autograd.grad(model.discriminator(x).sum(), x)
        return float(slope.flatten(1).square().sum(1).mean())

    assert moved(model, "discriminate", steepness, lr=1e-6, steps=20) < 0


@pytest.mark.parametrize("name", ["gan", "r3gan"])
def test_fakes_are_made_once_per_step(name: str, tmp_path: Path) -> None:
    model = loops.make(name, SHAPE, width=4)
    loop = loops.make_loop(model, loops.small_set(SHAPE), tmp_path)
    made = []
    loop.model.generator.register_forward_hook(lambda m, i, out: made.append(len(out)))
    loop.model.train()
    loop.step()
    assert made == [8]


@pytest.mark.parametrize("name", ["wgan", "wgan_gp"])
def test_critics_see_fresh_fakes_each_turn_and_the_generator_too(name: str, tmp_path: Path) -> None:
    model = loops.make(name, SHAPE, width=4, critic_steps=3)
    loop = loops.make_loop(model, loops.small_set(SHAPE), tmp_path)
    noise: list[Tensor] = []
    loop.model.generator.register_forward_pre_hook(lambda m, inputs: noise.append(inputs[0].clone()))
    loop.model.train()
    loop.step()
    assert len(noise) == 4
    assert all(not torch.equal(a, b) for i, a in enumerate(noise) for b in noise[:i])
    assert loop.batches.taken == 3


@pytest.mark.parametrize("name", GANS)
def test_conditional_players_use_the_label(name: str) -> None:
    model = loops.make(name, SHAPE, width=4, conditional=True).eval()
    assert model.needs_labels
    z = torch.randn(6, model.latent_dim)
    a, b = torch.zeros(6, dtype=torch.int64), torch.ones(6, dtype=torch.int64)
    with torch.no_grad():
        assert not torch.equal(model.decode(z, a), model.decode(z, b))
        x = loops.examples(model, 6)
        assert not torch.equal(model.discriminate(x, a), model.discriminate(x, b))


@pytest.mark.parametrize("name", GANS)
@pytest.mark.parametrize("shape", [SHAPE, (5,)])
def test_conditional_games_train(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    model = loops.make(name, shape, width=4, hidden=(6,), conditional=True)
    loop = loops.make_loop(model, loops.small_set(shape), tmp_path)
    loop.model.train()
    before = loops.copied(loop.model.state_dict())
    loop.step()
    assert {k for k, v in loop.model.state_dict().items() if not torch.equal(v, before[k])} >= {
        "generator.label.weight",
        "discriminator.label.weight",
    }


@pytest.mark.parametrize("name", GANS)
def test_augmented_games_train_on_changed_pictures_and_make_plain_ones(name: str, tmp_path: Path) -> None:
    model = loops.make(name, (3, 9, 12), width=4, diff_augment=("color", "translation", "cutout"))
    loop = loops.make_loop(model, loops.small_set((3, 9, 12)), tmp_path)
    loop.model.train()
    seen: list[Tensor] = []
    loop.model.discriminator.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    loop.step()
    batch_x = [e.x for e in loop.held_out()]
    assert not any(torch.equal(x, s) for x in batch_x for s in seen)
    plain = loops.make(name, (3, 9, 12), width=4)
    plain.load_state_dict(loop.model.state_dict())
    z = torch.randn(3, model.latent_dim)
    with torch.no_grad():
        torch.testing.assert_close(plain.eval().decode(z), loop.model.eval().decode(z))


def test_the_output_decides_the_range_of_the_data() -> None:
    for output, value_range, low in (("sigmoid", "unit", 0), ("tanh", "signed", -1)):
        model = loops.make("gan", SHAPE, width=4, output=output)
        assert model.value_range == value_range
        x = model.decode(20 * torch.randn(8, model.latent_dim)).detach()
        assert float(x.min()) >= low
        assert float(x.max()) <= 1
    assert loops.make("gan", (5,)).value_range == "real"


def test_a_rate_of_its_own_scales_the_steps_of_the_discriminator(tmp_path: Path) -> None:
    model = loops.make("gan", SHAPE, width=4, discriminator_rate=4.0)
    loop = loops.make_loop(model, loops.small_set(SHAPE), tmp_path, learning_rate=1e-3)
    assert loop.optimisers["discriminate"].param_groups[0]["lr"] == pytest.approx(4e-3)
    assert loop.optimisers["generate"].param_groups[0]["lr"] == pytest.approx(1e-3)


@pytest.mark.parametrize("changes", [{"early_stopping": 3}, {"schedule": "plateau"}])
def test_no_loss_of_a_game_stops_it(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="players against each other"):
        latentscape.train("gan", loops.small_set(SHAPE), out=tmp_path / "run", width=4, **changes)


@pytest.mark.parametrize("name", ["wgan_gp", "r3gan"])
def test_batch_norm_and_gradient_penalties_do_not_go_together(name: str) -> None:
    with pytest.raises(ConfigError, match="--discriminator-norm none"):
        loops.make(name, SHAPE, discriminator_norm="batch")


def test_a_generator_without_norm_ends_linear() -> None:
    model = loops.make("r3gan", SHAPE, width=4, norm="none")
    assert (model.output, model.value_range) == ("linear", "real")
    assert loops.make("r3gan", SHAPE, width=4, norm="none", output="tanh").value_range == "signed"


def test_augmentation_of_vectors_is_refused() -> None:
    with pytest.raises(ConfigError, match="for images"):
        loops.make("gan", (5,), diff_augment=("cutout",))
    with pytest.raises(ConfigError, match="each kind once"):
        loops.make("gan", SHAPE, diff_augment=("cutout", "cutout"))


def test_a_conditional_game_without_labels_is_refused() -> None:
    with pytest.raises(UserError, match="labels"):
        loops.make("gan", SHAPE, classes=0, conditional=True)


def test_a_gan_starts_from_the_parts_of_an_autoencoder(tmp_path: Path) -> None:
    """Its decoder as generator and its encoder, but for the last layer, as discriminator."""
    data, common = loops.small_set((1, 16, 16)), {"max_steps": 1, "finish": False, "threads": 1, "width": 4}
    vae = latentscape.train("vae", data, out=tmp_path / "vae", net="conv", latent_dim=6, **common)
    took: list[str] = []

    class Listener:
        def say(self, text: str) -> None:
            took.append(text)

        def training(self, total: int, size: int) -> Any:
            from contextlib import nullcontext

            return nullcontext(lambda step, images: None)

    own = {"net": "conv", "latent_dim": 6, "slope": 0.01, "learning_rate": 1e-30, **common}
    gan = latentscape.train("gan", data, out=tmp_path / "gan", init_from=vae.path, console=Listener(), **own)
    had, has = vae.model.state_dict(), gan.model.state_dict()
    taken = [k for k in has if k.startswith("generator.net.") and k.endswith("weight")]
    assert taken
    for key in taken:
        torch.testing.assert_close(has[key], had[key.replace("generator.net.", "decoder.")], msg=key)
    assert torch.equal(has["discriminator.body.0.weight"], had["encoder.0.weight"])
    assert any("Took" in text for text in took)
