"""The page Check in a real browser: files dropped, scores on the histogram, noise, a discriminator's word."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from driven import browser, fits, need_a_browser, opened, pixels, served, unlabelled
from explored_runs import make_run
from latentscape.runs import RunFolder
from latentscape.tasks.evaluating import load_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    make_run(place / "many", "pca", latent_dim=6)
    make_run(place / "noise", "gan", latent_dim=6)
    make_run(place / "reader", "classifier")
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

    return f"{address}/run/{identity(run)}/check{query}"


def file(name: str, pixels_HW: np.ndarray) -> dict[str, Any]:
    stream = io.BytesIO()
    Image.fromarray(pixels_HW).save(stream, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": stream.getvalue()}


def test_files_are_judged_on_the_distribution_of_normal_ones(chromium: Any, address: str, runs: Path) -> None:
    images = load_for(RunFolder(runs / "many"))
    usual = images.x[images.indices("train")[0], 0].numpy()
    odd = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    with opened(chromium, at(address, runs / "many", "?score=reconstruction&rate=0.2")) as page:
        page.wait_for_selector(".bars-of .limit", state="attached")
        page.set_input_files(".drop input", [file("usual.png", usual), file("odd.png", odd)])
        page.wait_for_selector(".checked > li:nth-child(2)")
        # The highest score first, each with its number on the histogram.
        titles = page.locator(".checked h3:not(.picture h3)").all_inner_texts()
        assert "odd.png" in titles[0]
        assert "above the threshold" in titles[0]
        assert page.locator(".bars-of .one").count() == 2
        assert np.array_equal(pixels(page, ".checked > li:nth-child(2) canvas")[..., 0], usual)
        assert page.locator(".checked > li:first-child canvas").count() == 3
        page.locator(".checked summary").first.click()
        assert "latentscape detect" in page.locator(".checked code").first.inner_text()
        assert "1 of 2" in page.locator(".summary").inner_text()
        assert unlabelled(page) == []


def test_noise_is_added_and_taken_away(chromium: Any, address: str, runs: Path) -> None:
    with opened(chromium, at(address, runs / "many", "?examples=2&sigma=0.3&rate=0.2")) as page:
        page.wait_for_selector(".checked h3:has-text('Denoised')")
        assert "PSNR" in page.locator(".checked > li > p").inner_text()
        clean, noisy = (pixels(page, f".checked .strip li:nth-child({i}) canvas") for i in (1, 2))
        assert np.abs(clean.astype(int) - noisy).max() > 30


def test_a_discriminator_is_asked(chromium: Any, address: str, runs: Path) -> None:
    with opened(chromium, at(address, runs / "noise")) as page:
        page.wait_for_selector("text=±1 noise")
        assert page.locator(".bars-of").count() == 4
        page.get_by_role("button", name="Try six test pictures").click()
        page.wait_for_selector(".checked > li:nth-child(6)")
        assert "discriminator" in page.locator(".checked > li > p").first.inner_text().lower()
        assert page.evaluate("location.search") == "?examples=0_1_2_3_4_5"


def test_a_classifier_reads(chromium: Any, address: str, runs: Path) -> None:
    with opened(chromium, at(address, runs / "reader", "?examples=1")) as page:
        page.wait_for_selector(".checked > li")
        assert "Read as" in page.locator(".checked > li > p").inner_text()
        links = page.locator("#navigation a").all_inner_texts()
        assert "Check" in links
        assert "Latent" not in links


@pytest.mark.parametrize("run", ["many", "noise"])
def test_a_phone_shows_all_of_it(chromium: Any, address: str, runs: Path, run: str) -> None:
    with opened(chromium, at(address, runs / run, "?examples=0_1&rate=0.2"), width=360, scheme="dark") as page:
        page.wait_for_selector(".checked > li:nth-child(2)")
        fits(page)
        assert unlabelled(page) == []
