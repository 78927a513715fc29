"""Sampling and embedding: a plain PyTorch loop and latentscape's own functions, timed in turn in one process.

    python -m bench.sampling --json sampling.json

Sampling is from the prior to uint8 pictures in memory, embedding from uint8 pictures to latents in memory. The plain
loops are those of course notebooks: eager float32, 64 at a time, a DataLoader over single pictures, a list of NumPy
arrays. latentscape's stand twice: as they are, and as `--precision bf16` has them. Beside them stand its net alone,
with nothing done to what goes in or comes out, and the whole task, which reads the run folder and writes a file.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench import machine  # first: it sets what OpenMP reads when torch loads it

# isort: split
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from bench import plain
from bench.sides import Worker
from latentscape.contract import Decodes, Model
from latentscape.data import ImageSet, load_data
from latentscape.data.settings import DataSettings
from latentscape.latents import encode
from latentscape.runs import RunFolder
from latentscape.tasks import embedding, showing, training, using
from latentscape.tasks.evaluating import pick_device
from latentscape.training import execution, heap

MODELS: dict[str, tuple[str, dict[str, Any], int]] = {
    "mlp-vae": ("vae", {"net": "mlp", "latent_dim": 32}, 10_000),
    "conv-vae": ("vae", {"net": "conv", "latent_dim": 24}, 10_000),
    "dcgan": ("gan", {"net": "dcgan"}, 2_000),
}
"""Name → model, its settings, and how many pictures are timed unless --n says."""

BATCH = 64


# ---- the notebook's way ------------------------------------------------------------------------------------------


def plain_decoder(name: str) -> tuple[nn.Module, int]:
    """The decoder as notebooks write it, and the size of its latents."""
    if name == "dcgan":
        return plain.dcgan_generator().eval(), 100
    if name == "mlp-vae":
        return nn.Sequential(plain.MlpVae().decoder, nn.Unflatten(1, (1, 28, 28))).eval(), 32
    return plain.conv_autoencoder(24)[1].eval(), 24


def plain_encoder(name: str) -> nn.Module:
    """The encoder of posterior means as notebooks write it."""
    if name == "mlp-vae":
        net = plain.MlpVae()
        return nn.Sequential(net.encoder, net.mean).eval()
    return nn.Sequential(plain.conv_autoencoder(48)[0], FirstHalf()).eval()


class FirstHalf(nn.Module):
    """Of the features: the means, where the other half are the log variances."""

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """B×2L → B×L."""
        return h.chunk(2, dim=1)[0]


@torch.no_grad()
def plain_samples(decoder: nn.Module, latent_dim: int, n: int, device: torch.device) -> np.ndarray:
    """n pictures, uint8."""
    images = []
    for start in range(0, n, BATCH):
        z = torch.randn(min(BATCH, n - start), latent_dim).to(device)
        images.append(decoder(z).cpu().numpy())
    return (np.concatenate(images) * 255).astype(np.uint8)


@torch.no_grad()
def plain_latents(encoder: nn.Module, data: plain.Images, device: torch.device) -> np.ndarray:
    """Latents of every picture."""
    return np.concatenate([encoder(x.to(device)).cpu().numpy() for x, _ in DataLoader(data, batch_size=BATCH)])


# ---- latentscape's -----------------------------------------------------------------------------------------------


@heap.kept("cpu")
def our_samples(stage: showing.Stage, n: int, bf16: bool = False) -> np.ndarray:
    """n pictures, uint8, through what `latentscape sample` calls, without the file."""
    z_NL, _ = showing.prior_codes(stage, n, 0)
    pixels = partial(using.to_pixels, stage)
    return encode.decode_all(stage.need(Decodes), z_NL, bf16=bf16, keep=pixels).numpy()


@heap.kept("cpu")
def our_latents(model: Model, data: ImageSet, bf16: bool = False) -> torch.Tensor:
    """Latents of every picture, through what `latentscape embed` calls, without the file."""
    return embedding.latents_of(model, data, "all", torch.arange(len(data)), bf16=bf16)


@torch.no_grad()
def decoder_alone(model: Any, z_NL: torch.Tensor, batch: int = 250) -> None:
    """The net on latents that lie on its device; what comes out is dropped."""
    for part in z_NL.split(batch):
        model.decode(part)
    machine.synchronise(z_NL.device)


@torch.no_grad()
def encoder_alone(model: Any, x_NX: torch.Tensor, batch: int = 500) -> None:
    """The net on float pictures that lie on its device."""
    for part in x_NX.split(batch):
        model.encode(part)
    machine.synchronise(x_NX.device)


# ---- timing ------------------------------------------------------------------------------------------------------

Ways = dict[str, dict[str, Callable[[], object]]]
"""Job ("sampling", "embedding") → way → what to time."""


@dataclass(frozen=True)
class Request:
    """Whose ways (plain or latentscape), with which net, on how many pictures."""

    side: str
    name: str
    n: int


def plain_ways(request: Request) -> Ways:
    """The notebook's."""
    name, n, device = request.name, request.n, execution.pick_device("auto")
    decoder, latent_dim = plain_decoder(name)
    decoder.to(device)
    found: Ways = {"sampling": {"plain": lambda: plain_samples(decoder, latent_dim, n, device)}}
    if name != "dcgan":
        encoder = plain_encoder(name).to(device)
        pictures = plain.Images(_pictures(n).x, torch.zeros(n, dtype=torch.int64))
        found["embedding"] = {"plain": lambda: plain_latents(encoder, pictures, device)}
    return found


