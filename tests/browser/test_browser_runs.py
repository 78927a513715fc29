"""The pages Runs, Run and Compare in a real browser, over real small runs."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from driven import fits
from latentscape import api
from latentscape.pictures import sheets
from latentscape.tasks import training
from tiny_runs import TINY

pytestmark = pytest.mark.slow

PATIENCE = 120_000

STEPS = list(range(0, 13, 3))

LIVE = """
    import sys, time
    from latentscape.tasks import training
    sys.path.insert(0, sys.argv[2])
    from tiny_runs import TINY

    training.train("vae", "digits", out=sys.argv[1], **TINY, max_steps=1_000_000, compile="off", log_every=5,
                   checkpoint_every=20, watch=lambda model, step: time.sleep(0.2), watch_every=5)
"""


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs with figures and pictures, one with a film, and one that was stopped."""
    import numpy as np

    from latentscape.pictures import files

    room = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate(("first", "second")):
        api.train("vae", "digits", out=room / name, **TINY, max_steps=12, log_every=1, seed=seed)
    for step in STEPS:
        frame = np.full((2, 8, 8, 1), 20 * step, np.uint8).transpose(0, 3, 1, 2)
        files.save_png(room / "first" / "pictures" / ".frames" / "map" / f"{step:09d}.png", sheets.sheet(frame, 2))
    third = training.train("vae", "digits", out=room / "third", **TINY, max_steps=4)
    lines = (third.path / "log.jsonl").read_text().splitlines()
    (third.path / "log.jsonl").write_text("".join(f"{line}\n" for line in lines if '"done"' not in line))
    return room


@pytest.fixture(scope="module")
def address(room: Path, serve: Any) -> Iterator[Callable[[str], str]]:
    with serve(room) as found:
        yield found


def names(page: Any) -> list[str]:
    return page.locator("table.runs tbody th a").all_inner_texts()


def until(page: Any, test: str) -> None:
    """Wait for an expression to be true; the page's policy forbids playwright's own way, which evals a string."""
    for _ in range(PATIENCE // 100):
        if page.evaluate(test):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"never true: {test}")


def open_run(page: Any, name: str) -> None:
    page.click(f"table.runs th a:text-is('{name}')")
    page.wait_for_selector(f"h1:text-is('{name}')")
    page.wait_for_selector(".chart .plot")


# ---- the list ------------------------------------------------------------------------------------------------------


def test_the_list_sorts_filters_and_keeps_it_in_its_address(address: Any, open_page: Any, shot: Any):
    page = open_page(address("/"))
    page.wait_for_selector("table.runs tbody tr")
    assert names(page) == ["first", "second", "third"]
    assert "stopped" in page.inner_text("tr.is-stopped")
    assert "latentscape resume" in page.inner_text("tr.is-stopped")
    page.click("button.sort:text-is('Steps')")
    assert names(page)[-1] == "third"
    page.click("button.sort:text-is('Steps')")
    assert names(page)[0] == "third"
    assert page.get_attribute("th:has(button:text-is('Steps'))", "aria-sort") == "ascending"
    page.fill("input[type=search]", "sec")
    assert names(page) == ["second"]
    until(page, "location.search.includes('filter=sec')")
    page.reload()
    page.wait_for_selector("table.runs tbody tr")
    assert names(page) == ["second"]
    page.fill("input[type=search]", "")
    assert page.inner_text("table.runs tbody tr:nth-child(1) td[data-label=Measured]") == ""
    page.select_option("select", "mse")
    assert "MSE" in page.inner_text("tr:has(a:text-is('first')) td[data-label=Measured]")
    shot(page, "runs-1280-light")


def test_a_run_made_meanwhile_appears_by_itself(room: Path, address: Any, open_page: Any):
    page = open_page(address("/"))
    page.wait_for_selector("table.runs tbody tr")
    page.check("[aria-label='Choose first for comparison']")
    made = training.train("pca", "digits", out=room / "later", latent_dim=2, limit=80)
    page.wait_for_selector("th a:text-is('later')")
    assert page.is_checked("[aria-label='Choose first for comparison']")
    assert "New: later" in page.inner_text("#announcements")
    made.path.rename(room.parent / "gone")
    page.wait_for_selector("th a:text-is('later')", state="detached")


