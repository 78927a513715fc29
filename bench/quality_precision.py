"""Spec row B16's GAN in float32 and in bf16, over several seeds: whether half the bits give pictures as good.

Scored by the Fréchet distance in the features of a classifier that the product trains, on 10,000 samples, with recall
and the shares of the classes beside; at a narrower net and fewer epochs than the recipe's unless told otherwise.

python -m bench.quality_precision --data PATH_OF_MNIST --seeds 0 1 2 --out runs/bench-precision
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import latentscape
from latentscape import recipes
from latentscape.runs import RunFolder
from latentscape.tasks.evaluating import evaluate

SAMPLES = 10_000


def trained(data: str, out: Path, **settings: Any) -> dict[str, Any]:
    """One run's row; it is trained, resumed or only read, whatever is left to do."""
    path = out / f"{settings['precision']}-{settings['seed']}"
    if not (path / "config.toml").exists():
        latentscape.train("gan", data, out=path, finish=False, **settings)
    elif not RunFolder(path).model_path.exists():
        latentscape.resume(path, finish=False)
    folder = RunFolder(path)
    metrics = (folder.metrics() or evaluate(path, samples=SAMPLES))["metrics"]
    ended = next(r for r in reversed(folder.log()) if r["kind"] == "done")
    shares = metrics["class_histogram"].values()
    return {
        "precision": settings["precision"],
        "seed": settings["seed"],
        "steps": ended["step"],
        "seconds": ended["seconds"],
        **{k: metrics[k] for k in ("fid", "fid_floor", "recall")},
        "least_share": min(shares),
        "largest_share": max(shares),
    }


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", default="mnist")
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--width", type=int, default=16)
    p.add_argument("--epochs", type=int, default=2)
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--out", type=Path, default=Path("runs/bench-precision"))
    a = p.parse_args()
    told = {**recipes.read("dcgan")["settings"], "width": a.width, "epochs": a.epochs, "threads": a.threads}
    rows = []
    for seed in a.seeds:
        for precision in ("float32", "bf16"):
            rows.append(trained(a.data, a.out, **told | {"precision": precision, "seed": seed}))
            print(rows[-1], flush=True)
    for precision in ("float32", "bf16"):
        fids = [r["fid"] for r in rows if r["precision"] == precision]
        spread = f" ± {stdev(fids):.1f}" if len(fids) > 1 else ""
        print(f"{precision}: Fréchet distance {mean(fids):.1f}{spread} over {len(fids)} seeds")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