def our_ways(request: Request, folder: Path) -> Ways:
    """latentscape's; the run folder is made here, by one training step."""
    model_name, settings, _ = MODELS[request.name]
    n, data = request.n, _pictures(request.n)
    training.train(model_name, data, out=folder / "run", max_steps=1, compile="off", batch_size=BATCH, **settings)
    run = RunFolder(folder / "run")
    model: Any = run.load_model()
    device = pick_device(model)
    stage = showing.Stage(run, model, None)  # type: ignore[arg-type]
    on_device: Any = run.load_model().to(device)
    z_NL = torch.randn(n, model.latent_dim, device=device)
    found: Ways = {
        "sampling": {
            "latentscape": lambda: our_samples(stage, n),
            "in bf16": lambda: our_samples(stage, n, bf16=True),
            "its net alone": lambda: decoder_alone(on_device, z_NL),
            "whole task": lambda: using.sample(run.path, n=n, out=folder / "x.npy"),
        }
    }
    if request.name != "dcgan":
        x_NX = data.examples(data.indices("all"), on_device.value_range).to(device)
        found["embedding"] = {
            "latentscape": lambda: our_latents(model, data),
            "in bf16": lambda: our_latents(model, data, bf16=True),
            "its net alone": lambda: encoder_alone(on_device, x_NX),
            "whole task": lambda: embedding.embed(run.path, data=data, scores=False, out=folder / "z.npy"),
        }
    return found


def _pictures(n: int) -> ImageSet:
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (n, 1, 28, 28), dtype=torch.uint8, generator=rng)
    return load_data(x, DataSettings(valid_fraction=0.0, test_fraction=0.0))


def serve(connection: Any, request: Request) -> None:
    """In a process of its own: say which jobs there are, then time those that are asked for, in pictures a second."""
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(EOFError, BrokenPipeError):
        ways = plain_ways(request) if request.side == "plain" else our_ways(request, Path(folder))
        for sides in ways.values():
            for work in sides.values():
                work()  # warm
        connection.send({job: list(sides) for job, sides in ways.items()})
        while True:
            job, way = connection.recv()
            start = time.perf_counter()
            ways[job][way]()
            connection.send(request.n / (time.perf_counter() - start))


def run(name: str, args: argparse.Namespace, quiet: machine.Quiet) -> list[dict[str, Any]]:
    """Time one net's jobs; a line of the table each."""
    n, answers = args.n or MODELS[name][2], []
    with contextlib.ExitStack() as stack:
        workers: list[Worker] = []
        for side in ("plain", "latentscape"):
            workers.append(Worker(Request(side, name, n), serve))
            stack.callback(workers[-1].close)
        for job in workers[0].about:
            turns = {way: partial(w.ask, job, way) for w in workers for way in w.about[job]}
            found = machine.take_turns(turns, args.rounds, quiet)
            answers.append(
                {
                    "model": name,
                    "job": job,
                    "n": n,
                    "images_per_second": {way: machine.spread(values) for way, values in found.items()},
                    "ratio": machine.ratios(found["latentscape"], found["plain"]),
                    "ratio_in_bf16": machine.ratios(found["in bf16"], found["plain"]),
                    "share_in_the_net": machine.ratios(found["latentscape"], found["its net alone"]),
                    "rounds": found,
                }
            )
    return answers


def printed(answers: list[dict[str, Any]]) -> str:
    """The table."""
    head = ["", "n", "plain", "latentscape", "ratio", "in bf16", "ratio", "its net alone", "whole task"]
    rows = []
    for a in answers:
        speed = {way: f"{found['median']:,.0f}" for way, found in a["images_per_second"].items()}
        cells = [speed["plain"], speed["latentscape"], machine.words(a["ratio"])]
        cells += [speed["in bf16"], machine.words(a["ratio_in_bf16"])]
        rows.append([f"{a['job']}, {a['model']}", f"{a['n']:,}", *cells, speed["its net alone"], speed["whole task"]])
    return machine.table(head, rows) + "\n(images/s; medians; ratio: latentscape to plain, smallest and largest)"


def main() -> None:
    """Time what the command line asks for."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    p.add_argument("--n", type=int, default=0, help="pictures; 0: 10,000, and 2,000 of the DCGAN")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--json", default="", metavar="FILE", help="write everything there, too")
    machine.add_quiet_arguments(p)
    args = p.parse_args()
    quiet = machine.Quiet(args.busy_limit, args.patience)
    about = machine.describe(execution.pick_device("auto"))
    print(machine.heading(about), flush=True)
    answers = []
    for name in args.models:
        answers += run(name, args, quiet)
        print(printed(answers), flush=True)
    if quiet.said():
        print(quiet.said())
    machine.report({"machine": about, "load": quiet.to_dict(), "answers": answers}, args)


if __name__ == "__main__":
    main()
