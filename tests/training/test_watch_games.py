"""Each detector speaks on its planted failure, and is silent on a healthy game."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

import toy_gan
from latentscape import contract, models
from latentscape.config import DataShape
from latentscape.contract import Batch
from latentscape.training import watch
from latentscape.training.watch_games import DiscriminatorSaturation, Divergence, Lasting, ModeCollapse
from loops import make_loop, small_set

KINDS = [ModeCollapse, DiscriminatorSaturation, Divergence]
SHAPE = (1, 6, 6)
REAL = torch.rand(128, *SHAPE, generator=torch.Generator().manual_seed(1))
BATCH = Batch(REAL, torch.arange(128) % 3)


class Game(contract.Model, contract.Samples, contract.Discriminates):
    """Makes what it is told to make from z, and answers what it is told to answer. Healthy unless told otherwise."""

    latent_dim = 36

    def __init__(self, generator=None, discriminator=None, *, needs_labels=False, probabilities=True) -> None:
        self.needs_labels, self.probabilities = needs_labels, probabilities
        super().__init__(DataShape(SHAPE), None, 3)
        self.generator = generator or (lambda z: z)
        self.discriminator = discriminator or (lambda x: x.flatten(1).mean(1) - 0.5)
        self.labels: list[Tensor | None] = []

    def prior(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.rand(n, self.latent_dim, generator=rng)

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        self.labels.append(y_B)
        return self.generator(z_BL).view(-1, *SHAPE)

    def discriminate(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        self.labels.append(y_B)
        return self.discriminator(x_BX)


def is_real(x: Tensor) -> Tensor:
    return (x[:, None] == REAL[None, : len(x)]).flatten(2).all(2).any(1)


FAILURES = {
    "near-copies of one example": (ModeCollapse, {"generator": lambda z: 0.5 + 0.05 * (z - 0.5)}),
    "the same example every time": (ModeCollapse, {"generator": lambda z: torch.full_like(z, 0.3)}),
    "four examples in turn": (ModeCollapse, {"generator": lambda z: REAL.flatten(1)[(4 * z[:, 0]).long()] + 0.01 * z}),
    "sure of everything": (DiscriminatorSaturation, {"discriminator": lambda x: torch.where(is_real(x), 9.0, -9.0)}),
    "one answer to everything": (DiscriminatorSaturation, {"discriminator": lambda x: 0 * x.flatten(1).mean(1) - 0.7}),
    "no answer at all": (DiscriminatorSaturation, {"discriminator": lambda x: torch.zeros(len(x))}),
    "a critic with one answer": (
        DiscriminatorSaturation,
        {"discriminator": lambda x: 5 + 1e-6 * x.flatten(1).mean(1), "probabilities": False},
    ),
    "values that are no numbers": (Divergence, {"generator": lambda z: z / 0}),
    "values far out": (Divergence, {"generator": lambda z: 1000 * z}),
    "black but for specks": (Divergence, {"generator": lambda z: (z > 0.97).float()}),
    "white but for specks": (Divergence, {"generator": lambda z: (z > 0.03).float()}),
    "black and white speckle": (Divergence, {"generator": lambda z: (z > 0.5).float()}),
    "huge logits": (Divergence, {"discriminator": lambda x: 1e4 * (x.flatten(1).mean(1) + 1)}),
    "logits that are no numbers": (Divergence, {"discriminator": lambda x: x.flatten(1).mean(1) / 0 * 0}),
    "a critic's that are no numbers": (
        Divergence,
        {"discriminator": lambda x: x.flatten(1).mean(1) / 0, "probabilities": False},
    ),
}

HEALTHY = {
    "as the real ones": {},
    "half as various": {"generator": lambda z: 0.5 + 0.5 * (z - 0.5)},
    "a smooth generator": {"generator": lambda z: torch.sigmoid(z @ torch.randn(36, 36, generator=RNG()))},
    "a good discriminator": {"discriminator": lambda x: torch.where(is_real(x), 4.0, -4.0)},
    "sure of real ones only": {"discriminator": lambda x: torch.where(is_real(x), 9.0, -1.0)},
    "sure of generated ones only": {"discriminator": lambda x: torch.where(is_real(x), 1.0, -9.0)},
    "nobody can tell": {"discriminator": lambda x: 0.01 * (x.flatten(1).mean(1) - 0.5)},
    "a critic on its own scale": {
        "discriminator": lambda x: 1e5 * torch.where(is_real(x), 1.0, x.flatten(1).mean(1) - 2),
        "probabilities": False,
    },
}


def RNG() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def told(kind: type[Lasting], model: contract.Model, batch: Batch = BATCH) -> str:
    warned = kind().look(model, batch, step=5000, last=True)
    return warned.text if warned else ""


@pytest.mark.parametrize("what", FAILURES)
def test_a_planted_failure_is_told_by_its_own_detector_alone(what: str) -> None:
    kind, faults = FAILURES[what]
    said = {k.name: told(k, Game(**faults)) for k in KINDS}
    assert said[kind.name].startswith(kind.name.replace("_", " ") + ": ")
    alike = {"mode_collapse"} if kind is Divergence else set()  # pictures that are all black are also alike
    assert {name for name, text in said.items() if text} <= {kind.name} | alike


@pytest.mark.parametrize("needs_labels", [False, True])
@pytest.mark.parametrize("what", HEALTHY)
def test_a_healthy_game_is_not_disturbed(what: str, needs_labels: bool) -> None:
    for kind in KINDS:
        assert told(kind, Game(**HEALTHY[what], needs_labels=needs_labels)) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_models_that_need_labels_get_all_of_them_in_turn(kind: type[Lasting]) -> None:
    model = Game(needs_labels=True)
    told(kind, model)
    assert torch.equal(model.labels[0], torch.arange(128) % 3)
    assert all(y is not None and len(y) == 128 for y in model.labels)
    plain = Game()
    told(kind, plain)
    assert all(y is None for y in plain.labels)


def planted(kind: type[Lasting]) -> Game:
    return Game(**next(faults for k, faults in FAILURES.values() if k is kind))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_told_once_it_has_lasted_and_only_once(kind: type[Lasting]) -> None:
    detector, model, first = kind(), planted(kind), kind.first_step
    assert detector.look(model, BATCH, step=first, last=False) is None
    assert detector.look(model, BATCH, step=first + kind.patience - 1, last=False) is None
    assert detector.look(model, BATCH, step=first + kind.patience, last=False) is not None
    assert detector.look(model, BATCH, step=first + 2 * kind.patience, last=True) is None


@pytest.mark.parametrize("kind", KINDS)
def test_one_good_look_starts_the_count_again(kind: type[Lasting]) -> None:
    detector, model, first = kind(), planted(kind), kind.first_step
    detector.look(model, BATCH, step=first, last=False)
    assert detector.look(Game(), BATCH, step=first + kind.patience, last=False) is None
    assert detector.look(model, BATCH, step=first + kind.patience + 1, last=False) is None
    assert detector.look(model, BATCH, step=first + 2 * kind.patience + 1, last=False) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_of_training_does_not_wait_but_the_first_steps_are_not_judged(kind: type[Lasting]) -> None:
    assert kind().look(planted(kind), BATCH, step=kind.first_step - 1, last=True) is None
    assert kind().look(planted(kind), BATCH, step=kind.first_step, last=True) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_a_detector_goes_on_from_a_checkpoint(kind: type[Lasting]) -> None:
    one, two = kind(), kind()
    one.look(planted(kind), BATCH, step=kind.first_step, last=False)
    two.restore(json.loads(json.dumps(one.state())))
    assert two.look(planted(kind), BATCH, step=kind.first_step + kind.patience, last=False) is not None
    again = kind()
    again.restore(json.loads(json.dumps(two.state())))
    assert again.look(planted(kind), BATCH, step=9999, last=True) is None


@pytest.mark.parametrize("kind", KINDS)
def test_few_or_equal_real_examples_say_nothing(kind: type[Lasting]) -> None:
    assert told(kind, planted(kind), Batch(REAL[:15])) == ""
    assert told(kind, Game(), Batch(REAL[:1].expand(128, -1, -1, -1))) == ""


def test_real_examples_that_repeat_are_measured_by_the_same_rule() -> None:
    """A set that is half copies makes a generator of copies no failure."""
    copies = REAL[:48].repeat(3, 1, 1, 1)[:128]
    copies[96:] = REAL[96:]
    copying = Game(generator=lambda z: copies.flatten(1)[: len(z)])
    assert told(ModeCollapse, copying) != ""
    assert told(ModeCollapse, copying, Batch(copies)) == ""


def test_ends_that_real_examples_stand_at_too_are_no_divergence() -> None:
    """Handwriting is mostly black."""
    dark = (REAL - 0.8).clamp(0) * 5
    assert told(Divergence, Game(generator=lambda z: (z - 0.8).clamp(0) * 5), Batch(dark)) == ""
    darker = Game(generator=lambda z: (z - 0.99).clamp(0) * 100)
    assert "has the lowest value that there is" in told(Divergence, darker, Batch(dark))


@pytest.mark.parametrize("numbers", [2, 3])
def test_a_generator_of_few_numbers_that_spreads_them_has_no_near_duplicates(numbers: int) -> None:
    """Its examples have neighbours much nearer than real ones have, in 36 dimensions."""
    base = torch.linalg.qr(torch.randn(36, 36, generator=RNG())).Q[:numbers]
    spread = (36 / numbers) ** 0.5  # as far apart as the real ones
    assert told(ModeCollapse, Game(generator=lambda z: 0.5 + spread * (z[:, :numbers] - 0.5) @ base)) == ""


def test_models_that_reconstruct_are_judged_by_that() -> None:
    """A VAE that ignores its code has a detector of its own."""
    model = models.build("vae", DataShape(SHAPE), models.model_class("vae").Config(net="mlp", latent_dim=2)).eval()
    model.decode = lambda z, y=None: torch.zeros(len(z), *SHAPE)
    for kind in KINDS:
        assert told(kind, model) == ""


def test_drawings_in_black_and_white_are_no_divergence() -> None:
    ink = (REAL > 0.5).float()
    ink[:, :, 0] = REAL[:, :, 0]  # an edge in grey
    assert told(Divergence, Game(generator=lambda z: (z > 0.5).float()), Batch(ink)) == ""


class Toy(toy_gan.Model):
    """As the losses of a game have to be taken: they judge nobody, and a critic's answer is no probability."""

    judged_by = None
    probabilities = False


