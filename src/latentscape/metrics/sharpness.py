"""How sharp pictures are."""

from __future__ import annotations

from torch import Tensor

SMALLEST = 4
"""Pictures need so many pixels in both directions, so that there are at least four values to take a variance of."""


def laplacian_variance(x_BCHW: Tensor) -> Tensor:
    """Variance over inner pixels of the Laplacian (up + down + left + right − 4·middle), B (Pech-Pacheco et al. 2000).

    Of pictures on [0, 1], clipped to it, their channels averaged to grey. Blur lowers it, noise raises it.
    """
    grey = x_BCHW.clamp(0, 1).mean(1)
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return (around - 4 * grey[:, 1:-1, 1:-1]).flatten(1).var(1, correction=0)


def can_measure(dims: tuple[int, ...]) -> bool:
    """Whether examples of this shape are pictures large enough."""
    return len(dims) == 3 and min(dims[1:]) >= SMALLEST
