"""What a run records about the machine and the source, and what doctor says of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from latentscape.tasks import doctor, training


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    done = subprocess.run(["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init")
    for place in ("src/latentscape", "venv/lib/latentscape"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "version.py").touch()
    git(tmp_path, "add", "src")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_the_revision_is_that_of_the_package_s_own_checkout(checkout: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    assert training._revision(checkout / "src" / "latentscape") in (head[:n] for n in range(7, 41))
    (checkout / "src" / "latentscape" / "version.py").write_text("changed")
    assert training._revision(checkout / "src" / "latentscape").endswith("-dirty")


def test_a_checkout_that_surrounds_an_installed_copy_says_nothing(checkout: Path, tmp_path_factory) -> None:
    """A project with a virtual environment inside it."""
    assert training._revision(checkout / "venv" / "lib" / "latentscape") == ""
    assert training._revision(tmp_path_factory.mktemp("nowhere")) == ""


def test_without_git_there_is_no_revision(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert training._revision(checkout / "src" / "latentscape") == ""


@pytest.mark.parametrize(("said", "meant"), [("", "~/.cache/latentscape"), ("~/elsewhere", "~/elsewhere")])
def test_doctor_looks_at_the_cache_that_is_used(said: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTSCAPE_CACHE", said)
    assert doctor.examine()[0]["cache"] == str(Path(meant).expanduser())
