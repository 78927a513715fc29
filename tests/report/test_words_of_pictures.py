"""Every picture of a finished run says what it is and how it is made again, wherever it came from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from command import latentscape
from latentscape.pictures.files import read_captions
from latentscape.report import write_report
from latentscape.runs import RunFolder
from tiny_runs import TINY

RECIPE = """
model = "vae"
data = "digits"
title = "A film and a companion"
row = "B10"

[settings]
net = "mlp"
hidden = [8]
latent_dim = 2
limit = 80
batch_size = 16
epochs = 2

[[companion]]
name = "narrow"
model = "vae"
settings = { net = "mlp", hidden = [4], latent_dim = 2, batch_size = 16, epochs = 1 }

[[show]]
what = "reconstructions"
beside = "narrow"

[[show]]
what = "map"

[[film]]
what = "samples"
every_epochs = 1
collage = [1, 2]
"""


def flags(settings: dict[str, Any]) -> list[str]:
    made = []
    for name, value in settings.items():
        values = value if isinstance(value, tuple) else (value,)
        made += ["--" + name.replace("_", "-"), *map(str, values)]
    return made


def run_of(way: str, folder: Path) -> Path:
    """A finished run, made in one of the ways that there are."""
    out = folder / "run"
    if way == "recipe":
        (folder / "recipe.toml").write_text(RECIPE)
        answer = latentscape("reproduce", folder / "recipe.toml", "--out", out)
    else:
        answer = latentscape("train", "vae", "--data", "digits", "--epochs", 1, *flags(TINY), "--out", out)
    assert answer.status == 0, answer.err
    if way == "resumed":
        answer = latentscape("resume", out, "--epochs", 2)
        assert answer.status == 0, answer.err
    if way == "asked for":
        for verb in ("sample", "reconstruct"):
            assert latentscape(verb, out).status == 0
    return out


def shown(folder: Path) -> list[Path]:
    """Every picture file of a run and its companions, but for a film's frames, which are parts of one."""
    found = [p for p in folder.rglob("*") if p.suffix in (".png", ".gif", ".mp4") and ".frames" not in p.parts]
    assert found, f"{folder} shows nothing"
    return found


@pytest.fixture(scope="module", params=["train", "resumed", "recipe", "asked for"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(request.param, tmp_path_factory.mktemp("run"))


def test_every_picture_has_title_caption_and_a_command_of_one_line(run: Path):
    for path in shown(run):
        words = read_captions(path.parent).get(path.name, {})
        for key in ("title", "caption", "command"):
            assert words.get(key), f"{path.name} has no {key}"
        assert "\n" not in words["command"]
        assert words["command"].startswith("latentscape"), words["command"]
    trained = RunFolder(run).command()
    assert ("&& latentscape resume" in trained) == ("resume" in (run / "log.jsonl").read_text("utf-8")), trained


def test_a_png_carries_the_same_words_inside(run: Path):
    for path in shown(run):
        if path.suffix == ".png":
            words = read_captions(path.parent)[path.name]
            with Image.open(path) as image:
                found = {k: image.info.get(k) for k in ("Title", "Description", "Command")}
            assert found == {"Title": words["title"], "Description": words["caption"], "Command": words["command"]}


def test_the_report_shows_every_picture_with_its_command(run: Path):
    page = write_report(RunFolder(run)).read_text("utf-8")
    for words in read_captions(run / "pictures").values():
        assert words["title"] in page
        first = shlex.split(words["command"])[1]
        assert f"latentscape {first}" in page
    assert page.count('class="picture"') == len(shown(run)) - len(list(run.glob("companions/*/pictures/*.png")))
