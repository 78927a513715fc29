"""The sides of the comparison: the same nets, the same work, counted and driven alike."""

from __future__ import annotations

import importlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from bench.sides import WORKLOADS, Request, Side
from torch import nn

from bench import anatomy, peers, plain, sides, throughput
from latentscape import models
from latentscape.config import DataShape

# ---- nets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workload", ["mlp-vae", "conv-autoencoder", "dcgan"])
def test_nets_have_the_same_parameters(workload: str) -> None:
    assert sides.difference(workload) == ""


def test_the_resnets_differ_by_what_is_said() -> None:
    assert sides.difference("resnet-autoencoder") in (
        "",
        "latentscape's net has 262,656 parameters more: a linear layer from the features to the latents",
    )


def test_other_differences_are_said_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plain.NETS, "mlp-vae", lambda: nn.Linear(3, 4))
    assert "the plain one 16" in sides.difference("mlp-vae")


@pytest.mark.parametrize("workload", ["mlp-vae", "conv-autoencoder", "dcgan"])
def test_parameters_have_the_same_sizes(workload: str) -> None:
    name, config, _ = Request(workload).settings()
    ours = models.build(name, DataShape(WORKLOADS[workload].shape), config)
    theirs = plain.NETS[workload]()
    weights = [sorted(p.numel() for p in net.parameters() if p.dim() > 1) for net in (ours, theirs)]
    if workload == "mlp-vae":  # two heads are one layer of twice the width
        weights[1] = sorted([*weights[1][2:], sum(weights[1][:2])]) if weights[1][0] == weights[1][1] else weights[1]
        weights = [[sum(w)] for w in weights]
    assert weights[0] == weights[1]


def test_plain_nets_give_pictures_of_the_right_size() -> None:
    with torch.no_grad():
        assert plain.conv_autoencoder().eval()(torch.rand(2, 1, 28, 28)).shape == (2, 1, 28, 28)
        made = plain.dcgan_generator().eval()(torch.randn(2, 100))
        assert made.shape == (2, 1, 28, 28)
        assert plain.dcgan_discriminator().eval()(made).shape == (2, 1)
        out = plain.resnet_autoencoder().eval()(torch.rand(1, 3, 56, 56))
    assert out.shape == (1, 3, 56, 56)
    assert out.min() >= -1


@pytest.mark.parametrize("workload", ["mlp-vae", "conv-autoencoder", "dcgan"])
def test_a_plain_step_moves_every_parameter(workload: str) -> None:
    torch.manual_seed(0)
    net, steps = plain.start(workload, torch.randint(0, 256, (8, 1, 28, 28), dtype=torch.uint8), 4, "cpu")
    next(steps)  # the DCGAN's weights are drawn with the first step
    before = [p.detach().clone() for p in net.parameters()]
    assert torch.tensor(next(steps)).isfinite()
    still = [p.shape for p, b in zip(net.parameters(), before, strict=True) if torch.equal(p, b)]
    assert still == []


def test_pictures_come_in_the_range_that_is_asked() -> None:
    x = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2)
    assert plain.Images(x, torch.zeros(1))[0][0].flatten().tolist() == [0, 1]
    assert plain.Images(x, torch.zeros(1), signed=True)[0][0].flatten().tolist() == [-1, 1]


# ---- jobs --------------------------------------------------------------------------------------------------------


def _side(advance: Any, batch_size: int = 4) -> Side:
    return Side("plain", batch_size, 0, torch.device("cpu"), advance)


def _done(side: Side, job: Generator[int, None, Any]) -> Any:
    """What a job finds, when the side does the steps it wants."""
    found: list[Any] = []

    def talk() -> Generator[int, None, None]:
        found.append((yield from job))

    side.drive(talk())
    return found[0]


def test_operations_of_a_known_net_are_counted() -> None:
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 3))
    x = torch.randn(4, 10)

    def step(times: int) -> None:
        for _ in range(times):
            net(x).sum().backward()

    # Forward, gradient of the weights, and of the second layer's input; a multiplication and an addition are two.
    assert _done(_side(step), _side(step).flop()) == 2 * (2 * 10 * 20 + 3 * 20 * 3)


def test_a_convolution_is_counted() -> None:
    net, x = nn.Conv2d(2, 8, 3, padding=1), torch.randn(4, 2, 6, 6)
    side = _side(lambda times: [net(x).sum().backward() for _ in range(times)])
    assert _done(side, side.flop()) == 2 * 2 * (6 * 6 * 8 * 2 * 3 * 3)


