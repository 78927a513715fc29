"""The page Check's requests, for every family, and their numbers on small runs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from explored_runs import FAMILIES, make_run, run_ids, studio
from latentscape import models
from latentscape.contract import Classifies, Discriminates, Reconstructs
from latentscape.runs import RunFolder, load_run
from latentscape.tasks.denoising import Noise
from latentscape.tasks.evaluating import load_for

every_family = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    for name in FAMILIES:
        make_run(place / name, name)
    make_run(place / "told-gan", "gan", conditional=True)
    make_run(place / "vectors", "autoencoder", "curves")
    return place


@pytest.fixture(scope="module")
def client(runs: Path) -> Iterator[TestClient]:
    with studio(runs) as client:
        yield client


@pytest.fixture(scope="module")
def ids(client: TestClient) -> dict[str, str]:
    return run_ids(client)


def able(name: str, *kinds: type) -> bool:
    return any(issubclass(models.model_class(name), kind) for kind in kinds)


def sentence(answer: Any) -> str:
    assert 400 <= answer.status_code < 500, answer.text
    return answer.json()["error"]


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def unpacked(text: str, channels: int = 1) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(8, 8, channels)


@every_family
def test_every_family_is_checked_as_far_as_it_can(client: TestClient, ids: dict[str, str], name: str) -> None:
    at = f"/api/check/{ids[name]}"
    card = client.get(f"{at}/card").json()
    assert bool(card["scores"]) == able(name, Reconstructs)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    judged = client.post(f"{at}/judge", content=png(pixels)).json()
    assert ("reconstruction" in judged) == ("score" in judged) == able(name, Reconstructs)
    assert ("discriminator" in judged) == able(name, Discriminates)
    assert ("classes" in judged) == able(name, Classifies)
    assert np.array_equal(unpacked(judged["picture"])[..., 0], pixels)
    for what, has in (("normal?rate=0.2", able(name, Reconstructs)), ("discriminator", able(name, Discriminates))):
        answer = client.get(f"{at}/{what}")
        if has:
            assert answer.status_code == 200, answer.text
        else:
            sentence(answer)


def test_the_score_stands_on_the_distribution_of_held_out_examples(
    client: TestClient, ids: dict[str, str], runs: Path
) -> None:
    at = f"/api/check/{ids['vae']}"
    normal = client.get(f"{at}/normal?score=reconstruction&rate=0.2").json()
    model: Any = load_run(runs / "vae")
    images = load_for(RunFolder(runs / "vae"))
    rows = images.indices("valid")
    x = images.examples(rows, "unit")
    with torch.no_grad():
        errors = (model.reconstruct(x) - x).square().flatten(1).mean(1)
    assert sum(normal["bins"]) == len(rows)
    assert normal["low"] == pytest.approx(float(errors.min()), rel=1e-4)
    assert float((errors > normal["threshold"]).float().mean()) <= 0.2
    odd = client.post(f"{at}/judge?score=reconstruction&rate=0.2", content=png(np.full((8, 8), 255, np.uint8))).json()
    usual = client.post(f"{at}/judge?score=reconstruction&rate=0.2&example=0", content=b"").json()
    assert odd["anomalous"]
    assert odd["score"] > normal["threshold"]
    assert odd["p"] < usual["p"]
    assert usual["name"].startswith("test 0")


def test_the_heat_map_is_the_squared_error_of_each_pixel(client: TestClient, ids: dict[str, str], runs: Path) -> None:
    pixels = np.zeros((8, 8), np.uint8)
    pixels[2, 5] = 255
    judged = client.post(f"/api/check/{ids['vae']}/judge", content=png(pixels)).json()
    model: Any = load_run(runs / "vae")
    x = torch.from_numpy(pixels / 255.0).float()[None, None]
    with torch.no_grad():
        xhat = model.reconstruct(x)
    error = (x - xhat).square()[0, 0]
    assert judged["mse"] == pytest.approx(float(error.mean()), rel=1e-3)
    assert judged["largest"] == pytest.approx(float(error.max()), rel=1e-3)
    heat = unpacked(judged["heat"], 3).astype(int).sum(2)
    assert np.unravel_index(heat.argmax(), heat.shape) == np.unravel_index(int(error.argmax()), heat.shape)


def test_noise_is_that_of_the_command_and_stands_beside(client: TestClient, ids: dict[str, str]) -> None:
    pixels = np.full((8, 8), 128, np.uint8)
    at = f"/api/check/{ids['denoising-autoencoder']}"
    judged = client.post(f"{at}/judge?sigma=0.2&seed=3&name=a.png", content=png(pixels)).json()
    noisy = Noise(noise="gaussian", sigma=0.2, seed=3).added(torch.full((1, 1, 8, 8), 128 / 255))
    truth = (255 * noisy[0].clamp(0, 1)).round().permute(1, 2, 0).numpy()
    assert np.abs(unpacked(judged["noisy"]) - truth).max() <= 1
    assert judged["psnr_noisy"] == pytest.approx(-10 * np.log10(0.2**2), abs=1.5)
    assert "--noise gaussian --sigma 0.2 --seed 3" in judged["command"]
    assert "noise" in sentence(client.post(f"{at}/judge?sigma=9", content=png(pixels)))


def test_the_discriminator_is_asked_about_real_generated_and_noise(
    client: TestClient, ids: dict[str, str], runs: Path
) -> None:
    found = client.get(f"/api/check/{ids['gan']}/discriminator").json()
    assert [s["name"] for s in found["sources"]] == ["real (test)", "generated", "N(0, 1) noise", "±1 noise"]
    assert all(sum(s["bins"]) == s["n"] for s in found["sources"])
    pixels = np.full((8, 8), 40, np.uint8)
    judged = client.post(f"/api/check/{ids['gan']}/judge", content=png(pixels)).json()
    model: Any = load_run(runs / "gan")
    with torch.no_grad():
        truth = torch.sigmoid(model.discriminate(torch.full((1, 1, 8, 8), 2 * 40 / 255 - 1)))
    assert judged["discriminator"][0]["value"] == pytest.approx(float(truth), rel=1e-3)
    told = client.post(f"/api/check/{ids['told-gan']}/judge", content=png(pixels)).json()["discriminator"]
    assert [entry["label"] for entry in told] == [str(k) for k in range(10)]


def test_vectors_are_checked_by_their_numbers_in_the_data(client: TestClient, ids: dict[str, str]) -> None:
    at = f"/api/check/{ids['vectors']}"
    judged = client.post(f"{at}/judge?example=2&rate=0.3", content=b"").json()
    assert "heat" not in judged
    assert judged["score"] >= 0
    assert "vector" in sentence(client.post(f"{at}/judge", content=png(np.zeros((8, 8), np.uint8))))


def test_what_cannot_be_checked_is_a_sentence(client: TestClient, ids: dict[str, str]) -> None:
    at = f"/api/check/{ids['vae']}"
    body = png(np.zeros((8, 8), np.uint8))
    assert "must be one of" in sentence(client.post(f"{at}/judge?score=luck", content=body))
    assert "picture" in sentence(client.post(f"{at}/judge", content=b"GIF"))
    assert "0 to" in sentence(client.post(f"{at}/judge?example=99999", content=b""))
    assert "false" in sentence(client.get(f"{at}/normal?rate=0"))
    assert "held-out" in sentence(client.get(f"{at}/normal?rate=0.0001"))
