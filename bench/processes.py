"""Two processes against one at the same global batch: the largest difference of their loss curves, and time per step.

    python -m bench.processes --data mnist --steps 300

Float32 sums in another order drift apart in any program; how fast, one process on another number of threads shows.

Two processes on two cores have what one has with two threads, so the ratio says what working together costs; more
machines are what processes are for.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import torch

from latentscape.runs import RunFolder

NETS = {
    "B12 MLP VAE": "--net mlp --hidden 512 256 128 --norm batch --latent-dim 32 --beta 1 --reduction sum",
    "B3 conv VAE": "--net conv --latent-dim 24 --beta-per-pixel 0.005",
}

OPTIMISERS = {
    "B12 MLP VAE": ("--learning-rate 1e-3", "--optimiser sgd --learning-rate 1e-4"),
    "B3 conv VAE": ("--learning-rate 1e-4", "--optimiser sgd --learning-rate 1e-2"),
}
"""The row's own, Adam, and plain SGD: Adam divides by a gradient's size, so last bits of small ones grow."""


def train(words: list[str], processes: int, out: Path) -> RunFolder:
    """One training, by as many processes."""
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
    command = [sys.executable, *(launcher if processes > 1 else []), "-m", "latentscape.cli", *words, "--out", str(out)]
    done = subprocess.run(command, env={**os.environ, "GOMP_SPINCOUNT": "20000"}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return RunFolder(out)


def records(run: RunFolder) -> list[dict]:
    """The training records."""
    return [record for record in run.log() if record["kind"] == "train"]


def per_step(run: RunFolder) -> float:
    """Milliseconds: the median over records, without the first one."""
    seen = records(run)
    spent = sorted((b["seconds"] - a["seconds"]) / (b["step"] - a["step"]) for a, b in pairwise(seen))
    return 1000 * spent[len(spent) // 2]


def difference(one: RunFolder, other: RunFolder) -> str:
    """The largest relative one of their losses, and at which step."""
    pairs = zip(records(one), records(other), strict=True)
    losses = [(a["step"], a["terms"]["elbo/total"], b["terms"]["elbo/total"]) for a, b in pairs]
    worst, step = max((abs(a - b) / abs(a), step) for step, a, b in losses)
    return f"{worst:.1e} (step {step})"


def main() -> None:
    """Print one line for each workload."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    common = f"--batch-size 64 --max-steps {asked.steps} --log-every 10 --precision float32 --compile off --bare"
    with tempfile.TemporaryDirectory() as folder:
        for name, words in NETS.items():
            for rates in OPTIMISERS[name]:
                line = ["train", "vae", "--data", asked.data, *words.split(), *rates.split(), *common.split()]
                measure(name, rates, line, asked.processes, Path(tempfile.mkdtemp(dir=folder)))


def measure(name: str, rates: str, line: list[str], processes: int, folder: Path) -> None:
    """Three runs and what there is to say of them."""
    one, many = (train(line, n, folder / str(n)) for n in (1, processes))
    threads = train([*line, "--threads", "1" if torch.get_num_threads() > 1 else "2"], 1, folder / "threads")
    ends = [records(run)[-1]["terms"]["elbo/total"] for run in (one, many)]
    print(
        f"{name}, {rates}: last loss {ends[0]:.6g} by 1 process, {ends[1]:.6g} by {processes}; relative difference of "
        f"the curve at most {difference(one, many)}; of one process on other threads {difference(one, threads)}; "
        f"{per_step(one):.2f} and {per_step(many):.2f} ms per step",
        flush=True,
    )


if __name__ == "__main__":
    main()