def test_a_turn_has_as_many_steps_as_fill_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, took = [0.0], iter([5.0, 1.0])

    def advance(times: int) -> None:
        clock[0] += sum(next(took, 0.01) for _ in range(times))

    monkeypatch.setattr(sides.time, "perf_counter", lambda: clock[0])
    side = _side(advance)
    settled = _done(side, side.settle(2.0))
    assert settled["steps"] == side.steps == 200
    assert settled["cold_seconds"] == pytest.approx(6.01 - 3 * 0.01)
    assert _done(side, side.turn()) == pytest.approx(4 / 0.01)


@pytest.mark.parametrize("workload", ["mlp-vae", "dcgan"])
def test_our_side_does_its_steps_inside_its_own_loop(workload: str, tmp_path: Path) -> None:
    request = Request(workload, batch_size=8, images=32, device="cpu", precision="float32", compile="off")
    side = sides.make(request, request.pictures(), tmp_path)
    assert isinstance(side, sides.Ours)
    assert side.said == f"eager float32{' channels_last' * (workload == 'dcgan')}, 1 thread"
    found: list[Any] = []

    def talk() -> Generator[int, None, None]:
        found.append((yield from side.turn()))
        found.append(side.loop.progress.step)
        found.append((yield from side.flop()))
        found.append(side.loop.progress.step)

    with pytest.raises(SystemExit):
        side.drive(talk())
    assert found[0] > 0
    assert (found[1], found[3]) == (1, 2)
    _, steps = plain.start(workload, request.pictures().x, 8, "cpu")
    plains = sides.Side("plain", 8, 0, torch.device("cpu"), lambda times: [next(steps) for _ in range(times)])
    # The DCGAN's plain step also takes gradients that nobody uses, and some layers are rewritten.
    assert found[2] == pytest.approx(_done(plains, plains.flop()), rel=0.05)


def test_settings_are_the_recipes_but_for_what_is_asked() -> None:
    _, config, train = Request("dcgan", batch_size=32, precision="float32", more={"latent_dim": 7}).settings()
    assert (config.slope, config.latent_dim) == (0.01, 7)
    assert (train.batch_size, train.learning_rate, train.beta1, train.epochs) == (32, 2e-4, 0.5, 3)
    assert train.precision == "float32"
    own = [Request("mlp-vae", batch_size=0, images=n).settings()[2].batch_size for n in (1_000, 60_000)]
    assert own[0] < own[1] == Request("mlp-vae", batch_size=0).settings()[2].batch_size  # the product's own, by the set


def test_pictures_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    import numpy as np

    np.save(tmp_path / "x.npy", np.zeros((20, 28, 28, 3), np.uint8))
    with pytest.raises(SystemExit, match="takes 1×28×28 pictures"):
        Request("mlp-vae", data=str(tmp_path / "x.npy")).pictures()


# ---- pythae ------------------------------------------------------------------------------------------------------


def test_without_pythae_the_row_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", gone)
    with pytest.raises(peers.Missing, match="pythae is not installed: pip install pythae"):
        peers.start("mlp-vae", torch.zeros(4, 1, 28, 28, dtype=torch.uint8), 2, "cpu")


# ---- where time goes ---------------------------------------------------------------------------------------------

IN_BACKWARD = ("autograd::engine::evaluate_function: AddmmBackward0",)


@pytest.mark.parametrize(
    ("name", "ancestors", "group"),
    [
        ("aten::convolution_backward", IN_BACKWARD, "convolution and linear, backward"),
        ("aten::mm", IN_BACKWARD, "convolution and linear, backward"),
        ("aten::addmm", ("aten::linear",), "convolution and linear, forward"),
        ("aten::native_batch_norm", (), "normalisation"),
        ("aten::native_batch_norm_backward", IN_BACKWARD, "normalisation"),
        ("aten::leaky_relu_", (), "elementwise, sums and copies"),
        ("aten::_fused_adam_", ("Optimizer.step#Adam.step",), "optimiser"),
        ("Optimizer.step#Adam.step", (), "optimiser"),
        ("aten::index_select", (anatomy.DATA,), "data"),
        ("## Call CompiledFxGraph abc ##", (), "compiled kernels"),
        ("AddmmBackward0", IN_BACKWARD, None),
        ("ProfilerStep#3", (), None),
    ],
)
def test_operators_have_their_groups(name: str, ancestors: tuple[str, ...], group: str | None) -> None:
    assert anatomy.group_of(name, ancestors) == group


class _Event:
    """What `shares` reads of a profiler's event."""

    is_user_annotation = False

    def __init__(self, name: str, us: float, parent: _Event | None = None, *, device: str = "CPU", dev_us: float = 0):
        self.name, self.self_cpu_time_total, self.self_device_time_total = name, us, dev_us
        self.cpu_parent = parent
        self.device_type = type("T", (), {"name": device})


