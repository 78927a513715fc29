"""Spec row C6 on faces: does moving along the age direction move the age that somebody else reads off the pictures?

A VAE is trained on faces (or a run is given), and beside it a small convolutional net that reads age and gender, on the
REAL training faces only. Test faces are then moved along directions that `latentscape arithmetic` fits, at five
strengths, and the net reads what they decode to. Random directions stand beside them: a reading that rises along those
too would say nothing. The VAE is a run folder, the reader a file and every finished direction a line in --out: a
stopped bench goes on.

python -m bench.quality_directions --data FOLDER_OF_FACES --labels CSV --threads 1 --out runs/bench-directions

The table must have the columns age and gender. --scale 0.1 trains a tenth of the epochs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line sets it

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import latentscape
from latentscape.data import ImageSet
from latentscape.data.batches import Gatherer, TrainBatches, in_order
from latentscape.latents import directions, encode
from latentscape.runs import RunFolder
from latentscape.tasks import attributes
from latentscape.tasks.arithmetic import move
from latentscape.tasks.embedding import latents_of
from latentscape.tasks.evaluating import load_for, to_unit

STRENGTHS = (-2.0, -1.0, 0.0, 1.0, 2.0)

COMMON = {"likelihood": "gaussian", "noise_std": 0.1, "beta": 1.0, "flip": "horizontal", "schedule": "cosine"}
NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "mlp": ("vae", COMMON | {"net": "mlp", "hidden": (512, 128), "latent_dim": 32, "mode": "grey", "epochs": 12}),
    "conv": ("vae", COMMON | {"net": "conv", "width": 16, "latent_dim": 64, "batch_size": 32, "epochs": 8}),
    "pca": ("pca", {"latent_dim": 64, "mode": "grey"}),
}
"""Model and settings: a VAE in grey, in a minute of one core; one in colour, in about eight; PCA, in seconds."""

DIRECTIONS: dict[str, dict[str, Any]] = {
    "age, mean difference": {"attribute": "age", "method": "mean-difference"},
    "age, linear": {"attribute": "age", "method": "linear"},
    "age, mean difference, gender kept": {"attribute": "age", "without_changing": ("gender",)},
    "age, linear, gender kept": {"attribute": "age", "method": "linear", "without_changing": ("gender",)},
    "gender, mean difference": {"attribute": "gender"},
}
"""What it is called → what `move` is told."""

READER_EPOCHS, READER_BATCH, READER_RATE = 10, 64, 2e-3


# ---- who reads ---------------------------------------------------------------------------------------------------


def reader_net(channels: int) -> nn.Sequential:
    """C×H×W → (standardised age, logit of gender)."""
    layers: list[nn.Module] = []
    for width, below in ((16, channels), (32, 16), (64, 32), (128, 64)):
        layers += [nn.Conv2d(below, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(512, 2))


def targets(images: ImageSet) -> Tensor:
    """Age and gender (0, 1) of every example, N×2, NaN where unknown."""
    return torch.stack([attributes.find(images, name).values for name in ("age", "gender")], 1)


def train_reader(images: ImageSet, epochs: int, file: Path) -> tuple[nn.Module, float, float]:
    """The reader, and the mean and deviation of the ages that it reads in; taken from the file if it is there."""
    known = targets(images)
    rows = images.indices("train")
    mean, std = float(known[rows, 0].nanmean()), float(known[rows, 0][~known[rows, 0].isnan()].std())
    torch.manual_seed(0)
    net = reader_net(images.x.shape[1])
    if file.exists():
        net.load_state_dict(load_file(file))
        return net.eval(), mean, std
    source = Gatherer(images, "train", "unit", "cpu")
    assert images.attributes is not None
    stream = TrainBatches(source, READER_BATCH, 0)
    optimiser = torch.optim.AdamW(net.parameters(), READER_RATE, weight_decay=1e-2)
    age, gender = (images.attribute_names.index(attributes.find(images, n).name) for n in ("age", "gender"))
    steps = max(1, epochs * stream.per_epoch)
    for i in range(steps):
        optimiser.param_groups[0]["lr"] = READER_RATE * (0.5 + 0.5 * math.cos(math.pi * i / steps))
        batch = stream.next()
        assert batch.attributes is not None
        out = net(batch.x)
        error = out[:, 0] - (batch.attributes[:, age] - mean) / std
        loss = error.square().nanmean()
        loss = loss + nn.functional.binary_cross_entropy_with_logits(out[:, 1], batch.attributes[:, gender])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    save_file(net.state_dict(), file)
    return net.eval(), mean, std


@torch.no_grad()
def read(net: nn.Module, mean: float, std: float, x_NX: Tensor) -> Tensor:
    """Age in years and probability of the second gender, N×2, of pictures on [0, 1]."""
    out = torch.cat([net(part) for part in x_NX.split(250)])
    return torch.stack([out[:, 0] * std + mean, out[:, 1].sigmoid()], 1)


def judged(read_N2: Tensor, known_N2: Tensor) -> dict[str, float]:
    """How well the reader reads."""
    errors = read_N2[:, 0] - known_N2[:, 0]
    return {
        "age_mae": float(errors.abs().mean()),
        "age_correlation": float(torch.corrcoef(torch.stack([read_N2[:, 0], known_N2[:, 0]]))[0, 1]),
        "gender_accuracy": float(((read_N2[:, 1] > 0.5) == (known_N2[:, 1] > 0.5)).double().mean()),
    }


# ---- what is read ------------------------------------------------------------------------------------------------


def trained(a: argparse.Namespace) -> RunFolder:
    """The run given, or one trained here; one that was stopped is gone on with."""
    if a.run:
        return RunFolder(a.run)
    path, (model, settings) = a.out / f"run-{a.net}", NETS[a.net]
    if not (path / "config.toml").exists():
        if "epochs" in settings:
            settings = settings | {"epochs": max(1, round(settings["epochs"] * a.scale)), "compile": "off"}
        labels = str(Path(a.labels).resolve())
        latentscape.train(model, a.data, out=path, labels=labels, finish=False, threads=a.threads, **settings)
    elif not RunFolder(path).model_path.exists():
        latentscape.resume(path, finish=False)
    return RunFolder(path)


def step_of(folder: RunFolder, name: str, z_NL: Tensor, place: Path) -> Tensor:
    """What one unit of strength adds: fitted by the command's own function, or drawn."""
    if name.startswith("random"):
        rng = torch.Generator().manual_seed(int(name.split()[1]))
        return directions.step(torch.randn(z_NL.shape[1], generator=rng) * z_NL.std(0), z_NL)
    move(folder.path, **DIRECTIONS[name], out=place)
    return torch.from_numpy(np.load(place))


