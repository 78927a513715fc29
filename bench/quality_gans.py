"""Spec rows B16, B19, B20, B21: four GANs at an equal budget of generator steps, over several seeds.

Three share the upsampling nets of row B17 at a width of choice (the discriminator's and generator's BatchNorm as each
model has it); WGAN with clipping has the nets of its own row B19. Scored by the Fréchet distance in the features of a
classifier that the product trains, on 10,000 samples, with precision, recall and the shares of the classes beside.
Runs that are done are taken from --out, so that a stopped bench goes on.

python -m bench.quality_gans --steps 2000 --width 32 --seeds 3 --out runs/bench-gans
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
RECIPES = {"wgan": "wgan", "gan": "upsampling-gan", "wgan-gp": "wgan-gp", "r3gan": "r3gan"}
"""What is compared → the recipe whose settings it takes, but for the budget and, where nets are shared, the width."""


def settings_of(model: str, steps: int, width: int, seed: int, threads: int) -> dict[str, Any]:
    """The recipe's settings at the bench's budget."""
    told = {k: v for k, v in recipes.read(RECIPES[model])["settings"].items() if k != "epochs"}
    shared = {} if model == "wgan" else {"net": "upsampling", "width": width, "batch_size": 64}
    return {**told, **shared, "max_steps": steps, "epochs": 0, "seed": seed, "threads": threads}


def trained(model: str, data: str, out: Path, **settings: Any) -> dict[str, Any]:
    """One run's row; it is trained, resumed or only read, whatever is left to do."""
    path = out / f"{model}-{settings['seed']}"
    if not (path / "config.toml").exists():
        latentscape.train(model, data, out=path, finish=False, **settings)
    elif not RunFolder(path).model_path.exists():
        latentscape.resume(path, finish=False)
    folder = RunFolder(path)
    answer = folder.metrics() or evaluate(path, samples=SAMPLES)
    ended = next(r for r in reversed(folder.log()) if r["kind"] == "done")
    metrics, shares = answer["metrics"], answer["metrics"]["class_histogram"].values()
    kept = {k: metrics[k] for k in ("fid", "fid_floor", "precision", "recall", "recall_floor")}
    return {
        "model": model,
        "seed": settings["seed"],
        "steps": ended["step"],
        "images": ended["images"],
        "seconds": ended["seconds"],
        **kept,
        "least_share": min(shares),
        "largest_share": max(shares),
        "classifier": answer["classifier"],
    }


def row(model: str, runs: list[dict[str, Any]]) -> str:
    """A line of the table: means over seeds, and the spread of the distance."""

    def of(name: str) -> list[float]:
        return [r[name] for r in runs]

    spread = f" ± {stdev(of('fid')):.1f}" if len(runs) > 1 else ""
    return (
        f"| {model} | {len(runs)} | {runs[0]['steps']:,} | {runs[0]['images']:,} | {mean(of('seconds')):,.0f} | "
        f"{mean(of('fid')):.1f}{spread} | {mean(of('fid_floor')):.1f} | {mean(of('precision')):.3f} | "
        f"{mean(of('recall')):.3f} | {100 * min(of('least_share')):.1f}–{100 * max(of('largest_share')):.1f} % |"
    )


HEAD = "| model | seeds | generator steps | images seen | seconds | fid | floor | precision | recall | class shares |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--models", default=",".join(RECIPES))
    parser.add_argument("--out", type=Path, default=Path("runs/bench-gans"))
    a = parser.parse_args()
    rows: dict[str, list[dict[str, Any]]] = {}
    for seed in range(a.seeds):
        for model in a.models.split(","):
            done = trained(model, a.data, a.out, **settings_of(model, a.steps, a.width, seed, a.threads))
            print(json.dumps(done), flush=True)
            rows.setdefault(model, []).append(done)
    print(HEAD + "\n|" + "---|" * 10)
    for model, runs in rows.items():
        print(row(model, runs))


if __name__ == "__main__":
    main()
