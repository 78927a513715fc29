"""GAN: a generator learns to make pictures that a discriminator takes for real ones.

Source: Goodfellow et al. 2014 (https://arxiv.org/abs/1406.2661) with the non-saturating loss; the default nets are the
DCGAN's (Radford et al. 2016, https://arxiv.org/abs/1511.06434).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from latentscape.config import DataShape, setting
from latentscape.contract import Batch, Draws, Losses, Phase
from latentscape.models import _adversarial
from latentscape.numerics import adversarial


@dataclass(frozen=True, kw_only=True)
class Config(_adversarial.Settings):
    """Settings of the GAN."""

    generator_first: bool = setting(False, "the generator's step before the discriminator's, on the same pictures")


class Model(_adversarial.SharedFakes):
    """Two players: the discriminator on real and generated pictures, the generator on those same pictures."""

    Config = Config

    def players(self) -> tuple[Phase, ...]:
        """The two, in the order of their turns."""
        discriminator, generator = super().players()
        return (generator, discriminator) if self.config.generator_first else (discriminator, generator)

    @classmethod
    def training_defaults(cls, shape: DataShape, config: Config) -> dict[str, Any]:
        """Spec row B16: Adam at 2e-4, β₁ = 0.5, three epochs."""
        return {"learning_rate": 2e-4, "beta1": 0.5, "epochs": 3}

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """Cross-entropies in nats."""
        if phase == "discriminate":
            real_B = self.judged(batch.x, batch.y, draws, "real")
            fake_B = self.judged(draws["fake"].detach(), batch.y, draws, "fake")
            loss = adversarial.discriminator_loss(real_B, fake_B)
            return Losses(loss, {"cross_entropy_nats": loss, **_adversarial.told_apart(real_B, fake_B)})
        loss = adversarial.generator_loss(self.judged(draws["fake"], batch.y, draws, "fake"))
        return Losses(loss, {"cross_entropy_nats": loss})
