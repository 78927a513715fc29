"""Small trainings that one process or several can make: run by the tests here, and as a program by torchrun.

torchrun --nproc-per-node 2 --standalone tests/training/shared_work.py FOLDER
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))

from latentscape.contract import Trained
from latentscape.data.batches import Gatherer, TrainBatches, in_order
from latentscape.training import distributed, synced
from latentscape.training.checkpoint import CheckpointFolder, from_json, load_state, save_state, to_json
from latentscape.training.loop import Hooks, Loop
from latentscape.training.settings import TrainSettings
from loops import execution, make, small_set

BATCH = 8


@dataclass(frozen=True)
class Case:
    """A model on random examples, and for how many steps it is trained."""

    model: str
    shape: tuple[int, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    steps: int = 12
    unknown_labels: bool = False
    tolerance: float = 2e-5


CONV = {"net": "conv", "width": 4}
GAN = {"net": "mlp", "hidden": (16,), "latent_dim": 3}

# SGD where it trains: Adam's first steps are signs of gradients, which blow up the last bit of those that are zero.
SGD = {"optimiser": "sgd", "learning_rate": 0.01}

SLOW = SGD | {"learning_rate": 0.001}
"""For twenty layers of BatchNorm over a few examples, which blow up the last bit of a sum a hundred times a step."""

RESNET: dict[str, Any] = {"net": "resnet", "width": 4}

CASES = {
    "mlp": Case("vae", (1, 8, 8), {"net": "mlp", "hidden": (16,), "norm": "none"}, SGD),
    "conv with BatchNorm": Case("vae", (1, 8, 8), CONV, SGD),
    "adam": Case("vae", (5,), {"net": "mlp", "hidden": (16,), "norm": "none"}, {"learning_rate": 1e-3}),
    "clipped and averaged": Case(
        "autoencoder", (1, 8, 8), CONV, SGD | {"gradient_clip": 0.1, "ema_halflife_images": 40}
    ),
    "shared fakes": Case("gan", (1, 8, 8), GAN | {"norm": "batch", "discriminator_norm": "batch"}, SGD),
    "augmented fakes": Case("gan", (1, 8, 8), GAN | {"diff_augment": ("color", "translation", "cutout")}, SGD),
    "three players": Case("adversarial_autoencoder", (1, 8, 8), {"net": "mlp", "hidden": (16,)}, SGD),
    "draws beside codes": Case(
        "adversarial_autoencoder",
        (1, 8, 8),
        {"net": "mlp", "hidden": (16,), "discriminator_norm": "joint", "prior_factor": 3},
        SGD,
    ),
    "double backward": Case("wgan_gp", (1, 8, 8), GAN | {"critic_steps": 2}, SGD),
    "double backward through BatchNorm": Case("contractive_autoencoder", (1, 8, 8), CONV | {"contraction": 0.1}, SGD),
    "samples before examples": Case(
        "iwae", (1, 8, 8), {"net": "mlp", "hidden": (16,), "samples": 3}, SGD | {"learning_rate": 1e-4}
    ),
    "labelled batches": Case("semi_supervised_aae", (1, 8, 8), {"net": "mlp", "hidden": (16,)}, SGD),
    "draws that are not about examples": Case("concrete_autoencoder", (1, 8, 8), {"latent_dim": 5}, SGD),
    "held-out losses stop it": Case(
        "autoencoder", (1, 8, 8), CONV, SGD | {"early_stopping": 1, "schedule": "plateau", "learning_rate": 1.0}, 200
    ),
    "a residual net's means": Case(
        "autoencoder",
        (3, 32, 32),
        RESNET | {"head": "none", "latent_dim": 32, "loss": "mse", "output": "sigmoid"},
        SLOW,
        tolerance=1e-3,
    ),
    "a residual net's heads": Case(
        "vae", (3, 32, 32), RESNET | {"likelihood": "gaussian", "noise_std": 0.7, "beta": 1.0}, SLOW, tolerance=1e-3
    ),
    "generator first": Case(
        "gan", (1, 8, 8), GAN | {"norm": "batch", "discriminator_norm": "batch", "generator_first": True}, SGD
    ),
    "compares examples": Case("beta_tcvae", (1, 8, 8), {"net": "mlp", "hidden": (16,)}, SGD),
    "permutes examples": Case("factor_vae", (1, 8, 8), {"net": "mlp", "hidden": (16,)}, SGD),
    "unknown labels": Case("style_label_aae", (1, 8, 8), {"net": "mlp", "hidden": (16,)}, SGD, unknown_labels=True),
}
"""Every way in which a model uses a batch."""

UNLIKE = {
    "compares examples": ["elbo"],
    "permutes examples": ["discriminate"],
    "unknown labels": ["reconstruct", "accuse"],
}
"""The cases in which a loss is not a mean over examples, and the phases that have it."""


def build(case: Case, folder: Path, crew: distributed.Alone, log: Any) -> Loop:
    """The case's loop, ready to run."""
    model = make(case.model, case.shape, **case.settings)
    assert isinstance(model, Trained)
    usual = {"epochs": 1000, "max_steps": case.steps, "batch_size": BATCH, "log_every": 1}
    settings = TrainSettings.from_dict(usual | case.train)
    execute = execution(model)
    memory_format = torch.channels_last if execute.channels_last else torch.contiguous_format
    data = small_set(case.shape)
    if case.unknown_labels:
        data.labels[1:] = -1  # type: ignore[index]
    sources = [Gatherer(data, split, model.value_range, "cpu", memory_format) for split in ("train", "valid")]
    known = Gatherer(data, "train", model.value_range, "cpu", memory_format, labelled=True)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    return Loop(
        execute.place(model),
        TrainBatches(sources[0], BATCH, 0),
        settings,
        execute,
        CheckpointFolder(folder / "checkpoints", 1),
        labelled=TrainBatches(known, BATCH, 0) if any(p.labelled for p in model.phases) else None,
        held_out=lambda: in_order(sources[1], 5),
        probe=next(in_order(sources[1], 8, 8)),
        hooks=Hooks(log=log),
        crew=crew,
    )


