"""Spec row B25: test error with few labels, beside the same encoder trained on those labels alone, over label draws.

The game is that of the recipes `semi-supervised-aae` (100 labels) and `semi-supervised-aae-1000`, with training images
moved as there and left in place. The baseline has the recipe's encoder, augmentation, input noise, optimiser, cosine
and average of the weights, and only the supervised turn. Beside the seconds stand those of the processor, and the share
of its cores that other programs used when a run began: where that is not small, the former say little. A row is
written to --out as soon as it is known, and rows that are there are not computed again: a stopped bench goes on.

python -m bench.quality_semi_supervised --data PATH_OF_MNIST --threads 1 --out runs/bench-semi-supervised
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line sets it

import torch

import latentscape
from bench.machine import others_use
from latentscape import models, recipes
from latentscape.contract import Batch, Model, Trained
from latentscape.data import load_data
from latentscape.data.batches import Gatherer, TrainBatches
from latentscape.data.settings import DataSettings
from latentscape.runs import RunFolder
from latentscape.tasks import classify, overrides
from latentscape.training import execution, optim
from latentscape.training.ema import Ema

MODEL = "semi-supervised-aae"
RECIPES = {100: "semi-supervised-aae", 1000: "semi-supervised-aae-1000"}
"""Number of labels → recipe."""


def settings_of(labels: int, draw: int, shift: int, a: argparse.Namespace) -> dict[str, Any]:
    """The recipe's settings, with the label draw as the seed of everything else too."""
    told: dict[str, Any] = recipes.read(RECIPES[labels])["settings"]
    longer = {"epochs": a.epochs} if a.epochs else {}
    return {**told, **longer, "max_shift": shift, "labelled_seed": draw, "seed": draw, "threads": a.threads}


def played(settings: dict[str, Any], a: argparse.Namespace, path: Path) -> Model:
    """The model after the whole game; a run that was stopped is gone on with."""
    if not (path / "config.toml").exists():
        latentscape.train(MODEL, a.data, out=path, finish=False, **settings)
    elif not RunFolder(path).model_path.exists():
        latentscape.resume(path, finish=False)
    return RunFolder(path).load_model()


def labels_alone(settings: dict[str, Any], a: argparse.Namespace, path: Path) -> Model:
    """The model after --baseline-steps turns of the supervised player by itself."""
    given = overrides.sort(MODEL, settings)
    data = load_data(a.data, DataSettings.from_dict(given.data))
    config = overrides.model_settings(MODEL, given.model)
    train = overrides.train_settings(MODEL, data.shape, config, given.train)
    net = models.build(MODEL, data.shape, config, data.classes, train.seed)
    assert isinstance(net, Trained)
    execute = execution.decide(net, train, a.baseline_steps)
    net = execute.place(net).train()
    (player,) = (p for p in net.phases if p.name == "supervise")
    optimiser = optim.make_optimiser(player.parameters(), train, torch.device(execute.device))
    layout = torch.channels_last if execute.channels_last else torch.contiguous_format
    source = Gatherer(data, "train", net.value_range, execute.device, layout, labelled=True)
    stream, average = TrainBatches(source, train.batch_size, train.seed), Ema(net, train.ema_halflife_images)
    rng = torch.Generator(execute.device).manual_seed(train.seed)
    for step in range(a.baseline_steps):
        examples = stream.next()
        batch = Batch(examples.x, examples.y)
        optimiser.param_groups[0]["lr"] = train.learning_rate * (
            0.5 + 0.5 * math.cos(math.pi * step / a.baseline_steps)
        )
        with execute.autocast(player):
            losses = net(player.name, batch, net.draw(player.name, batch, rng))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        average.update(net, len(batch.x))
    return average.model.eval()  # type: ignore[return-value]


WAYS = {"labels and the rest": played, "labels alone": labels_alone}
"""What is trained on → how."""


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a row is about."""
    return row["labels"], row["max_shift"], row["way"], row["draw"]


def rows_of(a: argparse.Namespace) -> list[dict[str, Any]]:
    """Every row, the missing ones computed: draw by draw, so that a stopped bench has compared like with like."""
    a.out.mkdir(parents=True, exist_ok=True)
    data = load_data(a.data)
    file = a.out / "rows.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    known = {key_of(r) for r in rows}
    numbers = itertools.product(range(a.draws), a.labels, a.max_shift)
    for (draw, labels, shift), way in itertools.product(numbers, WAYS):
        row: dict[str, Any] = {"labels": labels, "max_shift": shift, "way": way, "draw": draw}
        if key_of(row) in known:
            continue
        busy, start, cpu = others_use(), time.monotonic(), time.process_time()
        path = a.out / f"{way.replace(' ', '-')}-{labels}-shift-{shift}-draw-{draw}"
        model = WAYS[way](settings_of(labels, draw, shift, a), a, path)
        seconds, cpu = time.monotonic() - start, time.process_time() - cpu
        error, _ = classify.error_rate(model, data, "test")
        row |= {"error": error, "seconds": round(seconds), "cpu_seconds": round(cpu), "others_use": round(busy, 2)}
        print(json.dumps(row), flush=True)
        with file.open("a") as out:
            out.write(json.dumps(row) + "\n")
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Mean ± standard deviation over draws."""
    lines = [
        "| labels | moved by | trained on | draws | test error % | lowest–highest | seconds | cpu seconds | busy |",
        "|" + "---|" * 9,
    ]
    for kind in dict.fromkeys(key_of(r)[:3] for r in rows):
        found = [r for r in rows if key_of(r)[:3] == kind]
        errors = [100 * r["error"] for r in found]
        spread = f" ± {stdev(errors):.2f}" if len(errors) > 1 else ""
        seconds, cpu, busy = (mean(r[k] for r in found) for k in ("seconds", "cpu_seconds", "others_use"))
        lines.append(
            f"| {kind[0]:,} | {kind[1]} px | {kind[2]} | {len(found)} | {mean(errors):.2f}{spread} | {min(errors):.2f}–"
            f"{max(errors):.2f} | {seconds:,.0f} | {cpu:,.0f} | {busy:.0%} |"
        )
    return "\n".join(lines)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True)
    p.add_argument("--labels", type=int, nargs="+", default=list(RECIPES), choices=list(RECIPES))
    p.add_argument("--max-shift", type=int, nargs="+", default=[2, 0], help="pixels that training images are moved by")
    p.add_argument("--draws", type=int, default=5, help="label draws, seeds 0, 1, …")
    p.add_argument("--epochs", type=int, default=0, help="0: the recipe's")
    p.add_argument("--baseline-steps", type=int, default=1000, help="of the encoder on the labels alone")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--out", type=Path, default=Path("runs/bench-semi-supervised"))
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    print(table(rows_of(a)))


if __name__ == "__main__":
    main()
