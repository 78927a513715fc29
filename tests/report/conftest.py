from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentscape.pictures import save_images, save_png
from latentscape.runs import RunFolder

CONFIG = """
[run]
model = "vae"
data = "digits"
classes = 10
shape = [1, 8, 8]
[train]
learning_rate = 0.001
epochs = 7
[model]
latent_dim = 2
[data]
size = ""
"""


def train_record(step: int, loss: float, phase: str = "reconstruct") -> dict[str, Any]:
    return {
        "kind": "train",
        "step": step,
        "epoch": step / 10,
        "images": 64 * step,
        "seconds": step / 100,
        "images_per_second": 6400.0,
        "learning_rate": {phase: 1e-3},
        "terms": {f"{phase}/recon_nats_per_image": loss, f"{phase}/total": loss + 1},
    }


@pytest.fixture
def bare_run(tmp_path: Path) -> RunFolder:
    """A run folder that holds its settings and nothing else."""
    folder = tmp_path / "a run"
    folder.mkdir()
    (folder / "config.toml").write_text(CONFIG)
    return RunFolder(folder)


@pytest.fixture
def write_log(bare_run: RunFolder) -> Callable[[list[dict[str, Any]]], None]:
    def write(records: list[dict[str, Any]]) -> None:
        (bare_run.path / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))

    return write


@pytest.fixture
def full_run(bare_run: RunFolder, write_log: Callable[[list[dict[str, Any]]], None]) -> RunFolder:
    """A finished run with everything a run folder can hold."""
    path, x = bare_run.path, np.random.default_rng(0).random((8, 1, 8, 8))
    write_log(
        [
            *(train_record(s, 50 - s / 10) for s in range(1, 101)),
            {"kind": "held_out", "step": 50, "terms": {"reconstruct/recon_nats_per_image": 46.0}},
            {"kind": "held_out", "step": 100, "terms": {"reconstruct/recon_nats_per_image": 41.5}},
            {"kind": "warning", "step": 30, "detector": "posterior_collapse", "text": "one dimension says nothing"},
            {"kind": "warning", "step": 60, "detector": "posterior_collapse", "text": "still nothing"},
            {"kind": "note", "text": "the rate falls soon"},
            {"kind": "done", "step": 100, "seconds": 75.0, "reason": "7 epochs done"},
        ]
    )
    (path / "command.txt").write_text("latentscape train vae --data digits\n")
    (path / "data.json").write_text(
        json.dumps({"name": "digits", "n": 1797, "split": {"train": 1257}, "shape": [1, 8, 8]})
    )
    (path / "environment.json").write_text(json.dumps({"torch": "2.11.0", "threads": 2}))
    evaluation = {"split": "test", "n": 360, "metrics": {"mse": 0.0312, "knn_accuracy": 0.8125}}
    (path / "metrics.json").write_text(json.dumps({**evaluation, "protocol": {"mse": "at posterior means"}}))
    save_png(path / "pictures" / "grid.png", np.zeros((400, 900, 3), np.uint8), title="The plane")
    save_images(path / "pictures" / "latent_map.png", x, title="Latent map", caption="Every test image")
    save_images(path / "pictures" / "film.gif", x, title="A film")
    save_images(path / "pictures" / "samples.png", x, title="Samples", command="latentscape sample 'a run' --seed 0")
    save_images(path / "pictures" / "reconstructions.png", x, title="Reconstructions")
    return bare_run
