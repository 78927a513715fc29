"""The page Latent in a real browser: what is dragged, slid, dropped and switched becomes the model's own picture."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from driven import browser, fits, need_a_browser, opened, pixels, served, unlabelled
from explored_runs import make_run
from latentscape.runs import RunFolder, load_run
from latentscape.tasks.evaluating import load_for
from tiny_runs import TINY

pytestmark = pytest.mark.slow

CURRENT = ".current canvas"
READY = ".legend .key"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from latentscape.tasks import training

    place = tmp_path_factory.mktemp("runs")
    make_run(place / "plane", "pca", latent_dim=2)
    make_run(place / "many", "pca", latent_dim=12)
    make_run(place / "noise", "gan", latent_dim=6)
    settings = TINY | {"max_steps": 80, "learning_rate": 0.02, "limit": 200}
    training.train("conditional-vae", "digits", out=place / "told", **settings)
    return place


@pytest.fixture(scope="module")
def address(runs: Path) -> Iterator[str]:
    need_a_browser()
    with served(runs) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser(need_a_browser()) as chromium:
        yield chromium


def at(address: str, run: Path, query: str = "") -> str:
    from latentscape.studio.places import identity

    return f"{address}/run/{identity(run)}/latent{query}"


def decoded(run: Path, z: list[float], label: int | None = None) -> np.ndarray:
    """What the model makes of a latent, on 0 to 255, H×W×1."""
    model: Any = load_run(run)
    with torch.no_grad():
        x = model.decode(torch.tensor([z]), None if label is None else torch.tensor([label]))
    unit = (x + 1) / 2 if model.value_range == "signed" else x
    return 255 * unit.clamp(0, 1)[0].permute(1, 2, 0).numpy()


def settled(page: Any) -> dict[str, str]:
    """The state in the address, once the page has come to rest."""
    page.wait_for_timeout(900)
    return page.evaluate("Object.fromEntries(new URLSearchParams(location.search))")


def numbers(text: str) -> list[float]:
    return [float(word) for word in text.split("_")]


def test_dragging_the_cross_hair_shows_what_the_model_decodes_there(chromium: Any, address: str, runs: Path) -> None:
    with opened(chromium, at(address, runs / "plane")) as page:
        page.wait_for_selector(READY)
        before = pixels(page, CURRENT)
        box = page.locator(".map").bounding_box()
        page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
        page.mouse.down()
        for i in range(12):
            page.mouse.move(box["x"] + (0.3 + 0.04 * i) * box["width"], box["y"] + (0.3 + 0.03 * i) * box["height"])
        page.mouse.up()
        state = settled(page)
        after = pixels(page, CURRENT)
        assert np.abs(after.astype(int) - before).max() > 20
        assert np.abs(after - decoded(runs / "plane", numbers(state["z"]))).max() <= 1
        command = page.locator(".command code").inner_text()
        assert command.split()[command.split().index("--z") + 1 :][:2] == state["z"].split("_")
        # The arrow keys do the same, and the picture is spoken of.
        page.locator(".map").focus()
        page.keyboard.press("ArrowLeft")
        moved = settled(page)
        assert numbers(moved["z"])[0] < numbers(state["z"])[0]
        assert np.abs(pixels(page, CURRENT) - decoded(runs / "plane", numbers(moved["z"]))).max() <= 1
        assert "Picture" in page.locator("#announcements").inner_text()
        assert unlabelled(page) == []


def test_the_address_brings_back_the_same_picture(chromium: Any, address: str, runs: Path) -> None:
    z = "0.4_-1.1_0_0.25_0_0_0.3_0_0_0_0_-0.2"
    with opened(chromium, at(address, runs / "many", f"?z={z}&plane=coordinates&at=4_2")) as page:
        page.wait_for_selector(READY)
        first = pixels(page, CURRENT)
        assert np.abs(first - decoded(runs / "many", numbers(z))).max() <= 1
        assert page.locator(".axis-name").all_inner_texts() == ["z2 →", "z4 →"]
        page.reload()
        page.wait_for_selector(READY)
        assert np.array_equal(pixels(page, CURRENT), first)
        assert settled(page)["z"] == z


def test_a_slider_moves_one_coordinate_and_a_double_click_takes_it_back(
    chromium: Any, address: str, runs: Path
) -> None:
    with opened(chromium, at(address, runs / "many", "?example=3")) as page:
        page.wait_for_selector(".sliders .slider:nth-child(10)")
        assert page.locator(".sliders .slider").count() == 10
        begun = settled(page)
        assert begun == {"example": "3"}
        name = page.locator(".sliders label").first.inner_text()
        slider = page.locator(".sliders input").first
        slider.evaluate("(e) => { e.value = e.max; e.dispatchEvent(new Event('input')); }")
        z = numbers(settled(page)["z"])
        k = int(name[1:]) - 1
        assert z[k] == pytest.approx(float(slider.get_attribute("max") or 0), rel=1e-4)
        assert np.abs(pixels(page, CURRENT) - decoded(runs / "many", z)).max() <= 1
        slider.dblclick()
        assert numbers(settled(page)["z"])[k] == pytest.approx(0, abs=0.05)  # the mean of principal components
        page.get_by_role("button", name="More coordinates").click()
        page.wait_for_selector(".sliders .slider:nth-child(12)")


def test_a_picture_is_encoded_edited_and_compared(chromium: Any, address: str, runs: Path) -> None:
    images = load_for(RunFolder(runs / "many"))
    mine = images.x[images.indices("train")[5]]
    stream = io.BytesIO()
    Image.fromarray(mine[0].numpy()).save(stream, "PNG")
    with opened(chromium, at(address, runs / "many")) as page:
        page.wait_for_selector(READY)
        page.set_input_files(".drop input", {"name": "five.png", "mimeType": "image/png", "buffer": stream.getvalue()})
        page.wait_for_selector(".original h3:has-text('five.png')")
        z = numbers(settled(page)["z"])
        model: Any = load_run(runs / "many")
        with torch.no_grad():
            truth = model.encode(mine[None] / 255.0)[0]
        assert z == pytest.approx(truth.tolist(), rel=1e-3, abs=1e-4)
        assert np.array_equal(pixels(page, ".original canvas")[..., 0], mine[0].numpy())
        error = float(page.locator(".original p").last.inner_text().split()[-1])
        shown = pixels(page, CURRENT)[..., 0] / 255.0
        assert error == pytest.approx(float(np.square(shown - mine[0].numpy() / 255).mean()), rel=0.01)


def test_a_file_that_is_no_picture_gets_a_sentence(chromium: Any, address: str, runs: Path) -> None:
    with opened(chromium, at(address, runs / "many"), refusals=True) as page:
        page.wait_for_selector(READY)
        page.set_input_files(".drop input", {"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"})
        page.wait_for_selector(".message.bad:has-text('must be a PNG')")
        page.get_by_role("button", name="Mean").click()
        page.wait_for_selector(".message.bad", state="detached")


def test_a_label_is_switched_and_the_rest_stays(chromium: Any, address: str, runs: Path) -> None:
    with opened(chromium, at(address, runs / "told", "?z=0.5_-0.5&label=2")) as page:
        page.wait_for_selector(READY)
        assert np.abs(pixels(page, CURRENT) - decoded(runs / "told", [0.5, -0.5], 2)).max() <= 1
        page.get_by_role("radio", name="7", exact=True).check(force=True)
        assert settled(page) == {"z": "0.5_-0.5", "label": "7"}
        seven = pixels(page, CURRENT)
        assert np.abs(seven - decoded(runs / "told", [0.5, -0.5], 7)).max() <= 1
        assert "--label 7" in page.locator(".command code").inner_text()


def test_a_lasso_shows_the_mean_of_what_it_caught(chromium: Any, address: str, runs: Path) -> None:
    with opened(chromium, at(address, runs / "plane")) as page:
        page.wait_for_selector(READY)
        page.get_by_role("radio", name="Lasso").check(force=True)
        box = page.locator(".map").bounding_box()
        corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98)]
        page.mouse.move(box["x"] + 0.02 * box["width"], box["y"] + 0.02 * box["height"])
        page.mouse.down()
        for x, y in corners:
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
        page.mouse.up()
        page.wait_for_selector(".caught:not([hidden]) p")
        images = load_for(RunFolder(runs / "plane"))
        rows = images.indices("test")
        caught = int(page.locator(".caught p").inner_text().split()[3].replace(",", ""))
        assert 0.8 * len(rows) <= caught <= len(rows)
        mean = images.x[rows].double().mean(0).permute(1, 2, 0).numpy()
        assert np.abs(pixels(page, ".caught canvas") - mean).max() <= 30
        page.locator(".map").focus()
        page.keyboard.press("c")
        page.wait_for_selector(".caught p:has-text('of 50 dots')")


def test_noise_has_a_plane_through_three_draws_and_no_upload(chromium: Any, address: str, runs: Path) -> None:
    with opened(chromium, at(address, runs / "noise")) as page:
        page.wait_for_selector(".axis-name:has-text('from A to B')")
        assert page.locator(".page-latent .drop").count() == 0
        assert page.locator("text=Along an attribute").count() == 0
        assert settled(page) == {"seed": "0"}
        assert "sample" in page.locator(".command code").inner_text()
        page.get_by_role("button", name="Random draw").click()
        state = settled(page)
        assert int(state["seed"]) > 0
        page.reload()
        page.wait_for_selector(".axis-name:has-text('from A to B')")
        assert settled(page) == state


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("run", ["plane", "told", "noise"])
def test_a_phone_shows_all_of_it(chromium: Any, address: str, runs: Path, run: str, scheme: str) -> None:
    with opened(chromium, at(address, runs / run), width=360, scheme=scheme) as page:
        page.wait_for_selector(".sliders .slider")
        page.wait_for_selector(".nearest li")
        fits(page)
        assert unlabelled(page) == []