class Deaf(Toy):
    """Its generator hardly hears the noise."""

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        return super().decode(1e-3 * z_BL + torch.ones(self.latent_dim))


@pytest.fixture
def impatient(monkeypatch) -> None:
    """Short games are judged too."""
    for kind in KINDS:
        monkeypatch.setattr(kind, "first_step", 100)
        monkeypatch.setattr(kind, "patience", 100)


def play(model: Toy, folder: Path, **settings):
    """A game of 400 steps, looked at each 50, over pictures in one of all brightnesses; the warnings and the loop."""
    records: list[dict] = []
    data = small_set(SHAPE, 1664, 64)
    shade = torch.rand(1664, 1, 1, 1, generator=RNG()) * torch.ones(SHAPE) + 0.1 * torch.randn(
        1664, *SHAPE, generator=RNG()
    )
    data.x = (255 * shade).clamp(0, 255).to(torch.uint8)
    given = {"max_steps": 400, "epochs": 0, "batch_size": 32, "learning_rate": 3e-3, "optimiser": "rmsprop", **settings}
    loop = make_loop(model, data, folder, log=records.append, **given)
    loop.probe = Batch(2 * data.x[1600:].float() / 255 - 1)
    loop.run()
    return [r["detector"] for r in records if r["kind"] == "warning"], loop


