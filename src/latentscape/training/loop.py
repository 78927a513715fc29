"""The training loop: it sees phases and losses, never a formula.

A step is one round of all phases. Before each phase only its player's parameters require gradients; its draws are taken
from the run's generator; its losses are checked before the optimiser moves anything. Everything that the next step
depends on is in a checkpoint, so that a run killed at any moment and resumed ends in the same weights, bit for bit.
"""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from latentscape.contract import Batch, Draws, Losses, Model, Phase, Trained
from latentscape.errors import Diverged, OutOfMemory, RunError
from latentscape.training import distributed, heap, optim, watch
from latentscape.training.checkpoint import (
    CheckpointFolder,
    load_state,
    optimiser_state,
    restore_module,
    restore_optimiser,
    save_state,
)
from latentscape.training.ema import Ema
from latentscape.training.execution import Execution
from latentscape.training.settings import TrainSettings


class Examples(Protocol):
    """What a data source gives, on the device; see `Batch` for the fields."""

    @property
    def x(self) -> Tensor: ...  # noqa: D102
    @property
    def y(self) -> Tensor | None: ...  # noqa: D102
    @property
    def attributes(self) -> Tensor | None: ...  # noqa: D102


class Batches(Protocol):
    """An endless, seeded stream of training batches on the device."""

    per_epoch: int
    taken: int

    def next(self) -> Examples:
        """The next batch; `taken` grows by one, and every `per_epoch` batches are one pass over the images."""
        ...

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on at the same place."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        ...


@dataclass
class Hooks:
    """What the loop tells its caller; all optional.

    watch: looks on while a run is made: called with a copy of the evaluated model (the average if there is one), on
        the device, in evaluation mode and without gradients, and the number of steps done: at step 0, after every
        `watch_every` steps (0: after each epoch) and at the end. Nothing it does reaches the training.
    """

    log: Callable[[dict[str, Any]], None] = lambda record: None
    progress: Callable[[int, int], None] = lambda step, images: None
    watch: Callable[[Model, int], None] | None = None
    watch_every: int = 0


@dataclass
class Progress:
    """Counters of a run; part of every checkpoint."""

    step: int = 0
    images: int = 0
    seconds: float = 0.0
    epoch: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    finished: str = ""


