"""The machine that a benchmark runs on: what it is, who else uses it, what it can do at best.

Timings here are ratios of things that took turns. A drift of the machine's speed meets all of them; what another
program takes during one round does not, so such a round is found by what it left behind and done again.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line sets it

import torch

T = TypeVar("T")

AGAIN = 2
"""A round that another program disturbed is done again at most so often."""

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


# ---- what it is --------------------------------------------------------------------------------------------------


def processor(device: torch.device | str = "cpu") -> str:
    """The name of the processor, or of the accelerator."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in (PROC / "cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(device: torch.device | str = "cpu") -> dict[str, Any]:
    """What a figure depends on, for the JSON beside it."""
    return {
        "device": str(device),
        "processor": processor(device),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def heading(about: dict[str, Any]) -> str:
    """What `describe` found, in a line."""
    threads = f"{about['threads']} thread{'s' * (about['threads'] != 1)}"
    return f"{about['processor']}, {about['cores']} cores, {threads}, torch {about['torch']}"


def synchronise(device: torch.device | str) -> None:
    """Wait for what was launched on an accelerator; a CPU has nothing to wait for."""
    if torch.device(device).type != "cpu":
        torch.accelerator.synchronize(torch.device(device))


# ---- who else uses it --------------------------------------------------------------------------------------------


def busy_seconds(stat: str) -> float:
    """Processor seconds that all cores together were busy, from the text of /proc/stat.

    What a hypervisor took away ("steal") counts as busy: it is gone for this process, too. Guests are in "user".
    """
    user, nice, system, _, _, irq, softirq, steal = (int(v) for v in stat.split("\n", 1)[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def _times(stat: str) -> tuple[int, float]:
    """Parent, and processor seconds of a process and of those of its children that have ended (/proc/PID/stat)."""
    fields = stat.rsplit(")", 1)[1].split()
    return int(fields[1]), sum(int(v) for v in fields[11:15]) / TICKS


def own_seconds() -> float:
    """Processor seconds of this process and of everything it started."""
    table: dict[int, tuple[int, float]] = {}
    for path in PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            table[int(path.parent.name)] = _times(path.read_text())
    mine = {os.getpid()}
    while more := {pid for pid, (parent, _) in table.items() if parent in mine} - mine:
        mine |= more
    return sum(table[pid][1] for pid in mine if pid in table)


class Load:
    """How busy others keep the machine while something runs.

    with Load() as load: …; then `load.others` is the share of the machine's cores that other programs used, 0 to 1
    (0 where there is no /proc), and `load.seconds` how long it was.
    """

    def __enter__(self) -> Load:
        self.others, self.seconds = 0.0, 0.0
        self._start, self._before = time.monotonic(), self._now()
        return self

    def __exit__(self, *_: object) -> None:
        after, self.seconds = self._now(), time.monotonic() - self._start
        self.others = others_share(self._before, after, self.seconds, os.cpu_count() or 1)

    @staticmethod
    def _now() -> tuple[float, float]:
        if not (PROC / "stat").exists():
            return 0.0, 0.0
        return busy_seconds((PROC / "stat").read_text()), own_seconds()


def others_share(before: tuple[float, float], after: tuple[float, float], seconds: float, cores: int) -> float:
    """Share of `cores` that others used, 0 to 1, from (busy, own) processor seconds before and after."""
    others = (after[0] - before[0]) - (after[1] - before[1])
    return min(1.0, max(0.0, others / (cores * seconds))) if seconds > 0 else 0.0


def others_use(seconds: float = 0.5) -> float:
    """Share of the machine's cores that other programs use just now."""
    with Load() as load:
        time.sleep(seconds)
    return load.others


def wait_for_quiet(limit: float, patience_s: float, *, say: Callable[[str], None] | None = None) -> float:
    """Wait until the others use at most `limit` of the cores, and say how much; exit with a sentence after patience."""
    say = say or (lambda text: print(text, flush=True))
    start = time.monotonic()
    told = -1e9
    while (used := others_use()) > limit:
        now = time.monotonic()
        if now - start > patience_s:
            raise SystemExit(
                f"other programs use {used:.0%} of this machine's cores, and timings beside them say nothing: end "
                "them, wait longer (--patience SECONDS), or take rough figures (--busy-limit 1)"
            )
        if now - told > 10:
            say(f"waiting: other programs use {used:.0%} of the cores")
            told = now
    return used


@dataclass
class Quiet:
    """How quiet it must be, and what was seen: shares of the cores that others used.

    limit: a round during which others used more is done again, at most `again` times; then it counts, and is counted
    in `disturbed`. patience_s: how long to wait for quiet before a round.
    """

    limit: float = 0.1
    patience_s: float = 60.0
    again: int = AGAIN
    rounds: int = 0
    repeated: int = 0
    disturbed: int = 0
    others: list[float] = field(default_factory=list)

    def run(self, work: Callable[[], T]) -> T:
        """Do a round when it is quiet, again if it was disturbed; gives what the last try gave."""
        answer, others = self._try(work)
        for _ in range(self.again):
            if others <= self.limit:
                break
            self.repeated += 1
            print(f"disturbed (others used {others:.0%} of the cores): once more", flush=True)
            answer, others = self._try(work)
        self.disturbed += others > self.limit
        self.rounds += 1
        self.others.append(others)
        return answer

    def _try(self, work: Callable[[], T]) -> tuple[T, float]:
        wait_for_quiet(self.limit, self.patience_s)
        with Load() as load:
            answer = work()
        return answer, load.others

    def said(self) -> str:
        """What a reader must know of it, in a sentence; empty when nothing was disturbed."""
        if not self.disturbed:
            return ""
        return (
            f"{self.disturbed} of {self.rounds} rounds were disturbed by other programs even when repeated (they used "
            f"up to {max(self.others):.0%} of the cores): these figures are rough"
        )

    def to_dict(self) -> dict[str, Any]:
        """For the JSON."""
        return {
            "busy_limit": self.limit,
            "rounds": self.rounds,
            "repeated": self.repeated,
            "disturbed": self.disturbed,
            "others_used": [round(share, 4) for share in self.others],
        }


def add_quiet_arguments(parser: Any) -> None:
    """--busy-limit and --patience."""
    parser.add_argument("--busy-limit", type=float, default=0.1, help="share of the cores that others may use")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for a quiet machine")


# ---- taking turns ------------------------------------------------------------------------------------------------


def rate(step: Callable[[], object], steps: int, device: torch.device | str = "cpu") -> float:
    """Steps per second; work launched on an accelerator is waited for, before and after."""
    synchronise(device)
    start = time.perf_counter()
    for _ in range(steps):
        step()
    synchronise(device)
    return steps / (time.perf_counter() - start)


def take_turns(sides: dict[str, Callable[[], float]], rounds: int, quiet: Quiet) -> dict[str, list[float]]:
    """Each side's figure in each round: the sides take turns, every round in the opposite order of the one before."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(rounds):
        order = list(sides) if i % 2 == 0 else list(reversed(sides))
        answers = quiet.run(lambda order=order: {name: sides[name]() for name in order})
        for name in sides:
            found[name].append(answers[name])
    return found


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    found = list(values)
    return {"median": statistics.median(found), "min": min(found), "max": max(found)}


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Spread of the round-by-round ratios: a drift of the machine's speed leaves them alone."""
    return spread(a / b for a, b in zip(ours, theirs, strict=True))


def words(found: dict[str, float], form: str = ".2f") -> str:
    """A spread in words: 2.13 (2.08–2.20)."""
    return f"{found['median']:{form}} ({found['min']:{form}}–{found['max']:{form}})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in fixed-width text: the first column to the left, the others to the right."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def report(found: dict[str, Any], args: Any) -> None:
    """Everything as a last line of JSON, and in the file that --json names."""
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found))


# ---- memory ------------------------------------------------------------------------------------------------------


def resident() -> dict[str, int]:
    """Bytes of this process: `rss`, its peak `rss_peak`, and `anonymous`, which leaves mapped files out (Linux).

    Pages of mapped files count as resident and are given back when others need memory; anonymous ones are not.
    """
    names = {"VmRSS": "rss", "VmHWM": "rss_peak", "RssAnon": "anonymous"}
    lines = (line.split() for line in (PROC / "self" / "status").read_text().splitlines())
    return {names[key]: int(values[0]) * 1024 for name, *values in lines if (key := name.rstrip(":")) in names}


def reset_peak() -> bool:
    """Let `rss_peak` start from what is resident now; whether the system allows that."""
    try:
        (PROC / "self" / "clear_refs").write_text("5")  # proc(5): resets VmHWM
    except OSError:
        return False
    return True


class PeakMemory:
    """The most anonymous memory of this process while something runs, by looking at it every few milliseconds.

    with PeakMemory() as peak: …; then `peak.before`, `peak.most` and `peak.grown`, in bytes. On CUDA `peak.device` is
    the most that tensors took there.
    """

    def __init__(self, device: torch.device | str = "cpu", every_s: float = 0.005) -> None:
        self.device_, self.every_s = torch.device(device), every_s
        self.before = self.most = self.device = 0

    @property
    def grown(self) -> int:
        """How much more than before."""
        return self.most - self.before

    def __enter__(self) -> PeakMemory:
        if self.device_.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device_)
        self.before = self.most = resident()["anonymous"]
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._end.wait(self.every_s):
            self.most = max(self.most, resident()["anonymous"])

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self.most = max(self.most, resident()["anonymous"])
        if self.device_.type == "cuda":
            self.device = torch.cuda.max_memory_allocated(self.device_)


