"""What each single lever brings on this machine: a step with it and one without it, in turn in one process.

    python -m bench.levers

The step is that of a VAE's loss at batch 64: forward, backward, Adam. Layers are timed alone, forward and backward.
Kept memory is a matter of the whole process, so that each of its sides is one; its page faults, which no other program
disturbs, stand beside.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bench import machine  # first: it sets what OpenMP reads when torch loads it

# isort: split
import torch
from torch import Tensor, nn

from latentscape import models
from latentscape.config import DataShape
from latentscape.contract import Batch
from latentscape.nets.blocks import DoublingConv2d, Linear, NarrowConv2d
from latentscape.training import heap

Pair = tuple[Callable[[], object], Callable[[], object]]
"""Without the lever, and with it."""

BATCH, STEPS = 64, 40


def vae_step(net: str, *, bf16: bool, channels_last: bool, fused: bool = True) -> Callable[[], object]:
    """One training step of a VAE on noise of MNIST's size."""
    config = models.model_class("vae").Config.from_dict({"net": net, "latent_dim": 32})
    model: Any = models.build("vae", DataShape((1, 28, 28)), config)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model.train().to(memory_format=layout)
    optimiser = torch.optim.Adam(model.parameters(), 1e-4, fused=fused)
    rng = torch.Generator().manual_seed(0)
    batch = Batch(torch.rand(BATCH, 1, 28, 28, generator=rng).contiguous(memory_format=layout))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses = model("elbo", batch, model.draw("elbo", batch, rng))
        optimiser.zero_grad(set_to_none=True)
        losses.total.backward()
        optimiser.step()

    return step


def layer(made: nn.Module, x: Tensor, *, bf16: bool) -> Callable[[], object]:
    """Forward and backward of one layer behind an activation, channels last as in the nets."""
    made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    start = x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x

    def work() -> None:
        made.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = made(nn.functional.leaky_relu(start.detach().requires_grad_(True)))
        out.float().square().sum().backward()

    return work


def on_threads(work: Callable[[], object], threads: int) -> Callable[[], object]:
    """The work on so many threads."""

    def there() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            work()
        finally:
            torch.set_num_threads(before)

    return there


def levers() -> dict[str, Callable[[], Pair]]:
    """Name → the pair; made when its turn comes."""

    def steps(net: str, without: dict[str, bool], more: dict[str, bool]) -> Callable[[], Pair]:
        return lambda: (vae_step(net, **without), vae_step(net, **(without | more)))

    def layers(plain: Callable[[], nn.Module], ours: Callable[[], nn.Module], *size: int, bf16: bool = True):
        return lambda: (layer(plain(), torch.randn(size), bf16=bf16), layer(ours(), torch.randn(size), bf16=bf16))

    plain, narrow = {"bf16": False, "channels_last": False, "fused": False}, (32, 1, 7, 1, 1)
    ready = {"bf16": True, "channels_last": True}
    doubling = (512, 256, 3, 2, 1, 1)
    return {
        "fused Adam, MLP": steps("mlp", plain, {"fused": True}),
        "fused Adam, conv": steps("conv", plain, {"fused": True}),
        "bf16, MLP": steps("mlp", plain | {"fused": True}, {"bf16": True}),
        "bf16, conv": steps("conv", plain | {"fused": True}, {"bf16": True}),
        "channels_last, conv in bf16": steps("conv", plain | {"fused": True, "bf16": True}, {"channels_last": True}),
        "last 7×7 convolution by rows, bf16": layers(
            lambda: nn.Conv2d(*narrow), lambda: NarrowConv2d(*narrow), BATCH, 32, 32, 32
        ),
        "last 7×7 convolution by rows, float32": layers(
            lambda: nn.Conv2d(*narrow), lambda: NarrowConv2d(*narrow), BATCH, 32, 32, 32, bf16=False
        ),
        "first doubling as a product, bf16": layers(
            lambda: nn.ConvTranspose2d(*doubling), lambda: DoublingConv2d(512, 256), BATCH, 512, 1, 1
        ),
        "small linear layer in float32": layers(lambda: nn.Linear(128, 64), lambda: Linear(128, 64), BATCH, 128),
        "second thread, MLP": lambda: _threads("mlp", ready),
        "second thread, conv": lambda: _threads("conv", ready),
    }


