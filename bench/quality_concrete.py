"""Spec row B26: inputs that the concrete autoencoder selects beside random ones and those of highest variance.

The same decoder, budget and test set each time; a learned selection is also given to a fresh decoder, which tells the
selection's worth from what its decoder owes to having been trained along with it.

python -m bench.quality_concrete --data PATH_OF_MNIST --pixels 50 --epochs 20
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from typing import Any

import torch

import latentscape
from latentscape.models import concrete_autoencoder
from latentscape.tasks.evaluating import evaluate_model


def test_mse(data: Any, common: dict[str, Any], **settings: Any) -> tuple[concrete_autoencoder.Model, float, float]:
    """The trained model, its mean squared error per value over the test set, and the seconds its training took."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        run = latentscape.train("concrete-autoencoder", data, out=f"{folder}/run", finish=False, **common, **settings)
        seconds = time.monotonic() - start
        metrics, _ = evaluate_model(run.model, run.data, "test")
    assert isinstance(run.model, concrete_autoencoder.Model)
    return run.model, metrics["mse"], seconds


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True)
    p.add_argument("--pixels", type=int, default=50)
    p.add_argument("--epochs", type=int, default=20)
    p.add_argument("--anneal", type=float, default=0.8, help="share of the steps in which the temperature falls")
    p.add_argument("--batch-size", type=int, default=64)
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--threads", type=int, default=0)
    args = p.parse_args()
    data = latentscape.load_data(args.data)
    train_ND = data.x[data.indices("train")].flatten(1).float() / 255
    steps = args.epochs * (len(train_ND) // args.batch_size)
    common = {"epochs": args.epochs, "batch_size": args.batch_size, "threads": args.threads}
    rows: list[dict[str, Any]] = []

    def report(name: str, seed: int, mse: float, seconds: float, **more: Any) -> None:
        rows.append({"selection": name, "seed": seed, "test_mse": mse, "seconds": round(seconds, 1), **more})
        words = ", ".join(f"{k} {v:.4g}" for k, v in more.items())
        print(f"{name:24} seed {seed}: test MSE {mse:.5f} in {seconds:.0f} s  {words}", flush=True)

    print(f"{data.name}, {len(train_ND):,} training images, {args.epochs} epochs, {steps:,} steps")
    for seed in args.seeds:
        anneal = max(1, int(args.anneal * steps))
        model, mse, seconds = test_mse(data, common, seed=seed, latent_dim=args.pixels, anneal_steps=anneal)
        assert model.selectors is not None
        sure = float(torch.softmax(model.selectors.logits, 1).amax(1).mean())
        found = model.selected()
        report("learned", seed, mse, seconds, distinct=len(found.unique()), mean_largest_probability=sure)
        _, mse, seconds = test_mse(data, common, seed=seed, indices=tuple(found.tolist()))
        report("learned, fresh decoder", seed, mse, seconds)
        rng = torch.Generator().manual_seed(seed)
        indices = tuple(torch.randperm(train_ND.shape[1], generator=rng)[: args.pixels].tolist())
        _, mse, seconds = test_mse(data, common, seed=seed, indices=indices)
        report("random", seed, mse, seconds)
        indices = tuple(train_ND.var(0).topk(args.pixels).indices.tolist())
        _, mse, seconds = test_mse(data, common, seed=seed, indices=indices)
        report("highest variance", seed, mse, seconds)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