# ---- what it can do at best --------------------------------------------------------------------------------------


def matrix_peak(device: torch.device | str = "cpu", seconds: float = 0.6) -> dict[str, float]:
    """FLOP/s of the fastest matrix product that torch has here, by precision: "float32", "bfloat16".

    Square matrices of a few sizes; on a CPU also as a 1×1 convolution, which another library serves than `mm` (oneDNN
    instead of MKL or OpenBLAS) and which is the faster of the two on some processors. As many threads as torch has.
    """
    device = torch.device(device)
    sizes = (512, 1024, 2048) if device.type == "cpu" else (2048, 4096, 8192)
    found: dict[str, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        ways = [_mm(n, dtype, device) for n in sizes]
        if device.type == "cpu":
            ways += [_convolution(n, dtype) for n in sizes]
        found[str(dtype).removeprefix("torch.")] = max(_best(*way, device, seconds / len(ways)) for way in ways)
    return found


def _mm(n: int, dtype: torch.dtype, device: torch.device) -> tuple[Callable[[], object], float]:
    a, b = torch.randn(n, n, device=device, dtype=dtype), torch.randn(n, n, device=device, dtype=dtype)
    return lambda: a @ b, 2.0 * n**3


def _convolution(n: int, dtype: torch.dtype) -> tuple[Callable[[], object], float]:
    x = torch.randn(1, n, n // 32, 32, dtype=dtype).to(memory_format=torch.channels_last)
    w = torch.randn(n, n, 1, 1, dtype=dtype).to(memory_format=torch.channels_last)
    return lambda: torch.nn.functional.conv2d(x, w), 2.0 * n**3


@torch.no_grad()
def _best(work: Callable[[], object], flop: float, device: torch.device, seconds: float) -> float:
    work()
    end, best = time.perf_counter() + seconds, 0.0
    while time.perf_counter() < end or not best:
        best = max(best, flop * rate(work, 1 if device.type == "cpu" else 10, device))
    return best
