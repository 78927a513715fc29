"""A process that dies at any moment, damaged checkpoints, two processes on one run: nothing is lost or trusted wrongly.

Here a death is an exception that nothing catches, raised where a kill would strike, so that the files are left as a
kill leaves them; `test_kill.py` sends the real signal to a real process.
"""

from __future__ import annotations

import builtins
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from latentscape import api
from latentscape.contract import Losses
from latentscape.errors import ConfigError, Diverged, RunError
from latentscape.runs import RunFolder
from latentscape.tasks.training import Silent, Stopped
from latentscape.training import checkpoint
from loops import differing, make, make_loop, small_set
from tiny_runs import TINY, weights


class Killed(BaseException):
    """The process is no more."""


class Listener(Silent):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


EVERY: dict[str, Any] = {
    "max_steps": 23,
    "checkpoint_every": 4,
    "log_every": 2,
    "ema_halflife_images": 50,
    "schedule": "step",
    "early_stopping": 50,
}
"""Something to lose at every few steps: checkpoints, records, an average, a schedule, best weights."""


def train(path: Path, **settings: Any) -> api.Run:
    return api.train("vae", "digits", out=path, finish=False, **{**TINY, **EVERY, **settings})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    return train(tmp_path_factory.mktemp("whole") / "run").path


