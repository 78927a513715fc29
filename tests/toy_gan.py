"""Toy GAN: shared fakes, a critic that plays three times a step and is clipped, a generator with BatchNorm.

It has no encoder, so commands that need one must refuse it; it counts what the loop calls.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentscape import contract
from latentscape.config import DataShape, Settings, setting
from latentscape.contract import Batch, Draws, Losses, Phase


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    latent_dim: int = setting(3, "size of the noise", at_least=1)
    clip: float = setting(0.05, "largest magnitude of a critic weight", above=0)
    critic_turns: int = setting(3, "critic turns per generator turn", at_least=1, at_most=9)


class Model(contract.Trained, contract.Samples, contract.Discriminates):
    Config = Config
    probabilities = False

    @property
    def judged_by(self) -> None:
        return

    def __init__(self, shape: DataShape, config: Config, classes: int = 0) -> None:
        super().__init__(shape, config, classes)
        self.latent_dim = config.latent_dim
        self.value_range = "signed" if shape.is_image else "real"
        out = nn.Tanh() if shape.is_image else nn.Identity()
        self.generator = nn.Sequential(
            nn.Linear(config.latent_dim, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, shape.size), out
        )
        self.critic = nn.Sequential(nn.Flatten(), nn.Linear(shape.size, 8), nn.ReLU(), nn.Linear(8, 1))
        self.phases = (
            Phase("criticise", (self.critic,), repeat=config.critic_turns, after_step=self.clip, low_precision=False),
            Phase("generate", (self.generator,), low_precision=False),
        )
        self.calls: dict[str, int] = {}
        self.seen: list[Tensor] = []  # the real batches that the critic was trained on

    def count(self, name: str) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1

    def clip(self) -> None:
        self.count("clip")
        for p in self.critic.parameters():
            p.clamp_(-self.config.clip, self.config.clip)

    def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> Draws:
        if phase != "shared":
            return {}
        return {"z": torch.randn(len(batch.x), self.latent_dim, generator=rng, device=rng.device)}

    def shared(self, batch: Batch, draws: Draws) -> Draws:
        self.count("shared")
        return {"fake": self.decode(draws["z"])}

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        self.count(phase)
        if phase == "criticise":
            if self.training:
                self.seen.append(batch.x)
            gap = self.critic(batch.x).mean() - self.critic(draws["fake"].detach()).mean()
            return Losses(-gap, {"wasserstein_estimate": gap})
        score = self.critic(draws["fake"]).mean()
        return Losses(-score, {"fake_score": score})

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        return self.generator(z_BL).view(-1, *self.shape.dims)

    def prior(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.randn(n, self.latent_dim, generator=rng, device=rng.device)

    def discriminate(self, x_BX: Tensor) -> Tensor:
        return self.critic(x_BX)[:, 0]
