"""Run folders → the Markdown table of docs/results.md.

python -m bench.results_table runs/pca runs/vae-24d …
"""

from __future__ import annotations

import sys

from latentscape.runs import RunFolder

COLUMNS = ("mse", "psnr_db", "ssim", "bce", "kl_nats", "elbo_nats", "active_units", "knn_accuracy")


def row(path: str) -> str:
    """The run's command, without the places of its data and its folder, and its metrics."""
    folder = RunFolder(path)
    answer = folder.metrics() or {"metrics": {}}
    words = folder.command().split()
    places = [i for i, word in enumerate(words) if word in ("--data", "--out")]
    kept = [w for i, w in enumerate(words) if i not in places and i - 1 not in places]
    cells = [f"{answer['metrics'][name]:.4g}" if name in answer["metrics"] else "" for name in COLUMNS]
    return f"| `{' '.join(kept)}` | " + " | ".join(cells) + " |"


def main() -> None:
    print("| command | " + " | ".join(COLUMNS) + " |\n|" + "---|" * (len(COLUMNS) + 1))
    for path in sys.argv[1:]:
        print(row(path))


if __name__ == "__main__":
    main()
