"""Images per second of a plain PyTorch loop, of pythae's trainer and of latentscape's, timed in turn in one process.

    python -m bench.throughput --workload all --json throughput.json

The sides take turns in every round, so that a drift of the machine's speed meets them all; ratios are taken round by
round, and their median is quoted with the smallest and the largest. A machine that is busy with something else is
waited for, a round that something else disturbed is done again, and in the end the bench refuses.

Beside the figures stand the floating-point operations that torch counts in a step, as a share of the fastest matrix
product of the same minute, and what the rest of the time goes to. `--memory` runs each side once more in a process of
its own and says how much memory it took.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import machine  # first: it sets what OpenMP reads when torch loads it

# isort: split
import torch

from bench import anatomy, peers, plain
from latentscape import models, recipes
from latentscape.config import DataShape
from latentscape.contract import Trained
from latentscape.data import ImageSet, load_data
from latentscape.data.batches import Gatherer, TrainBatches
from latentscape.data.settings import DataSettings
from latentscape.tasks import overrides
from latentscape.training import execution
from latentscape.training.checkpoint import CheckpointFolder
from latentscape.training.loop import Loop
from latentscape.training.settings import TrainSettings

FACES = {"net": "resnet", "latent_dim": 512, "loss": "mse", "learning_rate": 1e-4, "batch_size": 64, "epochs": 9}


@dataclass(frozen=True)
class Workload:
    """One of the timed trainings.

    row: of the specification. recipe: whose settings are taken; where there is none, model and settings stand here.
    shape, images: of the training set; `epochs` of the run whose length decides what is compiled come with the recipe.
    """

    row: str
    shape: tuple[int, int, int] = (1, 28, 28)
    images: int = 60_000
    recipe: str = ""
    model: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    def trained(self) -> tuple[str, overrides.Overrides]:
        """The model's name and its settings, by group."""
        found = recipes.read(self.recipe) if self.recipe else {"model": self.model, "settings": self.settings}
        return found["model"], overrides.sort(found["model"], found["settings"])


WORKLOADS = {
    "mlp-vae": Workload("B12", recipe="vae-mlp"),
    "conv-autoencoder": Workload("B3", recipe="autoencoder-24d"),
    "dcgan": Workload("B16", recipe="dcgan"),
    "resnet-autoencoder": Workload("B13", (3, 56, 56), 7_000, model="autoencoder", settings=FACES),
}


WARM = 3
"""Steps before any is timed: what is compiled is compiled then."""


# ---- the sides ---------------------------------------------------------------------------------------------------


@dataclass
class Side:
    """One way to train: `advance` does that many steps. What it sets for the whole process is put back for its turn."""

    name: str
    batch_size: int
    parameters: int
    advance: Callable[[int], None]
    said: str = "eager float32"
    precision: str = "float32"
    loop: Loop | None = None
    steps: int = 1
    seconds_per_step: float = 0.0
    first_seconds: float = 0.0
    threads: int = field(default_factory=torch.get_num_threads)
    flags: tuple[Any, ...] = field(default_factory=lambda: _flags())

    @property
    def title(self) -> str:
        """Name and batch size."""
        return f"{self.name}, batch {self.batch_size}"

    def images_per_second(self, device: torch.device) -> float:
        """Of one turn."""
        return self.steps * self.batch_size / self._turn(device)

    def _turn(self, device: torch.device) -> float:
        torch.set_num_threads(self.threads)
        _set_flags(self.flags)
        machine.synchronise(device)
        start = time.perf_counter()
        self.advance(self.steps)
        machine.synchronise(device)
        return time.perf_counter() - start

    def settle(self, seconds: float, device: torch.device) -> None:
        """Warm up, and find out how many steps fill a turn; `first_seconds`: what the first ones took beyond that."""
        cold = [self._turn(device)]
        while len(cold) < WARM and sum(cold) < 3 * seconds:
            cold.append(self._turn(device))
        while (took := self._turn(device)) < min(0.3, seconds):
            self.steps *= 2
        self.seconds_per_step = took / self.steps
        self.first_seconds = sum(cold) - len(cold) * self.seconds_per_step
        self.steps = max(1, round(seconds / self.seconds_per_step))


def _flags() -> tuple[Any, ...]:
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark


