"""Spec row B12 at larger batches, after as many epochs: the ELBO of the test images, over several seeds.

python -m bench.quality_batch --data PATH_OF_MNIST --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from statistics import mean

import latentscape
from latentscape import recipes
from latentscape.tasks.evaluating import evaluate

CHOICES = ((64, 1e-3), (256, 1e-3), (256, 2e-3), (512, 1e-3), (512, 2e-3), (512, 4e-3))
"""Batch size and learning rate; the first is the row's own."""


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", default="mnist")
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--threads", type=int, default=0)
    a = p.parse_args()
    rows = []
    for batch, rate in CHOICES:
        for seed in a.seeds:
            told = {**recipes.read("vae-mlp")["settings"], "batch_size": batch, "learning_rate": rate}
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder, "run")
                run = latentscape.train("vae", a.data, out=out, seed=seed, threads=a.threads, finish=False, **told)
                elbo = evaluate(out)["metrics"]["elbo_nats"]
            rows.append({"batch": batch, "rate": rate, "seed": seed, "elbo_nats": elbo, "seconds": run.seconds})
        elbos = [r["elbo_nats"] for r in rows if (r["batch"], r["rate"]) == (batch, rate)]
        print(
            f"batch {batch}, rate {rate:g}: ELBO {mean(elbos):.2f} nats ({min(elbos):.2f} to {max(elbos):.2f})",
            flush=True,
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
