"""Memory that training frees stays with the process until training ends."""

from __future__ import annotations

import contextlib
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from latentscape.tasks.training import train
from latentscape.training import heap

FAULTS = """
import resource, sys, torch
from latentscape.training import heap

def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.full((1 << 20,), 1.0)  # 4 MiB, given back at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
with heap.kept("cpu"):
    faults(20)
    inside = faults(20)
print(inside)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_blocks_that_are_freed_are_not_asked_of_the_system_again() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 5_000  # of 20 × 1,024 pages


def test_an_accelerator_and_another_c_library_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise AssertionError("asked for the C library")

    with monkeypatch.context() as m:
        m.setattr(heap, "_glibc", none)
        with heap.kept("cuda:0"):
            pass
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", "1.2"))
    with heap.kept("cpu"):
        pass


def test_the_loop_keeps_memory_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    @contextlib.contextmanager
    def noted(device: str) -> Iterator[None]:
        asked.append(device)
        yield

    monkeypatch.setattr(heap, "kept", noted)
    train("vae", "digits", out=tmp_path / "run", net="mlp", hidden=(8,), latent_dim=2, max_steps=1, device="cpu")
    assert asked == ["cpu"]
