"""Images per second of a plain PyTorch loop and of latentscape's, timed in turn in one process.

    python -m bench.throughput --workload conv-autoencoder --data PATH_OF_MNIST

The two take turns (plain, ours, plain, ours, …), so that a drift of the machine's speed meets both; the ratio is taken
round by round and its median quoted. A machine that is busy with something else is waited for, then refused.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line sets it

import torch

from bench import plain
from latentscape import models
from latentscape.contract import Trained
from latentscape.data import ImageSet, load_data
from latentscape.data.batches import Gatherer, TrainBatches
from latentscape.training import execution
from latentscape.training.checkpoint import CheckpointFolder
from latentscape.training.loop import Loop
from latentscape.training.settings import TrainSettings

WORKLOADS = {
    "conv-autoencoder": ("autoencoder", {"net": "conv", "latent_dim": 24}, 1e-4),
    "mlp-vae": ("vae", {"net": "mlp", "latent_dim": 32, "beta": 1.0, "reduction": "sum", "log_scale": "std"}, 1e-3),
}


def others_use() -> float:
    """Share of the machine's cores that other processes use, over half a second (Linux; 0 where it cannot be read)."""

    def busy() -> tuple[float, float]:
        fields = [int(v) for v in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
        return float(sum(fields) - fields[3] - fields[4]), float(sum(fields))

    if not Path("/proc/stat").exists():
        return 0.0
    before = busy()
    time.sleep(0.5)
    after = busy()
    return (after[0] - before[0]) / max(1.0, after[1] - before[1])


def wait_for_quiet(limit: float, patience_s: float) -> float:
    """Wait until the others use less than `limit`; exit with a sentence when patience ends."""
    start = time.monotonic()
    while (used := others_use()) > limit:
        if time.monotonic() - start > patience_s:
            raise SystemExit(f"other programs use {used:.0%} of this machine's cores: end them, or give --busy-limit 1")
        print(f"waiting: other programs use {used:.0%} of the cores", flush=True)
    return used


def our_steps(workload: str, data: ImageSet, args: argparse.Namespace, folder: Path) -> Iterator[None]:
    """Train for ever through the product's own loop, one step per `next`."""
    name, settings, rate = WORKLOADS[workload]
    net = models.build(name, data.shape, models.model_class(name).Config.from_dict(settings))
    train = TrainSettings(batch_size=args.batch_size, learning_rate=rate, epochs=0, max_steps=10**9,
                          device=args.device, precision=args.precision, compile=args.compile)  # fmt: skip
    assert isinstance(net, Trained)
    execute = execution.decide(net, train, args.assumed_steps)
    net = execute.place(net)
    memory_format = torch.channels_last if execute.channels_last else torch.contiguous_format
    batches = TrainBatches(Gatherer(data, "train", net.value_range, execute.device, memory_format), args.batch_size, 0)
    loop = Loop(net, batches, train, execute, CheckpointFolder(folder, 1))
    net.train()
    print(f"latentscape runs {execute}", flush=True)
    while True:
        loop.step()
        if loop.progress.step % train.log_every == 0:
            loop._write_log()
        yield None


def timed(step: Callable[[], object], steps: int, device: torch.device) -> float:
    """Steps per second."""
    start = time.perf_counter()
    for _ in range(steps):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return steps / (time.perf_counter() - start)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--workload", choices=WORKLOADS, default="conv-autoencoder")
    p.add_argument("--data", default="", help="MNIST folder or name; empty: noise of the same size")
    p.add_argument("--batch-size", type=int, default=64)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--steps", type=int, default=0, help="per round and side; 0: about four seconds of the plain loop")
    p.add_argument("--device", default="auto")
    p.add_argument("--precision", default="auto")
    p.add_argument("--compile", default="auto")
    p.add_argument("--assumed-steps", type=int, default=4685, help="length of the run that compile auto is judged by")
    p.add_argument("--busy-limit", type=float, default=0.1, help="share of the cores that others may use")
    p.add_argument("--patience", type=float, default=60.0, help="seconds to wait for a quiet machine")
    args = p.parse_args()
    rng = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (20_000, 1, 28, 28), dtype=torch.uint8, generator=rng)
    data = load_data(args.data) if args.data else load_data(noise.numpy())
    device = execution.pick_device(args.device)
    x, labels = data.x[data.indices("train")], torch.zeros(len(data.indices("train")), dtype=torch.int64)
    with tempfile.TemporaryDirectory() as folder:
        ours = our_steps(args.workload, data, args, Path(folder))
        _, theirs = plain.start(args.workload, x[:, 0], labels, args.batch_size, str(device))
        for side in (theirs, ours):
            timed(lambda side=side: next(side), 10, device)
        steps = args.steps or max(10, round(4 * timed(lambda: next(theirs), 10, device)))
        rows = []
        for i in range(args.rounds):
            used = wait_for_quiet(args.busy_limit, args.patience)
            a = timed(lambda: next(theirs), steps, device) * args.batch_size
            b = timed(lambda: next(ours), steps, device) * args.batch_size
            rows.append({"plain": a, "ours": b, "ratio": b / a, "others_before": used})
            print(f"round {i + 1}: plain {a:8,.0f} images/s   latentscape {b:8,.0f}   ratio {b / a:.2f}", flush=True)
    ratios = [r["ratio"] for r in rows]
    threads = torch.get_num_threads()
    print(f"\n{args.workload}, batch {args.batch_size}, {device}, {threads} threads, torch {torch.__version__}")
    print(f"ratio: median {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})")
    print(json.dumps({"workload": args.workload, "batch_size": args.batch_size, "device": str(device), "rounds": rows}))


if __name__ == "__main__":
    main()
