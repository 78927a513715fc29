"""Detectors for models that make examples from noise, most of all for players against each other.

Each looks at what the model makes from one fixed noise beside the real examples of the probe. The beginning of a game
looks like its failures, so that they hold their tongue for the first steps and until what they found has lasted. Their
thresholds keep far from what healthy runs show, and so do not find failures that are only beginning.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from latentscape.contract import Batch, Discriminates, Encodes, Model, Samples
from latentscape.numerics import diversity
from latentscape.training.watch import Detector, Warned

SAMPLES = 128
"""Most examples that are made and compared."""

FEWEST = 16
"""Fewer say nothing of how much examples differ."""


class Lasting(Detector):
    """Base of those that speak once, when what they find has lasted for `patience` steps or training ends."""

    first_step: ClassVar[int] = 1000
    patience: ClassVar[int] = 500

    def __init__(self) -> None:
        self.since = -1
        """The step at which it was first found, −1 where the last look did not find it."""
        self.spoken = False

    @torch.no_grad()
    def look(self, model: Model, batch: Batch, *, step: int, last: bool) -> Warned | None:
        """See `Detector.look`."""
        if self.spoken or step < self.first_step or min(len(batch.x), SAMPLES) < FEWEST:
            return None
        found = self.found(model, batch)
        if not found:
            self.since = -1
            return None
        self.since = step if self.since < 0 else self.since
        if step - self.since < self.patience and not last:
            return None
        self.spoken = True
        return Warned(self.name, found)

    @abstractmethod
    def found(self, model: Model, batch: Batch) -> str:
        """What is wrong, for a person; nothing if nothing is."""


def generates(model: Model) -> bool:
    """Whether examples are made from noise alone: a decoder that also reconstructs is judged by that."""
    return isinstance(model, Samples) and (isinstance(model, Discriminates) or not isinstance(model, Encodes))


def made(model: Samples, like: Batch) -> tuple[Tensor, Tensor | None]:
    """As many examples as are compared, from always the same noise, and their labels: all in turn, if it needs them."""
    assert isinstance(model, Model)
    n, device = min(len(like.x), SAMPLES), like.x.device
    y_N = torch.arange(n, device=device) % model.classes if model.needs_labels else None
    return model.decode(model.prior(n, torch.Generator(device).manual_seed(0)), y_N).float(), y_N


def judged(model: Discriminates, x_BX: Tensor, y_B: Tensor | None) -> Tensor:
    """Logits B; labels are given to models that need them only."""
    assert isinstance(model, Model)
    return (model.discriminate(x_BX, y_B) if model.needs_labels else model.discriminate(x_BX)).float()


class ModeCollapse(Lasting):
    """What is made from different noise is alike: by distance, or in few kinds of near-duplicates.

    Alike: pairs are less than a third as far apart as pairs of real examples. Near-duplicate: nearer to another one
    than a twentieth of what a real example is to its nearest, in the median; more than half of those made, beyond the
    share among real ones. (128 points spread over a plane, as a good generator's of two numbers are, have neighbours
    about three times as far.) Distances are over pixels: one digit in many handwritings is not found.
    """

    name = "mode_collapse"
    alike, near, share = 1 / 3, 1 / 20, 1 / 2

    def found(self, model: Model, batch: Batch) -> str:
        """See `Lasting.found`."""
        if not generates(model):
            return ""
        assert isinstance(model, Samples)
        made_NN = diversity.distances(made(model, batch)[0])
        real_NN = diversity.distances(batch.x[:SAMPLES])
        apart = float(diversity.mean_distance(made_NN) / diversity.mean_distance(real_NN))
        within = self.near * diversity.nearest(real_NN).median()
        twins = float(diversity.duplicates(made_NN, within))
        if not (apart < self.alike or twins - float(diversity.duplicates(real_NN, within)) > self.share):
            return ""
        return (
            f"mode collapse: generated examples differ from each other {apart:.0%} as much as real ones do, and "
            f"{twins:.0%} of {len(made_NN)} have a near-duplicate among them; give the discriminator a lower learning "
            "rate (--discriminator-rate 0.5), take a bigger --batch-size, on a small set --diff-augment, or train "
            "wgan-gp or r3gan, which lose fewer kinds"
        )


class DiscriminatorSaturation(Lasting):
    """The discriminator is sure of everything, or answers the same to everything: nobody can learn from either.

    Sure: a mean probability above 0.99 for real examples and below 0.01 for generated ones. The same: answers differ by
    less than 10⁻⁵ of their size. Critics, whose answers are no probabilities, are asked the second only.
    """

    name = "discriminator_saturation"
    sure, same = 0.01, 1e-5

    def found(self, model: Model, batch: Batch) -> str:
        """See `Lasting.found`."""
        if not isinstance(model, Samples) or not isinstance(model, Discriminates):
            return ""
        fake_BX, y_B = made(model, batch)
        n = len(fake_BX)
        real_B = judged(model, batch.x[:n], batch.y[:n] if batch.y is not None else None)
        fake_B = judged(model, fake_BX, y_B)
        every_B = torch.cat([real_B, fake_B])
        if not bool(every_B.isfinite().all()):
            return ""  # `Divergence` tells that
        if bool(every_B.max() - every_B.min() <= self.same * every_B.abs().max()):
            return (
                f"discriminator saturation: the discriminator answers {float(every_B.mean()):.3g} to every example, "
                "real or generated, so that the generator learns nothing from it; start again with a lower "
                "--learning-rate or --discriminator-rate, and with weights clipped less hard if they are clipped"
            )
        real, fake = float(real_B.sigmoid().mean()), float(fake_B.sigmoid().mean())
        if not model.probabilities or not (real > 1 - self.sure and fake < self.sure):
            return ""
        return (
            f"discriminator saturation: the discriminator holds real examples for real with probability {real:.1%} and "
            f"generated ones with {fake:.2%}, so sure that the generator hardly learns from it; lower its learning "
            "rate (--discriminator-rate 0.25), show it changed pictures (--diff-augment), or train wgan-gp or r3gan, "
            "whose penalties keep it smooth"
        )


class Divergence(Lasting):
    """The generator or the discriminator has left the range in which the game can go on.

    Generated values or answers are not finite; generated values lie ten times as far from the real mean as real ones
    do; nearly all of them stand at one end of the range, or at both, where real ones do not (the share elsewhere is
    under a tenth of the real one); or logits that are to be probabilities are beyond 1,000.
    """

    name = "divergence"
    first_step, patience = 200, 200
    far, elsewhere, most_logit = 10.0, 0.1, 1e3

    def found(self, model: Model, batch: Batch) -> str:
        """See `Lasting.found`."""
        if not generates(model):
            return ""
        assert isinstance(model, Samples)
        fake_BX, y_B = made(model, batch)
        what = self._values(fake_BX, batch.x[: len(fake_BX)].float())
        if not what and isinstance(model, Discriminates):
            what = self._answers(judged(model, fake_BX, y_B), model.probabilities)
        if not what:
            return ""
        return (
            f"divergence: {what}, and the game will hardly come back from there; train again with a lower "
            "--learning-rate, with --gradient-clip 1, or as wgan-gp or r3gan"
        )

    def _values(self, fake_BX: Tensor, real_BX: Tensor) -> str:
        if not bool(fake_BX.isfinite().all()):
            return "generated values are not finite numbers"
        mean_X = real_BX.mean(0)
        spread = float((real_BX - mean_X).square().mean().sqrt())
        times = float((fake_BX - mean_X).square().mean().sqrt()) / max(spread, 1e-30)
        if times > self.far and spread > 1e-5 * float(mean_X.abs().max()):
            return f"generated values lie {times:,.0f} times as far from the mean of the real ones as real ones do"
        ends = (float(real_BX.min()), float(real_BX.max()))
        for at, words in ((ends[:1], "lowest value"), (ends[1:], "highest value"), (ends, "lowest or highest value")):
            fake, real = (_between(x_BX, at, 0.01 * (ends[1] - ends[0])) for x_BX in (fake_BX, real_BX))
            few = len(at) == 2 and real < 0.2  # of drawings nearly everything is black or white, also when it goes well
            if fake < self.elsewhere * real and not few:
                return (
                    f"{1 - fake:.1%} of what is generated has the {words} that there is, {1 - real:.1%} of what is real"
                )
        return ""

    def _answers(self, logits_B: Tensor, probabilities: bool) -> str:
        if not bool(logits_B.isfinite().all()):
            return "the discriminator's answers are not finite numbers"
        size = float(logits_B.abs().mean())
        return (
            f"the discriminator's logits are about {size:,.0f} in size"
            if probabilities and size > self.most_logit
            else ""
        )


def _between(x_BX: Tensor, ends: tuple[float, ...], near: float) -> float:
    """Share of values that are not near any of the ends."""
    off_BX = torch.ones_like(x_BX, dtype=torch.bool)
    for end in ends:
        off_BX &= (x_BX - end).abs() > near
    return float(off_BX.float().mean())
