"""Spec row B12 trained by a plain loop and by latentscape, at the same settings: test BCE per pixel and KL in nats.

python -m bench.quality_mlp_vae --data PATH_OF_MNIST --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import json
import tempfile

import torch
import torch.nn.functional as F

import latentscape
from bench import plain


@torch.no_grad()
def plain_figures(net: plain.MlpVae, x_N1HW: torch.Tensor) -> dict[str, float]:
    """At posterior means, over the test set."""
    net.eval()
    h = net.encoder(x_N1HW)
    mean, log_std = net.mean(h), net.log_std(h)
    kl = 0.5 * (mean**2 + torch.exp(2 * log_std) - 2 * log_std - 1).sum(1).mean()
    bce = F.binary_cross_entropy(net.decoder(mean), x_N1HW.flatten(1))
    return {"bce": float(bce), "kl_nats": float(kl)}


def train_plain(x_NCHW: torch.Tensor, epochs: int, batch_size: int, seed: int) -> plain.MlpVae:
    """The notebook's loop; its global seed is its own affair."""
    torch.manual_seed(seed)
    net, steps = plain.start("mlp-vae", x_NCHW, batch_size, "cpu")
    for _ in range(epochs * (len(x_NCHW) // batch_size)):
        next(steps)
    assert isinstance(net, plain.MlpVae)
    return net


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True)
    p.add_argument("--epochs", type=int, default=10)
    p.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = p.parse_args()
    data = latentscape.load_data(args.data)
    train, test = data.x[data.indices("train")], data.x[data.indices("test")].float() / 255
    rows = []
    for seed in args.seeds:
        theirs = plain_figures(train_plain(train, args.epochs, 64, seed), test)
        with tempfile.TemporaryDirectory() as folder:
            run = latentscape.reproduce("vae-mlp", data=data, out=folder, seed=seed, epochs=args.epochs)
            metrics = (run.folder.metrics() or {})["metrics"]
        ours = {k: metrics[k] for k in theirs}
        rows.append({"seed": seed, "plain": theirs, "ours": ours})
        print(f"seed {seed}: plain BCE {theirs['bce']:.5f}, KL {theirs['kl_nats']:.2f}   "
              f"latentscape BCE {ours['bce']:.5f}, KL {ours['kl_nats']:.2f}", flush=True)  # fmt: skip
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
