"""How the cost of training grows: with batch, picture, latent code, training set, threads and processes.

    python -m bench.growth --axis all --json growth.json

Each axis is a table of latentscape's images per second over one quantity, its values taking turns as the sides of
`bench.throughput` do. The time of a step and the memory that the process grew by stand beside it. Nothing is compiled
unless --compile says so. Processes are started as torchrun does and share each batch.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench import machine  # first: it sets what OpenMP reads when torch loads it

# isort: split
import numpy as np

from bench.sides import Request, Worker
from latentscape.runs import RunFolder
from latentscape.training import execution


@dataclass(frozen=True)
class Axis:
    """What changes from row to row. `of`: value → what it changes in a `Request`, beside `common`."""

    unit: str
    workload: str
    values: tuple[int, ...]
    of: Callable[[int], dict[str, Any]]
    common: dict[str, Any] = field(default_factory=dict)

    def request(self, value: int, args: argparse.Namespace) -> Request:
        """One row's."""
        asked = {"device": args.device, "precision": args.precision, "compile": args.compile}
        return Request(self.workload, **{**asked, **self.common, **self.of(value)})


THREADS = tuple(n for n in (1, 2, 4, 8, 16) if n <= machine.cores())

AXES = {
    "batch, mlp-vae": Axis("images", "mlp-vae", (16, 64, 256, 1024), lambda n: {"batch_size": n}),
    "batch, conv-autoencoder": Axis("images", "conv-autoencoder", (16, 64, 256, 1024), lambda n: {"batch_size": n}),
    "picture": Axis(
        "pixels a side",
        "conv-autoencoder",
        (28, 56, 112, 224),
        lambda n: {"shape": (1, n, n)},
        {"batch_size": 16, "images": 500},
    ),
    "latent": Axis("dimensions", "conv-autoencoder", (2, 8, 32, 128, 512), lambda n: {"more": {"latent_dim": n}}),
    "set": Axis("images", "mlp-vae", (1_000, 10_000, 50_000, 200_000), lambda n: {"images": n}),
    "threads, mlp-vae": Axis("threads", "mlp-vae", THREADS, lambda n: {"threads": n}),
    "threads, conv-autoencoder": Axis("threads", "conv-autoencoder", THREADS, lambda n: {"threads": n}),
}
"""Name → axis; that of processes, which torchrun starts, is `processes`."""


def run(name: str, args: argparse.Namespace, quiet: machine.Quiet) -> dict[str, Any]:
    """Time one axis."""
    axis = AXES[name]
    with ExitStack() as stack:
        workers: dict[int, Worker] = {}
        for value in axis.values:
            workers[value] = Worker(axis.request(value, args))
            stack.callback(workers[value].close)
        for worker in workers.values():
            machine.wait_for_quiet(quiet.limit, quiet.patience_s)
            worker.ask("settle", args.seconds)
        turns = {str(value): partial(worker.ask, "turn") for value, worker in workers.items()}
        found = machine.take_turns(turns, args.rounds, quiet)
        rows = [row(value, worker, found[str(value)]) for value, worker in workers.items()]
    return {"axis": name, "unit": axis.unit, "workload": axis.workload, "rows": rows}


def row(value: int, worker: Worker, rounds: list[float]) -> dict[str, Any]:
    """One value's figures."""
    memory, speed = worker.ask("memory"), machine.spread(rounds)
    work = None if worker.about["compiled"] else worker.ask("flop")
    return {
        "value": value,
        "images_per_second": speed,
        "ms_per_step": 1000 * worker.about["batch_size"] / speed["median"],
        "flop_per_second": work and work * speed["median"],
        "grown": memory["device"] or memory["rss_peak"] - worker.about["before"],
        "said": worker.about["said"],
    }


# ---- processes ---------------------------------------------------------------------------------------------------


