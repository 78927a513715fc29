"""The operations: right answers, over real connections."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

DRAWS = np.random.default_rng(0)


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def opened(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def grey(n: int) -> np.ndarray:
    return DRAWS.random((n, 1, 6, 5)).astype(np.float32)


def test_encode_gives_what_the_net_gives(plain: Any) -> None:
    x = grey(4)
    answer = plain.post("/v1/encode", {"x": x.tolist()})
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["z"], plain.tiny.encode(x), atol=1e-5)


def test_one_channel_may_be_left_out(plain: Any) -> None:
    x = grey(2)
    with_channel, without = (plain.post("/v1/encode", {"x": values.tolist()}).json() for values in (x, x[:, 0]))
    assert with_channel == without


def test_decode_gives_what_the_net_gives(plain: Any) -> None:
    z = DRAWS.normal(size=(5, 3)).astype(np.float32)
    answer = plain.post("/v1/decode", {"z": z.tolist()})
    np.testing.assert_allclose(answer.json()["x"], plain.tiny.decode(z), atol=1e-6)


def test_pictures_in_base64_are_as_good_as_numbers(plain: Any) -> None:
    pixels = DRAWS.integers(0, 256, (6, 5), np.uint8)
    text = base64.b64encode(png(pixels)).decode()
    numbers = plain.post("/v1/encode", {"x": [(pixels / 255).tolist()]}).json()["z"]
    for encoded in (text, f"data:image/png;base64,{text}"):
        assert plain.post("/v1/encode", {"x": [encoded]}).json()["z"] == pytest.approx(np.array(numbers), abs=1e-5)


def test_a_pictures_own_bytes_do(plain: Any) -> None:
    pixels = DRAWS.integers(0, 256, (6, 5), np.uint8)
    answer = plain.post("/v1/encode", content=png(pixels), headers={"content-type": "image/png"})
    wanted = plain.tiny.encode((pixels / 255).astype(np.float32)[None])
    np.testing.assert_allclose(answer.json()["z"], wanted, atol=1e-5)


def test_larger_pictures_and_other_colours_are_brought_to_the_shape(plain: Any) -> None:
    flat = np.full((60, 70, 3), (255, 0, 0), np.uint8)
    answer = plain.post("/v1/encode", content=png(flat), headers={"content-type": "image/png"})
    wanted = plain.tiny.encode(np.full((1, 30), 76 / 255, np.float32))  # ITU-R 601's luma of red
    np.testing.assert_allclose(answer.json()["z"], wanted, atol=1e-5)


def test_reconstruct_tells_the_error(plain: Any) -> None:
    x = grey(3)
    answer = plain.post("/v1/reconstruct", {"x": x.tolist()}).json()
    wanted = plain.tiny.reconstruct(x)
    np.testing.assert_allclose(answer["x"], wanted, atol=1e-5)
    np.testing.assert_allclose(answer["mse"], np.square(wanted - x).reshape(3, -1).mean(1), rtol=1e-4)


def test_scores_stand_on_the_scale_of_normal_ones(plain: Any) -> None:
    x = grey(8)
    answer = plain.post("/v1/score", {"x": x.tolist()}).json()
    mse = np.square(plain.tiny.reconstruct(x) - x).reshape(8, -1).mean(1)
    np.testing.assert_allclose(answer["scores"], mse, rtol=1e-4)
    wanted = np.clip((mse - 0.1) / 0.2, 0, 1) * 100  # the card's quantiles go evenly from 0.1 to 0.3
    np.testing.assert_allclose(answer["percentiles"], wanted, atol=0.05)
    assert 0 < wanted[0] < 100
    assert answer["kind"] == "reconstruction_mse"
    assert answer["normal_examples"] == 500


def test_errors_are_on_the_scale_of_0_to_1_whatever_the_values_are(labelled: Any) -> None:
    x = DRAWS.uniform(-1, 1, (2, 3, 6, 5)).astype(np.float32)
    answer = labelled.post("/v1/reconstruct", {"x": x.tolist(), "labels": 0}).json()
    wanted = np.square((labelled.tiny.reconstruct(x, 0) - x) / 2).reshape(2, -1).mean(1)
    np.testing.assert_allclose(answer["mse"], wanted, rtol=1e-4)


def test_the_same_seed_gives_the_same_samples(plain: Any) -> None:
    one, same, other = (plain.post("/v1/sample", {"n": 6, "seed": s}).json() for s in (5, 5, 6))
    assert one == same
    assert one["z"] != other["z"]
    np.testing.assert_allclose(one["x"], plain.tiny.decode(np.array(one["z"], np.float32)), atol=1e-5)


def test_a_seed_of_the_servers_own_is_told(plain: Any) -> None:
    drawn = plain.post("/v1/sample", {"n": 2}).json()
    assert plain.post("/v1/sample", {"n": 2, "seed": drawn["seed"]}).json() == drawn
    assert plain.post("/v1/sample").status_code == 200


def test_samples_have_the_priors_spread_times_the_temperature(make_served: Callable[..., Any]) -> None:
    with make_served(limits={"batch": 2000}) as server:
        z = np.array(server.post("/v1/sample", {"n": 2000, "seed": 1, "temperature": 0.5}).json()["z"])
    np.testing.assert_allclose(z.std(0), [0.5, 1.0, 0.25], rtol=0.08)
    cold = server.exported.draw(3, 0, 0.0)
    assert not cold.any()


def test_pictures_come_as_png(plain: Any) -> None:
    one = plain.post("/v1/decode", {"z": [[1, 0, 0]]}, headers={"accept": "image/png"})
    assert one.headers["content-type"] == "image/png"
    wanted = np.rint(plain.tiny.decode(np.array([[1, 0, 0]], np.float32))[0, 0] * 255)
    np.testing.assert_array_equal(opened(one.content), wanted)
    sheet = plain.post("/v1/sample", {"n": 5, "seed": 3}, headers={"accept": "image/png"})
    assert opened(sheet.content).shape == (2 * 6 + 1, 3 * 5 + 2)
    assert sheet.headers["x-latentscape-seed"] == "3"
    inside = plain.post("/v1/sample", {"n": 5, "seed": 3, "format": "png"}).json()["png"]
    np.testing.assert_array_equal(opened(base64.b64decode(inside[4])), opened(sheet.content)[7:, 6:11])


def test_labels_by_name_and_by_number(labelled: Any) -> None:
    z = DRAWS.normal(size=(2, 3)).astype(np.float32)
    by_name, by_number, by_text = (
        labelled.post("/v1/decode", {"z": z.tolist(), "labels": given}).json()["x"]
        for given in (["cat", "1"], [0, 1], ["0", 1])
    )
    np.testing.assert_allclose(by_name, labelled.tiny.decode(z, np.array([0, 1])), atol=1e-6)
    assert by_name == by_number == by_text
    one_for_all = labelled.post("/v1/decode", {"z": z.tolist(), "labels": "1"}).json()["x"]
    np.testing.assert_allclose(one_for_all, labelled.tiny.decode(z, 1), atol=1e-6)


def test_a_pictures_label_stands_in_the_address(labelled: Any) -> None:
    pixels = DRAWS.integers(0, 256, (6, 5, 3), np.uint8)
    raw = {"content": png(pixels), "headers": {"content-type": "image/png"}}
    by_address = labelled.client.post("/v1/reconstruct?label=cat", **raw)
    x = (pixels / 127.5 - 1).astype(np.float32).transpose(2, 0, 1)[None]
    np.testing.assert_allclose(by_address.json()["x"], labelled.tiny.reconstruct(x, 0), atol=1e-5)
    assert "needs labels: cat, 1" in labelled.client.post("/v1/reconstruct", **raw).json()["error"]


def test_vectors_have_no_pictures(make_served: Callable[..., Any]) -> None:
    with make_served(shape=(7,), value_range=None) as server:
        x = DRAWS.normal(0, 3, (3, 7)).astype(np.float32)
        answer = server.post("/v1/reconstruct", {"x": x.tolist()})
        np.testing.assert_allclose(answer.json()["x"], server.tiny.reconstruct(x), atol=1e-5)
        refused = server.post("/v1/sample", {}, headers={"accept": "image/png"})
        assert (refused.status_code, "no pictures" in refused.json()["error"]) == (406, True)
        sent = server.post("/v1/encode", content=png(np.zeros((6, 5), np.uint8)), headers={"content-type": "image/png"})
        assert (sent.status_code, "7 numbers" in sent.json()["error"]) == (415, True)


def test_what_the_model_cannot_do_is_said(make_served: Callable[..., Any]) -> None:
    with make_served(changes={"prior": None, "score": None}) as server:
        for name in ("sample", "score"):
            answer = server.post(f"/v1/{name}", {})
            assert answer.status_code == 404
            assert f"cannot {name}" in answer.json()["error"]
        assert server.client.get("/v1/card").json()["abilities"] == ["encode", "decode", "reconstruct"]
        assert "/v1/sample" not in server.client.get("/openapi.json").json()["paths"]


def test_the_card_keeps_the_machines_folders_to_itself(plain: Any) -> None:
    card = plain.client.get("/v1/card").json()
    assert card["shape"] == [1, 6, 5]
    assert card["metrics"] == {"mse": 0.2}
    assert card["data"] == "pictures"
    assert "someone" not in str(card)


def test_many_at_once_each_get_their_own(plain: Any) -> None:
    latents = DRAWS.normal(size=(120, 3)).astype(np.float32)

    def ask(z: np.ndarray) -> np.ndarray:
        answer = plain.client.post("/v1/decode", json={"z": [z.tolist()]})
        assert answer.status_code == 200, answer.text
        return np.array(answer.json()["x"][0])

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, latents))
    np.testing.assert_allclose(answers, plain.tiny.decode(latents), atol=1e-6)


def test_health(plain: Any) -> None:
    assert plain.client.get("/healthz").json() == {"status": "ok"}
    assert plain.client.get("/readyz").json() == {"status": "ready"}


def test_the_openapi_page_says_shapes_and_limits(plain: Any, labelled: Any) -> None:
    api = plain.client.get("/openapi.json").json()
    assert set(api["paths"]) >= {f"/v1/{n}" for n in ("encode", "decode", "sample", "reconstruct", "score", "card")}
    content = api["paths"]["/v1/encode"]["post"]["requestBody"]["content"]
    x = content["application/json"]["schema"]["properties"]["x"]
    assert x["maxItems"] == 32
    rows = x["items"]["anyOf"][1]["items"]
    assert (rows["minItems"], rows["items"]["maxItems"], rows["items"]["items"]["maximum"]) == (6, 5, 1.0)
    assert "image/jpeg" in content
    assert "labels" not in content["application/json"]["schema"]["properties"]
    other = labelled.client.get("/openapi.json").json()
    schema = other["paths"]["/v1/decode"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "labels" in schema["required"]


def test_the_documentation_page_needs_nothing_from_elsewhere(plain: Any) -> None:
    home = plain.client.get("/", follow_redirects=True)
    assert home.url.path == "/docs/"
    assert plain.client.get("/docs", follow_redirects=True).text == home.text
    for name in ("docs.js", "docs.css"):
        part = plain.client.get(f"/docs/{name}")
        assert part.status_code == 200
        assert name in home.text
        assert "http://" not in part.text
        assert "https://" not in part.text
    assert "http" not in home.text
    assert "<script>" not in home.text
    assert "style=" not in home.text
    assert "script-src 'self';" in home.headers["content-security-policy"]


def test_measures_count_what_happened(make_served: Callable[..., Any]) -> None:
    with make_served() as server:
        for _ in range(3):
            server.post("/v1/decode", {"z": [[0, 0, 0]] * 4})
        server.post("/v1/decode", {"z": "no"})
        server.client.get("/made/up/by/a/client")
        said = server.client.get("/metrics")
    assert said.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = dict(line.rsplit(" ", 1) for line in said.text.splitlines() if not line.startswith("#"))
    assert lines['latentscape_requests_total{endpoint="/v1/decode",status="200"}'] == "3"
    assert lines['latentscape_requests_total{endpoint="/v1/decode",status="422"}'] == "1"
    assert lines['latentscape_requests_total{endpoint="other",status="404"}'] == "1"
    assert lines['latentscape_request_seconds_count{endpoint="/v1/decode"}'] == "4"
    assert lines['latentscape_batch_examples_bucket{operation="decode",le="2"}'] == "0"
    assert lines['latentscape_batch_examples_bucket{operation="decode",le="4"}'] == "3"
    assert lines["latentscape_queue_examples"] == "0"
    assert lines["latentscape_in_flight"] == "1"
    assert float(lines["process_resident_memory_bytes"]) > 1e7
    assert "made" not in said.text
