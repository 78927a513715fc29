"""WGAN-GP: a Wasserstein GAN whose critic is held Lipschitz by a penalty on its slope between real and generated.

Source: Gulrajani et al. 2017 (https://arxiv.org/abs/1704.00028), algorithm 1. The critic has no BatchNorm, since the
penalty is about single examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentscape.config import DataShape, setting
from latentscape.contract import Batch, Draws
from latentscape.models import _adversarial
from latentscape.numerics import adversarial


@dataclass(frozen=True, kw_only=True)
class Config(_adversarial.CriticSettings):
    """Settings of the WGAN-GP."""

    penalty: float = setting(10.0, "λ of the gradient penalty", at_least=0)


class Model(_adversarial.Wasserstein):
    """The critic is penalised where its slope is not 1."""

    Config = Config
    penalises_slopes = True

    @classmethod
    def training_defaults(cls, shape: DataShape, config: Config) -> dict[str, Any]:
        """Spec row B20: Adam at 1e-4, β = (0, 0.9)."""
        return {"learning_rate": 1e-4, "beta1": 0.0, "beta2": 0.9, "epochs": 15}

    def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> Draws:
        """z: B×L; mix: U[0, 1) B, for the critic; and what the augmentation needs."""
        draws = super().draw(phase, batch, rng)
        if phase == "criticise":
            draws["mix"] = torch.rand(len(batch.x), generator=rng, device=rng.device)
        return draws

    def penalised(self, batch: Batch, fake_BX: Tensor, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted penalty on the critic's slope between real and generated pictures."""
        x_BX = adversarial.between(batch.x, fake_BX, draws["mix"]).requires_grad_()
        with torch.enable_grad():
            slope_BX = adversarial.slopes(self.judged(x_BX, batch.y, draws, "fake"), x_BX)
            penalty = adversarial.gradient_penalty(slope_BX)
        return self.config.penalty * penalty, {"gradient_penalty": penalty}
