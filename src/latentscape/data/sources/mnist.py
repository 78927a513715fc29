"""MNIST, Fashion-MNIST and KMNIST by name, and Stacked MNIST made of the first."""

from __future__ import annotations

import sys

import numpy as np
import torch

from latentscape.data.fetching import FILES, fetch, places
from latentscape.data.imageset import Findings
from latentscape.data.raw import Raw
from latentscape.data.sources.idx import MNIST_MD5, find_idx, load_idx_folder, mnist_md5
from latentscape.errors import DataError

CLASSES: dict[str, tuple[str, ...]] = {
    "mnist": tuple(map(str, range(10))),
    "fashion-mnist": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
}  # fmt: skip

STACK_SEED = 0


def load_mnist(name: str) -> Raw:
    """uint8 70000×1×28×28 with its own 60,000 / 10,000 split; fetched if it is in none of the known places.

    Raises `DataError` if it cannot be fetched or if what lies there is something else.
    """
    folder = next((place for place in places(name) if len(find_idx(place)) >= len(FILES)), None)
    if folder is None:
        folder = fetch(name, report=lambda line: print(line, file=sys.stderr))
    raw = load_idx_folder(folder)
    if raw.x.shape != (70_000, 1, 28, 28) or raw.labels is None or len(raw.label_names) != 10:
        raise DataError(
            f"{folder} must hold {name}'s 70,000 labelled images of 28×28, found {'×'.join(map(str, raw.x.shape))}; "
            f"remove it to fetch it anew, or give its path to use it as it is"
        )
    if name == "mnist" and (found := mnist_md5(raw)) != MNIST_MD5:
        file = next(file for file, expected in MNIST_MD5.items() if found[file] != expected)
        raise DataError(
            f"{file} in {folder} must have the MD5 {MNIST_MD5[file]} when uncompressed, found {found[file]}; "
            f"remove it to fetch it anew, or give its path to use it as it is"
        )
    raw.name, raw.label_names = name, CLASSES[name]
    return raw


def load_stacked() -> Raw:
    """uint8 70000×3×28×28: three random digits as red, green and blue; label 100·a + 10·b + c of 1,000 (VEEGAN).

    Training stacks hold training digits, test stacks test digits; the draw is always the same.
    """
    mnist = load_mnist("mnist")
    assert mnist.labels is not None
    assert mnist.split is not None
    rng = np.random.default_rng(STACK_SEED)
    chosen = np.concatenate(
        [rng.choice(np.flatnonzero(mnist.split == part), (n, 3)) for part, n in ((0, 60_000), (2, 10_000))]
    )
    labels = mnist.labels[chosen] @ np.array([100, 10, 1])
    x = mnist.x[:, 0].index_select(0, torch.from_numpy(chosen.reshape(-1))).view(-1, 3, 28, 28)
    names = tuple(f"{i:03d}" for i in range(1000))
    return Raw("stacked-mnist", x, labels, names, split=mnist.split, findings=Findings(found=len(x)))
