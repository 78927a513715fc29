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

from explored_runs import FAMILIES, LIMIT, make_run, run_ids, studio
from latentscape import models
from latentscape.contract import Decodes, Reconstructs
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


@every_family
def test_nothing_is_written_into_a_run(client: TestClient, ids: dict[str, str], runs: Path, name: str) -> None:
    def files() -> set[tuple[str, int]]:
        return {(str(p), p.stat().st_mtime_ns) for p in (runs / name).rglob("*")}

    before = files()
    for where in ("start?seed=9", "start", "sliders", "dot/1"):
        client.get(f"/api/latent/{ids[name]}/{where}")
    client.post(f"/api/latent/{ids[name]}/plane", json={})
    # What `test_the_command_makes_the_picture_again` runs is the command line, which keeps a fitted prior there.
    assert files() == before


# ---- the map -------------------------------------------------------------------------------------------------------


def test_dots_lie_where_the_plane_puts_their_latents(client: TestClient, ids: dict[str, str], runs: Path) -> None:
    at = f"/api/latent/{ids['vae']}"
    model: Any = load_run(runs / "vae")
    images = inputs.load_for(RunFolder(runs / "vae"))
    x = images.examples(images.indices("test"), "unit")
    with torch.no_grad():
        z_NL = model.encode(x)
    for asked in ({"kind": "coordinates", "coordinates": [3, 1]}, {"kind": "principal"}):
        found = client.post(f"{at}/plane", json=asked).json()
        axes, origin = torch.tensor(found["axes"]), torch.tensor(found["origin"])
        assert torch.allclose(axes @ axes.T, torch.eye(2), atol=1e-5)
        seen = torch.tensor([found["x"], found["y"]]).T
        assert torch.allclose(seen, (z_NL - origin) @ axes.T, atol=1e-3)
    assert client.post(f"{at}/plane", json={"kind": "coordinates", "coordinates": [3, 1]}).json()["names"] == [
        "z3",
        "z1",
    ]
    colour = found["colour"]
    assert images.labels is not None
    assert colour["values"] == images.labels[images.indices("test")].tolist()
    assert colour["names"] == list(images.label_names)


def test_a_plane_goes_through_three_latents(client: TestClient, ids: dict[str, str]) -> None:
    at = f"/api/latent/{ids['gan']}"
    three = [client.get(f"{at}/start?seed={seed}").json()["z"] for seed in (4, 5, 6)]
    found = client.post(f"{at}/plane", json={"kind": "through", "through": three}).json()
    axes, origin = torch.tensor(found["axes"]), torch.tensor(found["origin"])
    for z in torch.tensor(three):
        place = axes @ (z - origin)
        assert torch.allclose(origin + place @ axes, z, atol=1e-4)
        left, right, low, high = found["extent"]
        assert left < place[0] < right
        assert low < place[1] < high
    same = client.post(f"{at}/plane", json={"kind": "through", "through": [three[0], three[0], three[1]]})
    assert "three different" in sentence(same)


def test_a_single_coordinate_is_a_line(client: TestClient, ids: dict[str, str]) -> None:
    found = client.post(f"/api/latent/{ids['line']}/plane", json={}).json()
    assert found["axes"] == [[1.0], [0.0]]
    assert set(found["y"]) == {0.0}
    assert client.get(f"/api/latent/{ids['line']}/sliders").json()["total"] == 1


def test_a_lasso_gives_the_mean_picture(client: TestClient, ids: dict[str, str], runs: Path) -> None:
    images = inputs.load_for(RunFolder(runs / "two"))
    picks = [5, 1, 7, 7]
    found = client.post(f"/api/latent/{ids['two']}/lasso", json={"dots": picks}).json()
    rows = images.indices("test")[[1, 5, 7]]
    mean = images.x[rows].double().mean(0).permute(1, 2, 0).numpy()
    assert found["n"] == 3
    assert np.abs(unpacked(found["picture"], 8, 8, 1) - mean).max() <= 0.51
    assert sum(found["classes"].values()) == 3
    assert "at least one" in sentence(client.post(f"/api/latent/{ids['two']}/lasso", json={"dots": []}))
    assert "0 to" in sentence(client.post(f"/api/latent/{ids['two']}/lasso", json={"dots": [10**6]}))


