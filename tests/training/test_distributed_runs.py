"""Real processes on one run folder: the same run as one process makes, deaths, signals, mistakes, and who says what."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from latentscape import api
from latentscape.runs import RunFolder
from latentscape.training.checkpoint import load_state
from tiny_runs import weights

pytestmark = pytest.mark.slow

STEPS = 160
ARGS = [
    *["train", "vae", "--data", "digits", "--net", "conv", "--width", "4", "--latent-dim", "4", "--threads", "1"],
    *["--max-steps", str(STEPS), "--checkpoint-every", "4", "--log-every", "10", "--bare", "--precision", "float32"],
    *["--optimiser", "sgd", "--learning-rate", "0.005", "--compile", "off", "--limit", "320", "--batch-size", "16"],
]


def start(*args: str, size: int = 2) -> list[subprocess.Popen[str]]:
    """`size` processes as torchrun starts them, without torchrun: a test sees each one's status and words."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "20000"}
    common |= {"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "latentscape.cli", *args],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(size)
    ]  # fmt: skip


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Status, standard output and standard error of each; none may hang."""
    try:
        said = [p.communicate(timeout=600) for p in processes]
    finally:
        for p in processes:
            p.kill()
    return [(p.returncode, out, _without_torchs(err)) for p, (out, err) in zip(processes, said, strict=True)]


def _without_torchs(words: str) -> str:
    """Without the log lines of PyTorch's own C++, which speaks where a connection ends: [W1121 20:05 Store.cpp:1] …"""
    return "".join(
        line for line in words.splitlines(keepends=True) if not re.match(r"\[(rank\d+\]:)?\[?[WEIF]\d{3}", line)
    )


def newest_step(run: Path) -> int:
    return max((int(p.stem.removeprefix("step-")) for p in run.glob("checkpoints/step-*.safetensors")), default=0)


def wait_for_step(processes: list[subprocess.Popen[str]], run: Path, step: int) -> None:
    while newest_step(run) < step:
        assert all(p.poll() is None for p in processes), ended(processes)
        time.sleep(0.01)


def curve(run: Path) -> dict[tuple[str, int, str], float]:
    """(kind, step, term) → value, without the record after each resume: it is a mean over fewer steps."""
    kept, fewer = {}, False
    for record in RunFolder(run).log():
        if record["kind"] == "held_out" or (record["kind"] == "train" and not fewer):
            kept |= {(record["kind"], record["step"], name): value for name, value in record["terms"].items()}
        fewer = record["kind"] == "resumed" or (fewer and record["kind"] != "train")
    return kept


def assert_same_run(one: Path, other: Path) -> None:
    """The same losses at the same steps and the same weights, to float tolerance."""
    a, b = curve(one), curve(other)
    common = a.keys() & b.keys()
    assert {at for at in a if at[0] == "held_out"} <= common
    assert len(common) > 0.9 * len(a)
    for at in common:
        assert b[at] == pytest.approx(a[at], rel=1e-4, abs=1e-6), at
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(other)[name], value, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that one process makes."""
    run = tmp_path_factory.mktemp("alone") / "run"
    (status, _, said), *_ = ended(start(*ARGS, "--out", str(run), size=1))
    assert status == 0, said
    return run


def test_a_process_dies_and_the_run_goes_on_with_two_and_with_one(alone: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = start(*ARGS, "--out", str(run))
    wait_for_step(first, run, 40)
    first[1].kill()
    (status, out, said), (_, *other_words) = ended(first)
    assert (status, out, other_words) == (1, "", ["", ""])
    assert said.count("latentscape: another process of this run ended or cannot be reached; start as many again") == 1
    assert "Traceback" not in said

    died_at = newest_step(run)
    second = start("resume", str(run), "--bare")
    wait_for_step(second, run, died_at + 40)
    for process in second:  # as torchrun and a terminal do
        process.send_signal(signal.SIGTERM)
    (status, out, said), (other_status, *other_words) = ended(second)
    assert (status, other_status, other_words) == (1, 1, ["", ""])
    stopped_at = newest_step(run)
    assert f"stopped at step {stopped_at} with everything saved; go on with: latentscape resume" in said
    assert died_at + 40 <= stopped_at < STEPS

    state = load_state(next(run.glob(f"checkpoints/step-*{stopped_at}.safetensors")))[1]
    assert state["processes"] == 2
    assert api.resume(run, finish=False).steps == STEPS  # by this process alone
    assert_same_run(alone, run)
    assert RunFolder(run).environment()["processes"] == 2


def test_a_signal_to_one_process_stops_all_at_the_same_step(alone: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    processes = start(*ARGS, "--out", str(run))
    wait_for_step(processes, run, 20)
    processes[1].send_signal(signal.SIGINT)
    (status, _, said), (other_status, *other_words) = ended(processes)
    assert (status, other_status, other_words) == (1, 1, ["", ""])
    assert f"stopped at step {newest_step(run)} with everything saved" in said
    again = ended(start("resume", str(run), "--bare"))
    assert [status for status, *_ in again] == [0, 0], again
    assert_same_run(alone, run)


def test_torchrun_trains_evaluates_and_reports_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    words = [word for word in ARGS if word != "--bare"]
    words[words.index(str(STEPS))] = "20"
    done = subprocess.run(
        [*command, "-m", "latentscape.cli", *words, "--json", "--out", str(run)],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"run"') == 1
    assert done.stderr.count("Evaluating.") == 1
    assert (run / "report.html").exists()
    assert RunFolder(run).metrics() is not None
    assert RunFolder(run).command().startswith("latentscape train vae --data digits")


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["--batch-size", "15"], 2, "a batch of 15 training images cannot be dealt evenly to 2 processes; give "),
        (["--data", "nowhere"], 2, "there is no data set and no path 'nowhere'"),
        (["--learning-rate", "1e30"], 1, "is not a finite number at step"),
    ],
)
def test_what_is_wrong_is_said_once(words: list[str], status: int, sentence: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (first, out, said), (other, *other_words) = ended(start(*ARGS, *words, "--out", str(run)))
    assert (first, other, out, other_words) == (status, status, "", ["", ""]), said
    lines = [line for line in said.splitlines() if line.startswith("latentscape: ")]
    assert len(lines) == 1
    assert sentence in lines[0]
    assert "Traceback" not in said
    assert run.exists() == (status == 1)
    assert (run / "failed-batch.safetensors").exists() == (status == 1)


def test_a_run_in_use_is_refused_to_all(tmp_path: Path) -> None:
    run = tmp_path / "run"
    api.train("vae", "digits", out=run, finish=False, max_steps=2, limit=320, net="mlp", threads=1)
    with RunFolder(run).locked():
        (status, _, said), (other, *other_words) = ended(start("resume", str(run), "--bare"))
    assert (status, other, other_words) == (2, 2, ["", ""])
    assert f"in use by process {os.getpid()}" in said


def test_other_commands_are_the_first_process_s_alone() -> None:
    (status, out, said), other = ended(start("models"))
    assert (status, said) == (0, "")
    assert "vae" in out
    assert other == (0, "", "")
