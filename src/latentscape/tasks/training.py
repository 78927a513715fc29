"""Train a model on data into a run folder, and go on with an interrupted run."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from latentscape import models
from latentscape.config import flag
from latentscape.contract import Fitted, Model, Trained
from latentscape.data import DataSettings, ImageSet, describe, load_data
from latentscape.data.batches import Gatherer, TrainBatches, in_order
from latentscape.data.names import named
from latentscape.data.recognise import is_pattern
from latentscape.data.streaming import StreamBatches, StreamedSet
from latentscape.errors import ConfigError, RunError
from latentscape.runs import RunFolder, free_name
from latentscape.tasks import adopting, overrides
from latentscape.tasks.tracking import Log, tracked
from latentscape.training import distributed, execution, tracking
from latentscape.training.loop import Hooks, Loop
from latentscape.training.settings import TrainSettings

PROBE = 512
"""Examples the failure detectors look at."""

HELD_OUT = 10_000
"""Most held-out examples that are evaluated after each epoch."""


Watch = Callable[[Model, int], None]
"""Looks on while a run is made: (a copy of the model, steps done)."""


class Console(Protocol):
    """Who listens while a run is made."""

    def say(self, text: str) -> None:
        """One sentence."""
        ...

    def training(
        self, total_steps: int, batch_size: int
    ) -> contextlib.AbstractContextManager[Callable[[int, int], None]]:
        """A progress bar for the loop: called with (step, images)."""
        ...


class Silent:
    """Listens to nothing."""

    def say(self, text: str) -> None:
        """Ignore."""

    @contextlib.contextmanager
    def training(self, total_steps: int, batch_size: int) -> Iterator[Callable[[int, int], None]]:
        """Ignore."""
        yield lambda step, images: None


@dataclass
class Run:
    """A finished (or stopped) run: its folder, its model on the CPU, the data it saw, and how it ended.

    leads: whether this process is the one that evaluates and writes; of several that made the run, only one is.
    """

    folder: RunFolder
    model: Model
    data: ImageSet
    ended: str
    seconds: float = 0.0
    steps: int = 0
    images: int = 0
    warnings: list[str] = field(default_factory=list)
    leads: bool = True

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path


def train(
    model: str,
    data: Any,
    *,
    out: Path | str | None = None,
    init_from: adopting.Sources | None = None,
    scale: float = 1.0,
    command: str | None = None,
    console: Console | None = None,
    recipe: str = "",
    watch: Watch | None = None,
    watch_every: int = 0,
    **settings: Any,
) -> Run:
    """Train `model` on `data` into a new run folder.

    data: a name (`digits`, `mnist`, …), a path, an array, a tensor, or a loaded `ImageSet`. settings: any training,
    model or data setting by name (`latent_dim=2, epochs=10, size="64"`). init_from: a run folder or file of weights, or
    one for each part (`adopting.Sources`). scale: multiplies the number of steps.
    recipe: the name of the recipe that the settings are from, for the run's record. watch: shown a copy of the model
    at step 0, after every `watch_every` steps (0: each epoch) and at the end; see `training.loop.Hooks`.
    Raises `UserError` on bad settings or data (before anything is written) and `RunFailed` when the run fails.
    Several processes that have joined (`training.distributed.join`) make one run together.
    """
    crew = distributed.crew()
    console = (console or Silent()) if crew.leads else Silent()
    _check_watch(watch_every)
    given = overrides.sort(model, settings)
    config = overrides.model_settings(model, given.model)
    data_settings = DataSettings.from_dict(given.data)
    images = crew.first(lambda: load_data(data, data_settings, progress=not isinstance(console, Silent)))
    train_settings = overrides.train_settings(model, images.shape, config, given.train, images.to_train)
    net = models.build(model, images.shape, config, images.classes, train_settings.seed)
    _check_fits(net, train_settings, images)
    _check_shares(net, train_settings, images, crew)
    tracking.check(train_settings.log_to)
    if scale != 1 and isinstance(net, Trained):
        train_settings, config = _scaled(net, train_settings, images, scale), config.scaled(scale)
        net = models.build(model, images.shape, config, images.classes, train_settings.seed)
    if init_from is not None:
        for took in adopting.adopt(net, init_from):
            console.say(took.said)
    source = source_of(data)

    def create() -> str:
        folder = RunFolder.create(
            out or free_name(Path("runs"), f"{model}-{images.name}"),
            config={
                "run": {
                    "model": model,
                    "data": source,
                    "shape": list(images.shape.dims),
                    "classes": images.classes,
                    "init_from": adopting.as_text(init_from) if init_from else "",
                    "recipe": recipe,
                },
                "train": train_settings.to_dict(),
                "model": config.to_dict(),
                "data": data_settings.to_dict(),
            },
            command=command or _python_call(model, source or "data", settings),
            data=describe(images),
            environment=environment(train_settings) | {"processes": crew.size},
        )
        return str(folder.path)

    made = crew.lead(create)
    folder = crew.first(lambda: RunFolder(made))
    return _run(folder, net, images, train_settings, console, Hooks(watch=watch, watch_every=watch_every), crew)


def resume(
    path: Path | str,
    *,
    data: Any = None,
    epochs: int | None = None,
    max_steps: int | None = None,
    command: str = "",
    console: Console | None = None,
    watch: Watch | None = None,
    watch_every: int = 0,
) -> Run:
    """Go on with a run from its newest whole checkpoint; a finished one goes on only with more epochs or steps.

    command: what the user typed; joined to the command that made the run where it trains it longer. data: only for
    runs on arrays in memory, which the folder cannot name. The data must be the same (`RunError`).
    watch, watch_every: as in `train`; step 0 is shown only to a run that starts again from the beginning. Several
    processes go on together, as in `train`, and need not be as many as made the checkpoint.
    """
    crew = distributed.crew()
    console = (console or Silent()) if crew.leads else Silent()
    _check_watch(watch_every)
    folder = crew.first(lambda: RunFolder(path))
    config = folder.config()
    if config["run"].get("imported"):
        raise RunError(
            f"{path} holds weights from elsewhere and was not trained; train a new run from them: --init-from {path}"
        )
    source = data if data is not None else config["run"]["data"]
    if isinstance(source, str) and not source:
        raise RunError(f"{path} was trained on arrays in memory; resume it from Python with resume(path, data=…)")
    shown, data_settings = not isinstance(console, Silent), DataSettings.from_dict(config["data"])
    images = crew.first(lambda: load_data(source, data_settings, progress=shown))
    was, now = folder.data().get("fingerprint"), images.fingerprint
    if was != now:
        raise RunError(
            f"the data at {config['run']['data'] or 'hand'} is not what {path} was trained on (fingerprint "
            f"{now[:12]}, was {str(was)[:12]}); put the old data back, or train a new run with --init-from"
        )
    settings = TrainSettings.from_dict(config["train"])
    tracking.check(settings.log_to)
    more = epochs is not None or max_steps is not None
    if more:
        settings = settings.replace(epochs=epochs or 0, max_steps=max_steps or 0)
    net = folder.build_model()
    _check_shares(net, settings, images, crew)
    if more and isinstance(net, Fitted):
        raise ConfigError(
            f"{path} was fitted in closed form, without epochs or steps; leave --epochs and --max-steps out"
        )
    if config["run"].get("init_from") and folder.checkpoints().newest() is None:
        adopting.adopt(net, config["run"]["init_from"])
    hooks = Hooks(watch=watch, watch_every=watch_every)
    typed = command or f"latentscape resume {folder.path} --epochs {epochs or 0} --max-steps {max_steps or 0}"
    return _run(folder, net, images, settings, console, hooks, crew, more=typed if more else "")


def source_of(data: Any) -> str:
    """What a run's record calls its data: a name, or a whole path; empty for arrays in memory."""
    source = str(data) if isinstance(data, (str, Path)) else ""
    if source and not named(data) and Path(data).exists():  # a folder called mnist does not hide the set of that name
        source = str(Path(data).resolve())
    elif source and is_pattern(source):  # of shards
        source = str(Path(source).expanduser().absolute())
    return source