def test_shares_add_up_to_the_wall_clock() -> None:
    data = _Event(anatomy.DATA, 5)
    events = [data, _Event("aten::index_select", 15, data), _Event("aten::addmm", 50), _Event("AddmmBackward0", 7)]
    found = anatomy.shares(events, 100.0, on_device=False)
    assert found == pytest.approx({"convolution and linear, forward": 0.5, "data": 0.2, anatomy.OVERHEAD: 0.3})
    assert list(found) == ["convolution and linear, forward", "data", anatomy.OVERHEAD]


def test_on_a_device_kernels_count_and_the_rest_is_idle() -> None:
    events = [
        _Event("aten::addmm", 90, dev_us=30),
        _Event("gemm", 0, device="CUDA", dev_us=30),
        _Event("triton_poi_fused", 0, device="CUDA", dev_us=20),
    ]
    found = anatomy.shares(events, 100.0, on_device=True)
    assert found == pytest.approx({"convolution and linear, forward": 0.3, "compiled kernels": 0.2, anatomy.IDLE: 0.5})


def test_the_parts_of_a_real_step_are_found() -> None:
    net = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64))
    optimiser, x = torch.optim.Adam(net.parameters()), torch.randn(32, 64)

    def advance(times: int) -> None:
        for _ in range(times):
            optimiser.zero_grad()
            net(x).square().sum().backward()
            optimiser.step()

    side = _side(advance, 32)
    side.seconds_per_step = 10.0
    found = _done(side, side.anatomy())
    assert set(found["shares"]) >= {*anatomy.GROUPS[:4], "optimiser", anatomy.OVERHEAD}
    assert sum(found["shares"].values()) == pytest.approx(1, abs=0.05)
    assert found["steps"] == 3


def test_gathering_is_marked_only_while_it_is_watched() -> None:
    class Batches:
        def next(self) -> int:
            return 3

    batches = Batches()
    with anatomy.marked(batches, "next"):
        assert batches.next() == 3
        assert "next" in vars(batches)
    assert "next" not in vars(batches)


# ---- what is printed ---------------------------------------------------------------------------------------------


def test_every_side_is_compared_with_ours() -> None:
    found = {"plain, batch 64": [1.0, 2.0], "latentscape, batch 64": [2.0, 6.0], "latentscape, batch 512": [4.0, 8.0]}
    ratios = throughput.all_ratios(found)
    assert set(ratios) == {"latentscape, batch 64 / plain, batch 64", "latentscape, batch 512 / plain, batch 64"}
    assert ratios["latentscape, batch 64 / plain, batch 64"] == {"median": 2.5, "min": 2.0, "max": 3.0}


def test_the_share_of_the_peak_is_that_of_the_sides_precision() -> None:
    row = {"flop_per_image": 2e6, "images_per_second": {"median": 1000.0}, "precision": "bfloat16"}
    assert throughput.share_of_peak(row, {"float32": 1e10, "bfloat16": 4e10}) == {
        "flop_per_second": 2e9,
        "share_of_peak": 0.05,
    }


def test_the_words_hold_what_was_found() -> None:
    row: dict[str, Any] = {
        "title": "latentscape, batch 64",
        "images_per_second": {"median": 8000.0, "min": 7900.0, "max": 8100.0},
        "flop_per_image": 6e6,
        "flop_per_second": 4.8e10,
        "share_of_peak": 0.1,
        "grown": 100 << 20,
        "grown_on_device": 0,
        "said": "compiled bf16, 2 threads",
        "compile": {"cold_seconds": 30.0, "saved_ms_per_step": 2.0, "paid_after_steps": 15_000},
        "anatomy": {"ms_per_step": 8.0, "slower": 1.2, "shares": {"optimiser": 0.4, anatomy.OVERHEAD: 0.6}},
    }
    answer = {"workload": "mlp-vae", "row": "B12", "shape": [1, 28, 28], "sides": [row], "ratios": {}, "notes": ["x"]}
    said = throughput.printed(answer)
    for words in ("8,000 (7,900–8,100)", "0.006", "10%", "has paid after 15,000 steps", "optimiser 40%", "Note: x"):
        assert words in said
    row["compile"]["paid_after_steps"] = None
    assert "never pays" in throughput.printed(answer)


def test_the_batch_sizes_of_the_command_line_come_once_each() -> None:
    own = Request("mlp-vae", batch_size=0).settings()[2].batch_size
    args = throughput.parser().parse_args(["--batch-size", "64", "auto", "64"])
    assert throughput.batch_sizes("mlp-vae", args) == list(dict.fromkeys([64, own]))
