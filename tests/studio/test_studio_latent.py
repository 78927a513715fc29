"""The page Latent's requests, for every family that discovery finds, and their numbers on small runs."""

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
from latentscape.contract import Decodes, Encodes, Reconstructs
from latentscape.latents.directions import is_binary
from latentscape.runs import RunFolder, load_run
from latentscape.tasks import decoding, inputs, using

every_family = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of every family, and one of vectors."""
    place = tmp_path_factory.mktemp("runs")
    for name in FAMILIES:
        make_run(place / name, name)
    make_run(place / "vectors", "autoencoder", "curves")
    make_run(place / "line", "vae", latent_dim=1)
    make_run(place / "two", "vae", latent_dim=2)
    make_run(place / "told-gan", "gan", conditional=True)
    return place


@pytest.fixture(scope="module")
def client(runs: Path) -> Iterator[TestClient]:
    with studio(runs) as client:
        yield client


@pytest.fixture(scope="module")
def ids(client: TestClient) -> dict[str, str]:
    return run_ids(client)


def able(name: str, *kinds: type) -> bool:
    return all(issubclass(models.model_class(name), kind) for kind in kinds)


def packed(z: Any) -> bytes:
    return np.asarray(z, "<f4").tobytes()


def unpacked(text: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(shape)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def sentence(answer: Any) -> str:
    """The sentence of a refusal."""
    assert 400 <= answer.status_code < 500, answer.text
    text = answer.json()["error"]
    assert len(text) > 10
    return text


# ---- every family ------------------------------------------------------------------------------------------------


@every_family
def test_a_card_says_what_the_family_can_do(client: TestClient, ids: dict[str, str], name: str) -> None:
    card = client.get(f"/api/latent/{ids[name]}/card").json()
    assert card["model"] == name
    assert card["shape"] == [1, 8, 8]
    assert card["can"]["decode"] == able(name, Decodes)
    assert card["can"]["encode"] == able(name, Reconstructs)
    assert bool(card["labels"]) == (card["can"]["labels"])
    assert bool(card["attributes"]) == (able(name, Reconstructs) and not card["can"]["labels"])


@every_family
def test_what_a_family_can_do_answers_and_what_it_cannot_is_a_sentence(
    client: TestClient, ids: dict[str, str], name: str
) -> None:
    at = f"/api/latent/{ids[name]}"
    size = client.get(f"{at}/card").json()["latent_dim"]
    z = packed(np.zeros((2, size or 1)))
    everywhere = {
        "start": client.get(f"{at}/start"),
        "sliders": client.get(f"{at}/sliders"),
        "plane": client.post(f"{at}/plane", json={}),
        "coordinates": client.post(f"{at}/plane", json={"kind": "coordinates", "coordinates": [1, 2]}),
        "decode": client.post(f"{at}/decode", content=z),
        "nearest": client.post(f"{at}/nearest", json={"z": [0.0] * size}),
        "lasso": client.post(f"{at}/lasso", json={"dots": [0, 3, 4]}),
        "dot": client.get(f"{at}/dot/3"),
        "from a dot": client.get(f"{at}/start?dot=2"),
        "a draw": client.get(f"{at}/start?seed=3"),
        "command": client.post(f"{at}/command", json={"z": [0.0] * size}),
    }
    with_encoder = {
        "an example": client.get(f"{at}/start?example=1"),
        "principal": client.post(f"{at}/plane", json={"kind": "principal"}),
        "encode": client.post(f"{at}/encode", content=png(np.full((8, 8), 90, np.uint8))),
    }
    for what, answer in everywhere.items():
        if able(name, Decodes):
            assert answer.status_code == 200, f"{what}: {answer.text}"
        else:
            sentence(answer)
    for what, answer in with_encoder.items():
        if able(name, Reconstructs):
            assert answer.status_code == 200, f"{what}: {answer.text}"
        else:
            sentence(answer)
    asked = client.get(f"{at}/direction?name=3")
    if client.get(f"{at}/card").json()["attributes"]:
        assert asked.status_code == 200
    else:
        sentence(asked)


@every_family
def test_bytes_are_what_the_model_decodes(client: TestClient, ids: dict[str, str], runs: Path, name: str) -> None:
    if not able(name, Decodes):
        return
    model: Any = load_run(runs / name)
    z_ML = torch.randn(3, model.latent_dim, generator=torch.Generator().manual_seed(0))
    label = 2 if model.needs_labels else None
    answer = client.post(f"/api/latent/{ids[name]}/decode", content=packed(z_ML), params={"label": label or ""})
    found = np.frombuffer(answer.content, np.uint8).reshape(3, 8, 8, 1)
    with torch.no_grad():
        x = model.decode(z_ML, None if label is None else torch.full((3,), label))
    unit = ((x + 1) / 2 if model.value_range == "signed" else x).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    assert np.abs(found - 255 * unit).max() <= 1


@every_family
def test_the_command_makes_the_picture_again(
    client: TestClient, ids: dict[str, str], runs: Path, tmp_path: Path, name: str
) -> None:
    if not able(name, Decodes):
        return
    at = f"/api/latent/{ids[name]}"
    begun = client.get(f"{at}/start?seed=5").json()
    shown = client.post(f"{at}/decode", content=packed(begun["z"]), params={"label": begun["label"] or ""}).content
    out = tmp_path / "new.npy"
    for seed in (None, 5):
        place = {"z": begun["z"], "label": begun["label"], "seed": seed}
        words = client.post(f"{at}/command", json=place).json()["command"].split()
        label = words[words.index("--label") + 1] if "--label" in words else None
        assert words[0] == "latentscape"
        assert words[2] == str(runs / name)
        if seed is None:
            end = words.index("--label" if label else "--out")
            z = [float(word) for word in words[words.index("--z") + 1 : end]]
            decoding.decode(words[2], z=z, label=label, out=out)
        else:
            assert words[1:6] == ["sample", str(runs / name), "--n", "1", "--seed"]
            using.sample(words[2], n=1, seed=5, label=label, out=out)
        again = np.load(out).transpose(0, 2, 3, 1)
        # The address holds six digits of a number, which may turn a rounding.
        assert np.abs(again.astype(int).reshape(-1) - np.frombuffer(shown, np.uint8)).max() <= 1
