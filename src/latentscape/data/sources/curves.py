"""Two noisy curves in the plane: toy data whose true shape is known."""

from __future__ import annotations

import numpy as np
import torch

from latentscape.data.imageset import Findings
from latentscape.data.raw import Raw
from latentscape.data.split import TEST

SEED = 0
POINTS = 2000
NOISE = 0.06


def load_curves() -> Raw:
    """float32 4000×2 with labels sine and circle, 75 % for training and 25 % for testing, always the same draw.

    sine: (t, sin t), t evenly over [-2.2, 2.2]. circle: radius 0.5 round (1.5, -0.5), angles evenly over a turn.
    Both with Gaussian noise of standard deviation 0.06 on each coordinate.
    """
    rng = np.random.default_rng(SEED)
    t = np.linspace(-2.2, 2.2, POINTS)
    angle = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    sine = np.stack([t, np.sin(t)], 1)
    circle = np.stack([1.5 + 0.5 * np.cos(angle), -0.5 + 0.5 * np.sin(angle)], 1)
    x_ND = np.concatenate([sine, circle])
    x_ND = x_ND + NOISE * rng.standard_normal(x_ND.shape)
    split = np.zeros(len(x_ND), np.uint8)
    split[rng.permutation(len(x_ND))[: len(x_ND) // 4]] = TEST
    labels = np.repeat(np.arange(2, dtype=np.int64), POINTS)
    x = torch.from_numpy(x_ND.astype(np.float32))
    return Raw("curves", x, labels, ("sine", "circle"), split=split, findings=Findings(found=len(x)))
