"""Several processes make the run that one makes: shares of a batch, sums over processes, and what each process says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from shared_work import CASES, NORMS, UNLIKE, build, curve, made, normalised, trained
from torch import Tensor

from latentscape.contract import Batch
from latentscape.errors import ConfigError
from latentscape.training import distributed, launch, synced

# ---- where a process stands ------------------------------------------------------------------------------------------


def test_torchrun_srun_or_nobody_says_where_a_process_stands() -> None:
    assert launch.place({}) == launch.Place()
    torchrun = {"WORLD_SIZE": "6", "RANK": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "3"}
    assert launch.place(torchrun) == launch.Place(4, 6, 1, 3)
    srun = {"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1"}
    assert launch.place(srun | {"SLURM_STEP_TASKS_PER_NODE": "4(x2)"}) == launch.Place(5, 8, 1, 4)
    assert launch.place({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}) == launch.Place()  # a batch script before srun


@pytest.mark.parametrize(
    "variables",
    [
        {"WORLD_SIZE": "two", "RANK": "0"},
        {"WORLD_SIZE": "2"},
        {"WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"},
        {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "1"},
    ],
)
def test_variables_that_make_no_sense_are_said(variables: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="torchrun"):
        launch.place(variables)


def test_processes_that_do_not_know_where_to_meet_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setenv("MASTER_PORT", "1")
    with pytest.raises(ConfigError, match="MASTER_ADDR must say where 2 processes meet"):
        distributed.join(launch.Place(0, 2, 0, 2))


# ---- shares of a batch -----------------------------------------------------------------------------------------------


@pytest.fixture
def crews(monkeypatch: pytest.MonkeyPatch) -> list[distributed.Crew]:
    """Two members of a crew that never speak."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    return [distributed.Crew(launch.Place(rank, 2, rank, 2)) for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_shares_of_examples_and_draws_are_the_whole(name: str, crews: list[distributed.Crew], tmp_path: Path) -> None:
    loop = build(CASES[name], tmp_path, distributed.Alone(), lambda record: None)
    batch = Batch(*(getattr(loop.batches.next(), field) for field in ("x", "y", "attributes")))
    phases = [p.name for p in loop.model.phases] + ["shared"] * loop.model.has_shared
    for phase in phases:
        whole = loop.model.draw(phase, batch, torch.Generator().manual_seed(1))
        dealt = [crew.deal(loop.model, phase, batch, torch.Generator().manual_seed(1)) for crew in crews]
        assert torch.equal(torch.cat([share.x for share, _ in dealt]), batch.x)
        assert all(share.x.is_contiguous(memory_format=_format(batch.x)) for share, _ in dealt)
        for key, value in whole.items():
            shares = [draws[key] for _, draws in dealt]
            if shares[0].shape == value.shape:
                assert torch.equal(torch.stack(shares), torch.stack([value, value]))
            else:
                assert sum(s.numel() for s in shares) == value.numel()
                assert torch.equal(torch.cat([s.flatten() for s in shares]).sort()[0], value.flatten().sort()[0])


def _format(x: Tensor) -> torch.memory_format:
    return torch.contiguous_format if x.is_contiguous() else torch.channels_last


def test_draws_that_hold_the_batch_several_times_keep_beside_each_row_what_stood_there(
    crews: list[distributed.Crew],
) -> None:
    """Draw number j stands beside example j modulo the batch's size: so it must in each share."""
    batch = Batch(torch.arange(4.0)[:, None])

    class Model:
        def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
            return {"row": batch.x[:, 0].repeat(3), "sample": batch.x[:, 0].expand(2, -1), "none": torch.ones(5)}

    for crew in crews:
        share, draws = crew.deal(Model(), "any", batch, torch.Generator())  # type: ignore[arg-type]
        assert draws["row"].tolist() == share.x[:, 0].tolist() * 3
        assert draws["sample"].tolist() == [share.x[:, 0].tolist()] * 2
        assert draws["none"].tolist() == [1.0] * 5


def test_draws_about_pairs_of_examples_are_refused(crews: list[distributed.Crew]) -> None:
    class Model:
        def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
            return {"pairs": torch.zeros(len(batch.x), len(batch.x))}

    with pytest.raises(ConfigError, match="'pairs' of phase any grows with the batch in 2 dimensions"):
        crews[0].deal(Model(), "any", Batch(torch.zeros(4, 2)), torch.Generator())  # type: ignore[arg-type]


def test_a_batch_that_cannot_be_dealt_evenly_is_refused(crews: list[distributed.Crew]) -> None:
    with pytest.raises(ConfigError, match="a batch of 5 cannot be dealt evenly to 2 processes"):
        crews[0].share(Batch(torch.zeros(5, 2)))


# ---- BatchNorm -------------------------------------------------------------------------------------------------------


def test_batch_norm_joins_and_parts_without_a_trace_in_the_model() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.BatchNorm1d(4, affine=False))
    before, tensors = [type(m) for m in net], dict(net.state_dict(keep_vars=True))
    synced.join(net)
    assert [isinstance(m, synced.Synced) for m in net] == [False, True, True]
    assert all(tensor is tensors[name] for name, tensor in net.state_dict(keep_vars=True).items())
    x = torch.randn(5, 3)
    alike = net.eval()(x)  # in evaluation no process asks another
    synced.part(net)
    assert [type(m) for m in net] == before
    assert torch.equal(net.eval()(x), alike)


# ---- two processes against one ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes made of all cases."""
    folder = tmp_path_factory.mktemp("together")
    work = Path(__file__).with_name("shared_work.py")
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", str(work), str(folder)]
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name not in UNLIKE])
def test_two_processes_make_the_run_of_one(name: str, together: Path, tmp_path: Path) -> None:
    records, weights = trained(CASES[name], tmp_path, distributed.Alone())
    rel = CASES[name].tolerance
    theirs, their_weights, same_bits = made(together, name)
    assert same_bits == 1
    for kind in ("train", "held_out"):
        one, two = curve(records, kind), curve(theirs, kind)
        assert one.keys() == two.keys()
        assert len({step for step, _ in one}) >= (8 if kind == "train" else 2)
        for at, value in one.items():
            assert two[at] == pytest.approx(value, rel=rel, abs=rel / 10), at
    assert weights.keys() == their_weights.keys()
    for key, value in weights.items():
        torch.testing.assert_close(their_weights[key], value, rtol=5 * rel, atol=rel / 2)
    assert "processes" not in [r.get("detector") for r in theirs]
    assert records[-1]["step"] == theirs[-1]["step"]


@pytest.mark.slow
@pytest.mark.parametrize("name", UNLIKE)
def test_a_loss_that_is_no_mean_over_examples_is_said_once(name: str, together: Path) -> None:
    said = [r for r in made(together, name)[0] if r.get("detector") == "processes"]
    assert len(said) == 1
    assert said[0]["step"] == 0
    assert said[0]["text"] == distributed.in_words(UNLIKE[name], 2)
    assert " and ".join(UNLIKE[name]) in said[0]["text"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", NORMS)
def test_batch_norm_of_two_processes_is_that_of_the_whole_batch(kind: str, together: Path) -> None:
    """What it gives, its first and second derivatives and its running statistics, in float64."""
    from latentscape.training.checkpoint import load_state

    ours = load_state(together / f"{kind}.safetensors")[0]
    whole = normalised(kind)
    assert ours.keys() == whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(ours[name], value.detach(), rtol=1e-9, atol=1e-9, msg=name)
