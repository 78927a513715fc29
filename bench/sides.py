"""The sides of a comparison, each in a process of its own: a notebook's loop, pythae's trainer, latentscape's loop.

What a library sets for its whole process (threads, the allocator, precision of matrix products) then helps that side
alone, and the memory of the process is the side's. The sides still take turns: while one works, the others wait for the
next question and use no processor.

A job is a generator that yields how many training steps it wants done and goes on when they are. So latentscape's side
is timed inside its own `Loop.run`, with everything that a run does between steps.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import machine  # first: it sets what OpenMP reads when torch loads it

# isort: split
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench import anatomy, peers, plain
from latentscape import models, recipes
from latentscape.config import DataShape
from latentscape.contract import Trained
from latentscape.data import ImageSet, load_data
from latentscape.data.batches import Gatherer, TrainBatches
from latentscape.data.settings import DataSettings
from latentscape.tasks import overrides
from latentscape.training import execution
from latentscape.training.checkpoint import CheckpointFolder
from latentscape.training.loop import Loop
from latentscape.training.settings import TrainSettings

Job = Generator[int, None, Any]
"""Yields how many steps it wants done; returns what it found."""

SIDES = ("plain", "pythae", "latentscape")
WARM = 3
"""Steps before any is timed: what is compiled is compiled then."""
NEVER = 10**9

FACES = {"net": "resnet", "latent_dim": 512, "loss": "mse", "learning_rate": 1e-4, "batch_size": 64, "epochs": 9}


@dataclass(frozen=True)
class Workload:
    """One of the timed trainings.

    row: of the specification. recipe: whose settings are taken; where there is none, model and settings stand here.
    shape, images: of its training set, which with the recipe's epochs says how long the run is.
    """

    row: str
    shape: tuple[int, ...] = (1, 28, 28)
    images: int = 60_000
    recipe: str = ""
    model: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    def trained(self) -> tuple[str, dict[str, Any]]:
        """The model's name and its settings."""
        found = recipes.read(self.recipe) if self.recipe else {"model": self.model, "settings": self.settings}
        return found["model"], found["settings"]


WORKLOADS = {
    "mlp-vae": Workload("B12", recipe="vae-mlp"),
    "conv-autoencoder": Workload("B3", recipe="autoencoder-24d"),
    "dcgan": Workload("B16", recipe="dcgan"),
    "resnet-autoencoder": Workload("B13", (3, 56, 56), 7_000, model="autoencoder", settings=FACES),
}


@dataclass(frozen=True)
class Request:
    """Which side trains what, and how.

    batch_size: 0: the one that latentscape chooses by itself. data: a name or path; empty: noise. shape, images: of
    the noise; empty: the workload's. assumed_steps: the length of the run that `auto` is judged by; 0: the workload's.
    more: settings of latentscape beside the workload's.
    """

    workload: str
    side: str = "latentscape"
    batch_size: int = 64
    data: str = ""
    device: str = "auto"
    precision: str = "auto"
    compile: str = "auto"
    threads: int = 0
    assumed_steps: int = 0
    shape: tuple[int, ...] = ()
    images: int = 0
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> Workload:
        """The workload."""
        return WORKLOADS[self.workload]

    def settings(self) -> tuple[str, Any, TrainSettings]:
        """latentscape's model, its settings and the training's: the recipe's but for what is asked here."""
        name, given = self.row.trained()
        left_out = ("batch_size",) if self.batch_size else ("batch_size", "learning_rate")  # both are the product's
        asked: dict[str, Any] = {key: value for key, value in given.items() if key not in left_out}
        asked |= {"device": self.device, "precision": self.precision, "compile": self.compile, "threads": self.threads}
        asked |= {"batch_size": self.batch_size} if self.batch_size else {}
        found = overrides.sort(name, asked | self.more)
        config = overrides.model_settings(name, found.model)
        shape, images = DataShape(self.shape or self.row.shape), self.images or self.row.images
        return name, config, overrides.train_settings(name, shape, config, found.train, images)

    def pictures(self) -> ImageSet:
        """The training set."""
        shape = self.shape or self.row.shape
        if not self.data:
            rng = torch.Generator().manual_seed(0)
            x = torch.randint(0, 256, (self.images or self.row.images, *shape), dtype=torch.uint8, generator=rng)
            return load_data(x, DataSettings(valid_fraction=0.0, test_fraction=0.0))
        found = load_data(self.data, DataSettings(size=f"{shape[1]}x{shape[2]}"))
        if found.shape.dims != shape:
            raise SystemExit(
                f"{self.workload} takes {DataShape(shape)} pictures, and those of {self.data} are {found.shape}"
            )
        return found