def test_without_runs_one_button_trains_the_demo(serve: Any, tmp_path: Path, open_page: Any, shot: Any):
    with serve(tmp_path) as address:
        page = open_page(address("/"))
        page.wait_for_selector("button:text-is('Train the demo')")
        shot(page, "empty-1280-light")
        page.click("button:text-is('Train the demo')")
        page.wait_for_selector("h3:text-is('Training the demo')")
        page.wait_for_selector("th a:text-is('vae-digits-1')")
        page.click("button:text-is('Stop')")
        page.wait_for_selector("text=Training the demo: stopped")
        page.wait_for_selector("tr.is-stopped, tr.is-done")


# ---- one run -------------------------------------------------------------------------------------------------------


def test_a_run_shows_what_it_has(address: Any, open_page: Any, shot: Any):
    page = open_page(address("/"))
    open_run(page, "first")
    titles = page.locator(".part h2").all_inner_texts()
    assert titles == ["Curves", "Learning, step by step", "Figures", "Pictures", "How it was made"]
    assert page.locator(".chart h3").all_inner_texts()[0] == "reconstruction"
    assert "nats per image" in page.inner_text(".chart >> nth=0")
    shot(page, "run-1280-light")
    page.go_back()
    page.wait_for_selector("table.runs")
    open_run(page, "third")
    page.wait_for_selector(".part-figures")
    assert "Learning" not in " ".join(page.locator(".part h2").all_inner_texts())
    assert page.locator(".part-pictures h2").count() == 0
    assert page.locator(".command:has-text('latentscape resume')").count() == 1


def test_smoothing_leaves_the_raw_line(address: Any, open_page: Any):
    page = open_page(address("/"))
    open_run(page, "first")
    line = ".charts .chart >> nth=0 >> g.line >> nth=0 >> path"
    raw = page.locator(line).first.get_attribute("d")
    assert page.locator(line).count() == 1
    page.focus(".curve-controls input[type=range]")
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert page.locator(line).count() == 2
    assert page.locator(line).nth(0).get_attribute("class") == "raw"
    assert page.locator(line).nth(0).get_attribute("d") == raw
    assert page.locator(line).nth(1).get_attribute("d") != raw
    page.click("label:text-is('logarithmic')")
    assert "logarithmic" in page.inner_text(".chart >> nth=0")
    until(page, "location.search.includes('axis=log') && location.search.includes('smooth=0.40')")
    page.reload()
    page.wait_for_selector(".chart path.raw")
    page.focus(".curve-controls input[type=range]")
    page.keyboard.press("0")
    assert page.locator(".chart path.raw").count() == 0


def test_the_keyboard_reads_a_chart(address: Any, open_page: Any):
    page = open_page(address("/"))
    open_run(page, "first")
    page.focus(".chart .plot >> nth=0")
    page.keyboard.press("Home")
    first = page.inner_text(".chart .read >> nth=0")
    assert first.startswith("step 1: training ")
    page.keyboard.press("ArrowRight")
    assert page.inner_text(".chart .read >> nth=0").startswith("step 2: ")
    page.keyboard.press("Escape")
    assert page.inner_text(".chart .read >> nth=0") == ""
    page.click(".chart summary >> nth=0")
    rows = page.locator(".chart >> nth=0 >> tbody tr")
    rows.nth(11).wait_for(state="attached")
    assert rows.count() == 12
    assert rows.first.locator("td").first.inner_text() in first


def test_the_pointer_reads_a_chart(address: Any, open_page: Any):
    page = open_page(address("/"))
    open_run(page, "first")
    page.hover(".chart .plot >> nth=0", position={"x": 200, "y": 80})
    assert page.inner_text(".chart .read >> nth=0").startswith("step ")
    assert page.locator(".chart .cross").count() == 1
    page.mouse.move(5, 5)
    assert page.locator(".chart .cross").count() == 0


