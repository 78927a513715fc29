"""What every model promises, checked for every model that discovery finds, and for two toys with several phases."""

from __future__ import annotations

import copy
import dataclasses
import tomllib
import typing
from pathlib import Path

import pytest
import tomli_w
import torch
from torch import Tensor

import loops
from latentscape import contract, models
from latentscape.config import DataShape
from latentscape.contract import Batch, Draws, Losses, Model, Trained
from latentscape.errors import Diverged
from latentscape.runs import RunFolder
from latentscape.training.ema import Ema
from latentscape.training.settings import TrainSettings
from loops import differing, examples, make, ready

SHAPES = [(1, 8, 8), (3, 9, 12), (5,)]

with loops.toys_known():
    CLASSES = {name: models.model_class(name) for name in [*models.modules(), *loops.TOYS]}

every_model = pytest.mark.parametrize("name", list(CLASSES))
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=["1x8x8", "3x9x12", "vector5"])


def every(*abilities: type) -> pytest.MarkDecorator:
    """Every model that has these abilities."""
    return pytest.mark.parametrize("name", [n for n, c in CLASSES.items() if all(issubclass(c, a) for a in abilities)])


def batch_for(model: Model, n: int = 6, seed: int = 0) -> Batch:
    y_B = torch.arange(n) % model.classes
    return Batch(examples(model, n, seed), y_B, step=torch.tensor(7.0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def all_draws(model: Trained, batch: Batch, rng: torch.Generator) -> dict[str, Draws]:
    """The draws of the shared forward and of every phase, in the loop's order."""
    names = [*(["shared"] if model.has_shared else []), *(p.name for p in model.phases)]
    return {name: model.draw(name, batch, rng) for name in names}


def play(model: Trained, batch: Batch, draws: dict[str, Draws]) -> dict[str, Losses]:
    """Every phase's losses from given draws."""
    shared = model.shared(batch, draws["shared"]) if model.has_shared else {}
    return {p.name: model(p.name, batch, draws[p.name] | shared) for p in model.phases}


# ---- phases and losses -----------------------------------------------------------------------------------------


@every(Trained)
@every_shape
def test_every_parameter_has_a_player_and_no_module_is_listed_twice(name: str, shape: tuple[int, ...]) -> None:
    model = make(name, shape)
    assert len({p.name for p in model.phases}) == len(model.phases) > 0
    moved = {id(p) for phase in model.phases for p in phase.parameters()}
    unmoved = [key for key, p in model.named_parameters() if id(p) not in moved]
    assert not unmoved
    for phase in model.phases:
        modules = [id(m) for module in phase.player for m in module.modules()]
        assert len(modules) == len(set(modules))
        assert phase.repeat >= 1
        own = {id(p) for p in model.parameters()}
        assert all(id(p) in own for p in phase.parameters())


@every(Trained)
@every_shape
def test_losses_are_a_function_of_batch_and_draws(name: str, shape: tuple[int, ...]) -> None:
    model = make(name, shape).train()
    batch = batch_for(model)
    draws = all_draws(model, batch, generator())
    first, second = play(model, batch, draws), play(model, batch, draws)
    for phase in model.phases:
        a, b = first[phase.name], second[phase.name]
        assert torch.equal(a.total, b.total)
        assert a.terms.keys() == b.terms.keys()
        assert all(torch.equal(a.terms[k], b.terms[k]) for k in a.terms)


@every(Trained)
@every_shape
def test_losses_depend_on_the_batch(name: str, shape: tuple[int, ...]) -> None:
    model = make(name, shape).train()
    batches = [batch_for(model, seed=s) for s in (0, 1)]
    draws = all_draws(model, batches[0], generator())
    one, other = (play(model, b, draws) for b in batches)
    assert any(not torch.equal(one[p].total, other[p].total) for p in one)


@every(Trained)
@every_shape
def test_randomness_comes_from_the_handed_generator_alone(name: str, shape: tuple[int, ...]) -> None:
    model = make(name, shape).train()
    batch = batch_for(model)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = all_draws(model, batch, generator(5))
    losses = play(model, batch, first)
    sum(x.total for x in losses.values()).backward()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = all_draws(model, batch, generator(5)), all_draws(model, batch, generator(6))
    for phase, draws in first.items():
        assert draws.keys() == again[phase].keys()
        for key, value in draws.items():
            assert torch.equal(value, again[phase][key])
            assert not torch.equal(value, other[phase][key])
            assert value.device == batch.x.device


@every(Trained)
@every_shape
def test_totals_are_finite_scalars_that_reach_every_parameter(name: str, shape: tuple[int, ...]) -> None:
    model = make(name, shape).train()
    batch = batch_for(model)
    losses = play(model, batch, all_draws(model, batch, generator()))
    reached: set[int] = set()
    for phase in model.phases:
        total, terms = losses[phase.name].total, losses[phase.name].terms
        assert total.shape == ()
        assert total.dtype == torch.float32
        assert torch.isfinite(total)
        assert terms
        for key, value in terms.items():
            assert key == key.lower()
            assert value.shape == ()
            assert torch.isfinite(value)
        players = phase.parameters()
        found = torch.autograd.grad(total, players, allow_unused=True, retain_graph=True)
        assert all(torch.isfinite(g).all() for g in found if g is not None)
        reached |= {id(p) for p, g in zip(players, found, strict=True) if g is not None}
    unreached = [key for key, p in model.named_parameters() if id(p) not in reached]
    assert not unreached


@every(Trained)
@every_shape
def test_the_loop_does_what_a_plain_step_does(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    """Two steps of the loop equal two written out here, in which only the player's own gradient is ever taken."""
    model, data = make(name, shape), loops.small_set(shape)
    rate = steady_rate(model)
    loop = loops.make_loop(model, data, tmp_path, optimiser="sgd", beta1=0.0, learning_rate=rate)
    reference = copy.deepcopy(loop.model)
    for phase, own in zip(reference.phases, loop.model.phases, strict=True):
        assert not {id(p) for p in phase.parameters()} & {id(p) for p in own.parameters()}
    stream = loops.make_loop(reference, data, tmp_path / "reference").batches
    before = loops.copied(loop.model.state_dict())
    loop.model.train()
    for _ in range(2):
        loop.step()
    rng = torch.Generator().manual_seed(loop.settings.seed)
    reference.train()
    for step in range(2):
        plain_step(reference, stream, rng, rate, step)
    assert stream.taken == loop.batches.taken == 2 * max(p.repeat for p in model.phases)
    for key, value in reference.state_dict().items():
        torch.testing.assert_close(loop.model.state_dict()[key], value, rtol=1e-5, atol=1e-7, msg=key)
    still = [k for k, p in loop.model.named_parameters() if p.dim() > 1 and torch.equal(p, before[k])]
    assert not still


def steady_rate(model: Trained) -> float:
    """A rate at which no phase's loss, however large its unit makes it, throws the weights about."""
    probe = copy.deepcopy(model).train()
    batch = batch_for(probe)
    losses = play(probe, batch, all_draws(probe, batch, generator()))
    return 5e-3 / max(5.0, *(abs(float(x.total.detach())) for x in losses.values()))


def plain_step(model: Trained, stream: object, rng: torch.Generator, rate: float, step: int) -> None:
    def taken() -> Batch:
        e = stream.next()
        return Batch(e.x, e.y, e.attributes, torch.tensor(float(step)))

    batches = [taken()]
    shared = model.run_shared(batches[0], rng)
    for phase in model.phases:
        for turn in range(phase.repeat):
            if turn == len(batches):
                batches.append(taken())
            losses = model(phase.name, batches[turn], model.draw(phase.name, batches[turn], rng) | shared)
            players = phase.parameters()
            for p, g in zip(players, torch.autograd.grad(losses.total, players), strict=True):
                p.data.sub_(rate * phase.rate * g)
            if phase.after_step:
                with torch.no_grad():
                    phase.after_step()


@every(Trained)
@every_shape
def test_a_phase_moves_only_its_player(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    model = make(name, shape)
    loop = loops.make_loop(model, loops.small_set(shape), tmp_path, learning_rate=0.05)
    loop.model.train()
    turns: list[tuple[contract.Phase, dict[str, Tensor]]] = []

    def begin(phase: contract.Phase) -> None:
        turns.append((phase, loops.copied(dict(loop.model.named_parameters()))))

    for phase in loop.model.phases:
        loop.optimisers[phase.name].register_step_pre_hook(lambda o, a, k, phase=phase: begin(phase))
    loop.step()
    assert [phase.name for phase, _ in turns] == [p.name for p in loop.model.phases for _ in range(p.repeat)]
    now = dict(loop.model.named_parameters())
    afterwards = [before for _, before in turns[1:]] + [now]
    for (phase, before), after in zip(turns, afterwards, strict=True):
        player = {id(p) for p in phase.parameters()}
        moved = [key for key in now if not torch.equal(before[key], after[key])]
        assert moved
        assert all(id(now[key]) in player for key in moved)


@every(Trained)
@every_shape
def test_only_the_player_requires_gradients_in_its_phase(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    """And everything does in the shared forward, whose tensors any player may learn through."""
    loop = loops.make_loop(make(name, shape), loops.small_set(shape), tmp_path)
    model, seen = loop.model.train(), []

    def moving() -> set[int]:
        return {id(p) for p in model.parameters() if p.requires_grad}

    if model.has_shared:
        shared = model.shared
        model.shared = lambda batch, draws: seen.append(("shared", moving())) or shared(batch, draws)
    model.register_forward_pre_hook(lambda module, inputs: seen.append((inputs[0], moving())))
    loop.step()
    loop.step()
    players = {p.name: {id(q) for q in p.parameters()} for p in model.phases}
    players["shared"] = {id(p) for p in model.parameters()}
    assert {phase for phase, _ in seen} == {p.name for p in model.phases} | ({"shared"} if model.has_shared else set())
    assert all(found == players[phase] for phase, found in seen)


@every(Trained)
@every_shape
def test_a_batch_with_nan_stops_the_run_before_any_weight_moves(
    name: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    model, data = make(name, shape), loops.small_set(shape)
    loop = loops.make_loop(model, data, tmp_path, learning_rate=0.05)
    source = loop.batches.source
    source.x = source.x.float() / (255 if len(shape) == 3 else 1)
    source.x.view(len(source.x), -1)[:, 3] = float("nan")
    loop.model.train()
    before = loops.copied(dict(loop.model.named_parameters()))
    with pytest.raises(Diverged) as error:
        loop.step()
    assert not differing(before, dict(loop.model.named_parameters()))
    assert loop.progress.step == 0
    assert "\n" not in str(error.value)
    assert "is not a finite number at step 0" in str(error.value)
    assert (tmp_path / "failed-batch.safetensors").exists()


def nets_of(name: str) -> list[str]:
    """The nets that a model's settings offer, or none."""
    hint = typing.get_type_hints(CLASSES[name].Config).get("net")
    return [net for net in typing.get_args(hint) if net != "auto"]


@pytest.mark.parametrize(
    ("name", "net"), [(name, net) for name, c in CLASSES.items() if issubclass(c, Trained) for net in nets_of(name)]
)
def test_every_net_that_a_model_offers_trains_on_images(name: str, net: str, tmp_path: Path) -> None:
    """A code of 18 numbers lies on the grid's 3×3 places, and a Gaussian's 36 too."""
    narrow = {"width": 2, "latent_dim": 18, "depth": 2, "hidden": (5,)}
    shape, known = (3, 9, 12), {f.name for f in dataclasses.fields(CLASSES[name].Config)}
    model = make(name, shape, net=net, **{k: v for k, v in narrow.items() if k in known})
    loop = loops.make_loop(model, loops.small_set(shape), tmp_path)
    loop.model.train()
    loop.step()
    batch = batch_for(loop.model.eval())
    with torch.no_grad():
        if isinstance(loop.model, contract.Reconstructs):
            assert loop.model.reconstruct(batch.x, batch.y).shape == (6, *shape)


@pytest.mark.parametrize("name", [n for n, c in CLASSES.items() if issubclass(c, Trained) and "mlp" in nets_of(n)])
def test_hidden_layers_may_be_none(name: str) -> None:
    model = make(name, (5,), net="mlp", hidden=()).eval()
    batch = batch_for(model)
    with torch.no_grad():
        play(model, batch, all_draws(model, batch, generator()))


# ---- modes and buffers -----------------------------------------------------------------------------------------


@every_model
@every_shape
def test_evaluation_leaves_parameters_and_buffers_alone(name: str, shape: tuple[int, ...]) -> None:
    model = ready(name, shape)
    batch, before = batch_for(model), loops.copied(model.state_dict())
    with torch.no_grad():
        if isinstance(model, Trained):
            play(model, batch, all_draws(model, batch, generator()))
        if isinstance(model, contract.Encodes):
            model.encode(batch.x, batch.y)
        if isinstance(model, contract.Decodes):
            model.decode(torch.randn(4, model.latent_dim, generator=generator()), torch.arange(4) % model.classes)
        if isinstance(model, contract.Discriminates):
            model.discriminate(batch.x)
    assert not differing(before, model.state_dict())


@every(Trained)
def test_average_copies_parameters_and_buffers(name: str) -> None:
    model = make(name, (1, 8, 8)).train()
    ema = Ema(model, halflife_images=6)
    start = loops.copied(ema.model.state_dict())
    with torch.no_grad():
        for value in model.state_dict().values():
            value.add_(1)
    ema.update(model, 6)  # one half-life: halfway
    for key, value in model.state_dict().items():
        expected = start[key] + 0.5 if value.is_floating_point() else value
        torch.testing.assert_close(ema.model.state_dict()[key], expected, msg=key)
    ema.update(model, 6 * 64)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(ema.model.state_dict()[key], value, msg=key)
    assert not ema.model.training
    assert not any(p.requires_grad for p in ema.model.parameters())
    assert list(ema.model.state_dict()) == list(model.state_dict())


# ---- abilities -------------------------------------------------------------------------------------------------


@every(contract.Reconstructs)
@every_shape
def test_encoding_gives_latents_and_decoding_examples(name: str, shape: tuple[int, ...]) -> None:
    model = ready(name, shape)
    batch = batch_for(model, 4)
    with torch.no_grad():
        z_BL = model.encode(batch.x, batch.y)
        x_BX, twice = model.decode(z_BL, batch.y), model.reconstruct(batch.x, batch.y)
    assert z_BL.shape == (4, model.latent_dim)
    assert x_BX.shape == (4, *shape)
    assert z_BL.dtype == x_BX.dtype == torch.float32
    assert torch.equal(x_BX, twice)


@every(contract.Decodes)
@every_shape
def test_output_lies_in_the_declared_value_range(name: str, shape: tuple[int, ...]) -> None:
    """A squashed output covers exactly the range that the input is scaled to; a linear one is allowed to leave it."""
    model = ready(name, shape)
    assert model.value_range in (("unit", "signed") if len(shape) == 3 else ("real",))
    z_BL = torch.randn(64, model.latent_dim, generator=generator())
    with torch.no_grad():
        near, far = (model.decode(scale * z_BL, torch.arange(64) % 3) for scale in (1e4, 1e6))
    assert torch.isfinite(near).all()
    assert near.std(0).max() > 0
    if float(far.abs().max()) > 10 * float(near.abs().max()):
        return  # linear
    if torch.equal(near, far) and hasattr(model, "codes"):
        return  # latents are rounded to the nearest codes, so their scale says nothing
    low, high = {"unit": (0.0, 1.0), "signed": (-1.0, 1.0)}[model.value_range]
    assert near.min() >= low
    assert near.max() <= high
    assert near.min() < low + 0.05 * (high - low)
    assert near.max() > high - 0.05 * (high - low)


@every(contract.Encodes)
@every_shape
def test_encoding_in_evaluation_looks_at_each_example_by_itself(name: str, shape: tuple[int, ...]) -> None:
    model = ready(name, shape)
    batch, order = batch_for(model, 6), torch.tensor([4, 0, 5, 2, 1, 3])
    state = torch.get_rng_state()
    with torch.no_grad():
        z_BL, again = model.encode(batch.x, batch.y), model.encode(batch.x, batch.y)
        shuffled = model.encode(batch.x[order], batch.y[order])
        alone = model.encode(batch.x[:1], batch.y[:1])
    assert torch.equal(z_BL, again)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(shuffled, z_BL[order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone, z_BL[:1], rtol=1e-4, atol=1e-5)
    assert (z_BL[0] - z_BL[1]).abs().max() > 1e-6


@every(contract.Decodes)
@every_shape
def test_decoding_in_evaluation_looks_at_each_latent_by_itself(name: str, shape: tuple[int, ...]) -> None:
    model = ready(name, shape)
    z_BL, y_B = torch.randn(6, model.latent_dim, generator=generator()), torch.arange(6) % 3
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    with torch.no_grad():
        x_BX, shuffled = model.decode(z_BL, y_B), model.decode(z_BL[order], y_B[order])
    torch.testing.assert_close(shuffled, x_BX[order], rtol=1e-4, atol=1e-5)


@every(contract.Samples)
@every_shape
def test_the_prior_gives_what_the_decoder_takes(name: str, shape: tuple[int, ...]) -> None:
    model = ready(name, shape)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    z_NL, again, other = (model.prior(5, generator(s)) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert z_NL.shape == (5, model.latent_dim)
    assert torch.equal(z_NL, again)
    assert not torch.equal(z_NL, other)
    with torch.no_grad():
        assert model.decode(z_NL, torch.arange(5) % 3).shape == (5, *shape)


@every(contract.HasPosterior)
@every_shape
def test_the_posterior_has_the_code_as_its_mean(name: str, shape: tuple[int, ...]) -> None:
    model = ready(name, shape)
    batch = batch_for(model)
    with torch.no_grad():
        q = model.posterior(batch.x, batch.y)
        assert torch.equal(q.mean, model.encode(batch.x, batch.y))
    assert q.mean.shape == q.log_var.shape == (6, model.latent_dim)
    assert torch.isfinite(q.log_var).all()


@every(contract.HasLikelihood)
@every_shape
def test_the_likelihood_is_highest_near_what_is_decoded(name: str, shape: tuple[int, ...]) -> None:
    model = ready(name, shape)
    z_BL, y_B = torch.randn(6, model.latent_dim, generator=generator()), torch.arange(6) % 3
    with torch.no_grad():
        x_BX = model.decode(z_BL, y_B)
        likely = (x_BX > 0.5).float() if len(shape) == 3 else x_BX
        near = model.log_likelihood(likely, z_BL, y_B)
        far = model.log_likelihood(1 - likely if len(shape) == 3 else x_BX + 0.5, z_BL, y_B)
    assert near.shape == (6,)
    assert (near > far).all()


@every(contract.Discriminates)
@every_shape
def test_discriminators_give_one_logit_per_example(name: str, shape: tuple[int, ...]) -> None:
    model = ready(name, shape)
    with torch.no_grad():
        assert model.discriminate(examples(model, 4)).shape == (4,)


@every_model
def test_abilities_are_told_as_they_are(name: str) -> None:
    model_class = models.model_class(name)
    told = contract.abilities(model_class)
    assert ("encode" in told) == issubclass(model_class, contract.Encodes)
    assert ("sample" in told) == issubclass(model_class, contract.Samples)
    assert ("posterior" in told) == issubclass(model_class, contract.HasPosterior)
    assert told


# ---- building, saving ------------------------------------------------------------------------------------------


@every_model
@every_shape
def test_building_is_seeded_and_leaves_the_global_generator_alone(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one = make(name, shape, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    same, other = make(name, shape, seed=1), make(name, shape, seed=2)
    assert not differing(one.state_dict(), same.state_dict())
    if isinstance(one, Trained):
        assert differing(one.state_dict(), other.state_dict())
    assert one.shape == DataShape(shape)
    assert one.classes == 3


@every_model
@every_shape
def test_saved_models_come_back_bit_for_bit(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    model = ready(name, shape)
    if isinstance(model, Trained):
        move_everything(model)
    folder = RunFolder.create(
        tmp_path / "run",
        config={
            "run": {"model": name, "data": "", "shape": list(shape), "classes": 3},
            "train": TrainSettings().to_dict(),
            "model": model.config.to_dict(),
            "data": {},
        },
        command="",
        data={},
        environment={},
    )
    folder.save_model(model)
    loaded = folder.load_model()
    assert not differing(model.state_dict(), loaded.state_dict())
    assert loaded.config == model.config
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    if isinstance(model, contract.Encodes):
        x_BX, y_B = examples(model), torch.arange(6) % 3
        with torch.no_grad():
            assert torch.equal(loaded.encode(x_BX, y_B), model.encode(x_BX, y_B))
    if isinstance(model, contract.Decodes):
        z_BL, y_B = torch.randn(3, model.latent_dim, generator=generator()), torch.arange(3)
        with torch.no_grad():
            assert torch.equal(loaded.decode(z_BL, y_B), model.decode(z_BL, y_B))


def move_everything(model: Model) -> None:
    """Give every parameter and buffer a value that no initialisation has."""
    rng = generator(9)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand(value.shape, generator=rng))
            else:
                value.add_(3)


@every_model
@every_shape
def test_training_defaults_are_training_settings(name: str, shape: tuple[int, ...]) -> None:
    model_class = models.model_class(name)
    defaults = model_class.training_defaults(DataShape(shape), model_class.Config())
    if "batch_size_at_most" in defaults:
        assert defaults.pop("batch_size_at_most") > TrainSettings.batch_size
        assert "learning_rate" in defaults  # which grows with the batch
        assert "batch_size" not in defaults
    assert isinstance(TrainSettings.from_dict(defaults), TrainSettings)


@every_model
def test_notes_are_sentences(name: str) -> None:
    for note in make(name, (1, 8, 8)).notes():
        assert note.strip()
        assert "\n" not in note


@every_model
def test_settings_survive_a_trip_through_toml(name: str) -> None:
    config_class = models.model_class(name).Config
    for config in (config_class(), changed(config_class)):
        values = {k: v for k, v in config.to_dict().items() if v is not None}
        assert config_class.from_dict(tomllib.loads(tomli_w.dumps(values))) == config


def changed(settings: type) -> object:
    """Settings of which every field that has another allowed value takes it."""
    from settings_values import another

    return settings(**another(settings))


@every_model
def test_every_name_has_a_summary_for_the_command_line(name: str) -> None:
    summary = models.summaries()[name.replace("_", "-")]
    assert summary.endswith(".")
    assert len(summary) > 20
    assert models.model_class(name.replace("_", "-")) is models.model_class(name)


def test_tensors_are_told_apart() -> None:
    """The comparison that the tests above rest on can fail."""
    a: dict[str, Tensor] = {"w": torch.tensor([1.0, float("nan")])}
    assert not differing(a, loops.copied(a))
    assert differing(a, {"w": torch.tensor([1.0 + 2**-23, float("nan")])}) == ["w"]
