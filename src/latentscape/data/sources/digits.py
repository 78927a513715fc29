"""The 1,797 real handwritten 8×8 digits that scikit-learn carries (UCI Optical Recognition of Handwritten Digits)."""

from __future__ import annotations

import numpy as np
import torch

from latentscape.data.imageset import Findings
from latentscape.data.raw import Raw


def load_digits() -> Raw:
    """uint8 1797×1×8×8, the stored 0…16 scaled to 0…255; labels 0…9."""
    from sklearn.datasets import load_digits as carried

    flat, labels = carried(return_X_y=True)
    x = torch.from_numpy(np.rint(np.asarray(flat) * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8))
    labels = np.asarray(labels, np.int64)
    return Raw("digits", x, labels, tuple(map(str, range(10))), findings=Findings(found=len(x)))