def _check_watch(watch_every: int) -> None:
    if watch_every < 0:
        raise ConfigError(f"watch_every must be at least 0 steps (0: each epoch), got {watch_every}")


def _run(
    folder: RunFolder,
    net: Model,
    images: ImageSet,
    settings: TrainSettings,
    console: Console,
    hooks: Hooks,
    crew: distributed.Alone,
    *,
    more: str = "",
) -> Run:
    """more: the command that trains a run longer than it was to be; empty: none does."""
    if not crew.leads:
        crew.lead(lambda: None)  # it holds the folder
        assert isinstance(net, Trained)
        quiet = dataclasses.replace(hooks, watch=None)
        run = _loop(folder, net, images, settings, console, quiet, more, lambda record: None, crew)
        crew.leave()
        return run
    with contextlib.ExitStack() as held:

        def hold() -> None:
            held.enter_context(folder.locked())

        crew.lead(hold)
        log = held.enter_context(
            tracked(folder, settings, Stopped, lambda text: console.say(f"Warning: {text}")),
        )
        for note in net.notes():
            console.say(note)
        if isinstance(net, Fitted):
            run = _fit(folder, net, images, console, log)
            if hooks.watch:
                with torch.no_grad():
                    hooks.watch(run.model, 0)
        else:
            assert isinstance(net, Trained)
            run = _loop(folder, net, images, settings, console, hooks, more, log, crew)
        folder.save_model(run.model, run.steps)
        crew.leave()
        return run


