"""Spec row B27: the samples of a trained autoencoder under each prior fitted to its latents.

Each prior is fitted to the training latents, and 10,000 of its draws are decoded and compared with the test images:
Fréchet distance in the features of the classifier that the product trains, with that of training images (the floor)
beside it. Also the CPU seconds of fitting and of drawing, and the nats of the test images' latents where the prior has
a density. Without runs, the autoencoder of the recipe is trained first, which takes minutes.

python -m bench.quality_priors runs/autoencoder-24d --seeds 3
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

import latentscape
from latentscape import recipes
from latentscape.contract import Samples
from latentscape.latents import priors
from latentscape.runs import RunFolder
from latentscape.tasks.evaluating import load_for
from latentscape.tasks.showing import Stage
from latentscape.tasks.showing.fitted_priors import Judge


def trained(data: str, out: Path) -> Path:
    """The recipe's autoencoder; what an earlier call left is gone on with."""
    if not (out / "config.toml").exists():
        latentscape.train("autoencoder", data, out=out, finish=False, **recipes.read("fitted-priors")["settings"])
    elif not RunFolder(out).model_path.exists():
        latentscape.resume(out, finish=False)
    return out


def measured(kind: str, z: dict[str, torch.Tensor], judge: Judge, samples: int, seed: int) -> dict[str, Any]:
    """One fit: what it took and how its samples are."""
    started = time.process_time()
    prior = priors.fit(kind, z["train"], seed=seed)
    fitted = time.process_time()
    z_NL = prior.sample(samples, torch.Generator().manual_seed(seed))
    drawn = time.process_time()
    nats = float(prior.log_prob(z["test"]).mean()) if isinstance(prior, priors.Density) else None
    figures = {k: v for k, v in prior.figures.items() if k in ("components", "steps", "kept_step")}
    seconds = {"fit_s": fitted - started, "draw_s": drawn - fitted}
    return {"prior": kind, "seed": seed, "fid": judge.distance(z_NL), "nats": nats, **seconds, **figures}


def row(found: list[dict[str, Any]]) -> str:
    """A line of the table: means over seeds, and the spread of the distance."""
    fids = [f["fid"] for f in found]
    spread = f" ± {stdev(fids):.1f}" if len(fids) > 1 else ""
    nats = "" if found[0]["nats"] is None else f"{mean(f['nats'] for f in found):.2f}"
    seconds = " | ".join(f"{mean(f[k] for f in found):.1f}" for k in ("fit_s", "draw_s"))
    return f"| {found[0]['prior']} | {len(found)} | {mean(fids):.1f}{spread} | {nats} | {seconds} |"


def compare(path: Path, samples: int, seeds: int) -> None:
    """The table of one run."""
    folder = RunFolder(path)
    stage = Stage(folder, folder.load_model(), load_for(folder))
    z = {split: stage.latents(priors.Budget().latents, split)[0] for split in ("train", "test")}
    judge = Judge(stage, samples)
    print(
        f"\n{path.name}: {len(z['train']):,} latents of {z['train'].shape[1]} dimensions, {judge.n:,} samples compared;"
    )
    print(f"Fréchet distance of training images {judge.floor():.1f}", end="")
    if isinstance(stage.model, Samples):
        own = judge.distance(stage.model.prior(samples, torch.Generator().manual_seed(0)))
        print(f", of the model's own prior {own:.1f}", end="")
    print("\n| prior | seeds | fid | nats of test latents | CPU seconds to fit | to draw |\n|" + "---|" * 6, flush=True)
    fids = {}
    for kind in priors.KINDS:
        again = 1 if kind in ("diagonal", "full") else seeds  # those depend on no seed but that of the draws
        found = [measured(kind, z, judge, samples, seed) for seed in range(again)]
        fids[kind] = mean(f["fid"] for f in found)
        print(row(found), flush=True)
    best = min(fids, key=fids.__getitem__)
    print(f"{best} has {fids[best] / fids['diagonal']:.2f} of the diagonal Gaussian's distance.", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--data", default="mnist", help="to train on, where no run is given")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-priors"))
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=1)
    a = parser.parse_args()
    for path in a.runs or [trained(a.data, a.out)]:
        compare(path, a.samples, a.seeds)


if __name__ == "__main__":
    main()