def test_the_nearest_training_picture_of_a_training_picture_is_itself(
    client: TestClient, ids: dict[str, str], runs: Path
) -> None:
    # All principal components together give every picture back as it was.
    make_run(runs / "exact", "pca", latent_dim=50)
    exact = run_ids(client)["exact"]
    images = inputs.load_for(RunFolder(runs / "exact"))
    row = int(images.indices("train")[11])
    model: Any = load_run(runs / "exact")
    with torch.no_grad():
        z = model.encode(images.examples(torch.tensor([row]), model.value_range))[0]
    found = client.post(f"/api/latent/{exact}/nearest", json={"z": z.tolist()}).json()
    nearest = found["found"][0]
    assert nearest["name"] == "train 11"
    assert nearest["mse"] < 1e-3
    assert [f["mse"] for f in found["found"]] == sorted(f["mse"] for f in found["found"])
    pictures = unpacked(found["pictures"], len(found["found"]), 8, 8, 1)
    assert np.array_equal(pictures[0], images.x[row].permute(1, 2, 0).numpy())


# ---- sliders and attributes ----------------------------------------------------------------------------------------


def test_sliders_come_in_order_of_importance_with_the_latents_behind_them(
    client: TestClient, ids: dict[str, str]
) -> None:
    at = f"/api/latent/{ids['pca']}/sliders"
    found = client.get(f"{at}?count=2").json()
    more = client.get(f"{at}?first=2&count=2").json()
    assert (found["total"], found["ordered"]) == (3, "importance")
    whole = [*found["sliders"], *more["sliders"]]
    assert sorted(s["index"] for s in whole) == [0, 1, 2]
    assert [s["importance"] for s in whole] == sorted((s["importance"] for s in whole), reverse=True)
    for s in whole:
        assert s["low"] < s["quantiles"][0] < s["mean"] < s["quantiles"][-1] < s["high"]
        assert sum(s["bins"]) == LIMIT


def test_a_direction_moves_along_what_it_is_called(client: TestClient, ids: dict[str, str], runs: Path) -> None:
    model: Any = load_run(runs / "pca")
    images = inputs.load_for(RunFolder(runs / "pca"))
    rows = images.indices("train")
    assert images.labels is not None
    with torch.no_grad():
        z_NL = model.encode(images.examples(rows, model.value_range))
    is_zero = images.labels[rows] == images.label_names.index("0")
    assert is_binary(is_zero.float())
    step = torch.tensor(client.get(f"/api/latent/{ids['pca']}/direction?name=0").json()["step"])
    towards = z_NL[is_zero].mean(0) - z_NL[~is_zero].mean(0)
    assert float(step @ towards / (step.norm() * towards.norm())) > 0.999
    assert "must be" in sentence(client.get(f"/api/latent/{ids['pca']}/direction?name=cat"))


# ---- pictures from outside -------------------------------------------------------------------------------------------


def test_an_uploaded_picture_is_encoded_as_a_file_is(
    client: TestClient, ids: dict[str, str], runs: Path, tmp_path: Path
) -> None:
    pixels = (np.arange(20 * 16) % 251).reshape(20, 16).astype(np.uint8)
    (tmp_path / "mine.png").write_bytes(png(pixels))
    found = client.post(f"/api/latent/{ids['vae']}/encode", content=png(pixels)).json()
    model: Any = load_run(runs / "vae")
    given = inputs.examples(RunFolder(runs / "vae"), model, [tmp_path / "mine.png"])
    with torch.no_grad():
        z = model.encode(given.x)
    assert found["z"] == pytest.approx(z[0].tolist(), rel=1e-4, abs=1e-5)
    original = unpacked(found["original"], 8, 8, 1)
    assert np.array_equal(original[..., 0], (given.x[0, 0] * 255).round().numpy())
    with torch.no_grad():
        assert found["mse"] == pytest.approx(float((model.decode(z) - given.x).square().mean()), rel=1e-3)