def test_the_slider_goes_through_the_film(address: Any, open_page: Any):
    page = open_page(address("/"))
    open_run(page, "first")
    image = page.locator(".frames img")
    assert image.get_attribute("alt") == "map at step 12"
    page.focus(".frame-controls input[type=range]")
    page.keyboard.press("Home")
    assert image.get_attribute("alt") == "map at step 0"
    page.keyboard.press("ArrowRight")
    assert image.get_attribute("src").endswith("/frames/map/3")
    until(page, "location.search.includes('step=3')")
    until(page, "document.querySelector('.frames img').naturalWidth > 0")
    page.reload()
    page.wait_for_selector(".frames img")
    assert image.get_attribute("alt") == "map at step 3"
    page.click("button:text-is('Play')")
    until(page, "document.querySelector('.frames img').alt === 'map at step 12'")
    page.wait_for_selector("button:text-is('Play')")


def test_a_picture_opens_large_and_closes(address: Any, open_page: Any):
    page = open_page(address("/"))
    open_run(page, "first")
    page.click(".gallery .open >> nth=0")
    page.wait_for_selector("dialog[open] img.whole")
    page.click("dialog label:text-is('×2')")
    width = page.evaluate("document.querySelector('dialog img').clientWidth")
    assert width == 2 * page.evaluate("document.querySelector('dialog img').naturalWidth")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    assert page.evaluate("document.activeElement.className") == "open"


def test_the_command_is_copied(address: Any, open_page: Any, room: Path):
    page = open_page(address("/"), permissions=["clipboard-read", "clipboard-write"])
    open_run(page, "first")
    page.click(".part-facts .command button >> nth=0")
    page.wait_for_selector("button:text-is('Copied')")
    assert page.evaluate("navigator.clipboard.readText()").startswith("latentscape.train('vae', 'digits'")


def test_the_report_opens_and_is_of_no_origin(address: Any, open_page: Any):
    page = open_page(address("/"))
    open_run(page, "first")
    with page.expect_popup() as opened:
        page.click("a:text-is('Report')")
    report = opened.value
    report.wait_for_selector("h1")
    assert report.evaluate("origin") == "null"


