"""What the program has, the documentation names; what the documentation shows, is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from pages import NAMES, PAGES, ROOT, blocks
from PIL import Image

from latentscape import cli, models
from latentscape.tasks.evaluating import PROTOCOL
from latentscape.training import watch

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_shows_the_quickstart() -> None:
    core = (ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8")
    core = core.split("# In the README from here …\n")[1].split("# … to here.")[0]
    shown = next(b.text for b in blocks(ROOT / "README.md") if b.language == "python")
    assert shown == "import latentscape\n\n" + core
    assert len(core.strip().splitlines()) <= 5


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_python_blocks_are_python(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            ast.parse(block.text)


def test_readme_names_every_command() -> None:
    named = set(re.findall(r"^\| `latentscape ([a-z]+)", README, re.M))
    assert named == set(cli.COMMANDS)


def test_every_metric_is_explained() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^`([a-z_]+)` — ", page, re.M))
    assert explained == set(PROTOCOL)


def test_every_warning_is_explained_in_its_own_words() -> None:
    page = (ROOT / "docs" / "warnings.md").read_text(encoding="utf-8")
    said = " ".join(page.replace("\n> ", " ").split())
    assert {d.name for d in watch.detectors()} == set(re.findall(r"^### (\w+)$", page, re.M))
    for start in ("posterior collapse: none of ", "the loss on held-out images rose "):
        assert start in said
        assert start in Path(watch.__file__).read_text(encoding="utf-8")


def test_every_model_is_in_a_tutorial() -> None:
    tutorials = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "docs" / "tutorials").glob("*.md"))
    for name in models.summaries():
        assert f"latentscape train {name} " in tutorials, f"no tutorial trains {name}"


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        assert f": {page.relative_to(ROOT / 'docs').as_posix()}\n" in nav


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name}: {target} is not there"


def test_pictures_are_small_and_used() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    found = sorted((ROOT / "docs" / "images").iterdir())
    assert found
    for path in found:
        assert path.stat().st_size < 150_000, f"{path.name} has {path.stat().st_size:,} bytes"
        assert f"images/{path.name}" in text, f"{path.name} is on no page"
        with Image.open(path) as picture:
            picture.verify()


def test_the_makefile_asks_for_the_same_torch() -> None:
    pin = re.search(r'"(torch[<>=][^"]+)"', (ROOT / "pyproject.toml").read_text())
    asked = re.search(r"^TORCH \?= (\S+)$", (ROOT / "Makefile").read_text(), re.M)
    assert pin
    assert asked
    assert pin[1] == asked[1]
    assert f"`{pin[1]}`" in README


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md", ROOT / "Makefile", ROOT / ".ci" / "run"], ids=str)
def test_no_place_of_one_machine_is_named(page: Path) -> None:
    assert not re.findall(r"(?<![\w.~])/(?:work|root|home|tmp|opt|mnt)/", page.read_text(encoding="utf-8"))