def toy(kind: type[Toy] = Toy, **settings) -> Toy:
    torch.manual_seed(0)
    return kind(DataShape(SHAPE), toy_gan.Config(critic_turns=1, **settings))


@pytest.mark.usefixtures("impatient")
def test_a_game_that_goes_well_is_not_disturbed(tmp_path: Path) -> None:
    assert play(toy(), tmp_path)[0] == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("on_warning", ["warn", "stop"])
def test_a_collapsed_game_is_told_in_training_and_can_stop_it(tmp_path: Path, on_warning: str) -> None:
    model = toy(Deaf)
    model.generator[1] = torch.nn.Identity()  # BatchNorm would make the little it hears loud
    warnings, loop = play(model, tmp_path, on_warning=on_warning)
    assert warnings == ["mode_collapse"]
    assert (loop.progress.finished == "a detector spoke: mode_collapse") == (on_warning == "stop")
    assert loop.progress.step == (200 if on_warning == "stop" else 400)


@pytest.mark.usefixtures("impatient")
def test_a_critic_clipped_to_nothing_is_told(tmp_path: Path) -> None:
    assert "discriminator_saturation" in play(toy(clip=1e-9), tmp_path)[0]


@pytest.mark.usefixtures("impatient")
def test_a_generator_thrown_out_of_range_is_told(tmp_path: Path) -> None:
    assert "divergence" in play(toy(clip=5.0), tmp_path, learning_rate=1.0)[0]


def test_all_are_found_and_their_first_words_are_in_the_documentation() -> None:
    found = {type(d) for d in watch.detectors()}
    assert set(KINDS) <= found
    assert Lasting not in found
    page = (Path(__file__).parents[2] / "docs" / "warnings.md").read_text(encoding="utf-8")
    said = " ".join(page.replace("\n> ", " ").split())
    for kind in KINDS:
        text = told(kind, planted(kind))
        fixed = re.sub(r"[\d.,]+( ?%)?", "#", text)
        assert fixed in re.sub(r"[\d.,]+( ?%)?", "#", said), text
