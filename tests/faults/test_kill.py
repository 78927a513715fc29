"""Real processes: kill -9 at random moments, SIGTERM and SIGINT, two processes on one run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from latentscape import api
from latentscape.errors import RunError
from latentscape.runs import RunFolder
from loops import differing
from tiny_runs import weights

pytestmark = pytest.mark.slow

STEPS = 2000
LIVES = 8  # of one run: seven deaths, then it is left in peace
ARGS = [
    *["train", "vae", "--data", "digits", "--net", "mlp", "--hidden", "32", "--latent-dim", "4", "--threads", "1"],
    *["--max-steps", str(STEPS), "--checkpoint-every", "5", "--log-every", "10", "--bare", "--precision", "float32"],
    *["--ema-halflife-images", "500", "--schedule", "step"],
]


def start(*args: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "GOMP_SPINCOUNT": "20000"}
    return subprocess.Popen(
        [sys.executable, "-m", "latentscape.cli", *args],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment,
    )  # fmt: skip


def newest_step(run: Path) -> int:
    found = sorted(run.glob("checkpoints/step-*.safetensors"))
    return int(found[-1].stem.removeprefix("step-")) if found else 0


def wait_for_progress(process: subprocess.Popen[str], run: Path, beyond: int) -> bool:
    """Until a checkpoint newer than step `beyond` is there (true) or the process has ended (false)."""
    while process.poll() is None:
        if newest_step(run) > beyond:
            return True
        time.sleep(0.005)
    return False


def stopped_while_writing(process: subprocess.Popen[str], run: Path) -> bool:
    """Whether the process stands still in the middle of writing a checkpoint; false if it ended before it was caught.

    A checkpoint is written in a few milliseconds, which a kill at a random moment may miss every time.
    """
    while process.poll() is None:
        if list(run.glob("checkpoints/.*.tmp")):
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.01)  # until it stands still
            if list(run.glob("checkpoints/.*.tmp")):
                return True
            process.send_signal(signal.SIGCONT)
    return False


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody kills."""
    run = tmp_path_factory.mktemp("whole") / "run"
    process = start(*ARGS, "--out", str(run))
    _, said = process.communicate()
    assert process.returncode == 0, said
    return run


def test_runs_killed_at_random_moments_end_in_the_same_weights(whole: Path, tmp_path: Path) -> None:
    chance = random.Random(0)
    kills, torn, number = 0, 0, 0
    while kills < 20:
        run = tmp_path / f"run{number}"
        number += 1
        process = start(*ARGS, "--out", str(run))
        for _ in range(LIVES - 1):
            kind = chance.random()
            if kind < 0.15:  # while it starts, perhaps before there is a run
                time.sleep(chance.uniform(0, 6))
            elif kind < 0.35:
                stopped_while_writing(process, run)
            elif wait_for_progress(process, run, newest_step(run)):
                time.sleep(chance.uniform(0, 0.6))
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            torn += bool(list(run.glob("checkpoints/.*.tmp")))
            made = (run / "config.toml").exists()
            process = start("resume", str(run), "--bare") if made else start(*ARGS, "--out", str(run))
        _, said = process.communicate()
        assert process.returncode == 0, said
        assert RunFolder(run).log()[-1]["step"] == STEPS
        assert not differing(weights(whole), weights(run))
        steps = [r["step"] for r in RunFolder(run).log() if r["kind"] == "train"]
        assert steps == sorted(set(steps))
    assert torn, "no kill struck in the middle of writing a checkpoint"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_a_second_process_is_refused_meanwhile(
    number: signal.Signals, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = start(*ARGS, "--out", str(run))
    assert wait_for_progress(process, run, 0)
    with pytest.raises(RunError, match=f"in use by process {process.pid}"):
        api.resume(run, finish=False)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 1
    lines = [line for line in said.splitlines() if line.startswith("latentscape: ")]
    assert len(lines) == 1
    assert "with everything saved; go on with: latentscape resume" in lines[0]
    assert "Traceback" not in said
    stopped_at = int(lines[0].split("stopped at step ")[1].split(" ")[0].replace(",", ""))
    assert newest_step(run) == stopped_at
    resumed = api.resume(run, finish=False)
    assert resumed.steps == STEPS
    assert not differing(weights(whole), weights(run))


def test_a_checkpoint_that_does_not_fit_stops_a_real_process(tmp_path: Path) -> None:
    """Under a limit on the size of files the command says one sentence and leaves earlier checkpoints whole."""
    run = tmp_path / "run"
    limited = "import resource,sys; resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000)); "
    limited += "sys.argv[0] = 'latentscape'; from latentscape.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", limited, *ARGS, "--out", str(run)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    lines = [line for line in ended.stderr.splitlines() if line.startswith("latentscape: ")]
    assert len(lines) == 1
    assert "no space is left to write" in lines[0]
    assert "Traceback" not in ended.stderr
    assert not list(run.rglob("*.tmp"))
