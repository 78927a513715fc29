"""R3GAN: a relativistic GAN whose discriminator is flattened on real and on generated pictures (R1 and R2).

Source: Huang et al. 2024 (https://arxiv.org/abs/2501.05441): paired relativistic loss + γ/2·(R1 + R2), an average of
the generator's weights for use. Comparing pairs leaves no incentive to drop modes, the penalties make the game
converge. The paper's nets have no normalisation. The discriminator here has none either, since the penalties are about
single pictures; the generator keeps BatchNorm, with which these plain nets learn faster, unless `--norm none`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentscape.config import DataShape, setting
from latentscape.contract import Batch, Draws, Losses
from latentscape.models import _adversarial
from latentscape.numerics import adversarial


@dataclass(frozen=True, kw_only=True)
class Config(_adversarial.Settings):
    """Settings of the R3GAN."""

    penalty: float = setting(0.2, "γ of R1 and R2, each weighs γ/2", at_least=0)


class Model(_adversarial.SharedFakes):
    """Two players who compare real and generated pictures in pairs."""

    Config = Config
    norms = (True, False)
    probabilities = False  # only differences of logits are trained, so that 0 means nothing
    penalises_slopes = True

    @classmethod
    def training_defaults(cls, shape: DataShape, config: Config) -> dict[str, Any]:
        """Adam with β₁ = 0 and an average of the weights over the last thousands of pictures."""
        return {"learning_rate": 4e-4, "beta1": 0.0, "beta2": 0.99, "epochs": 3, "ema_halflife_images": 10_000}

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """Relativistic cross-entropies of pairs, in nats, and the penalties."""
        if phase == "generate":
            with torch.no_grad():
                real_B = self.judged(batch.x, batch.y, draws, "real")
            fake_B = self.judged(draws["fake"], batch.y, draws, "fake")
            loss = adversarial.relativistic_loss(fake_B, real_B)
            return Losses(loss, {"cross_entropy_nats": loss})
        real_B, r1 = self._flat(batch.x, batch.y, draws, "real")
        fake_B, r2 = self._flat(draws["fake"], batch.y, draws, "fake")
        loss = adversarial.relativistic_loss(real_B, fake_B)
        ahead = {"accuracy": (real_B > fake_B).float().mean(), "r1": r1, "r2": r2}
        return Losses(loss + 0.5 * self.config.penalty * (r1 + r2), {"cross_entropy_nats": loss, **ahead})

    def _flat(self, x_BX: Tensor, y_B: Tensor | None, draws: Draws, side: str) -> tuple[Tensor, Tensor]:
        """Logits B and the penalty on their slopes."""
        x_BX = x_BX.detach().requires_grad_()
        with torch.enable_grad():
            logit_B = self.judged(x_BX, y_B, draws, side)
            return logit_B, adversarial.zero_centred_penalty(adversarial.slopes(logit_B, x_BX))
