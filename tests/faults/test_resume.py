"""2N steps = N steps, a checkpoint, new objects, N steps; bit for bit, and two further steps as well."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentscape.training import checkpoint, loop, optim
from latentscape.training.loop import Loop
from loops import differing, make, make_loop, small_set

SHAPE = (1, 8, 8)
N = 7  # five steps make an epoch: each half ends within one
NETS = {"conv": {"net": "conv", "width": 4}, "mlp": {"net": "mlp", "hidden": (12,)}}
SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {},
    "step": {"schedule": "step", "schedule_every": 1, "schedule_factor": 0.5},
    "plateau": {"schedule": "plateau", "schedule_patience": 0, "schedule_factor": 0.5, "schedule_threshold": 0.5},
    "cosine": {"schedule": "cosine", "epochs": 4},
}
OPTIMISERS = [("adam", True), ("adam", False), ("adamw", True), ("adamw", False), ("sgd", True), ("sgd", False)]
OPTIMISERS += [("rmsprop", False)]  # torch has no fused RMSprop


def unfused(optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The same optimiser without fused kernels."""
    kept = {k: v for k, v in optimiser.defaults.items() if k in ("lr", "betas", "weight_decay", "momentum", "alpha")}
    extra = {} if isinstance(optimiser, torch.optim.RMSprop) else {"fused": False}
    return type(optimiser)(optimiser.param_groups[0]["params"], foreach=False, **kept, **extra)


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Says whether the loops made from now on use fused kernels."""
    real = optim.make_optimiser

    def choose(fused: bool) -> None:
        made = real if fused else lambda *args: unfused(real(*args))
        monkeypatch.setattr(loop.optim, "make_optimiser", made)

    return choose


def fresh(net: str, folder: Path, max_steps: int, **settings: Any) -> Loop:
    model = make("vae", SHAPE, latent_dim=3, norm="batch", **NETS[net])
    data = small_set(SHAPE, n=48)
    return make_loop(model, data, folder, **{"max_steps": max_steps, "learning_rate": 0.01, **settings})


def everything(of: Loop) -> dict[str, Tensor]:
    """All tensors that the next step depends on."""
    state = {f"model.{k}": v for k, v in of.model.state_dict().items()}
    state |= {f"evaluated.{k}": v for k, v in of.evaluated.state_dict().items()}
    for name, optimiser in of.optimisers.items():
        for i, slots in optimiser.state_dict()["state"].items():
            state |= {f"{name}.{i}.{k}": torch.as_tensor(v) for k, v in slots.items() if v is not None}
        state[f"{name}.lr"] = torch.tensor(optimiser.param_groups[0]["lr"], dtype=torch.float64)
    return state | {"rng": of.rng.get_state(), "taken": torch.tensor(of.batches.taken)}


def moments(of: Loop) -> list[tuple[nn.Parameter, Tensor]]:
    """Every parameter with each optimiser slot of its own shape."""
    return [
        (p, value)
        for optimiser in of.optimisers.values()
        for p, slots in optimiser.state.items()
        for value in slots.values()
        if isinstance(value, Tensor) and value.dim() and value.shape == p.shape
    ]


def assert_strides_shared(of: Loop) -> None:
    pairs = moments(of)
    assert pairs
    assert all(value.stride() == p.stride() for p, value in pairs)


def halves_equal_whole(net: str, folder: Path, **settings: Any) -> Loop:
    whole, half = fresh(net, folder / "whole", 2 * N, **settings), fresh(net, folder / "half", N, **settings)
    whole.run()
    half.run()
    rest = fresh(net, folder / "half", 2 * N, **settings)
    with torch.no_grad():
        for p in rest.model.parameters():
            p.add_(1)  # nothing of the new model may survive the restoring
    rest.restore(*rest.checkpoints.newest()[1:])
    assert rest.progress.step == N
    assert_strides_shared(rest)
    rest.progress.finished = ""
    rest.run()
    assert not differing(everything(whole), everything(rest))
    for continued in (whole, rest):
        continued.model.train()
        continued.step()
        continued.step()
    assert not differing(everything(whole), everything(rest))
    return rest


def combinations(*, all_of_them: bool) -> list[Any]:
    """Optimiser × kernel × net, with schedules and EMA in turn; or every combination."""
    out = []
    extras = [(schedule, ema) for schedule in SCHEDULES for ema in (0, 30)]
    for k, ((optimiser, fused), net) in enumerate(itertools.product(OPTIMISERS, NETS)):
        for schedule, ema in extras if all_of_them else [extras[(3 * k + k // 2) % len(extras)]]:
            name = f"{optimiser}-{'fused' if fused else 'plain'}-{net}-{schedule}-ema{ema}"
            out.append(pytest.param(optimiser, fused, net, schedule, ema, id=name))
    return out


def check(optimiser: str, fused: bool, net: str, schedule: str, ema: int, kernels: Any, folder: Path) -> None:
    kernels(fused)
    settings = {"optimiser": optimiser, "ema_halflife_images": ema, "weight_decay": 1e-3, **SCHEDULES[schedule]}
    rest = halves_equal_whole(net, folder, **settings)
    (made,) = rest.optimisers.values()
    assert bool(made.param_groups[0].get("fused")) == fused
    lr = made.param_groups[0]["lr"]
    assert (lr < 0.01) == (schedule != "constant")
    if ema:
        assert differing(rest.model.state_dict(), rest.evaluated.state_dict())


@pytest.mark.parametrize(("optimiser", "fused", "net", "schedule", "ema"), combinations(all_of_them=False))
def test_two_halves_are_one_whole(
    optimiser: str, fused: bool, net: str, schedule: str, ema: int, kernels: Any, tmp_path: Path
) -> None:
    check(optimiser, fused, net, schedule, ema, kernels, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("optimiser", "fused", "net", "schedule", "ema"), combinations(all_of_them=True))
def test_two_halves_are_one_whole_in_every_combination(
    optimiser: str, fused: bool, net: str, schedule: str, ema: int, kernels: Any, tmp_path: Path
) -> None:
    check(optimiser, fused, net, schedule, ema, kernels, tmp_path)


@pytest.mark.parametrize("beta1", [0.0, 0.9])
def test_sgd_resumes_with_and_without_momentum(beta1: float, tmp_path: Path) -> None:
    if beta1:
        halves_equal_whole("mlp", tmp_path, optimiser="sgd", beta1=beta1)
        return
    whole = fresh("mlp", tmp_path / "whole", 2 * N, optimiser="sgd", beta1=0.0)
    whole.run()
    fresh("mlp", tmp_path / "half", N, optimiser="sgd", beta1=0.0).run()
    rest = fresh("mlp", tmp_path / "half", 2 * N, optimiser="sgd", beta1=0.0)
    rest.restore(*rest.checkpoints.newest()[1:])
    rest.progress.finished = ""
    rest.run()
    assert not differing(everything(whole), everything(rest))


def test_beta_warm_up_and_gradient_clipping_resume(tmp_path: Path) -> None:
    """The schedule of a loss term reads the step, which the checkpoint carries."""

    def made(folder: str, steps: int) -> Loop:
        model = make("vae", SHAPE, latent_dim=3, beta=5.0, beta_warmup_steps=12, **NETS["mlp"])
        return make_loop(model, small_set(SHAPE, n=48), tmp_path / folder, max_steps=steps, gradient_clip=0.1)

    whole, half = made("whole", 2 * N), made("half", N)
    whole.run()
    half.run()
    rest = made("half", 2 * N)
    rest.restore(*rest.checkpoints.newest()[1:])
    rest.progress.finished = ""
    rest.run()
    assert not differing(everything(whole), everything(rest))


def test_moments_with_other_strides_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above can fail: a restore that keeps the file's contiguous moments is caught by it."""

    def naive(optimiser: Any, prefix: str, tensors: dict[str, Tensor], groups: list[Any]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(prefix + "."):
                i, name = key[len(prefix) + 1 :].split(".", 1)
                state.setdefault(int(i), {})[name] = value
        optimiser.load_state_dict({"state": state, "param_groups": copy.deepcopy(groups)})

    fresh("conv", tmp_path, N).run()
    rest = fresh("conv", tmp_path, 2 * N)
    monkeypatch.setattr(loop, "restore_optimiser", naive)
    rest.restore(*rest.checkpoints.newest()[1:])
    convolutions = [(p, v) for p, v in moments(rest) if p.dim() == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert convolutions
    assert all(v.is_contiguous() and not p.is_contiguous() for p, v in convolutions)
    with pytest.raises(AssertionError):
        assert_strides_shared(rest)


def test_a_checkpoint_of_another_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    from latentscape.errors import RunError

    fresh("mlp", tmp_path, 3).run()
    model = make("vae", SHAPE, latent_dim=4, **NETS["mlp"])
    other = make_loop(model, small_set(SHAPE, n=48), tmp_path, max_steps=6)
    with pytest.raises(RunError, match="does not fit this run's model and settings") as error:
        other.restore(*other.checkpoints.newest()[1:])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("changes", [{"batch_size": 4}, {"seed": 1}], ids=["batch size", "seed"])
def test_a_checkpoint_of_another_data_stream_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    from latentscape.errors import RunError

    fresh("mlp", tmp_path, 3).run()
    model = make("vae", SHAPE, latent_dim=3, norm="batch", **NETS["mlp"])
    other = make_loop(model, small_set(SHAPE, n=48), tmp_path, max_steps=6, **changes)
    with pytest.raises(RunError, match="the data stream was"):
        other.restore(*other.checkpoints.newest()[1:])


def test_checkpoints_are_pruned_to_the_newest(tmp_path: Path) -> None:
    made = fresh("mlp", tmp_path, 10, checkpoint_every=2, keep_checkpoints=3)
    made.run()
    assert [p.stem for p in made.checkpoints.all()] == ["step-000000006", "step-000000008", "step-000000010"]


def test_a_checkpoint_holds_nothing_that_is_pickled(tmp_path: Path) -> None:
    made = fresh("mlp", tmp_path, 2)
    made.run()
    (path,) = made.checkpoints.all()
    assert path.read_bytes()[8:9] == b"{"  # the length, then the JSON header of safetensors
    tensors, state = checkpoint.load_state(path)
    assert state["progress"]["step"] == 2
    assert all(isinstance(t, Tensor) for t in tensors.values())


def no_constant(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_the_state_of_a_checkpoint_is_json_and_comes_back(schedule: str, tmp_path: Path) -> None:
    """Before the first held-out loss the best one is infinite, which JSON cannot say."""
    made = fresh("mlp", tmp_path, 2, **SCHEDULES[schedule])
    made.run()
    (path,) = made.checkpoints.all()
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")], parse_constant=no_constant)
    json.loads(header["__metadata__"]["state"], parse_constant=no_constant)
    assert checkpoint.load_state(path)[1]["progress"]["best_loss"] == math.inf
    again = fresh("mlp", tmp_path, 2, **SCHEDULES[schedule])
    again.restore(*checkpoint.load_state(path))
    assert again.progress == made.progress
    assert {n: s.state_dict() for n, s in again.schedules.items() if s} == {
        n: s.state_dict() for n, s in made.schedules.items() if s
    }


def test_numbers_that_json_cannot_say_come_back_from_any_depth(tmp_path: Path) -> None:
    state = {"a": [math.inf, {"b": (-math.inf, 1.5)}], "float": 2, "c": {"d": None, "e": True}, "f": {"float": "x"}}
    checkpoint.save_state(tmp_path / "c.safetensors", {"w": torch.zeros(1)}, state)
    assert checkpoint.load_state(tmp_path / "c.safetensors")[1] == {**state, "a": [math.inf, {"b": [-math.inf, 1.5]}]}
