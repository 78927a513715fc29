"""Who uses the machine, which rounds count, and how figures are put into words."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench import machine

TICKS = machine.TICKS


# ---- load --------------------------------------------------------------------------------------------------------


def test_busy_seconds_leave_idle_and_waiting_out_and_take_stolen_time_in() -> None:
    # user nice system idle iowait irq softirq steal guest guest_nice
    stat = "cpu  100 20 30 4000 500 6 7 80 90 9\ncpu0 1 2 3 4 5 6 7 8 9 10\n"
    assert machine.busy_seconds(stat) == pytest.approx((100 + 20 + 30 + 6 + 7 + 80) / TICKS)


def test_the_share_of_others_leaves_out_what_the_bench_itself_used() -> None:
    assert machine.others_share((10.0, 1.0), (16.0, 5.0), 2.0, 4) == pytest.approx((6 - 4) / (4 * 2))
    assert machine.others_share((10.0, 1.0), (12.0, 5.0), 2.0, 4) == 0  # the clocks do not tick together
    assert machine.others_share((0.0, 0.0), (99.0, 0.0), 2.0, 4) == 1


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
def test_what_a_child_did_is_not_what_others_do() -> None:
    before = machine.own_seconds()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    assert machine.own_seconds() >= before + 1 / TICKS
    parent, seconds = machine._times("7 (a name) with ) S 3 " + " ".join(["0"] * 9) + " 100 20 3 4 0 0")
    assert (parent, seconds) == (3, pytest.approx(127 / TICKS))


class _Loads:
    """Stands for `Load`: every round has the next of the given shares."""

    def __init__(self, shares: list[float]) -> None:
        self.shares = shares

    def __call__(self) -> _Loads:
        return self

    def __enter__(self) -> _Loads:
        return self

    def __exit__(self, *_: object) -> None:
        self.others = self.shares.pop(0)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the shares that others use during the next rounds."""

    def make(*shares: float) -> None:
        monkeypatch.setattr(machine, "Load", _Loads(list(shares)))
        monkeypatch.setattr(machine, "wait_for_quiet", lambda *_, **__: 0.0)

    return make


def test_a_quiet_round_is_done_once(loads: Any) -> None:
    loads(0.05)
    quiet, done = machine.Quiet(0.1), []
    assert quiet.run(lambda: done.append(1) or len(done)) == 1
    assert (quiet.rounds, quiet.repeated, quiet.disturbed, quiet.others) == (1, 0, 0, [0.05])
    assert quiet.said() == ""


def test_a_disturbed_round_is_done_again_and_the_quiet_one_counts(loads: Any) -> None:
    loads(0.9, 0.02)
    quiet, done = machine.Quiet(0.1), []
    assert quiet.run(lambda: done.append(1) or len(done)) == 2
    assert (quiet.rounds, quiet.repeated, quiet.disturbed, quiet.others) == (1, 1, 0, [0.02])


def test_a_round_that_stays_disturbed_is_counted_as_such(loads: Any) -> None:
    loads(0.9, 0.8, 0.7, 0.01)
    quiet, done = machine.Quiet(0.1), []
    assert quiet.run(lambda: done.append(1) or len(done)) == 1 + machine.AGAIN
    quiet.run(lambda: None)
    assert (quiet.rounds, quiet.repeated, quiet.disturbed) == (2, 2, 1)
    assert "1 of 2 rounds" in quiet.said()
    assert "70%" in quiet.said()
    assert quiet.to_dict()["disturbed"] == 1


def test_a_busy_machine_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "others_use", lambda: 0.6)
    said: list[str] = []
    with pytest.raises(SystemExit, match="other programs use 60% of this machine's cores"):
        machine.wait_for_quiet(0.1, -1.0, say=said.append)
    shares = [0.6, 0.05]
    monkeypatch.setattr(machine, "others_use", lambda: shares.pop(0))
    assert machine.wait_for_quiet(0.1, 60.0, say=said.append) == 0.05
    assert said == ["waiting: other programs use 60% of the cores"]


# ---- turns and words ---------------------------------------------------------------------------------------------


def test_sides_take_turns_and_the_order_is_reversed_every_other_round(loads: Any) -> None:
    loads(0.0, 0.5, 0.0, 0.0)  # the second round is done twice
    order: list[str] = []

    def side(name: str, figure: float) -> Any:
        return lambda: order.append(name) or figure + len(order)

    found = machine.take_turns({"a": side("a", 100), "b": side("b", 200)}, 3, machine.Quiet(0.1))
    assert "".join(order) == "ab" + "ba" + "ba" + "ab"
    assert found == {"a": [101, 106, 107], "b": [202, 205, 208]}


def test_ratios_are_taken_round_by_round() -> None:
    # The machine slows down to a third; the ratio does not see it.
    assert machine.ratios([20.0, 10.0, 6.9], [10.0, 5.0, 3.0]) == pytest.approx({"median": 2.0, "min": 2.0, "max": 2.3})
    assert machine.words({"median": 2.0, "min": 1.9, "max": 2.314}) == "2.00 (1.90–2.31)"


def test_tables_align() -> None:
    lines = machine.table(["", "images/s"], [["plain", "8"], ["ours", "12,345"]]).split("\n")
    assert lines == ["       images/s", "plain         8", "ours     12,345"]


def test_the_report_is_one_line_and_the_file_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {"machine": machine.describe(), "figures": [1.5]}
    machine.report(found, Namespace(json=str(tmp_path / "x.json")))
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert json.loads(printed) == json.loads((tmp_path / "x.json").read_text()) == found
    assert found["machine"]["threads"] == torch.get_num_threads()
    assert machine.heading(found["machine"]).endswith(f"1 thread, torch {torch.__version__}")


# ---- memory and peak ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc here")
def test_memory_that_is_gone_again_was_seen() -> None:
    size = 64 << 20
    with machine.PeakMemory(every_s=0.001) as peak:
        torch.ones(size // 4)
    with machine.PeakMemory() as nothing:
        pass
    assert nothing.grown < size / 2
    assert 0 < peak.grown < 2 * size or peak.before == 0
    assert machine.resident()["rss_peak"] >= machine.resident()["anonymous"]


def test_the_peak_is_the_best_of_all_products(monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([1.0, 5.0, 2.0, 3.0, 4.0, 0.5] + [7.0] * 6)
    monkeypatch.setattr(machine, "_best", lambda work, flop, device, seconds: next(found))
    made: list[SimpleNamespace] = []
    for way in ("_mm", "_convolution"):
        monkeypatch.setattr(machine, way, lambda *a, way=way: (made.append(SimpleNamespace(way=way, n=a[0])), 1.0))
    assert machine.matrix_peak("cpu") == {"float32": 5.0, "bfloat16": 7.0}
    assert {m.way for m in made} == {"_mm", "_convolution"}


def test_both_products_do_the_work_that_they_are_counted_with() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    for way, arguments in (
        (machine._mm, (64, torch.float32, torch.device("cpu"))),
        (machine._convolution, (64, torch.float32)),
    ):
        work, flop = way(*arguments)
        with FlopCounterMode(display=False) as counter:
            work()
        assert counter.get_total_flops() == flop
