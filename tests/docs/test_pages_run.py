"""Every page is followed from top to bottom in an empty folder: its commands and its Python, with small budgets.

A run sees at most 128 pictures of each part and three epochs; everything else is as the page says. Commands that want a
download are only parsed (`test_commands`), and so is what follows from their runs.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from pages import NAMES, PAGES, ROOT, Block, blocks, lines
from PIL import Image

from latentscape import cli, models, recipes
from latentscape.tasks import training

pytestmark = pytest.mark.slow

NEEDS_DOWNLOAD = {"mnist", "fashion-mnist", "kmnist", "stacked-mnist", "celeba"}
TO_RUN = [
    (page, name)
    for page, name in zip(PAGES, NAMES, strict=True)
    if any(b.language in ("bash", "python") for b in blocks(page))
]


@pytest.fixture(autouse=True)
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    real = training.train

    def train(model: str, data: Any, **options: Any) -> Any:
        options["epochs"] = min(options.get("epochs", 3), 3)
        options["limit"] = 128
        options["scale"] = 1.0
        return real(model, data, **options)

    monkeypatch.setattr(training, "train", train)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder but for what the pages call `pictures`, `more-pictures` and `table.csv`."""
    rng = np.random.default_rng(0)
    rows = ["file,kind"]
    for i in range(60):
        kind = ("cats", "dogs")[i % 2]
        for folder in ("pictures", "more-pictures")[: 1 + (i < 30)]:
            path = tmp_path / folder / kind / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (40 + i % 5, 50, 3), np.uint8)).save(path)
        rows.append(f"{kind}/{i}.png,{'striped' if i % 3 else 'plain'}")
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Follower:
    """Does what a page says."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.monkeypatch = place, monkeypatch
        self.names: dict[str, Any] = {"__name__": "page", "folder": Path("pictures")}
        self.left_out: set[str] = set()  # runs that would have wanted a download
        self.ran = 0

    def follow(self, page: str, block: Block) -> None:
        if block.language == "python" and block.title:
            self.add_model(block)
        elif block.language == "python":
            exec(compile("\n" * block.line + block.text, page, "exec"), self.names)
            self.ran += 1
        elif block.language == "bash":
            for words in lines(block):
                if words[0] == "latentscape":
                    self.command(words)

    def command(self, words: list[str]) -> None:
        if self.wants_download(words):
            self.left_out |= {words[words.index("--out") + 1]} if "--out" in words else set()
            return
        self.monkeypatch.setattr(sys, "argv", words)
        try:
            cli.main()
        except SystemExit as end:
            if end.code:
                raise AssertionError(f"`{shlex.join(words)}` ends with status {end.code}") from end
        self.ran += 1

    def wants_download(self, words: list[str]) -> bool:
        if words[1:3] == ["data", "fetch"] or self.left_out & set(words):
            return True
        data = words[words.index("--data") + 1] if "--data" in words else ""
        if words[1] == "reproduce":
            data = data or recipes.read((recipes.stages(words[2]) or [words[2]])[0])["data"]
        return data in NEEDS_DOWNLOAD

    def add_model(self, block: Block) -> None:
        """A file of models/: written down, and found as an installed package's entry point is found."""
        name = block.title.removesuffix(".py")
        (self.place / block.title).write_text(block.text, encoding="utf-8")
        metadata = self.place / "mine-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[{models.GROUP}]\n{name} = {name}\n")
        self.monkeypatch.syspath_prepend(str(self.place))
        models.modules.cache_clear()


@pytest.mark.parametrize(("page", "name"), TO_RUN, ids=[name for _, name in TO_RUN])
def test_page_can_be_followed(page: Path, name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follower = Follower(place, monkeypatch)
    found = blocks(page)
    try:
        for block in found:
            follower.follow(name, block)
    finally:
        models.modules.cache_clear()
        for block in found:
            sys.modules.pop(block.title.removesuffix(".py"), None)
    assert follower.ran or not any(b.language == "python" for b in found)


def test_quickstart_runs_and_the_readme_shows_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["quickstart.py", "pictures"])
    source = (ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8")
    exec(compile(source, "quickstart.py", "exec"), ModuleType("quickstart").__dict__)
    assert (place / "new-pictures.png").stat().st_size
    assert (place / "originals-and-reconstructions.png").stat().st_size
    report = re.search(r"Open (\S+) in a browser", capsys.readouterr().out)
    assert report
    assert Path(report[1]).read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html")
