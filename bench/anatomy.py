"""What a training step is made of: where its time goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from bench import machine

DATA = "bench: data"
"""What the gathering of a batch is marked with; see `marked`."""

OVERHEAD = "Python, dispatch and autograd's own"
IDLE = "device idle"
GROUPS = (
    "convolution and linear, forward",
    "convolution and linear, backward",
    "normalisation",
    "elementwise, sums and copies",
    "compiled kernels",
    "optimiser",
    "data",
)
PRODUCTS = ("conv", "linear", "matmul", "mm", "einsum", "mkldnn")
COMPILED = (
    "Torch-Compiled Region",
    "## Call CompiledFxGraph",
    "CompiledFunction",
    "CompiledFxGraph",
    "triton",
    "graph_",
)


@contextmanager
def marked(owner: Any, name: str) -> Iterator[None]:
    """Calls of a method count as data while this lasts."""
    call = getattr(owner, name)

    def noted(*args: Any, **kwargs: Any) -> Any:
        with record_function(DATA):
            return call(*args, **kwargs)

    setattr(owner, name, noted)
    try:
        yield
    finally:
        delattr(owner, name)


def group_of(name: str, ancestors: tuple[str, ...]) -> str | None:
    """Which of `GROUPS` an operator's own time belongs to, from its name and those of what it ran inside.

    None: it is no operator's time (autograd's nodes, marks of the profiler, Python).
    """
    whole = (name, *ancestors)
    if DATA in whole:
        return "data"
    if any(n.startswith("Optimizer.") for n in whole):
        return "optimiser"
    if name.startswith(COMPILED):
        return "compiled kernels"
    if not name.startswith(("aten::", "mkldnn::", "cudnn::", "inductor::", "_native::", "latentscape::", "mkl::")):
        return None
    what = name.split("::", 1)[1]
    if "norm" in what and "linalg" not in what:
        return "normalisation"
    if any(word in what for word in PRODUCTS):
        backward = "backward" in what or any(n.startswith("autograd::engine") for n in ancestors)
        return "convolution and linear, backward" if backward else "convolution and linear, forward"
    return "elementwise, sums and copies"


def _ancestors(event: FunctionEvent) -> tuple[str, ...]:
    names, parent = [], event.cpu_parent
    while parent is not None:
        names.append(parent.name)
        parent = parent.cpu_parent
    return tuple(names)


def shares(events: Any, wall_us: float, *, on_device: bool) -> dict[str, float]:
    """Share of `wall_us` by group, largest first, what no operator accounts for last.

    On a CPU operators' own time; on an accelerator the time of the kernels they launched: those that no operator
    launched itself are the compiled ones, and the rest of the wall clock the device stood idle.
    """
    spent: dict[str, float] = defaultdict(float)
    kernels = 0.0
    for e in events:
        if e.device_type.name != "CPU":
            kernels += e.self_device_time_total if not e.is_user_annotation else 0.0
            continue
        took = e.self_device_time_total if on_device else e.self_cpu_time_total
        if took and (group := group_of(e.name, _ancestors(e))):
            spent[group] += took
    if on_device:
        spent["compiled kernels"] += max(0.0, kernels - sum(spent.values()))
    found = {name: spent[name] / wall_us for name in sorted(spent, key=lambda n: -spent[n]) if spent[name]}
    return found | {IDLE if on_device else OVERHEAD: max(0.0, 1 - sum(found.values()))}


def watch(steps: int, device: torch.device) -> Generator[int, None, dict[str, Any]]:
    """Where the time of `steps` steps goes; yields how many steps it wants done, see `sides.Job`.

    Gives `shares` of the wall clock by group, `ms_per_step` without watching, and `slower`: what watching cost. The
    profiler takes time for every operator: where steps are short, most of its own falls on the overhead.
    """
    yield 1
    machine.synchronise(device)
    start = time.perf_counter()
    yield steps
    machine.synchronise(device)
    free = time.perf_counter() - start
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as watched:
        start = time.perf_counter()
        yield steps
        machine.synchronise(device)
        wall = time.perf_counter() - start
    return {
        "steps": steps,
        "ms_per_step": 1000 * free / steps,
        "slower": wall / free,
        "shares": shares(watched.events(), 1e6 * wall, on_device=device.type != "cpu"),
    }
