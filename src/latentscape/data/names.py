"""Data sets that go by a name. Cheap to import: nothing but a dictionary."""

from __future__ import annotations

NAMES: dict[str, str] = {
    "digits": "1,797 real handwritten 8×8 digits in grey, 10 classes; embedded, needs no network",
    "shapes": "10,000 drawn 32×32 colour pictures with their true factors as attributes; embedded, needs no network",
    "curves": "4,000 points in the plane on two curves, 2 classes; embedded, needs no network",
    "mnist": "70,000 handwritten 28×28 digits in grey, 10 classes; fetched once (11 MB)",
    "fashion-mnist": "70,000 pictures of clothing, 28×28 in grey, 10 classes; fetched once (30 MB)",
    "kmnist": "70,000 handwritten Japanese characters, 28×28 in grey, 10 classes; fetched once (20 MB)",
    "stacked-mnist": "70,000 stacks of three MNIST digits as red, green and blue, 1,000 classes; made from mnist",
    "celeba": "202,599 photographs of faces, 218×178 in colour, 40 attributes; `data fetch celeba` gets it (1.4 GB)",
}
"""Built-in name → one line on what it is."""


def named(data: object) -> str:
    """The built-in name that `data` stands for, in any case and with _ or -; empty if it is none."""
    name = data.lower().replace("_", "-") if isinstance(data, str) else ""
    return name if name in NAMES else ""