def processes(args: argparse.Namespace, quiet: machine.Quiet) -> dict[str, Any]:
    """One training by 1, 2, … processes with as many threads in all as the machine has cores, as users start it."""
    counts = [n for n in (1, 2, 4, 8) if n <= machine.cores()]
    with tempfile.TemporaryDirectory() as folder:
        pictures = np.random.default_rng(0).integers(0, 256, (10_000, 28, 28), np.uint8)
        np.save(Path(folder) / "noise.npy", pictures)
        turns = {str(n): partial(images_per_second, n, args, Path(folder)) for n in counts}
        found = machine.take_turns(turns, min(3, args.rounds), quiet)
    rows = [{"value": n, "images_per_second": machine.spread(found[str(n)])} for n in counts]
    for r in rows:
        r |= {"ms_per_step": 1000 * BATCH / r["images_per_second"]["median"], "flop_per_second": None, "grown": None}
        each = machine.cores() // r["value"]
        r["said"] = f"{each} thread{'s' * (each != 1)} each"
    return {"axis": "processes", "unit": "processes", "workload": "conv-autoencoder", "rows": rows}


BATCH = 64
EVERY = 10
"""Steps between records of the runs whose log is read."""


def images_per_second(count: int, args: argparse.Namespace, folder: Path) -> float:
    """Of the second half of a short run, read off its log."""
    out = Path(tempfile.mkdtemp(dir=folder)) / "run"
    threads = machine.cores() // count
    start = [sys.executable, "-m"]
    if count > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m"]
    what = ["latentscape.cli", "train", "autoencoder", "--data", str(folder / "noise.npy"), "--out", str(out), "--bare"]
    how = ["--net", "conv", "--batch-size", str(BATCH), "--max-steps", str(args.process_steps), "--compile", "off"]
    how += [
        "--log-every",
        str(EVERY),
        "--threads",
        str(threads),
        "--checkpoint-every",
        "1000000",
        "--device",
        args.device,
    ]
    done = subprocess.run([*start, *what, *how, "--precision", args.precision], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"training by {count} processes failed:\n{done.stderr[-2000:]}")
    records = [r for r in RunFolder(out).log() if r["kind"] == "train"]
    half = records[len(records) // 2 :]
    seconds = half[-1]["seconds"] - records[len(records) // 2 - 1]["seconds"]
    return (half[-1]["images"] - records[len(records) // 2 - 1]["images"]) / seconds


# ---- words -------------------------------------------------------------------------------------------------------


def printed(answer: dict[str, Any]) -> str:
    """One axis as a table."""
    rows = []
    for r in answer["rows"]:
        work = f"{r['flop_per_second'] / 1e9:,.0f}" if r["flop_per_second"] else ""
        grown = f"{r['grown'] / 2**20:,.0f}" if r["grown"] is not None else ""
        speed = machine.words(r["images_per_second"], ",.0f")
        rows.append([f"{r['value']:,}", speed, f"{r['ms_per_step']:,.2f}", work, grown, r["said"]])
    head = [answer["unit"], "images/s", "ms a step", "GFLOP/s", "grows by MiB", "how"]
    return f"\n== {answer['axis']} ({answer['workload']})\n{machine.table(head, rows)}"


def main() -> None:
    """Time what the command line asks for."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--axis", choices=[*AXES, "processes", "all"], default="all")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=0.5, help="of each value's turn in a round, and at least one step")
    p.add_argument("--device", default="auto")
    p.add_argument("--precision", default="auto")
    p.add_argument("--compile", default="off")
    p.add_argument("--process-steps", type=int, default=100, help="length of the runs that several processes make")
    p.add_argument("--json", default="", metavar="FILE", help="write everything there, too")
    machine.add_quiet_arguments(p)
    args = p.parse_args()
    quiet = machine.Quiet(args.busy_limit, args.patience)
    about = machine.describe(execution.pick_device(args.device))
    print(machine.heading(about), flush=True)
    answers = []
    for name in [*AXES, "processes"] if args.axis == "all" else [args.axis]:
        answers.append(processes(args, quiet) if name == "processes" else run(name, args, quiet))
        print(printed(answers[-1]), flush=True)
    if quiet.said():
        print(f"\n{quiet.said()}")
    machine.report({"machine": about, "load": quiet.to_dict(), "axes": answers}, args)


if __name__ == "__main__":
    main()
