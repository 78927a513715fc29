"""Spec row C10, one class of MNIST: train on one digit, judge all ten of the test set, mean over ten digits.

For each digit: AUROC of the reconstruction error of PCA with 30 components, and of the product's way, PCA with 40
components and --score neighbours; the share of unseen normal images (the digit's own test images) above the threshold,
with its 95 % binomial interval. The threshold is set on a held-out fifth of the digit's training images.

python -m bench.quality_anomalies --data PATH_OF_MNIST
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import latentscape
from latentscape.metrics import detection
from latentscape.tasks.detecting import detect

WAYS: dict[str, tuple[str, dict[str, Any], str]] = {
    "PCA-30, reconstruction": ("pca", {"latent_dim": 30}, "reconstruction"),
    "PCA-40, neighbours": ("pca", {"latent_dim": 40}, "neighbours"),
}
"""What is compared: model, its settings, score."""


def judged(way: str, digit: int, data: str, rate: float, held_out: float) -> dict[str, Any]:
    """One digit: trained on it alone, by one of `WAYS`; the answer of `detect` without its list of examples."""
    model, settings, score = WAYS[way]
    with tempfile.TemporaryDirectory() as place:
        start = time.monotonic()
        run = latentscape.train(
            model,
            data,
            out=Path(place) / "run",
            finish=False,
            only_classes=str(digit),
            valid_fraction=held_out,
            **settings,
        )
        answer = detect(run.path, score=score, false_alarm_rate=rate, heat_maps=0, out=Path(place) / "found")
    answer["seconds"] = time.monotonic() - start
    return {name: value for name, value in answer.items() if name != "examples"}


def interval(hits: int, of: int) -> str:
    low, high = detection.binomial_interval(hits, of)
    return f"{hits / of:6.2%} of {of:,} ({low:.2%} to {high:.2%})"


def summed(rows: list[dict[str, Any]]) -> str:
    """False alarms of some digits together."""
    alarms = [row["false_alarms"] for row in rows]
    return interval(sum(round(a["rate"] * a["of"]) for a in alarms), sum(a["of"] for a in alarms))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True)
    p.add_argument("--digits", type=int, nargs="+", default=list(range(10)))
    p.add_argument("--rate", type=float, default=0.05)
    p.add_argument("--held-out", type=float, default=0.2)
    args = p.parse_args()
    start, cpu, table = time.monotonic(), time.process_time(), {}
    for way in WAYS:
        rows = table[way] = []
        for digit in args.digits:
            row = judged(way, digit, args.data, args.rate, args.held_out)
            rows.append(row)
            print(f"{way}   digit {digit}: AUROC {row['auroc']:.4f}, average precision {row['average_precision']:.4f}, "
                  f"false alarms {summed([row])}, found {row['found']['rate']:.1%}, {row['seconds']:.1f} s",
                  flush=True)  # fmt: skip
        mean = sum(row["auroc"] for row in rows) / len(rows)
        print(f"{way}   mean AUROC {mean:.4f}; false alarms {summed(rows)}, asked {args.rate:.0%}", flush=True)
    print(f"{time.monotonic() - start:.0f} s in all, {time.process_time() - cpu:.0f} s of processor time")
    print(json.dumps(table))


if __name__ == "__main__":
    main()