@dataclass
class _Meter:
    """Sums of logged terms, kept on the device until a record is due: no host synchronisation inside a step."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)

    def add(self, phase: str, losses: Losses, weight: int = 1) -> None:
        """Take in the means over one batch; `weight`: what they count in the mean over batches."""
        for name, value in {**losses.terms, "total": losses.total}.items():
            key = f"{phase}/{name}"
            value = value.detach().float() if weight == 1 else weight * value.detach().float()
            self.sums[key] = self.sums[key] + value if key in self.sums else value
            self.weights[key] = self.weights.get(key, 0) + weight

    def means(self) -> dict[str, float]:
        out = {name: float(total) / self.weights[name] for name, total in self.sums.items()}
        self.sums.clear()
        self.weights.clear()
        return out


def _as_batch(e: Examples, step: Tensor | None = None) -> Batch:
    """The examples as models see them; without a step outside training, where schedules stand at their end."""
    return Batch(e.x, e.y, e.attributes, step)


class Loop:
    """Trains `model` on `batches`; `restore` it from a checkpoint before `run` to go on with an earlier run.

    labelled: what phases that ask for labelled examples take, a fresh batch each turn; without it they see the step's.
    held_out: starts one pass over held-out batches; without it there is no early stopping, plateau or best checkpoint.
    probe: a batch that the failure detectors look at after each epoch.
    crew: the processes that make the run together; the batches are the same in each of them.
    """

    def __init__(
        self,
        model: Trained,
        batches: Batches,
        settings: TrainSettings,
        execution: Execution,
        checkpoints: CheckpointFolder,
        *,
        labelled: Batches | None = None,
        held_out: Callable[[], Iterable[Examples]] | None = None,
        probe: Examples | None = None,
        hooks: Hooks | None = None,
        crew: distributed.Alone | None = None,
    ) -> None:
        self.model, self.batches, self.settings, self.execution = model, batches, settings, execution
        self.checkpoints, self.labelled, self.held_out, self.probe = checkpoints, labelled, held_out, probe
        self.hooks, self.crew = hooks or Hooks(), crew or distributed.Alone()
        self.progress = Progress()
        self.device = torch.device(execution.device)
        self.rng = torch.Generator(self.device).manual_seed(settings.seed)
        self.optimisers = {
            p.name: optim.make_optimiser(p.parameters(), settings, self.device, p.rate) for p in model.phases
        }
        self.schedules = {
            p.name: None if p.steady else optim.make_schedule(self.optimisers[p.name], settings, self._epochs())
            for p in model.phases
        }
        self.ema = Ema(model, settings.ema_halflife_images) if settings.ema_halflife_images else None
        self.detectors = watch.detectors()
        self.crew.join_nets(model)
        self._call = execution.caller(model)
        self._meter, self._playing, self._stop, self._since = _Meter(), None, "", time.monotonic()
        self._logged_images = 0
        self._watched = -1
        self._told_unlike = False

    def _epochs(self) -> int:
        """Epochs the schedule spans: those asked for, or as many as the asked steps begin."""
        s = self.settings
        by_steps = -(-s.max_steps * max(p.repeat for p in self.model.phases) // self.batches.per_epoch)
        return s.epochs or by_steps

    # ---- one step ----------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One round of all phases; every repetition after a phase's first takes the next batch."""
        round_: list[Batch] = [self._next_batch(self.batches)]
        shared = self._shared(round_[0])
        for phase in self.model.phases:
            for turn in range(phase.repeat):
                if phase.labelled and self.labelled:
                    self._turn(phase, self._next_batch(self.labelled), shared)
                    continue
                if turn == len(round_):
                    round_.append(self._next_batch(self.batches))
                self._turn(phase, round_[turn], shared)
        self.progress.step += 1
        self.progress.images += sum(len(b.x) for b in round_)
        if self.ema:
            self.ema.update(self.model, sum(len(b.x) for b in round_))

    def _next_batch(self, source: Batches) -> Batch:
        step = torch.full((), float(self.progress.step), device=self.device)
        return _as_batch(source.next(), step)

    def _shared(self, batch: Batch) -> Draws:
        if not self.model.has_shared:
            return {}
        self._let_move(None)
        with self.execution.autocast(None):
            return self.model.shared(*self.crew.deal(self.model, "shared", batch, self.rng))

    def _turn(self, phase: Phase, batch: Batch, shared: Draws) -> None:
        self._let_move(phase)
        share, draws = self.crew.deal(self.model, phase.name, batch, self.rng)
        with self.execution.autocast(phase):
            losses = self._call(phase, share, draws | shared)
        optimiser = self.optimisers[phase.name]
        optimiser.zero_grad(set_to_none=True)
        losses.total.backward()
        self._check(phase, batch, self.crew.average(phase, losses.total, bool(self._stop)))
        if self.settings.gradient_clip:
            torch.nn.utils.clip_grad_norm_(phase.parameters(), self.settings.gradient_clip)
        optimiser.step()
        if phase.after_step:
            with torch.no_grad():
                phase.after_step()
        self._meter.add(phase.name, losses)

    def _let_move(self, phase: Phase | None) -> None:
        """Let only the phase's player require gradients (None: everything, for the shared forward)."""
        if len(self.model.phases) == 1 or self._playing == (phase.name if phase else "shared"):
            return
        self._playing = phase.name if phase else "shared"
        moving = {id(p) for p in phase.parameters()} if phase else None
        for p in self.model.parameters():
            p.requires_grad_(moving is None or id(p) in moving)

    def _check(self, phase: Phase, batch: Batch, total: Tensor) -> None:
        """Stop before the step if the loss is not finite. Reading it costs nothing on a CPU.

        On an accelerator reading it would stall the device at every step: there the losses are read with the log
        (`_write_log`), and fused optimisers are told to skip the step by the device itself.
        """
        if self.device.type == "cpu":
            if not math.isfinite(total.item()):
                self._diverged(phase.name, batch)
            return
        optimiser = self.optimisers[phase.name]
        bad = (~torch.isfinite(total.detach())).float()
        before = getattr(optimiser, "found_inf", None)
        optimiser.found_inf = bad if before is None else torch.maximum(bad, before)  # type: ignore[attr-defined]
        if not optimiser.defaults.get("fused") and bool(bad):
            self._diverged(phase.name, batch)

    def _diverged(self, phase: str, batch: Batch | None) -> None:
        where = ""
        if batch is not None:
            path = self.checkpoints.path.parent / "failed-batch.safetensors"
            kept = {k: v for k, v in (("x", batch.x), ("y", batch.y)) if v is not None}
            if self.crew.leads:
                save_state(path, kept, {"step": self.progress.step, "phase": phase})
            where = f" (the batch is in {path.name})"
        last = self.checkpoints.all()
        good = f"the last good checkpoint is {last[-1].name}" if last else "there is no checkpoint yet"
        raise Diverged(
            f"the loss of phase {phase} is not a finite number at step {self.progress.step}{where}; {good}: "
            "look for extreme values in the data, or train again with a lower --learning-rate"
        )

    # ---- the run -----------------------------------------------------------------------------------------------

    def run(self) -> Progress:
        """Train until the settings say stop; returns the counters, with `finished` saying why it ended."""
        self._since = time.monotonic()
        self.model.train()
        self.crew.align(self.model)
        try:
            with self._signals(), heap.kept(self.execution.device):
                self._compare()
                if not self.progress.step:
                    self._watch()
                while not self._ended():
                    self.step()
                    self._after_step()
                if self.progress.finished:
                    self._look(last=True)
                    self._watch()
                self.save()
        except torch.OutOfMemoryError as error:
            message = f"a batch of {self.settings.batch_size} does not fit into the memory of {self.device}; "
            raise self.crew.trouble(OutOfMemory(message + "take a smaller --batch-size")) from error
        return self.progress

    def _ended(self) -> bool:
        s, p = self.settings, self.progress
        if p.finished or self.crew.stopping(bool(self._stop)):
            return True
        if s.max_steps and p.step >= s.max_steps:
            p.finished = f"reached {s.max_steps:,} steps"
        elif s.epochs and p.epoch >= s.epochs:
            p.finished = f"reached {s.epochs} epochs"
        elif s.early_stopping and p.epoch - p.best_epoch >= s.early_stopping:
            p.finished = f"no better held-out loss for {s.early_stopping} epochs; best was epoch {p.best_epoch}"
        elif s.min_learning_rate and max(self._falling_rates()) < s.min_learning_rate:
            p.finished = f"the learning rate fell below {s.min_learning_rate:g}"
        return bool(p.finished)

    def _after_step(self) -> None:
        p, s = self.progress, self.settings
        self.hooks.progress(p.step, p.images)
        if p.step % s.log_every == 0:
            self._write_log()
        passed = self.batches.taken // self.batches.per_epoch - p.epoch
        if passed:
            p.epoch += passed
            self._end_epoch(passed)
        if p.step % self.hooks.watch_every == 0 if self.hooks.watch_every else passed:
            self._watch()
        kept = s.keep_every_epochs if passed else 0
        if p.step % s.checkpoint_every == 0 or (kept and p.epoch % kept < passed):
            self.save()
        if kept and p.epoch % kept < passed and self.crew.leads:
            self.checkpoints.keep_for_good(p.step, p.epoch - p.epoch % kept)

    def _end_epoch(self, passed: int) -> None:
        """`passed`: epochs that the last step ended; several where a step takes more batches than an epoch has."""
        loss = self._evaluate_held_out()
        for schedule in self.schedules.values():
            for _ in range(passed):
                optim.step_schedule(schedule, loss)
        self._look(last=False)
        if loss is not None:
            for detector in self.detectors:
                self._say(detector.hear(loss))
            if loss < self.progress.best_loss:
                self.progress.best_loss, self.progress.best_epoch = loss, self.progress.epoch
                if self.settings.early_stopping and self.crew.leads:  # only then are they what the run gives
                    told = {"epoch": self.progress.epoch, "loss": loss}
                    save_state(self.best_path, self.evaluated.state_dict(), told)
        self._compare()
        self.progress.finished = self.crew.lead(lambda: self.progress.finished)

    @torch.no_grad()
    def _watch(self) -> None:
        """Show the caller a copy of the model, once per step at most; its time is not the training's."""
        if self.hooks.watch is None or self._watched == self.progress.step:
            return
        self._watched, start = self.progress.step, time.monotonic()
        self.hooks.watch(copy.deepcopy(self.evaluated).eval(), self.progress.step)
        self._since += time.monotonic() - start

    def _evaluate_held_out(self) -> float | None:
        """Mean losses over held-out examples with the same draws each time; returns the first phase's total."""
        if self.held_out is None:
            return None
        held_out = self.held_out
        terms, p = self.crew.lead(lambda: self._held_out_terms(held_out())), self.progress
        self.hooks.log({"kind": "held_out", "step": p.step, "epoch": p.epoch, "images": p.images, "terms": terms})
        return terms[f"{self.model.judged_by}/total"] if self.model.judged_by else None

    @torch.no_grad()
    def _held_out_terms(self, held_out: Iterable[Examples]) -> dict[str, float]:
        model, meter = self.evaluated.eval(), _Meter()
        rng = torch.Generator(self.device).manual_seed(self.settings.seed)
        for batch in map(_as_batch, held_out):
            shared = model.run_shared(batch, rng)
            for phase in model.phases:
                draws = model.draw(phase.name, batch, rng) | shared
                with torch.set_grad_enabled(phase.double_backward):  # such a loss is a derivative itself
                    meter.add(phase.name, model(phase.name, batch, draws), len(batch.x))
        self.model.train()
        return meter.means()

    def _compare(self) -> None:
        """Say, once, if several processes make another run than one would; looked at before training and each epoch."""
        if self.crew.size == 1 or self._told_unlike:
            return
        sources = {p.name: self.labelled if p.labelled and self.labelled else self.batches for p in self.model.phases}
        batches = {name: partial(self._peek, source) for name, source in {**sources, "shared": self.batches}.items()}
        text = distributed.in_words(self.crew.unlike_one(self.model, batches, self.rng), self.crew.size)
        if text:
            self._told_unlike = True
            self.hooks.log({"kind": "warning", "step": self.progress.step, "detector": "processes", "text": text})

    def _peek(self, source: Batches) -> Batch:
        """The batch that comes next, left where it is."""
        state = source.state()
        batch = self._next_batch(source)
        source.restore(state)
        return batch

    def _look(self, *, last: bool) -> None:
        if self.probe is None or not self.crew.leads:
            return
        model = self.evaluated.eval()
        for detector in self.detectors:
            self._say(detector.look(model, _as_batch(self.probe), step=self.progress.step, last=last))
        self.model.train()

    def _say(self, warned: watch.Warned | None) -> None:
        if warned is None:
            return
        self.hooks.log(
            {"kind": "warning", "step": self.progress.step, "detector": warned.detector, "text": warned.text}
        )
        if self.settings.on_warning == "stop":
            self.progress.finished = f"a detector spoke: {warned.detector}"

    def _falling_rates(self) -> list[float]:
        """The learning rates that the run's schedule moves."""
        rates = self._rates()
        return [rates[p.name] for p in self.model.phases if not p.steady]

    def _rates(self) -> dict[str, float]:
        return {name: float(o.param_groups[0]["lr"]) for name, o in self.optimisers.items()}

    def _write_log(self) -> None:
        p = self.progress
        terms = self.crew.mean(self._meter.means())
        for name, value in terms.items():
            if not math.isfinite(value):
                self._diverged(name.split("/")[0], None)
        if not terms:
            return
        now = time.monotonic()
        spent, self._since = now - self._since, now
        p.seconds += spent
        speed = (p.images - self._logged_images) / spent if spent else 0.0
        self._logged_images = p.images
        self.hooks.log(
            {
                "kind": "train",
                "step": p.step,
                "epoch": round(self.batches.taken / self.batches.per_epoch, 4),
                "images": p.images,
                "seconds": round(p.seconds, 3),
                "images_per_second": round(speed, 1),
                "learning_rate": self._rates(),
                "terms": terms,
            }
        )

    @property
    def evaluated(self) -> Trained:
        """The model that is evaluated and kept: the average if there is one."""
        return self.ema.model if self.ema else self.model  # type: ignore[return-value]

    @property
    def best_path(self) -> Any:
        """Weights of the epoch with the lowest held-out loss."""
        return self.checkpoints.path / "best.safetensors"

    # ---- checkpoints -------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write a checkpoint of everything the next step depends on."""
        self._write_log()
        if not all(bool(p.isfinite().all()) for p in self.model.parameters()):
            self._diverged("that moved last", None)  # a gradient was not finite: such weights never become a checkpoint
        if not self.crew.leads:
            return
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        if self.ema:
            tensors |= {f"ema.{k}": v for k, v in self.ema.model.state_dict().items()}
        groups = {n: optimiser_state(o, f"optimiser.{n}", tensors) for n, o in self.optimisers.items()}
        tensors["rng"] = self.rng.get_state()
        self.checkpoints.save(
            self.progress.step,
            tensors,
            {
                "progress": vars(self.progress),
                "groups": groups,
                "batches": self.batches.state(),
                "labelled": self.labelled.state() if self.labelled else None,
                "schedules": {n: s.state_dict() for n, s in self.schedules.items() if s},
                "watch": {w.name: w.state() for w in self.detectors},
                "execution": self.execution.to_dict(),
                "processes": self.crew.size,
            },
        )

    def restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go on from a checkpoint. One that does not fit this model raises `RunError`."""
        try:
            restore_module(self.model, "model", tensors)
            if self.ema:
                restore_module(self.ema.model, "ema", tensors)
            for name, optimiser in self.optimisers.items():
                restore_optimiser(optimiser, f"optimiser.{name}", tensors, state["groups"][name])
            for name, schedule in self.schedules.items():
                if schedule:
                    schedule.load_state_dict(state["schedules"][name])
                    optim.lengthen(schedule, self._epochs())
            for detector in self.detectors:
                detector.restore(state["watch"].get(detector.name, {}))  # one that is newer than the checkpoint starts
            self.rng.set_state(tensors["rng"])
            self.batches.restore(state["batches"])
            if self.labelled:
                self.labelled.restore(state["labelled"])
            self.progress = Progress(**state["progress"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise RunError(
                f"the checkpoint does not fit this run's model and settings ({reason}); was config.toml changed?"
            ) from error
        self._logged_images = self.progress.images

    def result(self) -> Trained:
        """The trained model: the best epoch's weights with early stopping, else the last (or averaged) ones."""
        self.crew.part_nets(self.model)
        if self.settings.early_stopping and self.best_path.exists():
            self.evaluated.load_state_dict(load_state(self.best_path)[0])
        self.crew.align(self.evaluated)
        return self.evaluated.eval()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the run after the current step, with a checkpoint; a second one is not held back.

        Of several processes, where torchrun hands on what the terminal has sent to all: there it is.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: Any) -> None:
            self._stop = signal.Signals(number).name
            if self.crew.size == 1:
                signal.signal(number, before[signal.Signals(number)])

        before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
        for s in before:
            signal.signal(s, ask)
        try:
            yield
        finally:
            for s, handler in before.items():
                signal.signal(s, handler)