# ---- a run that trains ---------------------------------------------------------------------------------------------


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A run that trains slowly and without end, in a process of its own."""
    script = tmp_path / "live.py"
    script.write_text(textwrap.dedent(LIVE))
    helpers = str(Path(__file__).parents[1])
    with subprocess.Popen([sys.executable, script, tmp_path / "runs" / "live", helpers]) as process:
        yield tmp_path / "runs", process
        process.kill()


def test_a_training_run_draws_its_curve_and_sheets_by_itself(live: Any, serve: Any, open_page: Any, shot: Any):
    runs, process = live
    with serve(runs) as address:
        page = open_page(address("/"))
        page.wait_for_selector("tr.is-training")
        open_run(page, "live")
        path = "document.querySelector('.chart path').getAttribute('d').split('L').length"
        before = page.evaluate(path)
        until(page, f"{path} > {before + 2}")
        page.wait_for_selector(".frames img")
        step = "Number(document.querySelector('.frames img').alt.match(/step ([\\d,]+)/)[1].replace(',', ''))"
        first = page.evaluate(step)
        until(page, f"{step} > {first}")
        assert page.locator("progress").count() == 1
        shot(page, "live-1280-light")
        process.send_signal(signal.SIGKILL)
        page.wait_for_selector(".state-stopped")
        assert "latentscape resume" in page.inner_text(".state-line")


# ---- beside each other ---------------------------------------------------------------------------------------------


def test_chosen_runs_stand_beside_each_other(address: Any, open_page: Any, shot: Any):
    page = open_page(address("/"))
    page.wait_for_selector("table.runs tbody tr")
    assert page.get_attribute("a.button.main", "aria-disabled") == "true"
    for name in ("first", "second"):
        page.check(f"[aria-label='Choose {name} for comparison']")
    page.click("a:text-is('Compare 2 runs')")
    page.wait_for_selector("table.compared")
    assert page.locator(".heads h3").all_inner_texts() == ["first", "second"]
    assert page.locator("table.compared td.best").count() > 0
    assert page.locator(".chart g.line").count() >= 4
    assert page.locator(".side-by-side img").count() >= 4
    assert "seeds of one another" in page.inner_text("main")
    shot(page, "compare-1280-light")
    page.reload()
    page.wait_for_selector("table.compared")


# ---- everybody -----------------------------------------------------------------------------------------------------


def test_everything_is_reached_by_keyboard(address: Any, open_page: Any):
    page = open_page(address("/"))
    page.wait_for_selector("table.runs tbody tr")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.focus("input[type=search]")
    reached = []
    for _ in range(24):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.innerText || document.activeElement.ariaLabel"))
        ring = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(ring) != "none" or page.evaluate("document.activeElement === document.body")
    assert {"Steps", "first", "Choose second for comparison", "third"} <= set(reached)
    page.focus("th a:text-is('second')")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:text-is('second')")
    until(page, "document.activeElement.id === 'main'")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_phone_scrolls_in_one_direction_only(address: Any, open_page: Any, shot: Any, dark: bool):
    look = "dark" if dark else "light"
    page = open_page(address("/"), size={"width": 360, "height": 740}, dark=dark)
    page.wait_for_selector("table.runs tbody tr")
    fits(page)
    shot(page, f"runs-360-{look}")
    open_run(page, "first")
    page.wait_for_selector(".frames img")
    for summary in page.locator(".folded summary").all():
        summary.click()
    fits(page)
    shot(page, f"run-360-{look}")
    page.goto(address("/"))
    for name in ("first", "second"):
        page.check(f"[aria-label='Choose {name} for comparison']")
    page.click("a:text-is('Compare 2 runs')")
    page.wait_for_selector("table.compared")
    fits(page)
    shot(page, f"compare-360-{look}")


CONTRAST = """() => {
    const light = (c) => {
        const v = c.match(/[\\d.]+/g).slice(0, 3).map((x) => { x /= 255; return x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4; });
        return .2126 * v[0] + .7152 * v[1] + .0722 * v[2];
    };
    const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\\)$/.test(c)) return c; } return 'rgb(255, 255, 255)'; };
    const bad = [];
    for (const e of document.querySelectorAll('body *')) {
        const text = [...e.childNodes].filter((n) => n.nodeType === 3).map((n) => n.textContent.trim()).join('');
        if (!text || !e.getClientRects().length || e.disabled || e.matches('[aria-disabled]') || e.closest('.unseen, .skip, option')) continue;
        const s = getComputedStyle(e), a = light(e instanceof SVGElement ? s.fill : s.color), b = light(ground(e));
        const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        if (ratio < 4.5) bad.push([text.slice(0, 30), ratio.toFixed(2)]);
    }
    return bad;
}"""  # noqa: E501


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_from_its_ground(address: Any, open_page: Any, shot: Any, dark: bool):
    page = open_page(address("/"), dark=dark)
    page.wait_for_selector("table.runs tbody tr")
    assert page.evaluate(CONTRAST) == []
    if dark:
        shot(page, "runs-1280-dark")
    open_run(page, "first")
    assert page.evaluate(CONTRAST) == []
    if dark:
        shot(page, "run-1280-dark")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme button")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert page.evaluate(CONTRAST) == []
    page.reload()
    page.wait_for_selector(".chart .plot")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_errors_are_sentences_with_a_way_out(address: Any, open_page: Any):
    page = open_page(address("/run/nothing-00000000"))
    page.wait_for_selector(".message.bad")
    assert page.inner_text(".message.bad p").endswith(".")
    page.click("a:text-is('Back to the list of runs')")
    page.wait_for_selector("table.runs")
    page.goto(address("/no/such/page"))
    page.wait_for_selector("h1:text-is('There is no such page')")
    page.click("a:text-is('To the list of runs')")
    page.wait_for_selector("table.runs")
    open_page.errors[:] = [e for e in open_page.errors if "404" not in e]  # the browser's own note of the first


def test_a_studio_that_has_ended_is_said_and_found_again(serve: Any, room: Path, open_page: Any):
    with serve(room) as address:
        page = open_page(address("/"))
        page.wait_for_selector("table.runs tbody tr")
    page.wait_for_selector("text=The studio does not answer")
    assert names(page)  # what was there stays
    open_page.errors[:] = [e for e in open_page.errors if "ERR_CONNECTION_REFUSED" not in e]