# ---- the sides ---------------------------------------------------------------------------------------------------


@dataclass
class Side:
    """Trains on demand. `said`: how it runs; `precision`: of the matrix products, all of them in bfloat16 or not."""

    name: str
    batch_size: int
    parameters: int
    device: torch.device
    advance: Callable[[int], None] = lambda steps: None
    said: str = "eager float32"
    precision: str = "float32"
    compiled: bool = False
    steps: int = 1
    seconds_per_step: float = 0.0

    def drive(self, talk: Generator[int, None, None]) -> None:
        """Do the steps that are asked for, until nobody asks any more."""
        for steps in talk:
            self.advance(steps)

    # ---- jobs --------------------------------------------------------------------------------------------------

    def turn(self) -> Generator[int, None, float]:
        """Images per second over `steps` steps."""
        machine.synchronise(self.device)
        start = time.perf_counter()
        yield self.steps
        machine.synchronise(self.device)
        return self.steps * self.batch_size / (time.perf_counter() - start)

    def settle(self, seconds: float) -> Job:
        """Warm up and let a turn be about so many seconds long; says what the first steps took beyond their work."""
        self.steps = 1
        cold: list[float] = []
        while len(cold) < WARM and sum(cold) < 3 * seconds:
            cold.append(self.batch_size / (yield from self.turn()))
        while (took := self.steps * self.batch_size / (yield from self.turn())) < min(0.3, seconds):
            self.steps *= 2
        self.seconds_per_step = took / self.steps
        self.steps = max(1, round(seconds / self.seconds_per_step))
        return {"steps": self.steps, "cold_seconds": sum(cold) - len(cold) * self.seconds_per_step}

    def flop(self) -> Job:
        """Floating-point operations per image of a step, forward and backward; not of compiled code."""
        with FlopCounterMode(display=False) as counter:
            yield 1
        return counter.get_total_flops() / self.batch_size

    def anatomy(self) -> Job:
        """Where the time of a step goes, see `anatomy.watch`."""
        steps = max(3, min(20, round(10 / max(self.seconds_per_step, 1e-6))))
        found = yield from anatomy.watch(steps, self.device)
        return found

    def memory(self) -> Job:
        """Bytes: resident at most since the data were there, and on the device."""
        yield from ()
        on_device = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0
        return {"rss_peak": machine.resident().get("rss_peak", 0), "device": on_device}


class Ours(Side):
    """latentscape: the steps are those of its own loop's `run`. No checkpoint is due, and no evaluation."""

    loop: Loop

    def drive(self, talk: Generator[int, None, None]) -> None:
        """As `Side.drive`, from inside the loop: it tells after each step that it has done one."""
        left = next(talk)

        def progress(step: int, images: int) -> None:
            nonlocal left
            left -= 1
            while not left:
                left = next(talk, -1)
            if left < 0:
                raise SystemExit

        self.loop.hooks.progress = progress
        self.loop.run()

    def anatomy(self) -> Job:
        """As `Side.anatomy`, with the gathering of batches by itself."""
        with anatomy.marked(self.loop.batches, "next"):
            found = yield from super().anatomy()
        return found


def make(request: Request, data: ImageSet, folder: Path) -> Side:
    """The side that is asked for. Raises `peers.Missing` where there is none."""
    if request.side == "latentscape":
        return _ours(request, data, folder)
    device = execution.pick_device(request.device)
    rows = data.indices("train")
    x_NCHW = data.x if len(rows) == len(data) else data.x[rows]
    if request.threads:
        torch.set_num_threads(request.threads)
    if request.side == "pythae":
        net, advance = peers.start(request.workload, x_NCHW, request.batch_size, device.type)
        return Side("pythae", request.batch_size, count(net), device, advance)
    net, steps = plain.start(request.workload, x_NCHW, request.batch_size, str(device))

    def step_by_step(times: int) -> None:
        for _ in range(times):
            next(steps)

    return Side("plain", request.batch_size, count(net), device, step_by_step)


