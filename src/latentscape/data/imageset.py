"""The data set that everything else sees: uint8 images or float32 vectors, labels, attributes and a fixed split."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentscape.config import DataShape, ValueRange
from latentscape.errors import DataError

SPLITS = ("train", "valid", "test")
"""Names of the codes 0, 1, 2 in `ImageSet.split`."""


@dataclass
class Findings:
    """What was met while reading: told before training, never in the middle of it.

    found: files or examples met; used: how many of them are in the set.
    unreadable: (file, reason). duplicates: groups of files with exactly the same decoded picture.
    near_duplicates: pairs of files that show the same picture but for encoding, both still in the set.
    modes: colour modes as stored ("L", "RGB", "P", …) → count. sizes: "height x width" as stored ("64x48") → count.
    notes: sentences on conversions and oddities.
    """

    found: int = 0
    used: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    duplicates: list[list[str]] = field(default_factory=list)
    near_duplicates: list[tuple[str, str]] = field(default_factory=list)
    modes: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Findings:
        """The inverse of `to_dict`, also after a trip through JSON."""
        pairs = {name: [(a, b) for a, b in values[name]] for name in ("unreadable", "near_duplicates")}
        return cls(**{**values, **pairs})


@dataclass
class ImageSet:
    """N examples with whatever is known about them.

    name: what the set calls itself.
    x: uint8 N×C×H×W, in memory or mapped from a file (read it, never write to it); or float32 N×D for vectors.
    split: uint8 N, 0 train, 1 valid, 2 test (`SPLITS`).
    fingerprint: hexadecimal; equal content read with equal settings has the same one on any machine and path.
    labels: int64 N, indices into `label_names`; -1 where an example has none. None: the set has no labels.
    attributes: float32 N×A, NaN where unknown; `attribute_names` names its columns.
    files: name of each example relative to the folder, or None where examples are not files.
    binarise: "none", "dynamic" (valid and test are already 0 or 255, training ones are grey and redrawn for every
        batch) or "fixed" (all are already 0 or 255).
    flip, max_shift: how training batches change their images, see `DataSettings`; `x` holds them as they are.
    cache_path: the packed cache that `x` is mapped from, if any.
    """

    name: str
    x: Tensor
    split: Tensor
    fingerprint: str
    labels: Tensor | None = None
    label_names: tuple[str, ...] = ()
    attributes: Tensor | None = None
    attribute_names: tuple[str, ...] = ()
    files: tuple[str, ...] | None = None
    findings: Findings = field(default_factory=Findings)
    binarise: str = "none"
    flip: str = "none"
    max_shift: int = 0
    cache_path: Path | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> DataShape:
        """The shape of one example."""
        return DataShape(tuple(self.x.shape[1:]))

    @property
    def classes(self) -> int:
        """Number of label classes, 0 without labels."""
        return len(self.label_names) if self.labels is not None else 0

    def sizes(self) -> dict[str, int]:
        """How many examples each of train, valid and test holds."""
        return {name: int((self.split == code).sum()) for code, name in enumerate(SPLITS)}

    @property
    def to_train(self) -> int:
        """How many examples one pass over the training set has. `DataError` if there are none."""
        return len(self.indices("train"))

    def indices(self, split: str) -> Tensor:
        """int64 positions of "train", "valid", "test" or "all" examples, ascending. `DataError` if there are none."""
        if split == "all":
            return torch.arange(len(self))
        if split not in SPLITS:
            raise DataError(f"a split is one of train, valid, test or all; got {split!r}")
        found = torch.nonzero(self.split == SPLITS.index(split)).flatten()
        if not len(found):
            holds = ", ".join(f"{name} {n:,}" for name, n in self.sizes().items())
            hint = "" if split == "train" else f"; set --{split}-fraction above 0 or choose another split"
            raise DataError(f"the {split} split of {self.name} is empty ({holds}){hint}")
        return found

    def examples(self, indices: Tensor, value_range: ValueRange) -> Tensor:
        """float32 examples at int64 `indices`, pixels scaled to `value_range`; vectors come as they are."""
        return to_range(self.x.index_select(0, indices), value_range)


def to_range(x: Tensor, value_range: ValueRange) -> Tensor:
    """Scale uint8 pixels 0…255 to float32 in [0, 1] ("unit", "real") or [-1, 1] ("signed"), on x's device.

    Floating-point input (vectors) passes unchanged.
    """
    if x.is_floating_point():
        return x
    if value_range == "signed":
        return x.to(torch.float32).div_(127.5).sub_(1)
    return x.to(torch.float32).div_(255)


def describe(imageset: ImageSet, most: int = 20) -> dict[str, Any]:
    """What `data info` prints, JSON-able; lists of files are cut to the first `most`, with the full count beside."""
    found = imageset.findings
    return {
        "name": imageset.name,
        "n": len(imageset),
        "shape": list(imageset.shape.dims),
        "values": "float32 vectors" if imageset.x.is_floating_point() else "uint8 pixels",
        "split": imageset.sizes(),
        "labels": _label_counts(imageset),
        "attributes": _attribute_ranges(imageset),
        "binarise": imageset.binarise,
        "found": found.found,
        "used": found.used,
        "modes": found.modes,
        "sizes": found.sizes,
        "unreadable": {"count": len(found.unreadable), "first": [list(pair) for pair in found.unreadable[:most]]},
        "duplicates": {"count": len(found.duplicates), "first": [group[:most] for group in found.duplicates[:most]]},
        "near_duplicates": {
            "count": len(found.near_duplicates),
            "first": [list(pair) for pair in found.near_duplicates[:most]],
        },
        "notes": list(found.notes),
        "fingerprint": imageset.fingerprint,
        "cache": str(imageset.cache_path) if imageset.cache_path else None,
    }


def _label_counts(imageset: ImageSet) -> dict[str, int]:
    if imageset.labels is None:
        return {}
    known = imageset.labels[imageset.labels >= 0]
    counts = torch.bincount(known, minlength=imageset.classes).tolist()
    return dict(zip(imageset.label_names, counts, strict=True))


def _attribute_ranges(imageset: ImageSet) -> dict[str, dict[str, float | int]]:
    ranges: dict[str, dict[str, float | int]] = {}
    if imageset.attributes is None:
        return ranges
    for name, column in zip(imageset.attribute_names, imageset.attributes.unbind(1), strict=True):
        known = column[~column.isnan()].double()
        ranges[name] = {"known": len(known)}
        if len(known):
            ranges[name] |= {"min": known.min().item(), "mean": known.mean().item(), "max": known.max().item()}
    return ranges
