from __future__ import annotations

import pytest
import torch

from latentscape import models
from latentscape.config import DataShape
from latentscape.contract import Batch, Phase
from latentscape.errors import ConfigError
from latentscape.training import execution
from latentscape.training.settings import TrainSettings


def build(name="vae", net="mlp"):
    settings = models.model_class(name).Config(net=net, latent_dim=3)
    return models.build(name, DataShape((1, 8, 8)), settings)


def test_a_device_that_is_not_there_is_named_in_one_sentence():
    for name in ("cuda:99", "nonsense"):
        with pytest.raises(ConfigError, match="is not on this machine") as caught:
            execution.pick_device(name)
        assert "\n" not in str(caught.value)


def test_compilation_is_automatic_only_for_long_runs_without_convolutions(monkeypatch):
    monkeypatch.setattr(execution, "_has_compiler", lambda device: True)
    s = TrainSettings(device="cpu")
    assert execution.decide(build(), s, 100_000).compiled
    assert not execution.decide(build(), s, 100).compiled
    assert not execution.decide(build(net="conv"), s, 100_000).compiled
    assert execution.decide(build(net="conv"), s.replace(compile="on"), 1).compiled
    assert not execution.decide(build(), s.replace(compile="off"), 100_000).compiled
    monkeypatch.setattr(execution, "_has_compiler", lambda device: False)
    assert not execution.decide(build(), s, 100_000).compiled


def test_precision_is_the_processors_unless_asked_for(monkeypatch):
    s = TrainSettings(device="cpu")
    for fast in (True, False):
        monkeypatch.setattr(execution, "has_fast_bf16", lambda device, fast=fast: fast)
        assert execution.decide(build(), s, 1).bf16 is fast
    assert execution.decide(build(), s.replace(precision="bf16"), 1).bf16
    assert not execution.decide(build(), s.replace(precision="float32"), 1).bf16


def test_autocast_leaves_adversarial_and_double_backward_phases_alone():
    run = execution.Execution("cpu", 1, True, False, False)
    net = (torch.nn.Linear(2, 2),)
    x = torch.ones(1, 2)
    for phase, dtype in (
        (Phase("a", net), torch.bfloat16),
        (Phase("b", net, low_precision=False), torch.float32),
        (Phase("c", net, double_backward=True), torch.float32),
    ):
        with run.autocast(phase):
            assert net[0](x).dtype == dtype
    with run.autocast(None):
        assert net[0](x).dtype == torch.float32


def test_bf16_that_is_asked_for_reaches_adversarial_phases_and_shared_forwards():
    run = execution.decide(build(), TrainSettings(device="cpu", precision="bf16"), 1)
    net = (torch.nn.Linear(2, 2),)
    x = torch.ones(1, 2)
    for phase, dtype in (
        (Phase("b", net, low_precision=False), torch.bfloat16),
        (Phase("c", net, double_backward=True), torch.float32),
        (None, torch.bfloat16),
    ):
        with run.autocast(phase):
            assert net[0](x).dtype == dtype


def test_bf16_losses_are_close_to_float32_ones_and_are_summed_in_float32():
    model = build(net="conv").eval()
    batch = Batch(torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    draws = model.draw("elbo", batch, torch.Generator().manual_seed(0))
    exact = model("elbo", batch, draws).total
    with torch.autocast("cpu", torch.bfloat16):
        rough = model("elbo", batch, draws).total
    assert rough.dtype == torch.float32
    assert rough.item() == pytest.approx(exact.item(), rel=0.02)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own compiler
def test_a_compiled_phase_gives_the_eager_loss():
    model = build()
    batch = Batch(torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)), step=torch.zeros(()))
    draws = model.draw("elbo", batch, torch.Generator().manual_seed(0))
    phase = model.phases[0]
    eager = execution.Execution("cpu", 1, False, False, False).caller(model)(phase, batch, draws)
    compiled = execution.Execution("cpu", 1, False, True, False).caller(model)(phase, batch, draws)
    assert compiled.total.item() == pytest.approx(eager.total.item(), rel=1e-5)
    assert set(compiled.terms) == set(eager.terms)
