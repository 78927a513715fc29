"""Failure detectors that speak in plain words during training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from latentscape.contract import Batch, HasPosterior, Model
from latentscape.numerics import gaussian


@dataclass(frozen=True)
class Warned:
    """What a detector says: its name, and sentences for a person."""

    detector: str
    text: str


class Detector:
    """Base of all detectors: it looks at the model after each epoch, or hears the held-out loss, or both."""

    name: ClassVar[str]

    def look(self, model: Model, batch: Batch, *, step: int, last: bool) -> Warned | None:
        """Look at the model, in evaluation mode, on one batch of held-out images.

        step: how many steps are done. last: training has ended.
        """
        return None

    def hear(self, held_out_loss: float) -> Warned | None:
        """Take one more held-out loss."""
        return None

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return dict(vars(self))

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        vars(self).update(state)


class PosteriorCollapse(Detector):
    """The encoder ignores its input: Var_x(E[z|x]) ≤ 0.01 in every dimension (Burda et al. 2016, 5.2).

    For a model that is told the label, the variance is taken within each label: what the code says beyond it. Speaks
    once all dimensions are inactive at two looks in a row, or at the end of training. In the first steps a healthy run
    looks the same: then it speaks only if training ends there, and says so.
    """

    name = "posterior_collapse"
    first_step = 100

    def __init__(self) -> None:
        self.looks = 0
        self.spoken = False

    @torch.no_grad()
    def look(self, model: Model, batch: Batch, *, step: int, last: bool) -> Warned | None:
        """See `Detector.look`."""
        young = step < self.first_step
        if not isinstance(model, HasPosterior) or self.spoken or (young and not last):
            return None
        q = model.posterior(batch.x, batch.y)
        mean_BL = _beyond_labels(q.mean, batch.y) if model.needs_labels and batch.y is not None else q.mean
        active = int((gaussian.variance_of_means(mean_BL) > gaussian.ACTIVE_ABOVE).sum())
        self.looks = self.looks + 1 if active == 0 else 0
        if self.looks < 2 and not (last and self.looks):
            return None
        self.spoken = True
        kl = float(gaussian.kl_to_standard(q.mean, q.log_var).sum(1).mean())
        return Warned(self.name, _collapse_words(q.mean.shape[1], kl, step if young else 0))


def _beyond_labels(mean_BL: Tensor, y_B: Tensor) -> Tensor:
    """Posterior means less their label's mean, B×L."""
    labels, which_B = y_B.unique(return_inverse=True)
    sums_KL = mean_BL.new_zeros(len(labels), mean_BL.shape[1]).index_add_(0, which_B, mean_BL)
    return mean_BL - (sums_KL / which_B.bincount(minlength=len(labels))[:, None])[which_B]


def _collapse_words(dimensions: int, kl: float, after: int) -> str:
    """after: steps of a run that ended too early to tell, or 0."""
    early = f"the run ended after {after} steps, too early to be sure: train for more, and if it stays so, "
    return (
        f"posterior collapse: none of {dimensions} latent dimensions carries information about the image (KL {kl:.3f} "
        f"nats), so every image decodes to the same picture; {early if after else ''}lower the KL "
        "weight, warm it up over the first steps (--beta-warmup-steps), or use a weaker decoder"
    )


class GettingWorse(Detector):
    """The held-out loss has risen for five looks in a row, by more than 2 % in all: over-fitting or divergence."""

    name = "getting_worse"
    patience, rise = 5, 0.02

    def __init__(self) -> None:
        self.losses: list[float] = []

    def hear(self, held_out_loss: float) -> Warned | None:
        """See `Detector.hear`."""
        self.losses = [*self.losses[-self.patience :], held_out_loss]
        worse = all(b > a for a, b in zip(self.losses, self.losses[1:], strict=False))
        first, last = self.losses[0], self.losses[-1]
        if len(self.losses) <= self.patience or not worse or last - first <= self.rise * abs(first):
            return None
        self.losses = []
        return Warned(
            self.name,
            f"the loss on held-out images rose {self.patience} epochs in a row (from {first:.4g} to "
            f"{last:.4g}) while training goes on: stop early (--early-stopping 3), or train on more images",
        )


def detectors() -> list[Detector]:
    """A fresh one of each kind."""
    from latentscape.training import watch_games  # noqa: F401 - its detectors stand on this file, and are found below

    return [kind() for kind in _kinds(Detector)]


def _kinds(base: type[Detector]) -> Iterator[type[Detector]]:
    """All that derive from `base`; one without a name is itself a base."""
    for kind in base.__subclasses__():
        if hasattr(kind, "name"):
            yield kind
        yield from _kinds(kind)