def _fit(folder: RunFolder, net: Fitted, images: ImageSet, console: Console, log: Log) -> Run:
    start = time.monotonic()
    source = Gatherer(images, "train", net.value_range, "cpu")
    lines: list[str] = []

    def report(text: str) -> None:
        lines.append(text)
        console.say(text)

    figures = net.fit(lambda: (b.x for b in in_order(source, 1000)), report)
    seconds = time.monotonic() - start
    log({"kind": "fitted", "step": 0, "images": len(source), "seconds": seconds, "terms": figures})
    log({"kind": "done", "step": 0, "seconds": seconds, "reason": "; ".join(lines)})
    return Run(folder, net.eval(), images, "; ".join(lines), seconds, 0, len(source))


def _loop(
    folder: RunFolder,
    net: Trained,
    images: ImageSet,
    settings: TrainSettings,
    console: Console,
    hooks: Hooks,
    more: str,
    log: Log,
    crew: distributed.Alone,
) -> Run:
    checkpoints = folder.checkpoints(settings.keep_checkpoints)
    newest = crew.first(lambda: checkpoints.newest(console.say))
    if more:
        _check_more(folder, settings, newest[2]["progress"] if newest else {})
    size = images.to_train
    batch_size = size if settings.full_batch else min(settings.batch_size, size)
    total = total_steps(net, settings, size, batch_size)
    execute = execution.Execution(**newest[2]["execution"]) if newest else execution.decide(net, settings, total)
    anew = newest is None or newest[2].get("processes", 1) != crew.size
    execute = crew.execution(execute, net, settings, anew=anew)
    torch.set_num_threads(execute.threads)
    net = execute.place(net)
    batches = _batches(images, net, execute, batch_size, settings.seed)
    held = _gather(images, "valid", net, execute) if images.sizes()["valid"] else None
    labelled = None
    if any(p.labelled for p in net.phases):
        labelled = TrainBatches(_gather(images, "train", net, execute, labelled=True), batch_size, settings.seed)
    warnings: list[str] = []

    def told(record: dict[str, Any]) -> None:
        log(record)
        if record["kind"] == "warning":
            warnings.append(record["text"])
            console.say("Warning: " + record["text"])

    loop = Loop(
        net,
        batches,
        settings,
        execute,
        checkpoints,
        labelled=labelled,
        held_out=(lambda: in_order(held, 500, HELD_OUT)) if held else None,
        probe=next(in_order(held or _gather(images, "train", net, execute), PROBE, PROBE)),
        hooks=dataclasses.replace(hooks, log=told),
        crew=crew,
    )
    if newest:
        loop.restore(newest[1], newest[2])
        if more:
            loop.progress.finished = ""
        log({"kind": "resumed", "step": loop.progress.step})
        over = f"There is nothing left to train ({loop.progress.finished}); --epochs N trains it longer."
        going = f"Going on from {newest[0].name}, step {loop.progress.step:,} of {total:,}."
        console.say(over if loop.progress.finished else going)
    elif folder.log():
        log({"kind": "resumed", "step": 0})  # killed before its first checkpoint: it starts again
    if more and crew.leads:
        folder.rewrite_settings(settings.to_dict())
        folder.add_command(more)
    with console.training(total, batch_size) as progress, _closed_after(batches, console):
        loop.hooks.progress = progress
        done = loop.run()
    if not done.finished:
        raise Stopped(
            f"stopped at step {done.step:,} with everything saved; go on with: latentscape resume "
            f"{shlex.quote(str(folder.path))}"
        )
    model = loop.result().to("cpu").to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    log({"kind": "done", "step": done.step, "images": done.images, "seconds": done.seconds, "reason": done.finished})
    model.requires_grad_(False)
    return Run(folder, model, images, done.finished, done.seconds, done.step, done.images, warnings, leads=crew.leads)