def _set_flags(flags: tuple[Any, ...]) -> None:
    if _flags() != flags:
        torch.set_float32_matmul_precision(flags[0])
        torch.backends.cudnn.benchmark = flags[1]


def _count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def plain_side(workload: str, data: ImageSet, batch_size: int, device: torch.device) -> Side:
    """The notebook's loop."""
    net, steps = plain.start(workload, data.x[data.indices("train")], batch_size, str(device))

    def advance(count: int) -> None:
        for _ in range(count):
            next(steps)

    return Side("plain", batch_size, _count(net), advance)


def pythae_side(workload: str, data: ImageSet, batch_size: int, device: torch.device) -> Side:
    """pythae's trainer; raises `peers.Missing` where there is none."""
    net, advance = peers.start(workload, data.x[data.indices("train")], batch_size, device.type)
    return Side("pythae", batch_size, _count(net), advance)


@dataclass(frozen=True)
class Choice:
    """How latentscape is asked to run; a batch size of 0 is the one that it chooses by itself."""

    batch_size: int
    device: str = "auto"
    precision: str = "auto"
    compile: str = "auto"
    assumed_steps: int = 0


def settings_for(workload: str, shape: DataShape, choice: Choice) -> tuple[str, Any, TrainSettings]:
    """Model, its settings and the training's: the recipe's, but for what the choice says."""
    name, given = WORKLOADS[workload].trained()
    config = overrides.model_settings(name, given.model)
    train = {k: v for k, v in given.train.items() if k != "batch_size"}
    train |= {"batch_size": choice.batch_size} if choice.batch_size else {}
    train |= {"device": choice.device, "precision": choice.precision, "compile": choice.compile}
    return name, config, overrides.train_settings(name, shape, config, train)


def our_side(workload: str, data: ImageSet, choice: Choice, folder: Path) -> Side:
    """The product's own loop: log records are written, checkpoints and evaluations of the held-out part are not."""
    name, config, train = settings_for(workload, data.shape, choice)
    net = models.build(name, data.shape, config, data.classes)
    assert isinstance(net, Trained)
    steps = choice.assumed_steps or train.epochs * (WORKLOADS[workload].images // train.batch_size)
    execute = execution.decide(net, train, steps)
    before, flags = torch.get_num_threads(), _flags()
    torch.set_num_threads(execute.threads)
    net = execute.place(net)
    memory_format = torch.channels_last if execute.channels_last else torch.contiguous_format
    batches = TrainBatches(Gatherer(data, "train", net.value_range, execute.device, memory_format), train.batch_size, 0)
    loop = Loop(net, batches, train.replace(epochs=0, max_steps=10**9), execute, CheckpointFolder(folder, 1))
    net.train()

    def advance(count: int) -> None:
        for _ in range(count):
            loop.step()
            if loop.progress.step % train.log_every == 0:
                loop._write_log()

    whole = execute.bf16 and all(p.low_precision for p in net.phases)
    side = Side("latentscape", train.batch_size, _count(net), advance, _said(net, execute), loop=loop)
    side.precision = "bfloat16" if whole else "float32"
    torch.set_num_threads(before)
    _set_flags(flags)
    return side


def _said(net: Trained, execute: execution.Execution) -> str:
    low = [p.name for p in net.phases if execute.bf16 and p.low_precision]
    words = ["compiled" if execute.compiled else "eager"]
    words.append("bf16" if len(low) == len(net.phases) else f"bf16 in {', '.join(low)}" if low else "float32")
    words += ["channels_last"] if execute.channels_last else []
    return " ".join(words) + f", {execute.threads} thread{'s' * (execute.threads != 1)}"


def extra_parameters(workload: str) -> str:
    """Why latentscape's net has other parameters than the plain one, in a sentence; empty when it has the same."""
    w = WORKLOADS[workload]
    name, given = w.trained()
    net = models.build(name, DataShape(w.shape), overrides.model_settings(name, given.model))
    ours, theirs = _count(net), _count(plain.NETS[workload]())
    if ours == theirs:
        return ""
    last = list(net.encoder)[-1] if workload == "resnet-autoencoder" else None  # type: ignore[arg-type]
    if isinstance(last, torch.nn.Linear) and ours - theirs == _count(last):
        return (
            f"latentscape's net has {_count(last):,} parameters more: a linear layer from the features to the latents"
        )
    return f"the nets differ: latentscape's has {ours:,} parameters, the plain one {theirs:,}"


# ---- one workload ------------------------------------------------------------------------------------------------


def noise(workload: str, images: int = 0) -> ImageSet:
    """Random pixels in the workload's shape."""
    w = WORKLOADS[workload]
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (images or w.images, *w.shape), dtype=torch.uint8, generator=rng)
    return load_data(x.numpy(), DataSettings(valid_fraction=0.0, test_fraction=0.0))