def test_an_upload_without_a_label_gets_the_one_that_fits_best(client: TestClient, ids: dict[str, str]) -> None:
    at = f"/api/latent/{ids['conditional-vae']}/encode"
    found = client.post(at, content=png(np.full((8, 8), 200, np.uint8))).json()
    assert found["label"] in range(10)
    assert found["label_how"]
    told = client.post(f"{at}?label=4", content=png(np.full((8, 8), 200, np.uint8))).json()
    assert (told["label"], told["label_how"]) == (4, "")


@pytest.mark.parametrize(
    "body", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(50)], ids=["empty", "text", "damaged"]
)
def test_what_is_no_picture_is_refused_in_a_sentence(client: TestClient, ids: dict[str, str], body: bytes) -> None:
    assert "picture" in sentence(client.post(f"/api/latent/{ids['vae']}/encode", content=body))


def test_latents_that_are_none_are_refused_in_a_sentence(client: TestClient, ids: dict[str, str]) -> None:
    at = f"/api/latent/{ids['vae']}"
    for body in (b"", b"abc", packed([[0.0] * 4]), packed([[0.0, 0.0, np.inf]]), packed(np.zeros((300, 3)))):
        sentence(client.post(f"{at}/decode", content=body))
    for z in ([], [0.0] * 4, [1e39, 0, 0]):
        sentence(client.post(f"{at}/nearest", json={"z": z}))
    sentence(client.post(f"{at}/decode?label=1", content=packed([[0.0] * 3])))
    told = f"/api/latent/{ids['conditional-vae']}/decode"
    for label in ("10", "-1", "x", "1,2,3"):
        sentence(client.post(f"{told}?label={label}", content=packed(np.zeros((2, 3)))))
    for where in ("start?seed=-1", "start?example=9999", "start?dot=-1", "dot/99999", "sliders?first=a"):
        sentence(client.get(f"{at}/{where}"))


def test_a_label_for_each_latent(client: TestClient, ids: dict[str, str], runs: Path) -> None:
    model: Any = load_run(runs / "told-gan")
    z = torch.randn(1, 3, generator=torch.Generator().manual_seed(1)).repeat(3, 1)
    answer = client.post(f"/api/latent/{ids['told-gan']}/decode?label=0,7,3", content=packed(z))
    with torch.no_grad():
        x = (model.decode(z, torch.tensor([0, 7, 3])) + 1) / 2
    found = np.frombuffer(answer.content, np.uint8).reshape(3, 8, 8)
    assert np.abs(found - 255 * x[:, 0].clamp(0, 1).numpy()).max() <= 1


def test_vectors_go_as_floats(client: TestClient, ids: dict[str, str], runs: Path) -> None:
    card = client.get(f"/api/latent/{ids['vectors']}/card").json()
    assert not card["image"]
    assert not card["can"]["upload"]
    answer = client.post(f"/api/latent/{ids['vectors']}/decode", content=packed([[0.5, 0.1, -1.0]]))
    model: Any = load_run(runs / "vectors")
    with torch.no_grad():
        x = model.decode(torch.tensor([[0.5, 0.1, -1.0]]))
    assert np.frombuffer(answer.content, "<f4") == pytest.approx(x[0].numpy(), rel=1e-5)
    assert "vector" in sentence(
        client.post(f"/api/latent/{ids['vectors']}/encode", content=png(np.zeros((8, 8), np.uint8)))
    )


def test_without_its_data_a_model_still_decodes_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(tmp_path / "lost", "vae")
    config = folder.path / "config.toml"
    config.write_text(config.read_text().replace('data = "digits"', 'data = "/nowhere/at/all"'))
    with studio(tmp_path) as client:
        at = f"/api/latent/{run_ids(client)['lost']}"
        card = client.get(f"{at}/card").json()
        assert "/nowhere/at/all" in card["missing"]
        assert client.post(f"{at}/decode", content=packed([[0.0] * 3])).status_code == 200
        assert client.get(f"{at}/sliders").status_code == 200
        plane = client.post(f"{at}/plane", json={}).json()
        assert not plane["examples"]
        assert "cannot be had" in sentence(client.post(f"{at}/nearest", json={"z": [0.0] * 3}))
