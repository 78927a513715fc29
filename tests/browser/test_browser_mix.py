"""The page Mix in a real browser: slots, walks, sums, attributes, labels, files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from driven import browser, fits, need_a_browser, opened, pixels, served, unlabelled, until
from explored_runs import make_run
from latentscape.runs import RunFolder, load_run
from latentscape.tasks.evaluating import load_for

pytestmark = pytest.mark.slow

MIXED = ".mixed .picture canvas"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    make_run(place / "many", "pca", latent_dim=12)
    make_run(place / "told", "conditional-vae")
    make_run(place / "noise", "gan", latent_dim=6)
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

    return f"{address}/run/{identity(run)}/mix{query}"


def latents(run: Path, positions: list[int]) -> torch.Tensor:
    """Of test examples."""
    model: Any = load_run(run)
    images = load_for(RunFolder(run))
    with torch.no_grad():
        return model.encode(images.examples(images.indices("test")[positions], model.value_range))


def shown(run: Path, z_L: torch.Tensor) -> np.ndarray:
    model: Any = load_run(run)
    with torch.no_grad():
        return 255 * model.decode(z_L[None])[0].clamp(0, 1).permute(1, 2, 0).numpy()


def test_a_walk_goes_from_a_to_b_and_is_saved(chromium: Any, address: str, runs: Path) -> None:
    with opened(chromium, at(address, runs / "many", "?a=e2&b=e9&steps=5")) as page:
        page.wait_for_selector(".walk li:nth-child(5)")
        a, b = latents(runs / "many", [2, 9])
        for k in (0, 2, 4):
            truth = shown(runs / "many", a + (b - a) * k / 4)
            assert np.abs(pixels(page, f".walk li:nth-child({k + 1}) canvas") - truth).max() <= 1
        page.wait_for_selector(".command code:has-text('--examples 2 9 --steps 5')")
        page.get_by_role("slider", name="Place").evaluate(
            "(e) => { e.value = 0.5; e.dispatchEvent(new Event('input')); }"
        )
        assert np.abs(pixels(page, MIXED) - shown(runs / "many", (a + b) / 2)).max() <= 1
        for form, start in (("PNG", b"\x89PNG"), ("GIF", b"GIF89a"), ("MP4", b"")):
            with page.expect_download() as waited:
                page.get_by_role("button", name=f"Save {form}").click()
            data = Path(waited.value.path()).read_bytes()
            assert waited.value.suggested_filename == f"mixed.{form.lower()}"
            assert data.startswith(start)
            assert form != "MP4" or data[4:8] == b"ftyp"
        page.get_by_role("button", name="Play").click()
        until(page, "document.querySelector('.walk li.now') === document.querySelectorAll('.walk li')[4]")
        page.get_by_role("button", name="Stop").click()
        assert unlabelled(page) == []


def test_a_sum_of_three_and_its_way_to_latent(chromium: Any, address: str, runs: Path) -> None:
    with opened(chromium, at(address, runs / "many", "?do=sum&a=e1&b=e4&c=e6")) as page:
        page.wait_for_selector(".command code:has-text('latentscape decode')")
        a, b, c = latents(runs / "many", [1, 4, 6])
        truth = shown(runs / "many", a - b + c)
        assert np.abs(pixels(page, MIXED) - truth).max() <= 1
        page.get_by_role("spinbutton", name="C: no. of a test picture").fill("7")
        page.keyboard.press("Enter")
        until(page, "location.search.includes('c=e7')")
        page.wait_for_timeout(900)
        d = latents(runs / "many", [7])[0]
        assert np.abs(pixels(page, MIXED) - shown(runs / "many", a - b + d)).max() <= 1
        page.get_by_role("link", name="Open in Latent").click()
        page.wait_for_selector(".legend .key")
        assert np.abs(pixels(page, ".current canvas") - shown(runs / "many", a - b + d)).max() <= 1


def test_a_file_fills_a_slot_and_comes_back_with_the_address(chromium: Any, address: str, runs: Path) -> None:
    images = load_for(RunFolder(runs / "many"))
    mine = images.x[images.indices("train")[3]]
    stream = io.BytesIO()
    Image.fromarray(mine[0].numpy()).save(stream, "PNG")
    with opened(chromium, at(address, runs / "many", "?a=e2&b=e9&steps=4")) as page:
        page.wait_for_selector(".walk li:nth-child(4)")
        file = {"name": "mine.png", "mimeType": "image/png", "buffer": stream.getvalue()}
        page.locator(".slot input[type=file]").nth(1).set_input_files(file)
        until(page, "location.search.includes('b=z')")
        page.wait_for_timeout(900)
        model: Any = load_run(runs / "many")
        with torch.no_grad():
            z = model.encode(mine[None] / 255.0)[0]
        end = pixels(page, ".walk li:nth-child(4) canvas")
        assert np.abs(end - shown(runs / "many", z)).max() <= 1
        page.reload()
        page.wait_for_selector(".walk li:nth-child(4)")
        assert np.array_equal(pixels(page, ".walk li:nth-child(4) canvas"), end)


def test_an_attribute_has_a_strength_and_a_picture_can_be_chosen_from_the_tray(
    chromium: Any, address: str, runs: Path
) -> None:
    with opened(chromium, at(address, runs / "many", "?do=attribute&attribute=3&strength=0&a=e0")) as page:
        page.wait_for_selector(".walk li:nth-child(7)")
        still = pixels(page, MIXED)
        assert np.abs(still - shown(runs / "many", latents(runs / "many", [0])[0])).max() <= 1
        page.get_by_role("slider", name="Strength").evaluate(
            "(e) => { e.value = 3; e.dispatchEvent(new Event('input')); }"
        )
        page.wait_for_timeout(900)
        assert np.abs(pixels(page, MIXED).astype(int) - still).max() > 10
        page.locator(".tray button").nth(4).click()
        until(page, "location.search.includes('a=e4')")


def test_a_label_is_switched_under_the_same_style(chromium: Any, address: str, runs: Path) -> None:
    with opened(chromium, at(address, runs / "told", "?do=labels&a=e1")) as page:
        page.wait_for_selector(".walk li:nth-child(10)")
        images = load_for(RunFolder(runs / "told"))
        row = images.indices("test")[[1]]
        assert images.labels is not None
        model: Any = load_run(runs / "told")
        with torch.no_grad():
            z = model.encode(images.examples(row, "unit"), images.labels[row])
            x = model.decode(z.repeat(10, 1), torch.arange(10)).clamp(0, 1)
        for k in (0, 6, 9):
            found = pixels(page, f".walk li:nth-child({k + 1}) canvas")
            assert np.abs(found[..., 0] - 255 * x[k, 0].numpy()).max() <= 1


@pytest.mark.parametrize("run", ["many", "told", "noise"])
def test_a_phone_shows_all_of_it(chromium: Any, address: str, runs: Path, run: str) -> None:
    with opened(chromium, at(address, runs / run), width=360, scheme="dark") as page:
        page.wait_for_selector(".walk li")
        page.wait_for_selector(".tray button:nth-child(24)")
        fits(page)
        assert unlabelled(page) == []
        assert (page.locator(".slot .drop").count() > 0) == (run != "noise")