def data_for(workload: str, args: argparse.Namespace) -> ImageSet:
    """What --data or --faces names, at the workload's size; noise without."""
    w = WORKLOADS[workload]
    source = args.faces if w.shape[0] == 3 else args.data
    if not source:
        return noise(workload)
    data = load_data(source, DataSettings(size=f"{w.shape[1]}x{w.shape[2]}"))
    if data.shape.dims != w.shape:
        raise SystemExit(f"{workload} takes {DataShape(w.shape)} pictures, and those of {source} are {data.shape}")
    return data


def sides_of(workload: str, data: ImageSet, args: argparse.Namespace, folder: Path) -> tuple[list[Side], list[str]]:
    """All sides at all batch sizes, and sentences about those that are not there."""
    device, notes, sides = execution.pick_device(args.device), [], []
    chosen = [own_batch_size(workload, data, args) if b == "auto" else int(b) for b in args.batch_size]
    for number, batch_size in enumerate(dict.fromkeys(chosen)):
        if wanted(args, "plain"):
            sides.append(plain_side(workload, data, batch_size, device))
        if wanted(args, "pythae"):
            try:
                sides.append(pythae_side(workload, data, batch_size, device))
            except peers.Missing as why:
                notes += [str(why)] if number == 0 else []
        if wanted(args, "latentscape"):
            sides.append(our_side(workload, data, choice_of(args, batch_size), folder))
    if "auto" in args.batch_size and chosen[args.batch_size.index("auto")] in chosen[:1] and len(chosen) > 1:
        notes.append(f"latentscape's own batch size is {chosen[0]}, too")
    return sides, notes


def wanted(args: argparse.Namespace, side: str) -> bool:
    """Whether --sides names it."""
    return side in args.sides


def choice_of(args: argparse.Namespace, batch_size: int, compile: str = "") -> Choice:
    """The command line's choice at a batch size."""
    return Choice(batch_size, args.device, args.precision, compile or args.compile, args.assumed_steps)


def own_batch_size(workload: str, data: ImageSet, args: argparse.Namespace) -> int:
    """What latentscape takes when nobody names a batch size."""
    return settings_for(workload, data.shape, choice_of(args, 0))[2].batch_size


