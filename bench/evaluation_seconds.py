"""Where the time of an evaluation goes: wall-clock and processor seconds of each part.

    python -m bench.evaluation_seconds --run RUN --samples 10000

A run on MNIST is meant, whose classifier is in the cache (the first evaluation with --samples trains it). Processor
seconds are those of all threads; where other programs use the cores, they say more than the wall clock does.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch

from latentscape.latents import encode
from latentscape.metrics import copies, disentanglement, frechet, kernel, latent, manifold, probe, reconstruction
from latentscape.numerics import energy
from latentscape.tasks import classify, evaluating, judging

PARTS = (
    (evaluating, "load_for", "loading the data"),
    (evaluating, "_passed", "passing the images through the model"),
    (reconstruction, "ssim", "  of that, SSIM"),
    (evaluating, "mean_intervals", "intervals of means"),
    (encode, "encode_all", "encoding training images"),
    (latent, "knn_accuracy", "nearest-neighbour accuracy"),
    (probe, "probe_accuracy", "linear probe"),
    (disentanglement, "dci", "random forests"),
    (evaluating, "_posterior_draws", "posterior draws"),
    (energy, "distance", "energy distances"),
    (classify, "reader_run", "finding the classifier"),
    (classify, "card", "the classifier's accuracy"),
    (judging, "_samples_seen", "drawing samples and reading them"),
    (judging, "_seen", "features of samples and images"),
    (frechet, "distance", "Fréchet distances"),
    (frechet, "deviation", "their intervals"),
    (kernel, "distances", "kernel distances"),
    (manifold, "region", "regions of sets"),
    (manifold, "overlap", "precision, recall, density, coverage"),
    (copies, "nearest_others", "neighbours among samples and images"),
    (copies, "memorised", "neighbours in the training part"),
)
"""Functions whose time is taken; one that another calls counts in both."""


class Clock:
    """Wall-clock and processor seconds, and calls, by name."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0])

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time added up under a name."""

        @functools.wraps(call)
        def run(*args: Any, **kwargs: Any) -> Any:
            wall, processor = time.monotonic(), time.process_time()
            try:
                return call(*args, **kwargs)
            finally:
                spent = self.spent[name]
                spent[0] += time.monotonic() - wall
                spent[1] += time.process_time() - processor
                spent[2] += 1

        return run


def main() -> None:
    """Evaluate once and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True)
    parser.add_argument("--data", default=None)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--features", default="auto")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    clock = Clock()
    for module, function, name in PARTS:
        setattr(module, function, clock.timed(name, getattr(module, function)))
    measure = clock.timed("all", evaluating.evaluate)
    asked = {"samples": args.samples, "features": args.features} if args.samples else {}
    answer = measure(args.run, data=args.data, keep=False, **asked)
    found = {
        "threads": torch.get_num_threads(),
        "n": answer["n"],
        "samples": args.samples,
        "seconds": dict(clock.spent),
    }
    if args.json:
        print(json.dumps(found))
        return
    print(f"{answer['n']:,} images, {args.samples:,} samples, {found['threads']} threads")
    for name, (wall, processor, calls) in clock.spent.items():
        print(f"{name:42s} {wall:8.2f} s wall {processor:8.2f} s processor {calls:5d} calls")


if __name__ == "__main__":
    main()
