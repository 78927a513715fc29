"""Looking on while a run is made: when, at which model, and without a trace in the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from latentscape.contract import Model
from latentscape.errors import ConfigError
from latentscape.tasks import training
from loops import differing, make, make_loop, small_set
from tiny_runs import TINY, weights

RUN: dict[str, Any] = {**TINY, "max_steps": 12, "checkpoint_every": 5, "learning_rate": 0.01}


class Onlooker:
    """Keeps what it was shown, then spoils it as much as it can."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.means: list[float] = []

    def __call__(self, model: Model, step: int) -> None:
        assert not model.training
        assert not torch.is_grad_enabled()
        self.steps.append(step)
        self.means.append(float(sum(p.double().abs().mean() for p in model.parameters())))
        torch.manual_seed(step)
        torch.rand(3)
        model.train()
        for p in model.parameters():
            p.requires_grad_(False).fill_(7)
        for b in model.buffers():
            b.zero_()


@pytest.mark.parametrize("ema", [0, 40])
def test_looking_on_leaves_no_trace(ema: int, tmp_path: Path) -> None:
    plain = training.train("vae", "digits", out=tmp_path / "plain", ema_halflife_images=ema, norm="batch", **RUN)
    onlooker = Onlooker()
    watched = training.train(
        "vae", "digits", out=tmp_path / "seen", ema_halflife_images=ema, norm="batch", watch=onlooker, **RUN
    )
    assert not differing(weights(plain.path), weights(watched.path))
    assert onlooker.steps == [0, 5, 10, 12]  # five steps an epoch
    assert len(set(onlooker.means)) == 4


def test_every_so_many_steps_and_never_twice(tmp_path: Path) -> None:
    onlooker = Onlooker()
    training.train("vae", "digits", out=tmp_path / "run", watch=onlooker, watch_every=4, **RUN)
    assert onlooker.steps == [0, 4, 8, 12]


def test_it_is_the_average_that_is_shown_and_the_model_goes_on_training(tmp_path: Path) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    loop = make_loop(make("vae", (1, 8, 8), **{k: TINY[k] for k in ("net", "hidden")}), small_set((1, 8, 8)), tmp_path,
                     max_steps=6, ema_halflife_images=30)  # fmt: skip
    modes: list[bool] = []
    loop.hooks.watch = lambda model, step: seen.append({k: v.clone() for k, v in model.state_dict().items()})
    loop.hooks.watch_every = 3
    loop.hooks.progress = lambda step, images: modes.append(loop.model.training)
    loop.run()
    assert loop.ema is not None
    assert not differing(seen[-1], loop.ema.model.state_dict())
    assert differing(seen[-1], loop.model.state_dict())
    assert len(seen) == 3
    assert all(modes)


def test_a_resumed_run_is_shown_from_where_it_goes_on(tmp_path: Path) -> None:
    training.train("vae", "digits", out=tmp_path / "run", **{**RUN, "max_steps": 6})
    onlooker = Onlooker()
    training.resume(tmp_path / "run", max_steps=12, watch=onlooker, watch_every=5)
    assert onlooker.steps == [10, 12]


def test_a_model_in_closed_form_is_shown_once(tmp_path: Path) -> None:
    steps: list[int] = []
    training.train("pca", "digits", out=tmp_path / "run", limit=80, watch=lambda model, step: steps.append(step))
    assert steps == [0]


def test_a_negative_interval_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="watch_every must be at least 0"):
        training.train("vae", "digits", out=tmp_path / "run", watch_every=-1, **RUN)
    assert not (tmp_path / "run").exists()


def test_the_recipe_is_on_record(tmp_path: Path) -> None:
    run = training.train("vae", "digits", out=tmp_path / "run", recipe="vae-2d", **RUN)
    assert run.folder.config()["run"]["recipe"] == "vae-2d"
