"""What a source hands over: examples as they are stored, before split, limit and binarisation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from latentscape.data.imageset import Findings


@dataclass
class Raw:
    """N examples of one source.

    x: uint8 N×C×H×W or float32 N×D.
    labels: int64 N into `label_names`, -1 unknown. attributes: float32 N×A, NaN unknown.
    split: the source's own split, uint8 N (0 train, 1 valid, 2 test), or None.
    digests: uint8 N×16, a hash of each example's content; None: computed later from x.
    """

    name: str
    x: Tensor
    labels: np.ndarray | None = None
    label_names: tuple[str, ...] = ()
    attributes: np.ndarray | None = None
    attribute_names: tuple[str, ...] = ()
    files: tuple[str, ...] | None = None
    split: np.ndarray | None = None
    digests: np.ndarray | None = None
    findings: Findings = field(default_factory=Findings)
    cache_path: Path | None = None


def index_labels(values: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Any label values, N → (int64 indices N, names in sorted order)."""
    names, indices = np.unique(values, return_inverse=True)
    return indices.reshape(-1).astype(np.int64), tuple(str(name) for name in names.tolist())
