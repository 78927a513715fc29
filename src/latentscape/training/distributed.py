"""One run made by several processes: each works on its share of every batch, and all hold the same model.

Every process takes the same batches and draws from the same generator, and keeps its own rows of both. The losses are
means over examples, so the mean of the processes' gradients is the gradient of the whole batch's loss,

    ∇ (1/B) Σ_{i≤B} ℓ_i = (1/W) Σ_{r≤W} ∇ (W/B) Σ_{i in share r} ℓ_i,

and one sum over the processes for each turn of a player is all they say to each other; BatchNorm, whose statistics are
the batch's, sums these too (`synced`). So W processes make the run that one makes, up to the order of float32 sums, and
a checkpoint of W is one that any other number goes on from. A loss that compares the examples of a batch with each
other is no such mean; `Crew.unlike_one` finds that out by measuring.

The process of rank 0 leads: it alone writes, evaluates and speaks, and tells the others what it found.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from latentscape.contract import Batch, Draws, Phase, Trained
from latentscape.errors import ConfigError, LatentscapeError, RunFailed
from latentscape.training import launch, synced
from latentscape.training.checkpoint import from_json, to_json
from latentscape.training.execution import Execution
from latentscape.training.settings import TrainSettings
from latentscape.training.synced import add_up, connected

T = TypeVar("T")

TIMEOUT = datetime.timedelta(minutes=30)
"""How long processes wait for each other: the first one may draw or evaluate meanwhile, and a machine may be gone."""

SAME = 1e-4
"""Relative difference between two ways to sum a loss that float32 explains."""


class Elsewhere(LatentscapeError):
    """The first process failed and says why; this one ends with the same status and says nothing."""


class Alone:
    """One process, which leads itself and shares nothing. What `Crew` does for several, said for one."""

    rank, size, leads = 0, 1, True

    # ---- agreeing ----------------------------------------------------------------------------------------------

    def lead(self, make: Callable[[], T]) -> T:
        """What `make` gives (plain values that JSON knows), made by the first process alone and told to the others."""
        return make()

    def first(self, make: Callable[[], T]) -> T:
        """What `make` gives, made by each process, the first one before the others: it fills the caches."""
        return make()

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Means over the processes, of values under the same names in each."""
        return values

    def stopping(self, asked: bool) -> bool:
        """Whether all stop now, since one was asked to; called once after each step. asked: whether this one was."""
        return asked

    def trouble(self, error: LatentscapeError) -> LatentscapeError:
        """An error that only this process knows of."""
        return error

    # ---- training ----------------------------------------------------------------------------------------------

    def execution(self, decided: Execution, model: Trained, s: TrainSettings, *, anew: bool = False) -> Execution:
        """How this process runs the model; anew: threads are not those of a checkpoint."""
        return replace(decided, threads=s.threads or torch.get_num_threads()) if anew else decided

    def join_nets(self, model: Trained) -> None:
        """Let nets that look at a whole batch look at all processes' shares of it; before training."""

    def part_nets(self, model: nn.Module) -> None:
        """Undo `join_nets`."""

    def align(self, model: nn.Module) -> None:
        """Give every process the first one's parameters and buffers."""

    def deal(self, model: Trained, phase: str, batch: Batch, rng: torch.Generator) -> tuple[Batch, Draws]:
        """This process's share of the batch, and of the draws for the whole batch."""
        return batch, model.draw(phase, batch, rng)

    def average(self, phase: Phase, total: Tensor, asked: bool) -> Tensor:
        """Replace the gradients of the phase's player by the processes' means; returns that of `total`, 0-dim.

        That mean is a finite number where all processes' totals are. asked: whether this process was asked to stop.
        """
        return total

    def unlike_one(self, model: Trained, batches: Mapping[str, Callable[[], Batch]], rng: torch.Generator) -> list[str]:
        """The phases whose loss of a batch is not the mean of its shares' losses.

        batches: what gives a batch for each phase and for "shared". Neither the model nor `rng` is changed.
        """
        return []

    def leave(self) -> None:
        """The work that is shared is done; each process is alone from here on."""


_crew: Alone | None = None


def join(place: launch.Place | None = None) -> Alone:
    """Make this process one of those that torchrun or srun started; what is trained until `leave` is trained by all.

    Waits until all have come. Raises `ConfigError` where they cannot find each other.
    """
    global _crew
    place = place or launch.place()
    _crew = Crew(place) if place.size > 1 else Alone()
    return _crew