def measured(read_SN2: Tensor) -> dict[str, Any]:
    """Figures of one direction from what is read at each strength, S×N×2."""
    ages = read_SN2[..., 0]
    change = ages[-1] - ages[0]
    means = ages.mean(1).tolist()
    return {
        "age": means,
        "gender": read_SN2[..., 1].mean(1).tolist(),
        "monotone": all(b > a for a, b in itertools.pairwise(means)),
        "change": float(change.mean()),
        "change_standard_error": float(change.std() / len(change) ** 0.5),
        "rising_faces": float((change > 0).double().mean()),
    }


def rows_of(a: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the reader is worth, and a row for each direction; those that are there are not computed again."""
    a.out.mkdir(parents=True, exist_ok=True)
    folder = trained(a)
    model: Any = folder.load_model()
    images = load_for(folder)
    cpu = time.process_time()
    epochs = max(1, round(READER_EPOCHS * a.scale))
    reader = train_reader(images, epochs, a.out / f"reader-{images.x.shape[1]}.safetensors")
    cpu = time.process_time() - cpu
    picks = torch.arange(min(a.n, images.sizes()["test"]))
    known = targets(images)[images.indices("test")[picks]]
    picks, known = picks[~known.isnan().any(1)], known[~known.isnan().any(1)]
    source = Gatherer(images, "test", model.value_range, "cpu")
    real = torch.cat([to_unit(b.x, model.value_range) for b in in_order(source, picks=picks)])
    z_NL = latents_of(model, images, "test", picks)
    z_train = latents_of(model, images, "train", torch.arange(images.sizes()["train"]))

    def read_codes(codes_NL: Tensor) -> Tensor:
        return read(*reader, to_unit(encode.decode_all(model, codes_NL), model.value_range).clamp(0, 1))

    about = {"n": len(picks), "reader_cpu_seconds": round(cpu), "real": judged(read(*reader, real), known)}
    about["reconstructed"] = judged(read_codes(z_NL), known)
    file = a.out / f"rows-{a.net if not a.run else folder.name}.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    for name in [*DIRECTIONS, *(f"random {i}" for i in range(a.random))]:
        if name in {row["direction"] for row in rows}:
            continue
        step_L = step_of(
            folder, name, z_train, a.out / f"{folder.name}-{name.replace(', ', '-').replace(' ', '-')}.npy"
        )
        codes = [directions.moved(z_NL, step_L, (s,)) for s in STRENGTHS]
        row = {"direction": name, "strengths": STRENGTHS, **measured(torch.stack([read_codes(c) for c in codes]))}
        print(json.dumps(row), flush=True)
        with file.open("a") as out:
            out.write(json.dumps(row) + "\n")
        rows.append(row)
    return about, rows


def table(about: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Mean readings at each strength."""
    lines = []
    for name in ("real", "reconstructed"):
        j = about[name]
        lines.append(
            f"The reader on {about['n']:,} {name} test faces: age ± {j['age_mae']:.1f} years (mean absolute error), "
            f"correlation {j['age_correlation']:.2f}; gender right on {j['gender_accuracy']:.1%}"
        )
    heads = [
        "direction",
        *(f"{s:+g}" if s else "0" for s in STRENGTHS),
        "rises",
        "−2 to +2",
        "faces that rise",
        "gender",
    ]
    lines += ["", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        ages = " | ".join(f"{age:.1f}" for age in row["age"])
        lines.append(
            f"| {row['direction']} | {ages} | {'yes' if row['monotone'] else 'no'} | {row['change']:+.1f} ± "
            f"{row['change_standard_error']:.1f} | {row['rising_faces']:.0%} | {row['gender'][0]:.2f} to "
            f"{row['gender'][-1]:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", help="folder of faces")
    p.add_argument("--labels", help="table with the columns age and gender")
    p.add_argument("--run", help="take this run, which names its own data, instead of training one")
    p.add_argument("--net", choices=list(NETS), default="mlp")
    p.add_argument("--scale", type=float, default=1.0, help="multiplies the epochs of the VAE and of the reader")
    p.add_argument("--n", type=int, default=1000, help="test faces that are moved")
    p.add_argument("--random", type=int, default=5, help="random directions")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--out", type=Path, default=Path("runs/bench-directions"))
    a = p.parse_args()
    if not a.run and not (a.data and a.labels):
        p.error("give --data and --labels, or --run")
    torch.set_num_threads(a.threads)
    about, rows = rows_of(a)
    print(table(about, rows))
    print(json.dumps({**about, "rows": rows}))


if __name__ == "__main__":
    main()