def _check_more(folder: RunFolder, settings: TrainSettings, done: dict[str, Any]) -> None:
    """A run cannot be made shorter than it is (`ConfigError`)."""
    for name, asked, has in (
        ("epochs", settings.epochs, done.get("epoch", 0)),
        ("max_steps", settings.max_steps, done.get("step", 0)),
    ):
        if asked and asked < has:
            what = name.removeprefix("max_")
            raise ConfigError(
                f"{flag(name)} {asked:,} is less than the {has:,} {what} that {folder.path} has done; give more"
            )


class Stopped(RunError):
    """The run was asked to stop (SIGINT, SIGTERM) and can be resumed."""

    exit_status = 1


def total_steps(net: Trained, settings: TrainSettings, size: int, batch_size: int) -> int:
    """Steps the settings ask for; a step takes as many batches as its most repeated phase."""
    per_step = max(p.repeat for p in net.phases)
    steps = -(-settings.epochs * (size // batch_size) // per_step) if settings.epochs else settings.max_steps
    return min(steps, settings.max_steps) if settings.max_steps else steps


def _scaled(net: Trained, s: TrainSettings, images: ImageSet, scale: float) -> TrainSettings:
    if not 0 < scale < math.inf:
        raise ConfigError(f"--scale must be above 0 and finite, got {scale:g}")
    size = images.to_train
    batch = size if s.full_batch else min(s.batch_size, size)
    steps = max(1, round(scale * total_steps(net, s, size, batch)))
    return s.replace(max_steps=steps, epochs=-(-steps * max(p.repeat for p in net.phases) // (size // batch)))


def _gather(
    images: ImageSet, split: str, net: Model, execute: execution.Execution, *, labelled: bool = False
) -> Gatherer:
    return Gatherer(images, split, net.value_range, execute.device, _memory_format(execute), labelled=labelled)


def _memory_format(execute: execution.Execution) -> torch.memory_format:
    return torch.channels_last if execute.channels_last else torch.contiguous_format


def _batches(
    images: ImageSet, net: Trained, execute: execution.Execution, batch_size: int, seed: int
) -> TrainBatches | StreamBatches:
    """What the loop trains on: all of a packed set, or a stream."""
    if isinstance(images, StreamedSet):
        return StreamBatches(images, batch_size, seed, net.value_range, execute.device, _memory_format(execute))
    return TrainBatches(_gather(images, "train", net, execute), batch_size, seed)


@contextlib.contextmanager
def _closed_after(batches: TrainBatches | StreamBatches, console: Console) -> Iterator[None]:
    """End what a stream decodes ahead, and say what it could not read."""
    try:
        yield
    finally:
        if isinstance(batches, StreamBatches):
            batches.close()
            if batches.unreadable:
                console.say(f"{batches.unreadable:,} pictures could not be read; others of their batches stood in.")


def _check_streams(net: Model, s: TrainSettings, images: ImageSet) -> None:
    """A stream is trained on batch by batch (`ConfigError`)."""
    if not isinstance(images, StreamedSet):
        return
    if isinstance(net, Fitted):
        raise ConfigError(
            "this model is fitted to a whole set in closed form; leave --stream out, and --limit what is packed"
        )
    if isinstance(net, Trained) and any(p.labelled for p in net.phases):
        raise ConfigError(
            "this model takes batches of labelled examples alone, which a stream does not give; leave --stream out"
        )
    if s.full_batch:
        raise ConfigError("--full-batch and --stream contradict each other; leave one out")


def _check_fits(net: Model, s: TrainSettings, images: ImageSet) -> None:
    _check_streams(net, s, images)
    if (s.early_stopping or s.schedule == "plateau") and not images.sizes()["valid"]:
        what = "--early-stopping" if s.early_stopping else "--schedule plateau"
        raise ConfigError(f"{what} needs held-out images and {images.name} has none; give --valid-fraction 0.1")
    if (s.early_stopping or s.schedule == "plateau") and isinstance(net, Trained) and net.judged_by is None:
        what = "--early-stopping" if s.early_stopping else "--schedule plateau"
        raise ConfigError(
            f"{what} needs a loss that says how good the model is, and the losses of players against each other do "
            "not; leave it out, and compare checkpoints by --samples"
        )
    if isinstance(net, Fitted) and (images.flip != "none" or images.max_shift):
        raise ConfigError(
            "--flip and --max-shift change training batches, and this model is fitted in closed form; leave them out"
        )
    if isinstance(net, Trained) and any(p.labelled for p in net.phases):
        y_N = images.labels[images.indices("train")] if images.labels is not None else torch.empty(0)
        if not (y_N >= 0).any():
            raise ConfigError(f"this model learns from some labels, and no training example of {images.name} has one")
    size = images.to_train
    alone = (size if s.full_batch else min(s.batch_size, size)) == 1
    if alone and any(isinstance(m, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)) for m in net.modules()):
        raise ConfigError("BatchNorm needs at least two examples per step; give --batch-size 2 or more, or --norm none")


def _check_shares(net: Model, s: TrainSettings, images: ImageSet, crew: distributed.Alone) -> None:
    """Several processes each take an equal share of every batch (`ConfigError`)."""
    if crew.size == 1:
        return
    if isinstance(net, Fitted):
        raise ConfigError("this model is fitted in closed form, by one process; start it without torchrun")
    assert isinstance(net, Trained)
    size = images.to_train
    batches = {"training images": size if s.full_batch else min(s.batch_size, size)}
    if any(p.labelled for p in net.phases) and images.labels is not None:
        known = int((images.labels[images.indices("train")] >= 0).sum())
        batches["labelled training images"] = known if s.full_batch else min(s.batch_size, known)
    for what, batch in batches.items():
        if batch % crew.size:
            if s.full_batch:
                raise ConfigError(
                    f"--full-batch makes one batch of {batch:,} {what}, which cannot be dealt evenly to {crew.size} "
                    "processes; leave it out"
                )
            near = " or ".join(
                f"{n:,}" for n in (batch // crew.size * crew.size, -(-batch // crew.size) * crew.size) if n
            )
            raise ConfigError(
                f"a batch of {batch:,} {what} cannot be dealt evenly to {crew.size} processes; give --batch-size {near}"
            )


def environment(settings: TrainSettings) -> dict[str, Any]:
    """Versions and machine, for the run's own record."""
    import numpy

    from latentscape.version import __version__

    device = execution.pick_device(settings.device)
    return {
        "latentscape": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "git": _revision(Path(__file__).parent.parent),
        "device": str(device),
        "processor": _processor(device),
        "threads": settings.threads or torch.get_num_threads(),
        "fast_bf16": execution.has_fast_bf16(device),
    }


def _processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _revision(package: Path) -> str:
    """The git revision of the package's own checkout; one that only surrounds an installed copy says nothing of it."""
    try:
        top = _git(package, "rev-parse", "--show-toplevel")
        own = package.resolve() == Path(top).resolve() / "src" / "latentscape"
        return _git(package, "describe", "--always", "--dirty") if own else ""
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *words: str) -> str:
    asked = ["git", "-C", str(folder), *words]
    return subprocess.run(asked, capture_output=True, text=True, timeout=5, check=True).stdout.strip()


def _python_call(model: str, source: str, settings: dict[str, Any]) -> str:
    listed = "".join(f", {k}={v!r}" for k, v in settings.items())
    return f"latentscape.train({model!r}, {source!r}{listed})"


def command_line() -> str:
    """This process's command, as it can be typed again."""
    return shlex.join(["latentscape", *sys.argv[1:]])
