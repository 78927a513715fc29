"""Every command that the documentation names exists, with its flags and values; the quick ones are run."""

from __future__ import annotations

import dataclasses
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from pages import NAMES, PAGES, ROOT, blocks, inline, lines

from latentscape import cli, models, recipes
from latentscape.cli import parsing
from latentscape.data import NAMES as DATA_NAMES
from latentscape.data import DataSettings
from latentscape.errors import LatentscapeError
from latentscape.tasks import overrides
from latentscape.training.settings import TrainSettings

STANDS_FOR = {
    "MODEL": "vae",
    "DATA": "digits",
    "RUN": "runs/any",
    "RECIPE": "demo",
    "NAME": "mnist",
    "PATH": "pictures",
}
"""Words in capitals that stand for something in running text."""

AT_ONCE = {"models", "recipes", "doctor", "--help", "--version"}


class Parsed(Exception):
    """Thrown in place of running the command."""


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands stop where their flags are understood; settings are checked as a run would check them."""
    real = parsing.parse

    def parse(
        command: str, args: list[str], own: Any, fields: list[dataclasses.Field] | None = None, **rest: Any
    ) -> Any:
        options = real(command, args, own, fields, **rest)
        words, given = command.split(), parsing.given(options, fields or [])
        if words[0] == "train":
            sorted_ = overrides.sort(words[1], given)
            overrides.model_settings(words[1], sorted_.model)
            TrainSettings.from_dict(sorted_.train)
            DataSettings.from_dict(sorted_.data)
        raise Parsed

    for theme in cli.THEMES:
        monkeypatch.setattr(theme, "parse", parse)


def run(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", words)
    try:
        cli.main()
    except SystemExit as end:
        if end.code:
            raise AssertionError(f"`{shlex.join(words)}` ends with status {end.code}") from end


def named_things_exist(words: list[str]) -> None:
    """Data sets and recipes by name; paths cannot be known here."""
    if words[1] == "reproduce":
        for recipe in recipes.stages(words[2]) or [words[2]]:
            recipes.read(recipe)
    if "--data" in words:
        data = words[words.index("--data") + 1]
        assert data in DATA_NAMES or re.fullmatch(r"(more-)?pictures|faces", data), f"what is the data {data}?"


def commands(page: Path) -> list[list[str]]:
    """Whole commands on a page: lines of shell blocks, and inline code that is a command with its arguments."""
    found = [words for b in blocks(page) if b.language == "bash" for words in lines(b)]
    for code in inline(page):
        if code.startswith("latentscape ") and "|" not in code:
            found.append([STANDS_FOR.get(word, word) for word in shlex.split(code)])
    return found


def is_whole(words: list[str]) -> bool:
    """Not only the command's name, as prose uses it: `latentscape train`."""
    return len(words) > 2 or words[1] in AT_ONCE | {"demo"}


@pytest.mark.usefixtures("parse_only")
@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_are_understood(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_models = [b.title.removesuffix(".py") for b in blocks(page) if b.title.endswith(".py")]
    for words in commands(page):
        if words[0] != "latentscape":
            continue
        assert words[1] in cli.COMMANDS or words[1] in AT_ONCE, f"{page.name}: no command {words[1]}"
        if not is_whole(words) or (words[2:3] and words[2].replace("-", "_") in own_models):
            continue
        named_things_exist(words)
        if words[1] in ("--help", "--version") or words[-1] == "--help":
            continue
        try:
            run(monkeypatch, words)
        except Parsed:
            continue
        except LatentscapeError as error:
            raise AssertionError(f"{page.name}: `{shlex.join(words)}`: {error}") from error
        raise AssertionError(f"{page.name}: `{shlex.join(words)}` was not parsed")


@pytest.mark.usefixtures("parse_only")
@pytest.mark.parametrize(
    "line",
    [
        "latentscape trian vae --data digits",
        "latentscape train vae --data digits --latentdim 3",
        "latentscape train vae --data digits --beta -1",
        "latentscape train gann --data digits",
        "latentscape sample runs/any --n",
    ],
)
def test_a_wrong_command_would_be_found(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((AssertionError, LatentscapeError)):
        run(monkeypatch, line.split())


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_shell_blocks_hold_nothing_unknown(page: Path) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
    for block in blocks(page):
        assert block.language in ("bash", "python", "text", "toml"), f"{page.name}:{block.line}: what is this block?"
        if block.language != "bash":
            continue
        for words in lines(block):
            known = words[0] == "latentscape" or words[:2] == ["pip", "install"]
            if words[0] == "make":
                known = words[-1] in targets
            assert known, f"{page.name}:{block.line}: {shlex.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_make_targets_exist(page: Path) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
    for code in inline(page):
        if code.startswith("make "):
            assert code.split()[-1] in targets, f"{page.name}: {code}"


@pytest.fixture(scope="module")
def all_flags() -> set[str]:
    """Every flag of every command, as --help prints them."""
    import contextlib
    import io

    found = {"--help", "--version", "--debug"}
    calls = [[name] for name in cli.COMMANDS if name not in ("train", "data", "models")]
    calls += [["data", "info"], ["models", "vae"]] + [["train", name] for name in models.summaries()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        for words in calls:
            out = io.StringIO()
            patch.setattr(sys, "argv", ["latentscape", *words, "--help"])
            with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
                cli.main()
            found |= set(re.findall(r"--[a-z][a-z0-9-]+", out.getvalue()))
    return found


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_flags_exist(page: Path, all_flags: set[str]) -> None:
    assert "--latent-dim" in all_flags
    for code in inline(page):
        if code.startswith(("--", "latentscape ")):
            unknown = set(re.findall(r"(?<!\S)--[a-z][a-z0-9-]+", code)) - all_flags
            assert not unknown, f"{page.name}: there is no {unknown} ({code})"


QUICK = sorted(
    {
        shlex.join(words)
        for page in PAGES
        for words in commands(page)
        if words[0] == "latentscape"
        and (words[1] in AT_ONCE or words[1:3] == ["data", "info"] or words[-1] == "--help")
        and not {"pictures", "noisy-code"} & set(words)
        and is_whole(words)
    }
)


@pytest.mark.parametrize("line", QUICK)
def test_quick_commands_run(
    line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run(monkeypatch, shlex.split(line))
    assert capsys.readouterr().out.strip()
