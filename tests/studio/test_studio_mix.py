"""The page Mix's requests: walks, sums, labels, and files of them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from explored_runs import make_run, run_ids, studio
from latentscape.numerics import paths
from latentscape.runs import load_run
from latentscape.tasks.walking import interpolate


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    for name in ("vae", "gan", "conditional-vae", "classifier"):
        make_run(place / name, name)
    make_run(place / "vectors", "autoencoder", "curves")
    return place


@pytest.fixture(scope="module")
def client(runs: Path) -> Iterator[TestClient]:
    with studio(runs) as client:
        yield client


@pytest.fixture(scope="module")
def ids(client: TestClient) -> dict[str, str]:
    return run_ids(client)


def sentence(answer: Any) -> str:
    assert 400 <= answer.status_code < 500, answer.text
    return answer.json()["error"]


A, B = [1.0, 0.0, 0.5], [-0.5, 2.0, 0.0]


@pytest.mark.parametrize("spherical", [False, True])
def test_a_walk_is_the_tools_own(client: TestClient, ids: dict[str, str], spherical: bool) -> None:
    asked = {"ends": [{"z": A}, {"z": B}], "steps": 7, "spherical": spherical}
    found = client.post(f"/api/mix/{ids['vae']}/walk", json=asked).json()
    path = paths.spherical if spherical else paths.linear
    truth = path(torch.tensor([A]), torch.tensor([B]), 7)[:, 0]
    assert torch.allclose(torch.tensor(found["z"]), truth)


def test_a_walks_command_makes_the_same_pictures(
    client: TestClient, ids: dict[str, str], runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = [{"z": client.get(f"/api/latent/{ids['vae']}/start?example={i}").json()["z"], "example": i} for i in (3, 8)]
    found = client.post(f"/api/mix/{ids['vae']}/walk", json={"ends": ends, "steps": 5}).json()
    assert found["command"] == f"latentscape interpolate {runs / 'vae'} --examples 3 8 --steps 5 --out walk.png"
    interpolate(runs / "vae", examples=(3, 8), steps=5, out=tmp_path / "walk.npy")
    again = np.load(tmp_path / "walk.npy").reshape(-1)
    z = np.asarray(found["z"], "<f4")
    shown = np.frombuffer(client.post(f"/api/latent/{ids['vae']}/decode", content=z.tobytes()).content, np.uint8)
    assert np.abs(again.astype(int) - shown).max() <= 1


def test_ends_that_are_neither_examples_nor_files_are_saved_for_the_command(
    client: TestClient, ids: dict[str, str], runs: Path, tmp_path: Path
) -> None:
    walk = {"ends": [{"z": A}, {"z": B, "example": 2}], "steps": 4, "spherical": True}
    words = client.post(f"/api/mix/{ids['gan']}/walk", json=walk).json()["command"]
    assert "--latents ends.npy --spherical --steps 4" in words
    saved = client.post(f"/api/mix/{ids['gan']}/file", json={"walk": walk, "form": "npy"})
    (tmp_path / "ends.npy").write_bytes(saved.content)
    assert np.load(tmp_path / "ends.npy") == pytest.approx(np.array([A, B]))
    interpolate(runs / "gan", latents=tmp_path / "ends.npy", spherical=True, steps=4, out=tmp_path / "w.npy")
    assert np.load(tmp_path / "w.npy").shape == (4, 1, 8, 8)


def test_ends_from_files_are_called_by_their_names(client: TestClient, ids: dict[str, str], runs: Path) -> None:
    walk = {"ends": [{"z": A, "file": "my seven.png"}, {"z": B, "file": "b.png"}], "steps": 4, "label": 3}
    words = client.post(f"/api/mix/{ids['conditional-vae']}/walk", json=walk).json()["command"]
    place = runs / "conditional-vae"
    assert words == f"latentscape interpolate {place} 'my seven.png' b.png --label 3 --steps 4 --out walk.png"


@pytest.mark.parametrize("form", ["png", "gif", "mp4"])
def test_a_walk_is_saved_as_a_picture_or_a_film(client: TestClient, ids: dict[str, str], form: str) -> None:
    walk = {"ends": [{"z": A}, {"z": [5.0, -5.0, 5.0]}], "steps": 5}
    saved = client.post(f"/api/mix/{ids['vae']}/file", json={"walk": walk, "form": form})
    assert saved.status_code == 200
    assert f"mixed.{form}" in saved.headers["content-disposition"]
    if form == "mp4":
        assert saved.content[4:8] == b"ftyp"
        return
    image: Any = Image.open(io.BytesIO(saved.content))
    if form == "png":
        assert image.text["Command"].startswith("latentscape interpolate")
    else:
        assert image.n_frames <= 8  # there and back; equal frames are one
        assert image.n_frames > 1


def test_rows_are_saved_under_their_labels(client: TestClient, ids: dict[str, str], runs: Path) -> None:
    body = {"rows": [A, A], "labels": [1, 8], "form": "png"}
    saved = client.post(f"/api/mix/{ids['conditional-vae']}/file", json=body)
    model: Any = load_run(runs / "conditional-vae")
    with torch.no_grad():
        x = model.decode(torch.tensor([A, A]), torch.tensor([1, 8]))
    sheet = np.asarray(Image.open(io.BytesIO(saved.content)).convert("L")).astype(float)
    value = 255 * x[:, 0].clamp(0, 1).numpy()
    # Both pictures stand in the sheet, enlarged: each one's corner pixel has its value somewhere along the top.
    for one in value:
        assert np.abs(sheet - one[0, 0]).min() <= 1


def test_what_cannot_be_mixed_is_a_sentence(client: TestClient, ids: dict[str, str]) -> None:
    def walk(**changes: Any) -> dict[str, Any]:
        return {"ends": [{"z": A}, {"z": B}], "steps": 4} | changes

    at = f"/api/mix/{ids['vae']}"
    for body in (
        walk(steps=1),
        walk(steps=10**6),
        walk(ends=[{"z": A}]),
        walk(ends=[{"z": [1.0]}, {"z": B}]),
        walk(label=2),
    ):
        assert len(sentence(client.post(f"{at}/walk", json=body))) > 10
    assert "slots" in sentence(client.post(f"{at}/file", json={"form": "png"}))
    assert "saved as" in sentence(client.post(f"{at}/file", json={"walk": walk(), "form": "exe"}))
    assert "vectors" in sentence(client.post(f"/api/mix/{ids['vectors']}/file", json={"walk": walk(), "form": "png"}))
    assert "no decoder" in sentence(client.post(f"/api/mix/{ids['classifier']}/walk", json=walk()))