def nth(n: int, real: Callable) -> Callable:
    """Dies instead of calling for the n-th time."""
    calls = [0]

    def call(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == n:
            raise Killed
        return real(*args, **kwargs)

    return call


def half_written(n: int) -> Callable:
    """`open` whose n-th file for writing gets half of what is written to it before the end."""
    calls = [0]

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        f = builtins.open(file, mode, *args, **kwargs)  # noqa: SIM115
        if "w" not in mode:
            return f
        calls[0] += 1
        if calls[0] != n:
            return f

        class Half:
            def __enter__(self) -> Half:
                return self

            def __exit__(self, *error: object) -> None:
                f.close()

            def write(self, content: bytes) -> None:
                f.write(content[: len(content) // 2])
                f.flush()
                raise Killed

        return Half()

    return opened


def strike(monkeypatch: pytest.MonkeyPatch, where: str, n: int) -> None:
    if where == "half-way through the file":
        monkeypatch.setattr(checkpoint, "open", half_written(n), raising=False)
    elif where == "before it is flushed":
        monkeypatch.setattr(checkpoint.os, "fsync", nth(2 * n - 1, os.fsync))  # the folder is flushed too
    elif where == "before it is renamed":
        monkeypatch.setattr(checkpoint.os, "replace", nth(n, os.replace))
    elif where == "after it is renamed":
        monkeypatch.setattr(checkpoint.os, "fsync", nth(2 * n, os.fsync))
    else:
        monkeypatch.setattr(Path, "unlink", nth(n, Path.unlink))


POINTS = ["half-way through the file", "before it is flushed", "before it is renamed", "after it is renamed"]


@pytest.mark.parametrize("n", [5, 7, 11, 14])
@pytest.mark.parametrize("where", POINTS)
def test_death_while_writing_loses_nothing(
    where: str, n: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writes 1 to 4 make the run folder; then come checkpoints, best weights of each epoch, and the model."""
    with monkeypatch.context() as patch:
        strike(patch, where, n)
        with pytest.raises(Killed):
            train(tmp_path / "run")
    run = api.resume(tmp_path / "run", finish=False)
    assert run.steps == 23
    assert not differing(weights(whole), weights(run.path))
    assert trained_steps(run.folder) == trained_steps(RunFolder(whole))


def trained_steps(folder: RunFolder) -> list[tuple[int, float]]:
    return [(r["step"], r["terms"]["elbo/total"]) for r in folder.log() if r["kind"] == "train"]


def test_death_while_old_checkpoints_are_removed_loses_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        strike(patch, "while pruning", 2)
        with pytest.raises(Killed):
            train(tmp_path / "run")
    run = api.resume(tmp_path / "run", finish=False)
    assert not differing(weights(whole), weights(run.path))
    assert len(run.folder.checkpoints().all()) == 2


@pytest.mark.parametrize("step", [1, 3, 4, 5, 14, 22])
def test_death_between_writes_loses_nothing(step: int, whole: Path, tmp_path: Path) -> None:
    die_at(tmp_path / "run", step)
    run = api.resume(tmp_path / "run", finish=False)
    assert not differing(weights(whole), weights(run.path))
    log = trained_steps(run.folder)
    assert [s for s, _ in log] == sorted({s for s, _ in log})  # a step done again is told once
    assert log == trained_steps(RunFolder(whole))


class Deadly(Silent):
    """Dies after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def training(self, total_steps: int, batch_size: int) -> Any:
        def tell(now: int, images: int) -> None:
            if now == self.step:
                raise Killed

        return contextlib.nullcontext(tell)


def die_at(path: Path, step: int, **settings: Any) -> None:
    with pytest.raises(Killed):
        api.train("vae", "digits", out=path, finish=False, console=Deadly(step), **{**TINY, **EVERY, **settings})


def test_a_run_folder_without_settings_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Death before config.toml, which is written last: the folder does not pass for a run."""
    with monkeypatch.context() as patch:
        strike(patch, "before it is renamed", 4)
        with pytest.raises(Killed):
            train(tmp_path / "run")
    with pytest.raises(RunError, match="is not a run folder"):
        RunFolder(tmp_path / "run")


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("where", POINTS[:3])
def test_death_while_the_folder_is_made_leaves_its_name_free(
    where: str, n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        strike(patch, where, n)
        with pytest.raises(Killed):
            train(tmp_path / "run", max_steps=2)
    assert train(tmp_path / "run", max_steps=2).steps == 2


def test_death_after_the_settings_are_written_leaves_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        strike(patch, "after it is renamed", 4)
        with pytest.raises(Killed):
            train(tmp_path / "run", max_steps=2)
    assert api.resume(tmp_path / "run", finish=False).steps == 2


def test_a_log_line_cut_short_is_passed_over(whole: Path, tmp_path: Path) -> None:
    die_at(tmp_path / "run", 15)
    log = tmp_path / "run" / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-25])
    run = api.resume(tmp_path / "run", finish=False)
    assert not differing(weights(whole), weights(run.path))
    lines = log.read_text().splitlines()
    broken = [line for line in lines if not is_json(line)]
    assert len(broken) == 1
    assert run.folder.log()[-1]["kind"] == "done"


def is_json(line: str) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return True


# ---- early stopping and longer runs ----------------------------------------------------------------------------


def test_early_stopping_ends_alike_after_a_death(tmp_path: Path) -> None:
    """The best epoch's weights and the patience survive: same end, same model."""
    settings = {"max_steps": 0, "epochs": 60, "early_stopping": 2, "learning_rate": 0.05, "schedule": "constant"}
    whole = train(tmp_path / "whole", **settings)
    assert "no better held-out loss" in whole.ended
    die_at(tmp_path / "run", whole.steps - 3, **settings)
    run = api.resume(tmp_path / "run", finish=False)
    assert (run.ended, run.steps) == (whole.ended, whole.steps)
    assert not differing(weights(whole.path), weights(run.path))


def test_a_finished_run_trained_longer_equals_one_long_run(whole: Path, tmp_path: Path) -> None:
    train(tmp_path / "run", max_steps=11)
    run = api.resume(tmp_path / "run", max_steps=23, finish=False)
    assert run.steps == 23
    assert not differing(weights(whole), weights(run.path))


def test_a_finished_run_trains_to_more_epochs(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", max_steps=0, epochs=4)
    train(tmp_path / "run", max_steps=0, epochs=2)
    run = api.resume(tmp_path / "run", epochs=4, finish=False)
    assert run.steps == whole.steps == 20
    assert not differing(weights(whole.path), weights(run.path))


def test_a_run_of_so_many_steps_trains_to_more_epochs(tmp_path: Path) -> None:
    """What the user asks for now counts, not the number of steps asked for at first."""
    train(tmp_path / "run", max_steps=3)
    run = api.resume(tmp_path / "run", epochs=2, finish=False)
    assert run.steps == 10


def test_a_run_of_so_many_epochs_trains_to_more_steps(tmp_path: Path) -> None:
    train(tmp_path / "run", max_steps=0, epochs=1)
    run = api.resume(tmp_path / "run", max_steps=13, finish=False)
    assert run.steps == 13


def test_a_longer_run_that_dies_goes_on_to_its_new_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(tmp_path / "whole", max_steps=0, epochs=4)
    train(tmp_path / "run", max_steps=0, epochs=2)
    with monkeypatch.context() as patch:
        strike(patch, "before it is renamed", 4)
        with pytest.raises(Killed):
            api.resume(tmp_path / "run", epochs=4, finish=False)
    run = api.resume(tmp_path / "run", finish=False)
    assert run.steps == whole.steps
    assert not differing(weights(whole.path), weights(run.path))


@pytest.mark.parametrize("asked", [{"epochs": 2}, {"max_steps": 11}], ids=["epochs", "steps"])
def test_less_than_is_done_is_refused_and_changes_nothing(asked: dict[str, int], tmp_path: Path) -> None:
    train(tmp_path / "run", max_steps=0, epochs=3)
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file() and p.name != ".lock"}
    with pytest.raises(ConfigError, match=r"is less than the (3 epochs|15 steps) that .* has done; give more"):
        api.resume(tmp_path / "run", finish=False, **asked)
    assert before == {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file() and p.name != ".lock"}


def test_no_epochs_at_all_are_refused(tmp_path: Path) -> None:
    train(tmp_path / "run", max_steps=3)
    with pytest.raises(ConfigError, match="--epochs 0"):
        api.resume(tmp_path / "run", epochs=0, finish=False)


def test_a_model_in_closed_form_is_not_lengthened(tmp_path: Path) -> None:
    run = api.train("pca", "digits", out=tmp_path / "run", limit=80, finish=False)
    with pytest.raises(ConfigError, match="fitted in closed form"):
        api.resume(run.path, epochs=9, finish=False)


def test_a_run_killed_before_its_first_checkpoint_can_be_lengthened_for_good(tmp_path: Path) -> None:
    die_at(tmp_path / "run", 2)
    run = api.resume(tmp_path / "run", max_steps=9, finish=False)
    assert run.steps == 9
    assert run.folder.config()["train"]["max_steps"] == 9


def test_a_longer_run_that_is_cut_short_gives_its_newest_weights(tmp_path: Path) -> None:
    """The old end's model.safetensors still lies there."""
    train(tmp_path / "run", max_steps=7)
    old = weights(tmp_path / "run")
    with pytest.raises(Killed):
        api.resume(tmp_path / "run", max_steps=23, finish=False, console=Deadly(15))
    folder = RunFolder(tmp_path / "run")
    name, tensors, _ = folder.checkpoints().newest()  # type: ignore[misc]
    assert name.stem == "step-000000012"
    now = folder.load_model().state_dict()
    assert differing(now, old)
    assert not differing(now, {k[4:]: v for k, v in tensors.items() if k.startswith("ema.")})
    for path in folder.checkpoints().all():
        if path.stem > "step-000000007":
            damage(path, "truncated")
    assert not differing(folder.load_model().state_dict(), old)


def test_a_finished_run_gives_its_best_epoch_though_its_checkpoint_is_the_last(tmp_path: Path) -> None:
    settings = {"max_steps": 0, "epochs": 60, "early_stopping": 2, "learning_rate": 0.05, "schedule": "constant"}
    run = train(tmp_path / "run", **settings)
    assert not differing(run.folder.load_model().state_dict(), weights(run.path))
    assert differing(weights(run.path), {
        k[4:]: v for k, v in run.folder.checkpoints().newest()[1].items() if k.startswith("ema.")
    })  # fmt: skip


def test_a_finished_run_resumed_without_more_is_left_as_it_was(whole: Path, tmp_path: Path) -> None:
    train(tmp_path / "run")
    listener = Listener()
    run = api.resume(tmp_path / "run", finish=False, console=listener)
    assert run.steps == 23
    assert any("nothing left to train" in text for text in listener.said)
    assert not differing(weights(whole), weights(run.path))


def test_cosine_over_a_number_of_steps_falls_without_rising(tmp_path: Path) -> None:
    """The schedule must span the run, also where its length is given in steps."""
    run = train(tmp_path / "run", max_steps=23, schedule="cosine", log_every=1)
    rates = [r["learning_rate"]["elbo"] for r in run.folder.log() if r["kind"] == "train"]
    assert rates == sorted(rates, reverse=True)
    assert rates[len(rates) // 2] > 0.05 * rates[0]
    assert rates[-1] < rates[0]


def test_cosine_of_a_run_trained_longer_goes_on_falling(tmp_path: Path) -> None:
    """The rate may jump to the longer curve when the run goes on, but does not climb back from zero."""
    settings = {"max_steps": 0, "schedule": "cosine", "log_every": 1, "ema_halflife_images": 0}
    train(tmp_path / "run", epochs=2, **settings)
    run = api.resume(tmp_path / "run", epochs=5, finish=False)
    rates = [r["learning_rate"]["elbo"] for r in run.folder.log() if r["kind"] == "train" and r["step"] > 10]
    assert len(rates) >= 15
    assert rates[0] > 0
    assert rates == sorted(rates, reverse=True)


def test_weights_that_are_no_numbers_are_never_kept_as_a_good_checkpoint(tmp_path: Path) -> None:
    """A finite loss can have an infinite gradient; what that does to the weights is not the last good state."""
    loop = make_loop(
        make("toy_aae", (1, 4, 4)), small_set((1, 4, 4)), tmp_path, max_steps=9, checkpoint_every=1, keep_checkpoints=9
    )
    forward = loop.model.forward

    def with_a_kink(phase: str, batch: Any, draws: Any) -> Losses:
        losses = forward(phase, batch, draws)
        if loop.progress.step == 3:
            kink = (0 * losses.total).sqrt()  # 0, with an infinite slope
            return Losses(losses.total + kink, losses.terms)
        return losses

    loop.model.forward = with_a_kink
    with pytest.raises(Diverged) as error:
        loop.run()
    newest, tensors, _ = loop.checkpoints.newest()
    assert newest.name in str(error.value)
    assert all(torch.isfinite(t).all() for t in tensors.values() if t.is_floating_point())


# ---- damage ----------------------------------------------------------------------------------------------------


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "truncated":
        content = content[: len(content) // 2]
    elif how == "empty":
        content = bytearray()
    elif how == "a bit of a weight flipped":
        content[-100] ^= 1
    elif how == "a bit of the state flipped":
        place = content.index(b'\\"step\\": ') + len(b'\\"step\\": ')
        content[place] ^= 1  # another digit
    else:
        content[:16] = os.urandom(16)
    path.write_bytes(content)


DAMAGE = ["truncated", "empty", "a bit of a weight flipped", "a bit of the state flipped", "another kind of file"]


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_used(how: str, whole: Path, tmp_path: Path) -> None:
    die_at(tmp_path / "run", 15)
    newest = RunFolder(tmp_path / "run").checkpoints().all()[-1]
    assert newest.stem == "step-000000012"
    damage(newest, how)
    listener = Listener()
    run = api.resume(tmp_path / "run", finish=False, console=listener)
    told = [text for text in listener.said if newest.name in text]
    assert len(told) == 1
    assert "damaged" in told[0]
    assert "\n" not in told[0]
    assert any("step-000000008" in text for text in listener.said)
    assert not differing(weights(whole), weights(run.path))


@pytest.mark.parametrize("how", DAMAGE[:3])
def test_a_damaged_model_is_refused_in_one_sentence(how: str, tmp_path: Path) -> None:
    run = train(tmp_path / "run", max_steps=2)
    damage(run.folder.model_path, how)
    with pytest.raises(RunError, match="damaged") as error:
        run.folder.load_model()
    assert "\n" not in str(error.value)


def test_every_bit_counts(tmp_path: Path) -> None:
    """Wherever a bit flips in a checkpoint, it is noticed."""
    path = tmp_path / "c.safetensors"
    tensors = {"w": torch.arange(6.0).view(2, 3), "n": torch.tensor(3), "empty": torch.zeros(0)}
    checkpoint.save_state(path, tensors, {"step": 5, "name": "é"})
    whole = path.read_bytes()
    assert checkpoint.load_state(path)[1] == {"step": 5, "name": "é"}
    unnoticed = []
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << (place % 8)
        path.write_bytes(content)
        try:
            checkpoint.load_state(path)
        except RunError:
            continue
        unnoticed.append((place, whole[place : place + 1]))
    # A blank of the header's padding, or between its JSON tokens, says nothing.
    assert all(byte == b" " for _, byte in unnoticed)


def test_all_checkpoints_damaged_means_from_the_start(whole: Path, tmp_path: Path) -> None:
    die_at(tmp_path / "run", 15)
    for path in RunFolder(tmp_path / "run").checkpoints().all():
        damage(path, "truncated")
    run = api.resume(tmp_path / "run", finish=False)
    assert not differing(weights(whole), weights(run.path))


def test_all_checkpoints_damaged_means_from_the_weights_it_was_started_with(tmp_path: Path) -> None:
    train(tmp_path / "first", seed=5)
    train(tmp_path / "whole", init_from=tmp_path / "first")
    die_at(tmp_path / "run", 15, init_from=tmp_path / "first")
    for path in RunFolder(tmp_path / "run").checkpoints().all():
        damage(path, "truncated")
    run = api.resume(tmp_path / "run", finish=False)
    assert not differing(weights(tmp_path / "whole"), weights(run.path))


def test_an_unfinished_run_gives_its_newest_checkpoint_s_average(tmp_path: Path) -> None:
    die_at(tmp_path / "run", 15)
    folder = RunFolder(tmp_path / "run")
    tensors = folder.checkpoints().newest()[1]
    model = folder.load_model()
    for key, value in model.state_dict().items():
        assert torch.equal(value, tensors[f"ema.{key}"])


def dead_process() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_files_of_a_dead_process_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kill in the middle of a checkpoint leaves a temporary file as large as it; resuming removes them."""
    dead = dead_process()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "getpid", lambda: dead)
        strike(patch, "before it is renamed", 6)
        with pytest.raises(Killed):
            train(tmp_path / "run")
    left = [p for p in (tmp_path / "run").rglob("*") if p.name.endswith(".tmp")]
    assert left
    api.resume(tmp_path / "run", finish=False)
    assert not [p for p in left if p.exists()]


def test_files_of_a_living_process_are_left_to_it(tmp_path: Path) -> None:
    """A report or an evaluation may be writing while a run goes on."""
    run = train(tmp_path / "run", max_steps=2)
    living = [run.path / f".metrics.json.{os.getpid()}.tmp", run.path / "pictures" / f".a.png.{os.getppid()}.tmp"]
    strange = run.path / ".notes.tmp"
    dead = [run.path / f".metrics.json.{n}.tmp" for n in (dead_process(), 10**30)]
    for path in (*living, strange, *dead):
        path.write_bytes(b"half")
    with run.folder.locked():
        assert all(p.exists() for p in (*living, strange))
        assert not any(p.exists() for p in dead)


# ---- signals and locks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_run_goes_on(number: signal.Signals, whole: Path, tmp_path: Path) -> None:
    class Stopping(Silent):
        def training(self, total_steps: int, batch_size: int) -> Any:
            return contextlib.nullcontext(lambda step, images: os.kill(os.getpid(), number) if step == 9 else None)

    before = signal.getsignal(number)
    with pytest.raises(Stopped, match=r"stopped at step 9 with everything saved; .*latentscape resume") as error:
        api.train("vae", "digits", out=tmp_path / "run", finish=False, console=Stopping(), **{**TINY, **EVERY})
    assert error.value.exit_status == 1
    assert signal.getsignal(number) == before
    folder = RunFolder(tmp_path / "run")
    assert folder.checkpoints().all()[-1].stem == "step-000000009"
    assert not folder.model_path.exists()
    run = api.resume(tmp_path / "run", finish=False)
    assert not differing(weights(whole), weights(run.path))


def test_a_second_process_is_refused_and_told_the_first_one_s_number(tmp_path: Path) -> None:
    run = train(tmp_path / "run", max_steps=2)
    with run.folder.locked():
        with pytest.raises(RunError, match=f"in use by process {os.getpid()}") as error:
            api.resume(run.path, finish=False)
        assert "\n" not in str(error.value)
    assert api.resume(run.path, finish=False).steps == 2


def test_other_data_than_before_is_refused(tmp_path: Path) -> None:
    x = torch.rand(40, 8, 8, generator=torch.Generator().manual_seed(0)).numpy()
    settings = {k: v for k, v in TINY.items() if k != "limit"}
    run = api.train("vae", x, out=tmp_path / "run", finish=False, max_steps=2, **settings)
    with pytest.raises(RunError, match="arrays in memory"):
        api.resume(run.path, finish=False)
    with pytest.raises(RunError, match="is not what"):
        api.resume(run.path, data=1 - x, finish=False)
    assert api.resume(run.path, data=x, max_steps=4, finish=False).steps == 4
