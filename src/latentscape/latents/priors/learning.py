"""Training of a small net on latents: Adam, an average of the weights, and a stop by held-out latents."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from latentscape.latents.priors.base import Report, held_out

Net = TypeVar("Net", bound=nn.Module)
Loss = Callable[[Any, Tensor, torch.Generator], Tensor]
"""(net, u_BK, rng) → mean loss, 0-dim."""

BATCH = 512
CHECK = 100
"""Steps between looks at the held-out latents."""

PATIENCE = 5
"""Looks without improvement before training stops."""

AVERAGED_OVER = 200
"""The weights' average forgets over so many steps, early on over a fifth of those done."""

LARGEST_GRADIENT = 10.0
"""Gradients of a larger norm are shortened to it."""


def learn(
    net: Net, loss: Loss, u_NK: Tensor, *, steps: int, rate: float, seed: int, report: Report, what: str
) -> tuple[Net, dict[str, Any]]:
    """The averaged net that was best on held-out latents, and what the training says of itself.

    The learning rate falls to nothing along a cosine. The state before the first step counts as a candidate, and a
    loss that is not finite ends the training.
    """
    rng = torch.Generator().manual_seed(seed)
    train, held = held_out(u_NK.float(), rng)
    average = copy.deepcopy(net).requires_grad_(False)
    optimiser = torch.optim.Adam(net.parameters(), rate)
    best, best_loss, kept, done = copy.deepcopy(average), _judged(average, loss, held), 0, 0
    while done < steps and done - kept < PATIENCE * CHECK:
        for group in optimiser.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * done / steps))
        batch = train[torch.randint(len(train), (min(BATCH, len(train)),), generator=rng)]
        value = loss(net, batch, rng)
        if not value.isfinite():
            break
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(net.parameters(), LARGEST_GRADIENT)
        optimiser.step()
        done += 1
        _follow(average, net, done)
        if done % CHECK == 0 or done == steps:
            now = _judged(average, loss, held)
            if now < best_loss:
                best, best_loss, kept = copy.deepcopy(average), now, done
            if done % (5 * CHECK) == 0:
                report(f"{what}: step {done:,} of at most {steps:,}, held-out loss {now:.3f}.")
    return best, {"steps": done, "kept_step": kept, "heldout_loss": best_loss}


@torch.no_grad()
def _follow(average: nn.Module, net: nn.Module, step: int) -> None:
    share = max(1 / AVERAGED_OVER, 5 / (step + 5))
    for kept, new in zip(average.parameters(), net.parameters(), strict=True):
        kept.lerp_(new, share)


@torch.no_grad()
def _judged(net: nn.Module, loss: Loss, held_NK: Tensor) -> float:
    """The loss on held-out latents, with the same draws at every look."""
    value = float(loss(net, held_NK, torch.Generator().manual_seed(0)))
    return value if math.isfinite(value) else math.inf


def seeded(build: Callable[[], Net], seed: int) -> Net:
    """A net whose first weights depend on the seed alone; the global generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()
