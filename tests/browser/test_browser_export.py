"""The exported explorer in a real browser, from a plain static server: what it draws is what the product decodes."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import io
import math
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import latentscape
from latentscape.runs import load_run

pytest.importorskip("onnx", reason="wants the packages of latentscape[export]")
pytest.importorskip("onnxscript", reason="wants the packages of latentscape[export]")
pytest.importorskip("onnxruntime", reason="wants the packages of latentscape[export]")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="wants the package playwright"),
    pytest.mark.skipif(CHROMIUM is None, reason="wants Chromium"),
]
PATIENCE = 120_000
"""Milliseconds that a step may take on a busy machine."""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A host's root with an explorer in a folder of its own, for each of three models."""
    from latentscape.export.web import export

    root, runs = tmp_path_factory.mktemp("host"), tmp_path_factory.mktemp("runs")
    small = {"net": "mlp", "hidden": (32,), "limit": 400, "batch_size": 32, "threads": 1, "finish": False}
    latentscape.train("vae", "digits", out=runs / "plane", latent_dim=2, max_steps=150, **small)
    latentscape.train("conditional-vae", "digits", out=runs / "labels", latent_dim=12, max_steps=150, **small)
    latentscape.train("gan", "digits", out=runs / "gan", latent_dim=3, max_steps=2, **(small | {"output": "tanh"}))
    for name in ("plane", "labels", "gan"):
        export(runs / name, root / name)
    (root / "runs").symlink_to(runs)
    return root


@pytest.fixture(scope="module")
def host(place: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(place)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


class Explorer:
    """A page that shows one of the explorers, and everything that went wrong on it."""

    def __init__(self, browser: Any, host: str, name: str, hash: str = "", **options: Any) -> None:
        self.wrong: list[str] = []
        self.page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **options})
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", lambda m: self.wrong.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("requestfailed", lambda request: self.wrong.append(f"failed: {request.url}"))
        self.page.on("request", lambda r: None if r.url.startswith((host, "blob:")) else self.wrong.append(r.url))
        self.page.goto(f"{host}/{name}/{hash}")
        self.settled()

    def settled(self) -> np.ndarray:
        """Wait until the picture is that of the latent in the page's state; that latent."""
        self.page.wait_for_function(
            """() => {
              const { dataset: { z: shown }, ariaBusy: busy } = document.getElementById("picture");
              const named = new URLSearchParams(location.hash.slice(1)).get("z");
              const rounded = shown && shown.split(",").map((v) => String(Number(Number(v).toFixed(3)))).join(",");
              return shown && busy === "false" && rounded === named;
            }"""
        )
        return np.array([float(v) for v in self.page.get_attribute("#picture", "data-z").split(",")], np.float32)

    def pixels(self) -> np.ndarray:
        """The picture's pixels H×W×3, as the canvas holds them."""
        width, height, data = self.page.evaluate(
            """() => {
              const { width, height } = document.getElementById("picture");
              const pen = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
              pen.drawImage(document.getElementById("picture"), 0, 0);
              return [width, height, [...pen.getImageData(0, 0, width, height).data]];
            }"""
        )
        return np.array(data, np.uint8).reshape(height, width, 4)[:, :, :3]

    def label(self) -> int:
        return int(self.page.input_value("#label"))

    def close(self) -> None:
        assert self.wrong == []
        self.page.close()


def assert_same(found: Explorer, model: Any) -> None:
    """What the canvas shows is what the model decodes from the same latent, to 2/255."""
    z = torch.from_numpy(found.settled())[None]
    y = torch.tensor([found.label()]) if model.needs_labels else None
    with torch.no_grad():
        x = model.decode(z, y)[0]
    unit = (x + 1) / 2 if model.value_range == "signed" else x
    expected = (255 * unit.clamp(0, 1)).round().numpy().transpose(1, 2, 0)
    assert np.abs(found.pixels().astype(float) - expected).max() <= 2
    assert expected.std() > 2  # there is something to see


def test_dragging_over_the_plane_decodes_what_is_under_the_pointer(browser: Any, host: str, place: Path) -> None:
    found, model = Explorer(browser, host, "plane"), load_run(place / "runs" / "plane")
    assert_same(found, model)
    box = found.page.locator("#plane").bounding_box()
    seen = [found.settled()]
    mouse = found.page.mouse
    mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.2 * box["height"])
    mouse.down()
    for share in (0.3, 0.45, 0.8):
        mouse.move(box["x"] + share * box["width"], box["y"] + (1 - share) * box["height"], steps=4)
        seen.append(found.settled())
        assert_same(found, model)
    mouse.up()
    first, second, last = seen[1:]
    assert first[0] < second[0] < last[0]  # to the right, z1 rises
    assert first[1] < second[1] < last[1]  # upwards, z2 does
    found.page.focus("#plane")
    found.page.keyboard.press("ArrowLeft")
    moved = found.settled()
    assert moved[0] < last[0]
    assert moved[1] == pytest.approx(last[1], abs=1e-3)
    assert f"z1 = {moved[0]:.2f}".replace("-", "−") in found.page.inner_text("#place")
    found.close()


