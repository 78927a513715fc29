"""A full disk and places that cannot be written: one sentence, the right exit status, and what was there is whole."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from latentscape import api, cli
from latentscape.errors import DiskFull, RunError
from latentscape.runs import RunFolder
from latentscape.training import checkpoint
from loops import differing
from tiny_runs import TINY, weights

SETTINGS = {**TINY, "max_steps": 20, "checkpoint_every": 4, "log_every": 2}


def train(path: Path, **settings: Any) -> api.Run:
    return api.train("vae", "digits", out=path, finish=False, **{**SETTINGS, **settings})


def full_from_call(n: int, real: Callable) -> Callable:
    """A system call that finds the disk full from its n-th time on."""
    calls = [0]

    def call(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] >= n:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **kwargs)

    return call


def left_over(run: Path) -> list[Path]:
    return [p for p in run.rglob("*") if p.name.endswith((".tmp", ".part"))]


@pytest.mark.parametrize("n", [11, 13, 19])
def test_a_full_disk_stops_the_run_and_leaves_what_was_written_whole(
    n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "fsync", full_from_call(n, os.fsync))
        with pytest.raises(DiskFull, match="no space is left to write") as error:
            train(tmp_path / "run")
    assert error.value.exit_status == 1
    assert "\n" not in str(error.value)
    folder = RunFolder(tmp_path / "run")
    assert folder.checkpoints().all()
    for path in folder.checkpoints().all():
        checkpoint.load_state(path)
    assert not left_over(folder.path)
    run = api.resume(folder.path, finish=False)
    assert not differing(weights(whole.path), weights(run.path))


def test_a_log_that_cannot_grow_stops_the_run_in_one_sentence(tmp_path: Path) -> None:
    run = train(tmp_path / "run", max_steps=2)
    (run.path / "log.jsonl").unlink()
    (run.path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(DiskFull, match=r"no space is left to write .*log\.jsonl"):
        run.folder.append({"kind": "train", "step": 3})


@pytest.fixture
def largest_file() -> Iterator[Callable[[int], None]]:
    """Limits the size of files that this process may write, as a disk quota does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path: Path, largest_file: Callable[[int], None]) -> None:
    target = tmp_path / "c.safetensors"
    checkpoint.save_state(target, {"w": torch.zeros(10)}, {"step": 1})
    largest_file(2000)
    with pytest.raises(DiskFull, match="no space is left"):
        checkpoint.save_state(target, {"w": torch.zeros(1000)}, {"step": 2})
    largest_file(-1)  # at once: pytest's own output may go into a file
    assert checkpoint.load_state(target)[1] == {"step": 1}
    assert not left_over(tmp_path)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 kB, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this process may not mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def command(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    monkeypatch.setattr(sys, "argv", ["latentscape", *args])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


ARGS = ["train", "vae", "--data", "digits", "--net", "mlp", "--hidden", "64", "--latent-dim", "2", "--threads", "1"]


def test_a_disk_that_is_really_full(
    tiny_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args = [*ARGS, "--max-steps", "40", "--checkpoint-every", "2", "--keep-checkpoints", "9", "--out"]
    status = command(monkeypatch, *args, str(tiny_disk / "run"))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("latentscape: ")]
    assert status == 1
    assert len(lines) == 1
    assert "no space is left" in lines[0]
    paths = RunFolder(tiny_disk / "run").checkpoints().all()
    assert paths
    for path in paths:
        checkpoint.load_state(path)
    assert not left_over(tiny_disk)
    subprocess.run(["mount", "-o", "remount,size=9m", str(tiny_disk)], check=True)
    resumed = api.resume(tiny_disk / "run", finish=False)
    assert resumed.steps == 40


def fill(disk: Path) -> None:
    ballast = os.open(disk / "ballast", os.O_CREAT | os.O_WRONLY)
    with contextlib.suppress(OSError):
        while os.write(ballast, b"x" * 4096):
            pass
    os.close(ballast)
    assert shutil.disk_usage(disk).free < 4096


def test_a_disk_that_fills_while_the_report_is_written(
    tiny_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = api.train("vae", "digits", out=tiny_disk / "run", finish=False, **SETTINGS)
    before = weights(run.path)
    fill(tiny_disk)
    assert command(monkeypatch, "report", str(run.path)) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("latentscape: no space is left")
    assert not run.folder.report_path.exists()
    assert not differing(before, weights(run.path))


@pytest.mark.parametrize("place", ["file/run", "/proc/run", "/dev/null/run"])
def test_a_run_folder_that_cannot_be_made_is_bad_input(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, *ARGS, "--max-steps", "2", "--out", place) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"latentscape: cannot write {place}")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(RunError, match="cannot write"):
        train(tmp_path / "locked" / "run")


@pytest.mark.parametrize("out", ["file/x.npy", "file/x.png", "file/x.gif", "file/folder"])
def test_samples_that_cannot_be_written_are_bad_input(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path / "run", max_steps=2)
    (tmp_path / "file").write_text("in the way")
    assert command(monkeypatch, "sample", str(run.path), "--n", "4", "--out", str(tmp_path / out)) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("latentscape: ")
    assert (tmp_path / "file").read_text() == "in the way"


def test_vectors_that_cannot_be_written_are_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = api.train("vae", "curves", out=tmp_path / "run", finish=False, max_steps=2, latent_dim=1, threads=1)
    (tmp_path / "file").write_text("in the way")
    assert command(monkeypatch, "sample", str(run.path), "--out", str(tmp_path / "file" / "x.npy")) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
