"""Spec row B8: the conditional autoencoder beside its unconditional twin on `curves`, over several seeds.

Trains the recipes curves-conditional and curves-unconditional, or those ending in -course, with their own settings.
The floor is what the curves themselves leave as reconstructions: the noise at right angles to them, σ² in one of two
values.

python -m bench.quality_curves --seeds 5 --recipe both
"""

from __future__ import annotations

import argparse
import json
import tempfile
from statistics import median
from typing import Any

import latentscape
from latentscape import recipes
from latentscape.data.sources import curves
from latentscape.tasks.evaluating import evaluate_model

SUFFIX = {"recommended": "", "course": "-course"}
FLOOR = curves.NOISE**2 / 2


def trained(recipe: str, **changes: Any) -> dict[str, Any]:
    """The recipe's test error, mean over values, why and after how many steps it ended, and its seconds."""
    told = recipes.read(recipe)
    with tempfile.TemporaryDirectory() as folder:
        settings = {**told["settings"], **changes}
        run = latentscape.train(told["model"], told["data"], out=f"{folder}/run", finish=False, **settings)
        metrics, _ = evaluate_model(run.model, run.data, "test")
    return {"mse": metrics["mse"], "steps": run.steps, "ended": run.ended, "seconds": round(run.seconds, 1)}


def pair(which: str, seed: int, threads: int) -> dict[str, Any]:
    """Both twins with one seed, and the ratio of their errors."""
    names = ("conditional", "unconditional")
    twins = {name: trained(f"curves-{name}{SUFFIX[which]}", seed=seed, threads=threads) for name in names}
    return {
        "recipe": which,
        "seed": seed,
        **twins,
        "ratio": twins["conditional"]["mse"] / twins["unconditional"]["mse"],
    }


def summary(which: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over seeds and how often the conditional model had the smaller error."""
    return {
        "recipe": which,
        "seeds": len(rows),
        "median_conditional": median(r["conditional"]["mse"] for r in rows),
        "median_unconditional": median(r["unconditional"]["mse"] for r in rows),
        "median_ratio": median(r["ratio"] for r in rows),
        "wins": sum(r["ratio"] < 1 for r in rows),
        "floor": FLOOR,
    }


def line(r: dict[str, Any]) -> str:
    """One row of the table."""
    ours, twin = r["conditional"], r["unconditional"]
    return (
        f"{r['recipe']:11} {r['seed']:4} {ours['mse']:12.5f} {twin['mse']:14.5f} {r['ratio']:7.2f}"
        f" {ours['steps']:7,} {twin['steps']:7,} {ours['seconds']:6.0f} s {twin['seconds']:6.0f} s"
    )


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", type=int, default=5, help="seeds 0, 1, … up to this many")
    p.add_argument("--recipe", choices=[*SUFFIX, "both"], default="recommended")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--json", action="store_true", help="print JSON at the end")
    args = p.parse_args()
    if args.seeds < 1:
        p.error("--seeds must be at least 1")
    answers: list[dict[str, Any]] = []
    print("recipe      seed  conditional  unconditional   ratio          steps           seconds")
    for which in SUFFIX if args.recipe == "both" else [args.recipe]:
        rows: list[dict[str, Any]] = []
        for seed in range(args.seeds):
            rows.append(pair(which, seed, args.threads))
            print(line(rows[-1]), flush=True)
        s = summary(which, rows)
        print(
            f"{which}, medians of {s['seeds']}: conditional {s['median_conditional']:.5f}, "
            f"unconditional {s['median_unconditional']:.5f}, ratio {s['median_ratio']:.2f}; "
            f"the conditional one wins {s['wins']} of {s['seeds']}; floor {s['floor']:.5f}",
            flush=True,
        )
        answers.append({**s, "rows": rows})
    if args.json:
        print(json.dumps(answers))


if __name__ == "__main__":
    main()
