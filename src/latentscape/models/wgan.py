"""WGAN: a critic, held Lipschitz by clipping its weights, estimates how far generated pictures are from real ones.

Source: Arjovsky, Chintala & Bottou 2017 (https://arxiv.org/abs/1701.07875), algorithm 1. The critic's loss, turned
round, is a curve that falls as the pictures get better, up to a constant factor that clipping leaves open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from latentscape.config import DataShape, setting
from latentscape.models import _adversarial


@dataclass(frozen=True, kw_only=True)
class Config(_adversarial.CriticSettings):
    """Settings of the WGAN."""

    clip: float = setting(0.01, "largest size of any of the critic's parameters", above=0)


class Model(_adversarial.Wasserstein):
    """The critic is clipped after each of its steps."""

    Config = Config

    def after_critic(self) -> None:
        """Clip the critic's parameters."""
        for p in self.discriminator.parameters():
            p.clamp_(-self.config.clip, self.config.clip)

    @classmethod
    def training_defaults(cls, shape: DataShape, config: Config) -> dict[str, Any]:
        """Spec row B19: RMSprop at 5e-5."""
        return {"learning_rate": 5e-5, "optimiser": "rmsprop", "epochs": 200}
