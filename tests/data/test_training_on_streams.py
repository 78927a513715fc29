"""`--stream`: whole runs on shards that are decoded as they are trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shard_files import jpeg, write_shards

from latentscape import api
from latentscape.config import DataShape
from latentscape.errors import ConfigError, DataError
from latentscape.runs import RunFolder
from latentscape.tasks import training
from tiny_runs import weights

SETTINGS: dict[str, Any] = {
    "stream": True, "size": "8", "limit": 6, "net": "mlp", "hidden": (8,), "latent_dim": 2, "batch_size": 8,
    "threads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards") / "set", 4, 20)


def test_a_run_trains_on_more_than_is_packed_and_is_finished_as_any(shards: Path, tmp_path: Path) -> None:
    run = api.train("vae", shards, out=tmp_path / "run", epochs=2, **SETTINGS)
    assert isinstance(run.data, training.StreamedSet)
    assert run.data.to_train > 40 > len(run.data)
    assert run.steps == 2 * (run.data.to_train // 8)
    assert run.images == run.steps * 8
    folder = RunFolder(run.path)
    assert folder.metrics()
    assert folder.report_path.exists()
    assert folder.build_model().shape == DataShape((3, 8, 8))


def test_a_stopped_run_goes_on_to_the_same_weights(shards: Path, tmp_path: Path) -> None:
    whole = training.train("vae", shards, out=tmp_path / "whole", max_steps=13, **SETTINGS)
    part = training.train("vae", shards, out=tmp_path / "part", max_steps=5, **SETTINGS)
    again = training.resume(part.path, max_steps=13)
    ours, theirs = weights(whole.path), weights(again.path)
    assert all(bool((ours[key] == theirs[key]).all()) for key in ours)


def test_scale_counts_the_steps_of_the_whole_stream(shards: Path, tmp_path: Path) -> None:
    run = training.train("vae", shards, out=tmp_path / "run", epochs=4, scale=0.5, **SETTINGS)
    assert run.steps == round(0.5 * 4 * (run.data.to_train // 8))


@pytest.mark.parametrize("data", ["digits", "pictures"])
def test_only_shards_are_streamed(data: str, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(jpeg(0))
    where = data if data == "digits" else tmp_path / data
    with pytest.raises(DataError, match="--stream is for tar shards"):
        training.train("vae", where, out=tmp_path / "run", **SETTINGS)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "given", "said"),
    [
        ("pca", {}, "closed form"),
        ("vae", {"full_batch": True}, "--full-batch"),
        ("vae", {"size": ""}, "--size"),
        ("vae", {"binarise": "dynamic"}, "--binarise"),
    ],
)
def test_what_cannot_be_trained_on_a_stream(
    model: str, given: dict[str, Any], said: str, shards: Path, tmp_path: Path
) -> None:
    settings = {k: v for k, v in SETTINGS.items() if model != "pca" or k in ("stream", "size", "latent_dim")} | given
    with pytest.raises((ConfigError, DataError), match=said):
        training.train(model, shards, out=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_an_array_cannot_be_streamed(tmp_path: Path) -> None:
    import numpy as np

    with pytest.raises(DataError, match="leave it out"):
        training.train("vae", np.zeros((9, 8, 8), np.uint8), out=tmp_path / "run", **SETTINGS)