def _ours(request: Request, data: ImageSet, folder: Path) -> Side:
    name, config, train = request.settings()
    net = models.build(name, data.shape, config, data.classes, train.seed)
    assert isinstance(net, Trained)
    steps = request.assumed_steps or train.epochs * (request.row.images // train.batch_size)
    execute = execution.decide(net, train, steps)
    torch.set_num_threads(execute.threads)
    net = execute.place(net)
    memory_format = torch.channels_last if execute.channels_last else torch.contiguous_format
    batches = TrainBatches(Gatherer(data, "train", net.value_range, execute.device, memory_format), train.batch_size, 0)
    endless = train.replace(epochs=0, max_steps=NEVER, checkpoint_every=NEVER)
    low = [p.name for p in net.phases if execute.in_bf16(p)]
    words = ["compiled" if execute.compiled else "eager"]
    words.append("bf16" if len(low) == len(net.phases) else f"bf16 in {', '.join(low)}" if low else "float32")
    words += ["channels_last"] if execute.channels_last else []
    side = Ours("latentscape", batches.batch_size, count(net), torch.device(execute.device))
    side.said = " ".join(words) + f", {execute.threads} thread{'s' * (execute.threads != 1)}"
    side.precision = "bfloat16" if len(low) == len(net.phases) else "float32"
    side.compiled = execute.compiled
    side.loop = Loop(net, batches, endless, execute, CheckpointFolder(folder, 1))
    return side


def count(net: nn.Module) -> int:
    """Parameters."""
    return sum(p.numel() for p in net.parameters())


def difference(workload: str) -> str:
    """Why latentscape's net has other parameters than the plain one, in a sentence; empty when it has the same."""
    row = WORKLOADS[workload]
    name, config, _ = Request(workload).settings()
    net: Any = models.build(name, DataShape(row.shape), config)
    ours, theirs = count(net), count(plain.NETS[workload]())
    if ours == theirs:
        return ""
    last = list(net.encoder)[-1] if isinstance(getattr(net, "encoder", None), nn.Sequential) else None
    if isinstance(last, nn.Linear) and ours - theirs == count(last):
        return f"latentscape's net has {count(last):,} parameters more: a linear layer from the features to the latents"
    return f"the nets differ: latentscape's has {ours:,} parameters, the plain one {theirs:,}"


# ---- processes ---------------------------------------------------------------------------------------------------


def serve(connection: Any, request: Request) -> None:
    """In a process of its own: say what the side is, then do the jobs that are asked for."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        _compile_anew(folder)
        data = request.pictures()
        machine.reset_peak()
        before = machine.resident().get("rss", 0)
        try:
            side = make(request, data, Path(folder))
        except peers.Missing as why:
            connection.send(str(why))
            return
        told = ("name", "batch_size", "parameters", "said", "precision", "compiled")
        connection.send({**{key: getattr(side, key) for key in told}, "data": data.name, "before": before})

        def talk() -> Generator[int, None, None]:
            with contextlib.suppress(EOFError, BrokenPipeError):  # nobody asks any more
                while True:
                    job, *values = connection.recv()
                    connection.send((yield from getattr(side, job)(*values)))

        side.drive(talk())


def _compile_anew(folder: str) -> None:
    """Let nothing that was compiled earlier be found: neither graphs nor the header that torch compiles first."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder) / "compiled")
    os.environ["TMPDIR"] = tempfile.tempdir = folder


class Missing(Exception):
    """There is no such side; the text says why."""


class Worker:
    """`target(connection, request)` in a process of its own. Raises `Missing` where there is no such side.

    The target first sends what it is, `about` (a text says why it cannot be), then answers what `ask` sends.
    """

    def __init__(self, request: Any, target: Callable[[Any, Any], None] = serve) -> None:
        self.request = request
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(theirs, request), daemon=True)
        self._process.start()
        theirs.close()
        about = self._answer()
        if isinstance(about, str):
            self.close()
            raise Missing(about)
        self.about: dict[str, Any] = about

    @property
    def title(self) -> str:
        """Name and batch size."""
        return f"{self.about['name']}, batch {self.about['batch_size']}"

    def ask(self, job: str, *values: Any) -> Any:
        """What a job of the target finds."""
        self._connection.send((job, *values))
        return self._answer()

    def _answer(self) -> Any:
        try:
            return self._connection.recv()
        except EOFError:
            raise SystemExit(f"the process of {self.request} ended; what it says above is why") from None

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(20)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
