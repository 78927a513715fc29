"""How much each latent coordinate matters for what is decoded.

The variance of a coordinate, or its KL, says how much the encoder puts into it, not what the decoder makes of it: a
coordinate may vary widely and change a single pixel. So the decoder is asked. The importance of coordinate i is the
mean squared change of the decoded example when the coordinate moves by one of its standard deviations σᵢ,

    Iᵢ = E_z mean over values (G(z + ½σᵢeᵢ) − G(z − ½σᵢeᵢ))²,

over base latents z as the model uses them. For a linear decoder that is the variance of the output, mean over its
values, that the coordinate alone accounts for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Importance:
    """Of each of L coordinates: its importance, L, and the standard error of that over the base latents, L."""

    mean_L: Tensor
    error_L: Tensor

    def order(self) -> list[int]:
        """Coordinates from 0, the most important first; equals in their own order."""
        return self.mean_L.argsort(descending=True, stable=True).tolist()


def importance(decode: Callable[[Tensor], Tensor], z_BL: Tensor, std_L: Tensor) -> Importance:
    """Of every coordinate, over B base latents.

    decode: 2B codes → 2B×… on the scale in which a change is measured; row b and row B+b belong to base latent b.
    std_L: one standard deviation of each coordinate.
    """
    effects = []
    for i, half in enumerate((0.5 * std_L).tolist()):
        ahead, behind = z_BL.clone(), z_BL.clone()
        ahead[:, i] += half
        behind[:, i] -= half
        after, before = decode(torch.cat([ahead, behind])).double().flatten(1).chunk(2)
        effects.append((after - before).square().mean(1))
    effects_BL = torch.stack(effects, 1)
    error_L = effects_BL.std(0, correction=min(1, len(z_BL) - 1)) / len(z_BL) ** 0.5
    return Importance(effects_BL.mean(0), error_L)