def test_sliders_samples_interpolation_and_the_address(browser: Any, host: str, place: Path) -> None:
    found, model = Explorer(browser, host, "plane"), load_run(place / "runs" / "plane")
    assert found.page.locator(".slider").count() == 2
    assert found.page.locator("#axes").is_hidden()
    assert found.page.locator("#label-part").is_hidden()
    slider = found.page.locator("#z2")
    slider.evaluate("(input) => { input.value = 1.25; input.dispatchEvent(new Event('input')); }")
    assert found.settled()[1] == pytest.approx(1.25, abs=1e-5)
    assert_same(found, model)
    slider.focus()
    found.page.keyboard.press("Delete")
    mean = found.settled()[1]
    assert mean != pytest.approx(1.25, abs=0.1)
    found.page.click("#sample")
    one = found.settled()
    found.page.click("#sample")
    assert not np.allclose(one, found.settled())
    found.page.fill("#seed", "1")
    found.page.keyboard.press("Enter")
    np.testing.assert_allclose(found.settled(), one)
    assert_same(found, model)
    found.page.click("#keep-a")
    found.page.wait_for_function("() => document.querySelectorAll('#strip canvas').length === 11")
    found.page.locator("#strip button").nth(0).click()
    np.testing.assert_allclose(found.settled(), one, atol=1e-5)
    found.page.locator("#strip button").nth(10).click()
    end = found.settled()
    found.page.locator("#strip button").nth(5).click()
    np.testing.assert_allclose(found.settled(), (one + end) / 2, atol=1e-4)
    address, pixels = found.page.evaluate("location.hash"), found.pixels()
    found.close()
    again = Explorer(browser, host, "plane", address)
    assert np.abs(again.pixels().astype(int) - pixels).max() <= 2  # the address has three decimals
    again.close()


def test_a_picture_of_ones_own_is_encoded_and_a_dot_is_an_example(browser: Any, host: str, place: Path) -> None:
    found, model = Explorer(browser, host, "plane"), load_run(place / "runs" / "plane")
    images = latentscape.load_data("digits")
    x = images.x[images.indices("test")[3]]
    file = io.BytesIO()
    Image.fromarray(x[0].numpy()).save(file, "PNG")
    found.page.set_input_files("#upload", {"name": "own.png", "mimeType": "image/png", "buffer": file.getvalue()})
    found.page.wait_for_function("() => document.getElementById('upload-said').textContent")
    with torch.no_grad():
        z = model.encode(x[None].float() / 255)[0].numpy()
    np.testing.assert_allclose(found.settled(), z, atol=1e-3)
    assert_same(found, model)
    found.page.set_input_files("#upload", {"name": "bad.png", "mimeType": "image/png", "buffer": b"no picture"})
    found.page.wait_for_function("() => document.getElementById('state').textContent")
    assert found.page.inner_text("#state").startswith("bad.png is no picture that this browser can read")
    box = found.page.locator("#plane").bounding_box()
    at = (box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    for i in range(60):
        at = (at[0] + i % 2 * 5, at[1] + (i + 1) % 2 * 5)
        found.page.mouse.move(*at)
        if found.page.locator("#tip").is_visible():
            break
    found.page.mouse.click(*at)
    known = np.fromfile(place / "plane" / "latents.bin", "<f4").reshape(-1, 2)
    assert np.abs(known - found.settled()).max(1).min() < 1e-6
    assert_same(found, model)
    found.close()


def test_a_label_switch_keeps_the_latent(browser: Any, host: str, place: Path) -> None:
    found, model = Explorer(browser, host, "labels"), load_run(place / "runs" / "labels")
    assert found.page.locator(".slider").count() == 8
    assert found.page.locator("#axes").is_visible()
    assert_same(found, model)
    before, z = found.pixels(), found.settled()
    found.page.select_option("#label", "3" if found.label() != 3 else "4")
    np.testing.assert_allclose(found.settled(), z)
    assert_same(found, model)
    assert np.abs(found.pixels().astype(int) - before).max() > 5
    found.page.click("#more")
    assert found.page.locator(".slider").count() == 12
    across = found.page.input_value("#across")
    found.page.select_option("#up", across)  # the two axes change places
    assert found.page.input_value("#up") == across != found.page.input_value("#across")
    found.close()


def test_a_model_without_an_encoder_has_no_upload(browser: Any, host: str, place: Path) -> None:
    found, model = Explorer(browser, host, "gan"), load_run(place / "runs" / "gan")
    assert model.value_range == "signed"
    for hidden in ("#upload-part", "#legend li", "#dots-help", "#label-part"):
        assert not found.page.locator(hidden).first.is_visible()
    found.page.click("#sample")
    assert_same(found, model)
    found.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")])
def test_the_page_fits(browser: Any, host: str, width: int, scheme: str, tmp_path: Path) -> None:
    view = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme, "reduced_motion": "reduce"}
    for name in ("plane", "labels"):
        found = Explorer(browser, host, name, **view)
        assert found.page.evaluate("document.documentElement.scrollWidth") <= width
        names = found.page.evaluate(
            """() => [...document.querySelectorAll("button, input, select, canvas[role], canvas[tabindex]")]
              .filter((e) => !(e.labels?.length || e.textContent.trim() || e.getAttribute("aria-label"))).length"""
        )
        assert names == 0  # everything that can be used has a name
        found.page.screenshot(path=tmp_path / f"{name}-{width}-{scheme}.png", full_page=True)
        found.close()


def test_pixels_are_not_smoothed_and_saved_as_shown(browser: Any, host: str) -> None:
    found = Explorer(browser, host, "plane")
    assert found.page.evaluate("getComputedStyle(document.getElementById('picture')).imageRendering") == "pixelated"
    with found.page.expect_download() as download:
        found.page.click("#download")
    assert download.value.suggested_filename == "plane.png"
    with Image.open(download.value.path()) as picture:
        saved = np.asarray(picture.convert("RGB"))
    scale = math.floor(512 / 8)
    assert saved.shape == (8 * scale, 8 * scale, 3)
    np.testing.assert_array_equal(saved[scale // 2 :: scale, scale // 2 :: scale], found.pixels())
    found.close()
