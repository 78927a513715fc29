"""Differentiable augmentation: the same kinds of random change for real and for generated pictures.

A discriminator that sees changed pictures only cannot learn a small training set by heart, and since the changes are
differentiable the generator learns through them; its own pictures stay unchanged.

Source: Zhao et al. 2020 (https://arxiv.org/abs/2006.10738), section 3.3 and the authors' code: colour (brightness
within a quarter of the range, saturation ×0…2, contrast ×0.5…1.5), translation by up to an eighth of each side, cutout
of a square of half of each side. Emptied places take the middle of the range, 0 in [-1, 1] as in the paper. Everything
commutes with scaling pixels from [0, 1] to [-1, 1]; nothing is clipped.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

POLICIES = ("color", "translation", "cutout")
"""What a policy may hold; they are applied in the order in which the policy names them."""

MAX_BRIGHTNESS = 0.25
"""Largest change of brightness, as a share of the value range."""
MAX_SHIFT = 0.125
"""Largest translation, as a share of each side (rounded to pixels)."""
CUT = 0.5
"""Side of the cut square, as a share of each side (rounded to pixels); it may stand partly outside."""

_NUMBERS = {"color": ("brightness", "saturation", "contrast"), "translation": ("down", "right"), "cutout": ("y", "x")}


def draws(policy: Sequence[str], n: int, rng: torch.Generator, prefix: str = "augment") -> dict[str, Tensor]:
    """What `apply` needs for `n` pictures: U[0, 1), n each, on the generator's device, as "<prefix>.<policy>.<what>".

    The prefix keeps the draws of real and generated pictures apart. A policy that is not in `POLICIES` raises
    `ValueError`.
    """
    check(policy)
    names = [f"{prefix}.{part}.{number}" for part in policy for number in _NUMBERS[part]]
    return {name: torch.rand(n, generator=rng, device=rng.device) for name in names}


def check(policy: Sequence[str]) -> None:
    """`ValueError` if the policy names anything but each of `POLICIES` at most once."""
    if not set(policy) <= set(POLICIES) or len(set(policy)) < len(policy):
        raise ValueError(f"augmentation is any of {', '.join(POLICIES)}, each once; got {', '.join(policy)}")


def apply(
    x_BCHW: Tensor,
    policy: Sequence[str],
    draws: dict[str, Tensor],
    *,
    low: float = -1.0,
    high: float = 1.0,
    prefix: str = "augment",
) -> Tensor:
    """Pictures, each changed by its own draws; differentiable in `x_BCHW` any number of times.

    low, high: ends of the value range. Other keys in `draws` are left alone.
    """
    for part in policy:
        u = {number: draws[f"{prefix}.{part}.{number}"] for number in _NUMBERS[part]}
        if part == "color":
            x_BCHW = color(x_BCHW, u["brightness"], u["saturation"], u["contrast"], span=high - low)
        elif part == "translation":
            x_BCHW = translation(x_BCHW, u["down"], u["right"], fill=(low + high) / 2)
        else:
            x_BCHW = cutout(x_BCHW, u["y"], u["x"], fill=(low + high) / 2)
    return x_BCHW


def color(x_BCHW: Tensor, brightness_B: Tensor, saturation_B: Tensor, contrast_B: Tensor, *, span: float) -> Tensor:
    """Brightness, saturation (distance from the pixel's mean over channels), contrast (from the picture's mean).

    Grey pictures have no saturation to change: each pixel is its own mean over channels.
    """
    brightness, saturation, contrast = (
        u.to(x_BCHW.dtype).view(-1, 1, 1, 1) for u in (brightness_B, saturation_B, contrast_B)
    )
    x_BCHW = x_BCHW + (2 * brightness - 1) * MAX_BRIGHTNESS * span
    if x_BCHW.shape[1] > 1:
        grey = x_BCHW.mean(1, keepdim=True)
        x_BCHW = grey + (x_BCHW - grey) * 2 * saturation
    mean = x_BCHW.mean((1, 2, 3), keepdim=True)
    return mean + (x_BCHW - mean) * (contrast + 0.5)


def translation(x_BCHW: Tensor, down_B: Tensor, right_B: Tensor, *, fill: float) -> Tensor:
    """Each picture moved by whole pixels, up to an eighth of each side either way; `fill` comes in at the edges."""
    height, width = x_BCHW.shape[2:]
    rows_BH = _sources(down_B, height)
    columns_BW = _sources(right_B, width)
    inside_BHW = _within(rows_BH, height)[:, :, None] & _within(columns_BW, width)[:, None, :]
    source_BN = (rows_BH.clamp(0, height - 1)[:, :, None] * width + columns_BW.clamp(0, width - 1)[:, None, :]).flatten(
        1
    )
    return torch.where(inside_BHW[:, None], _take_pixels(x_BCHW, source_BN), fill)


def cutout(x_BCHW: Tensor, y_B: Tensor, x_B: Tensor, *, fill: float) -> Tensor:
    """A rectangle of half of each side set to `fill`; its middle is anywhere in the picture."""
    rows_BH = _cut(y_B, x_BCHW.shape[2])
    columns_BW = _cut(x_B, x_BCHW.shape[3])
    return torch.where((rows_BH[:, :, None] & columns_BW[:, None, :])[:, None], fill, x_BCHW)


def _sources(u_B: Tensor, side: int) -> Tensor:
    """Where each place of an axis takes its value from, int64 B×side; may lie outside."""
    most = int(side * MAX_SHIFT + 0.5)
    shift_B = (u_B * (2 * most + 1)).long() - most
    return torch.arange(side, device=u_B.device) - shift_B[:, None]


def _within(places: Tensor, side: int) -> Tensor:
    return (places >= 0) & (places < side)


def _take_pixels(x_BCHW: Tensor, source_BN: Tensor) -> Tensor:
    """Pixels at flat positions, one gather, in the memory format of x."""
    batch, channels, height, width = x_BCHW.shape
    if x_BCHW.is_contiguous():
        return x_BCHW.flatten(2).gather(2, source_BN[:, None].expand(-1, channels, -1)).view(x_BCHW.shape)
    x_BNC = x_BCHW.permute(0, 2, 3, 1).flatten(1, 2)  # no copy where x is channels_last
    taken_BNC = x_BNC.gather(1, source_BN[:, :, None].expand(-1, -1, channels))
    return taken_BNC.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _cut(u_B: Tensor, side: int) -> Tensor:
    """True inside the cut, bool B×side."""
    length = int(side * CUT + 0.5)
    start_B = (u_B * (side + 1 - length % 2)).long() - length // 2
    place = torch.arange(side, device=u_B.device)
    return (place >= start_B[:, None]) & (place < start_B[:, None] + length)