def _threads(net: str, how: dict[str, bool]) -> Pair:
    work = vae_step(net, **how)
    return on_threads(work, 1), on_threads(work, 2)


def seconds(work: Callable[[], object], at_least: float) -> float:
    """Of one call, over as many as fill the time."""
    calls, start = 0, time.perf_counter()
    while (took := time.perf_counter() - start) < at_least or not calls:
        work()
        calls += 1
    return took / calls


def once(net: str, kept: bool) -> None:
    """In a process of its own, whose allocator nothing has touched: seconds and page faults of a step."""
    work = vae_step(net, bf16=True, channels_last=True)
    with heap.kept("cpu" if kept else "none"):
        for _ in range(10):
            work()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        start = time.perf_counter()
        for _ in range(STEPS):
            work()
        took = time.perf_counter() - start
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    print(json.dumps({"seconds": took / STEPS, "faults": faults / STEPS}))


def kept_memory(net: str, rounds: int, quiet: machine.Quiet) -> dict[str, Any]:
    """The lever that a whole process sets, each side of each round in a process of its own."""
    faults: dict[str, list[float]] = {"without": [], "with": []}

    def side(name: str) -> float:
        command = [sys.executable, "-m", "bench.levers", "--once", net, *(["--kept"] if name == "with" else [])]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        faults[name].append(found["faults"])
        return found["seconds"]

    turns = {name: lambda name=name: side(name) for name in faults}
    found = machine.take_turns(turns, rounds, quiet)
    counted = {name: machine.spread(values)["median"] for name, values in faults.items()}
    return {"rounds": found, "gain": machine.ratios(found["without"], found["with"]), "page_faults": counted}


def main() -> None:
    """Time every lever."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=0.4, help="of each side's turn in a round")
    p.add_argument("--json", default="", metavar="FILE", help="write everything there, too")
    p.add_argument("--once", default="", help=argparse.SUPPRESS)
    p.add_argument("--kept", action="store_true", help=argparse.SUPPRESS)
    machine.add_quiet_arguments(p)
    args = p.parse_args()
    if args.once:
        once(args.once, args.kept)
        return
    quiet, about = machine.Quiet(args.busy_limit, args.patience), machine.describe("cpu")
    print(machine.heading(about), flush=True)
    answers: dict[str, Any] = {}
    for name, make in levers().items():
        without, with_it = make()
        for work in (without, with_it):
            seconds(work, args.seconds)  # warm
        turns = {"without": partial(seconds, without, args.seconds), "with": partial(seconds, with_it, args.seconds)}
        found = machine.take_turns(turns, args.rounds, quiet)
        answers[name] = {"rounds": found, "gain": machine.ratios(found["without"], found["with"])}
        print(f"{name}: {machine.words(answers[name]['gain'])}", flush=True)
    for net in ("mlp", "conv"):
        answers[f"kept memory, {net}"] = kept_memory(net, args.rounds, quiet)
    rows = []
    for name, a in answers.items():
        ms = [f"{1e3 * machine.spread(a['rounds'][side])['median']:.2f}" for side in ("without", "with")]
        counted = a.get("page_faults")
        rows.append(
            [
                name,
                *ms,
                machine.words(a["gain"]),
                f"{counted['without']:,.0f} → {counted['with']:,.0f}" if counted else "",
            ]
        )
    print(machine.table(["lever", "ms without", "ms with", "times as fast", "page faults a step"], rows))
    machine.report({"machine": about, "load": quiet.to_dict(), "levers": answers}, args)


if __name__ == "__main__":
    main()