def run(workload: str, args: argparse.Namespace, peak: dict[str, float], quiet: machine.Quiet) -> dict[str, Any]:
    """Time one workload and print what was found."""
    data, device = data_for(workload, args), execution.pick_device(args.device)
    print(f"\n== {workload} ({WORKLOADS[workload].row}), {data.shape}, {data.sizes()['train']:,} images", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        sides, notes = sides_of(workload, data, args, Path(folder))
        notes += [why for why in [extra_parameters(workload)] if why]
        for side in sides:
            machine.wait_for_quiet(quiet.limit, quiet.patience_s)
            side.settle(args.seconds, device)
        turns = {side.title: lambda side=side: side.images_per_second(device) for side in sides}
        seen = len(quiet.others)
        found = machine.take_turns(turns, args.rounds, quiet)
        rows = [{**described(side, found), **operations(workload, data, side, args, Path(folder))} for side in sides]
        for row in rows:
            if row["flop_per_image"]:
                row["flop_per_second"] = row["flop_per_image"] * row["images_per_second"]["median"]
                row["share_of_peak"] = row["flop_per_second"] / peak[row["precision"]]
        answer: dict[str, Any] = {
            "workload": workload,
            "row": WORKLOADS[workload].row,
            "shape": list(data.shape.dims),
            "data": data.name,
            "images": data.sizes()["train"],
            "sides": rows,
            "ratios": all_ratios(found),
            "others_used": quiet.others[seen:],
            "notes": notes,
        }
        ours = [side for side in sides if side.loop]
        if ours:
            answer["compile"] = [paid for side in ours if (paid := compiling(workload, data, side, args, Path(folder)))]
            answer["anatomy"] = {side.title: taken_apart(side, args, device) for side in ours}
    if args.memory:
        answer["memory"] = [memory_of(workload, side, args) for side in sides]
    print(printed(answer), flush=True)
    return answer


def described(side: Side, found: dict[str, list[float]]) -> dict[str, Any]:
    """A side's figures for the JSON."""
    return {
        "side": side.name,
        "title": side.title,
        "batch_size": side.batch_size,
        "parameters": side.parameters,
        "runs": side.said,
        "precision": side.precision,
        "steps_per_round": side.steps,
        "images_per_second": machine.spread(found[side.title]),
        "rounds": found[side.title],
    }


def operations(
    workload: str, data: ImageSet, side: Side, args: argparse.Namespace, folder: Path
) -> dict[str, float | None]:
    """Floating-point operations per image of a step, forward and backward; pythae's net is the plain one's."""
    if side.name == "pythae":
        return {"flop_per_image": None}
    counted = side
    if side.loop and side.loop.execution.compiled:
        counted = our_side(workload, data, choice_of(args, side.batch_size, compile="off"), folder)
    return {"flop_per_image": anatomy.count_flop(lambda: counted.advance(1)) / side.batch_size}


def all_ratios(found: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Of each of latentscape's sides to each of the others."""
    return {
        f"{ours} / {theirs}": machine.ratios(found[ours], found[theirs])
        for ours in found
        for theirs in found
        if ours.startswith("latentscape") and not theirs.startswith("latentscape")
    }


def compiling(
    workload: str, data: ImageSet, side: Side, args: argparse.Namespace, folder: Path
) -> dict[str, Any] | None:
    """What a cold compile took and after how many steps it has paid; None where nothing is compiled."""
    assert side.loop
    if not side.loop.execution.compiled:
        return None
    eager = our_side(workload, data, choice_of(args, side.batch_size, compile="off"), folder)
    device = side.loop.device
    eager.settle(args.seconds, device)
    turns = machine.take_turns(
        {s.said: lambda s=s: s.images_per_second(device) for s in (eager, side)}, 3, machine.Quiet(1.0)
    )
    saved = side.batch_size * (1 / max(turns[eager.said]) - 1 / max(turns[side.said]))
    return {
        "side": side.title,
        "cold_seconds": side.first_seconds,
        "saved_ms_per_step": 1000 * saved,
        "paid_after_steps": round(side.first_seconds / saved) if saved > 0 else None,
    }


def taken_apart(side: Side, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Where the time of latentscape's step goes."""
    assert side.loop
    torch.set_num_threads(side.threads)
    steps = max(3, min(20, round(10 / max(side.seconds_per_step, 1e-6))))
    with anatomy.marked(side.loop.batches, "next"):
        return anatomy.anatomy(lambda: side.advance(1), steps, device)


# ---- memory ------------------------------------------------------------------------------------------------------


def memory_of(workload: str, side: Side, args: argparse.Namespace) -> dict[str, Any]:
    """The side's memory, measured in a process of its own."""
    asked = ["--workload", workload, "--batch-size", str(side.batch_size), "--sides", side.name, "--measure-memory"]
    passed = [f"--{name}={getattr(args, name)}" for name in ("data", "faces", "device", "precision", "compile")]
    passed += [f"--assumed-steps={args.assumed_steps}"]
    command = [sys.executable, "-m", "bench.throughput", *asked, *passed]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    if done.returncode:
        raise SystemExit(f"the process that measures the memory of {side.title} failed:\n{done.stderr}")
    return {"side": side.title, **json.loads(done.stdout.splitlines()[-1])}


def measure_memory(workload: str, args: argparse.Namespace) -> dict[str, Any]:
    """How much this process grows when the one side that --sides names trains for some steps, data loaded before."""
    data, device = data_for(workload, args), execution.pick_device(args.device)
    with tempfile.TemporaryDirectory() as folder, machine.PeakMemory(device) as peak:
        side = sides_of(workload, data, args, Path(folder))[0][0]
        start = time.perf_counter()
        side.advance(3)
        while time.perf_counter() - start < 3:
            side.advance(1)
        machine.synchronise(device)
    whole = machine.resident().get("rss_peak", 0)
    return {"before": peak.before, "grown": peak.grown, "rss_peak": whole, "device": peak.device}


# ---- words -------------------------------------------------------------------------------------------------------


def printed(answer: dict[str, Any]) -> str:
    """What a reader sees of one workload."""
    head = ["", "images/s", "GFLOP an image", "GFLOP/s", "of peak", "how"]
    rows = []
    for row in answer["sides"]:
        counted = row["flop_per_image"]
        per_second = [f"{row['flop_per_second'] / 1e9:,.0f}", f"{row['share_of_peak']:.0%}"] if counted else ["", ""]
        speed = machine.words(row["images_per_second"], ",.0f")
        rows.append([row["title"], speed, f"{counted / 1e9:.4g}" if counted else "", *per_second, row["runs"]])
    lines = [machine.table(head, rows), ""]
    lines += [f"{name}: {machine.words(found)}" for name, found in answer["ratios"].items()]
    lines += [f"Note: {note}" for note in answer["notes"]]
    lines += [_compiled(paid) for paid in answer.get("compile", [])]
    for title, parts in answer.get("anatomy", {}).items():
        listed = ", ".join(f"{name} {share:.0%}" for name, share in parts["shares"].items())
        took = f"{parts['ms_per_step']:.2f} ms ({parts['slower']:.2f} times that while watched)"
        lines.append(f"{title}: a step of {took} is {listed}")
    lines += [_remembered(m) for m in answer.get("memory", [])]
    return "\n".join(lines)


def _compiled(paid: dict[str, Any]) -> str:
    after = paid["paid_after_steps"]
    pays = f"has paid after {after:,} steps" if after else "saves nothing"
    saves = f"{paid['saved_ms_per_step']:.2f} ms a step"
    return f"{paid['side']}: a cold compile of {paid['cold_seconds']:.1f} s saves {saves} and {pays}"


def _remembered(m: dict[str, Any]) -> str:
    on_device = f", {m['device'] / 2**20:,.0f} MiB at most on the device" if m["device"] else ""
    return (
        f"{m['side']}: memory grows by {m['grown'] / 2**20:,.0f} MiB over the {m['before'] / 2**20:,.0f} MiB of the "
        f"program and the data; whole process at most {m['rss_peak'] / 2**20:,.0f} MiB{on_device}"
    )


# ---- the command -------------------------------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--workload", choices=[*WORKLOADS, "all"], default="all")
    p.add_argument("--data", default="", help="28×28 pictures, name or path; empty: noise of MNIST's size")
    p.add_argument("--faces", default="", help="folder of colour pictures, brought to 56×56; empty: noise")
    p.add_argument(
        "--batch-size", nargs="+", default=["64", "auto"], help="one or more; auto: what latentscape takes by itself"
    )
    p.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=2.0, help="of each side's turn in a round, and at least one step")
    p.add_argument("--device", default="auto")
    p.add_argument("--precision", default="auto")
    p.add_argument("--compile", default="auto")
    p.add_argument(
        "--assumed-steps", type=int, default=0, help="length of the run that auto is judged by; 0: the recipe's"
    )
    p.add_argument("--memory", action="store_true", help="also each side's memory, in a process of its own")
    p.add_argument("--measure-memory", action="store_true", help=argparse.SUPPRESS)
    p.add_argument("--json", default="", metavar="FILE", help="write everything there, too")
    machine.add_quiet_arguments(p)
    return p


SIDES = ("plain", "pythae", "latentscape")


def main() -> None:
    """Time what the command line asks for."""
    args = parser().parse_args()
    if args.measure_memory:
        print(json.dumps(measure_memory(args.workload, args)))
        return
    device = execution.pick_device(args.device)
    quiet = machine.Quiet(args.busy_limit, args.patience)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache  # empty, so that a compile is a cold one
        peak = quiet.run(lambda: machine.matrix_peak(device))
        about = machine.describe(device)
        print(f"{about['processor']}, {about['cores']} cores, {about['threads']} threads, torch {about['torch']}")
        print("fastest matrix product: " + ", ".join(f"{k} {v / 1e9:,.0f} GFLOP/s" for k, v in peak.items()))
        chosen = list(WORKLOADS) if args.workload == "all" else [args.workload]
        answers = [run(workload, args, peak, quiet) for workload in chosen]
    if quiet.said():
        print(f"\n{quiet.said()}")
    whole = {"machine": about, "peak_flop_per_second": peak, "load": quiet.to_dict(), "workloads": answers}
    if args.json:
        Path(args.json).write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(whole))


if __name__ == "__main__":
    main()