def trained(case: Case, folder: Path, crew: distributed.Alone) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """The records and the weights of a training."""
    torch.set_num_threads(1)
    records: list[dict[str, Any]] = []
    loop = build(case, folder, crew, records.append)
    loop.run()
    return records, loop.result().state_dict()


def curve(records: list[dict[str, Any]], kind: str) -> dict[tuple[int, str], float]:
    """(step, term) → value of the records of a kind."""
    return {(r["step"], name): value for r in records if r["kind"] == kind for name, value in r["terms"].items()}


NORMS = {"vectors": (torch.nn.BatchNorm1d, (8, 3)), "pictures": (torch.nn.BatchNorm2d, (8, 3, 4, 5))}


def normalised(kind: str, rank: int = 0, size: int = 1) -> dict[str, Tensor]:
    """BatchNorm on a process's rows of a batch, float64: what it gives, its running statistics, and derivatives.

    twice: of a sum of squared first derivatives, as in a gradient penalty. Rows are this process's own; derivatives
    with respect to what all hold are this process's part of them.
    """
    layer, shape = NORMS[kind]
    rng = torch.Generator().manual_seed(5)
    x_all, weight_all = (torch.randn(shape, generator=rng, dtype=torch.float64) for _ in range(2))
    norm = layer(shape[1], dtype=torch.float64)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, -2.0, 1.5]))
        norm.bias.copy_(torch.tensor([1.0, 0.0, -1.0]))
    if size > 1:
        synced.join(norm)
    own = slice(rank * shape[0] // size, (rank + 1) * shape[0] // size)
    x, weight = (3 * x_all[own] + 7).requires_grad_(), weight_all[own]
    y = norm(x)
    (slope,) = torch.autograd.grad((weight * y.square()).sum(), x, create_graph=True)
    twice = torch.autograd.grad((weight * slope.square()).sum(), [x, norm.weight])
    once = torch.autograd.grad((weight * norm(x).square()).sum(), [x, norm.weight, norm.bias])
    rows = {"y": y.detach(), "slope": slope.detach(), "twice": twice[0], "once": once[0]}
    parts = {"twice_scale": twice[1], "once_scale": once[1], "once_shift": once[2]}
    state = {"mean": norm.running_mean, "var": norm.running_var, "count": norm.num_batches_tracked.double()}
    return {f"rows.{k}": v for k, v in rows.items()} | {f"parts.{k}": v for k, v in parts.items()} | state


def normalise_together(folder: Path, rank: int, size: int) -> None:
    """The same by all processes, put together again."""
    for kind in NORMS:
        out = normalised(kind, rank, size)
        for name, value in out.items():
            if name.startswith("rows."):
                whole = torch.zeros(size, *value.shape, dtype=value.dtype)
                whole[rank] = value
                synced.add_up(whole)
                out[name] = whole.flatten(0, 1)
            elif name.startswith("parts."):
                synced.add_up(value)
        if rank == 0:
            save_state(folder / f"{kind}.safetensors", out, {})


def main(folder: Path) -> None:
    """Train every case together and keep what came of it; each process also compares its weights with the first's."""
    crew = distributed.join()
    normalise_together(folder, crew.rank, crew.size)
    for name, case in CASES.items():
        records, weights = trained(case, folder / name, crew)
        first = {key: value.clone() for key, value in weights.items()}
        for value in first.values():
            torch.distributed.broadcast(value, 0)
        same = crew.mean({"same": float(all(torch.equal(first[k], weights[k]) for k in weights))})["same"]
        if crew.leads:
            save_state(folder / name / "done.safetensors", weights, {"records": to_json(records), "same": same})
    crew.leave()


def made(folder: Path, name: str) -> tuple[list[dict[str, Any]], dict[str, Tensor], float]:
    """What `main` kept of a case: records, weights, and the share of processes that ended with the same bits."""
    weights, state = load_state(folder / name / "done.safetensors")
    return from_json(state["records"]), weights, state["same"]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