def crew() -> Alone:
    """The processes that work together now."""
    return _crew or Alone()


class Crew(Alone):
    """One of `size` processes that make a run together; see `Alone` for what each method does."""

    def __init__(self, place: launch.Place) -> None:
        self.rank, self.size, self.leads = place.rank, place.size, place.rank == 0
        self.place = place
        self._begin()
        if not dist.is_initialized():
            self._meet()

    def _begin(self) -> None:
        """What is known of a model before its training."""
        self._axes: dict[str, dict[str, int | None]] = {}
        self._players: dict[str, tuple[list[nn.Parameter], list[bool], list[bool]]] = {}
        self._newest: Callable[[], bool] = bool  # whether anyone asked to stop, by the last turn
        self._before: Callable[[], bool] = bool  # and by the last turn of the step before

    def _meet(self) -> None:
        missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
        if missing:
            raise ConfigError(
                f"{' and '.join(missing)} must say where {self.size} processes meet: start them by torchrun, or set "
                "MASTER_ADDR to the first machine's name and MASTER_PORT to a free port"
            )
        # Two processes on one GPU cannot use nccl; gloo carries GPU tensors too, by way of the host.
        own_gpus = torch.cuda.is_available() and self.place.local_size <= torch.cuda.device_count()
        backend = "cpu:gloo,cuda:nccl" if own_gpus and dist.is_nccl_available() else "gloo"
        try:
            dist.init_process_group(backend, rank=self.rank, world_size=self.size, timeout=TIMEOUT)
        except (RuntimeError, ValueError) as error:
            where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
            reason = str(error).splitlines()[0]
            raise ConfigError(f"{self.size} processes did not meet at {where} ({reason}); start them again") from error

    # ---- agreeing ----------------------------------------------------------------------------------------------

    def lead(self, make: Callable[[], T]) -> T:
        """As above."""
        if not self.leads:
            said = self._hear("")
            if "status" in said:
                error = Elsewhere("the first process failed")
                error.exit_status = said["status"]
                raise error
            return said["value"]
        try:
            value = make()
        except LatentscapeError as error:
            self._hear(to_json({"status": error.exit_status}))
            raise
        self._hear(to_json({"value": value}))
        return value

    def _hear(self, text: str) -> dict[str, Any]:
        """What the first process says, in JSON; `text` is its own words."""
        content = torch.frombuffer(bytearray(text.encode() or b" "), dtype=torch.uint8)
        size = torch.tensor([len(content)])
        with connected():
            dist.broadcast(size, 0)
            content = content if self.leads else torch.empty(int(size), dtype=torch.uint8)
            dist.broadcast(content, 0)
        return from_json(content.numpy().tobytes().decode())

    def first(self, make: Callable[[], T]) -> T:
        """As above."""
        made: list[T] = []
        self.lead(lambda: made.append(make()))
        if not self.leads:
            try:
                made.append(make())
            except LatentscapeError as error:
                raise self.trouble(error) from error
        return made[0]

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """As above."""
        if not values:
            return {}
        sums = torch.tensor(list(values.values()), dtype=torch.float64)
        add_up(sums)
        return dict(zip(values, (sums / self.size).tolist(), strict=True))

    def stopping(self, asked: bool) -> bool:
        """As above, a step late: to read what a GPU has just been told to sum up would stall it."""
        answer, self._before = self._before, self._newest
        return answer()

    def trouble(self, error: LatentscapeError) -> LatentscapeError:
        """As above; said at once, since all but the first process are silent otherwise."""
        if not self.leads:
            who = f"process {self.rank} of {self.size}, on {socket.gethostname()}"
            print(f"latentscape: {error} ({who})", file=sys.__stderr__, flush=True)
        return error

    # ---- training ----------------------------------------------------------------------------------------------

    def execution(self, decided: Execution, model: Trained, s: TrainSettings, *, anew: bool = False) -> Execution:
        """As the first process decided; this one's own device, and its part of the machine's cores."""
        decided = Execution(**self.lead(decided.to_dict))
        device = torch.device(decided.device)
        if device.type not in ("cpu", "cuda"):
            raise ConfigError(f"several processes train on cpu or cuda, not on {decided.device}; start one")
        if device.type == "cuda":
            device = torch.device("cuda", self.place.local_rank % torch.cuda.device_count())
            torch.cuda.set_device(device)
        compiled = decided.compiled
        if compiled and any(synced.looks_at_batch(m) for m in model.modules()):
            if s.compile == "on":
                raise ConfigError("BatchNorm over several processes cannot be compiled; give --compile off")
            compiled = False
        threads = s.threads or (self._own_cores() if anew else decided.threads)
        return replace(decided, device=str(device), compiled=compiled, threads=threads)

    def _own_cores(self) -> int:
        have = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, have // self.place.local_size)

    def join_nets(self, model: Trained) -> None:
        """As above."""
        self._begin()
        synced.join(model)

    def part_nets(self, model: nn.Module) -> None:
        """As above."""
        synced.part(model)

    @torch.no_grad()
    def align(self, model: nn.Module) -> None:
        """As above."""
        with connected():
            for tensor in (*model.parameters(), *model.buffers()):
                same = tensor.contiguous()  # a channels_last tensor travels in plain order
                dist.broadcast(same, 0)
                tensor.copy_(same)

    def deal(self, model: Trained, phase: str, batch: Batch, rng: torch.Generator) -> tuple[Batch, Draws]:
        """As above."""
        if phase not in self._axes:
            self._axes[phase] = _batch_axes(model, phase, batch, rng.device)
        size, axes = len(batch.x), self._axes[phase]
        draws = model.draw(phase, batch, rng)
        return self.share(batch), {name: self._rows(draw, axes[name], size) for name, draw in draws.items()}

    def share(self, batch: Batch) -> Batch:
        """This process's rows of a batch, views of it."""
        size = len(batch.x)
        if size % self.size:
            raise ConfigError(f"a batch of {size} cannot be dealt evenly to {self.size} processes; see --batch-size")
        x, y, attributes = (None if t is None else self._rows(t, 0, size) for t in (batch.x, batch.y, batch.attributes))
        assert x is not None
        return Batch(x, y, attributes, batch.step)

    def _rows(self, tensor: Tensor, axis: int | None, size: int) -> Tensor:
        """This process's rows along `axis`, which holds a batch of `size` once, or several times over in turn."""
        if axis is None:
            return tensor
        own = size // self.size
        if tensor.shape[axis] == size:
            return tensor.narrow(axis, self.rank * own, own)
        times = tensor.unflatten(axis, (tensor.shape[axis] // size, size))
        return times.narrow(axis + 1, self.rank * own, own).flatten(axis, axis + 1)

    def average(self, phase: Phase, total: Tensor, asked: bool) -> Tensor:
        """As above, in one sum over the processes; the wish to stop travels with it."""
        parameters, has, anyone_has = self._player(phase)
        if has != [p.grad is not None for p in parameters]:
            raise RunFailed(
                f"which parameters get a gradient in phase {phase.name} changed during training, which several "
                "processes cannot follow; train by one"
            )
        for p, needed in zip(parameters, anyone_has, strict=True):
            if needed and p.grad is None:
                p.grad = torch.zeros_like(p)
        grads = [p.grad for p in parameters if p.grad is not None]
        wish = total.new_full((1,), float(asked), dtype=torch.float32)
        flat = torch.cat([*(g.reshape(-1) for g in grads), total.detach().float().view(1), wish])
        add_up(flat)
        flat /= self.size
        parts = flat.split([*(g.numel() for g in grads), 1, 1])
        if grads:  # in place: a gradient keeps its own strides
            means = [part.view(g.shape) for g, part in zip(grads, parts[:-2], strict=True)]
            torch._foreach_copy_(grads, means)  # pyright: ignore[reportPrivateImportUsage]
        self._newest = _later(parts[-1])
        return parts[-2].view(())

    def _player(self, phase: Phase) -> tuple[list[nn.Parameter], list[bool], list[bool]]:
        """The player's parameters; which of them have a gradient, in this process and in any. Found out once."""
        if phase.name not in self._players:
            parameters = phase.parameters()
            has = [p.grad is not None for p in parameters]
            count = torch.tensor(has, dtype=torch.float32)
            add_up(count)
            self._players[phase.name] = parameters, has, (count > 0).tolist()
        return self._players[phase.name]

    def unlike_one(self, model: Trained, batches: Mapping[str, Callable[[], Batch]], rng: torch.Generator) -> list[str]:
        """As above: the loss of the whole batch in each process against the mean of the shares' losses, in float32."""
        found: list[str] = []
        shared = _unevenly_labelled(batches["shared"]())
        for phase in model.phases:
            batch = _unevenly_labelled(batches[phase.name]()) if phase.labelled else shared
            with _unchanged(model):
                synced.part(model)
                whole = _loss(model, phase, shared, batch, Alone(), rng)
                synced.join(model)
                mean = self.mean({"total": _loss(model, phase, shared, batch, self, rng)})["total"]
            if not abs(mean - whole) <= SAME * abs(whole) + 1e-6:
                found.append(phase.name)
        return found

    def leave(self) -> None:
        """As above."""
        global _crew
        _crew = None
        atexit.register(_hang_up)  # not now: a script may train again


def _hang_up() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _later(number: Tensor) -> Callable[[], bool]:
    """Whether a number on the device is not zero, to be asked later: a GPU sends it behind the work it has."""
    here = number.to("cpu", non_blocking=True)
    if number.device.type == "cpu":
        here = number.clone()
        return lambda: bool(here)
    sent = torch.cuda.Event()
    sent.record()

    def read() -> bool:
        sent.synchronize()
        return bool(here)

    return read


# ---- which rows are a process's own ----------------------------------------------------------------------------------


def _batch_axes(model: Trained, phase: str, batch: Batch, device: torch.device) -> dict[str, int | None]:
    """For each of a phase's draws, the axis that grows with the batch; None: the draw is not about examples.

    Found by drawing for two examples and for four.
    """
    small, large = ({k: v.shape for k, v in _draws_for(n, model, phase, batch, device).items()} for n in (2, 4))
    axes: dict[str, int | None] = {}
    for name, shape in small.items():
        grown = [axis for axis, (a, b) in enumerate(zip(shape, large[name], strict=True)) if a != b]
        if len(grown) > 1:
            raise ConfigError(
                f"the draw {name!r} of phase {phase} grows with the batch in {len(grown)} dimensions, which cannot "
                "be dealt to several processes; train by one"
            )
        axes[name] = grown[0] if grown else None
    return axes


def _draws_for(n: int, model: Trained, phase: str, batch: Batch, device: torch.device) -> Draws:
    rows = torch.arange(n, device=batch.x.device) % len(batch.x)
    x, y, attributes = (None if t is None else t[rows] for t in (batch.x, batch.y, batch.attributes))
    assert x is not None
    return model.draw(phase, Batch(x, y, attributes, batch.step), torch.Generator(device).manual_seed(0))


# ---- whether several processes make the run of one -------------------------------------------------------------------


def in_words(phases: list[str], processes: int) -> str:
    """What to say of the phases that `unlike_one` found; empty for none."""
    if not phases:
        return ""
    which = f"phase{'s' if phases[1:] else ''} {' and '.join(phases)}"
    return (
        f"the loss of {which} compares the examples of a batch with each other, and each of {processes} processes "
        "sees its own share of the batch only: this is not the run that one process makes, more one of smaller batches"
    )


def _loss(model: Trained, phase: Phase, shared_by: Batch, batch: Batch, dealer: Alone, rng: torch.Generator) -> float:
    """A phase's loss as `dealer` deals the batches, in float32; `rng` is not moved."""
    rng = torch.Generator(rng.device).set_state(rng.get_state())
    with torch.set_grad_enabled(phase.double_backward):  # such a loss is a derivative itself
        shared = model.shared(*dealer.deal(model, "shared", shared_by, rng)) if model.has_shared else {}
        part, draws = dealer.deal(model, phase.name, batch, rng)
        return float(model(phase.name, part, draws | shared).total.detach())


@contextlib.contextmanager
def _unchanged(model: Trained) -> Iterator[None]:
    """Nothing that happens to the model's buffers inside stays."""
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(kept[name])


def _unevenly_labelled(batch: Batch) -> Batch:
    """Where some labels are unknown, the batch with only its first quarter unknown: its shares then differ in that."""
    if batch.y is None or not bool((batch.y < 0).any()):
        return batch
    y_B = batch.y.clamp_min(0)
    y_B[: -(-len(y_B) // 4)] = -1
    return Batch(batch.x, y_B, batch.attributes, batch.step)
