"""What all generative adversarial networks share: generator, discriminator, noise, labels, augmentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from latentscape import contract
from latentscape.config import DataShape, ValueRange, setting
from latentscape.contract import Batch, Draws, Losses, Phase
from latentscape.errors import ConfigError
from latentscape.nets import gan
from latentscape.numerics import adversarial, augment

RANGES: dict[str, ValueRange] = {"sigmoid": "unit", "tanh": "signed", "linear": "real"}
"""The generator's output activation → what range its pictures, and so the data, lie in."""


@dataclass(frozen=True, kw_only=True)
class Settings(gan.GanNets):
    """Settings that every GAN has."""

    latent_dim: int = setting(100, "size of the noise vector", at_least=1)
    output: Literal["auto", "sigmoid", "tanh", "linear"] = setting(
        "auto",
        "of the generator, and with it the data's range; auto: sigmoid (dcgan, conv), tanh, linear for vectors and for "
        "a generator without BatchNorm",
    )
    conditional: bool = setting(False, "whether generator and discriminator are told the label")
    diff_augment: tuple[Literal["color", "translation", "cutout"], ...] = setting(
        (), "differentiable augmentation of real and generated pictures alike, for small sets"
    )
    discriminator_rate: float = setting(1.0, "the discriminator's learning rate as a multiple of the run's", above=0)


class Adversarial(contract.Trained, contract.Samples, contract.Discriminates):
    """z → generator → x; x → discriminator → logit. Subclasses define the phases and their losses."""

    norms: ClassVar[tuple[bool, bool]] = (True, True)
    """BatchNorm in generator and discriminator where the settings say auto."""
    penalises_slopes: ClassVar[bool] = False
    """Whether the discriminator's loss holds its own gradients with respect to pictures."""
    takes: ClassVar[Mapping[str, str]] = {"decoder.": "generator.net.", "encoder.": "discriminator.body."}

    def __init__(self, shape: DataShape, config: Any, classes: int = 0) -> None:
        self.needs_labels = config.conditional
        super().__init__(shape, config, classes)
        self.latent_dim = config.latent_dim
        if config.diff_augment and not shape.is_image:
            raise ConfigError(f"--diff-augment is for images, and the data is a {shape}; leave it out")
        if len(set(config.diff_augment)) < len(config.diff_augment):
            raise ConfigError(f"--diff-augment takes each kind once, got {' '.join(config.diff_augment)}")
        told = classes if config.conditional else 0
        norms = [
            auto if asked == "auto" else asked == "batch"
            for asked, auto in zip((config.norm, config.discriminator_norm), self._norms(), strict=True)
        ]
        self.output = self._output(norms[0])
        self.value_range = RANGES[self.output]
        self.generator = gan.Generator(self.latent_dim, shape, config, classes=told, norm=norms[0])
        self.discriminator = gan.Discriminator(shape, config, classes=told, norm=norms[1])
        self.phases = self.players()
        if norms[1] and self.penalises_slopes:
            raise ConfigError("gradient penalties are about single examples; use --discriminator-norm none")

    def _norms(self) -> tuple[bool, bool]:
        """What auto stands for. An MLP ends in its BatchNorm, behind which real and generated batches look alike."""
        return self.norms[0], self.norms[1] and gan.kind(self.shape, self.config) != "mlp"

    def _output(self, norm: bool) -> str:
        if self.config.output != "auto":
            return self.config.output
        if not self.shape.is_image or not norm:  # unnormalised, the first steps can drive a tanh to its dead end
            return "linear"
        return "sigmoid" if gan.kind(self.shape, self.config) in ("dcgan", "conv") else "tanh"

    def players(self) -> tuple[Phase, ...]:
        """The discriminator, then the generator."""
        return self.discriminating("discriminate"), Phase("generate", (self.generator,), low_precision=False)

    def discriminating(self, name: str, **how: Any) -> Phase:
        """The discriminator's phase, at its own rate; `how`: further fields of it."""
        rate, twice = self.config.discriminator_rate, self.penalises_slopes
        return Phase(name, (self.discriminator,), low_precision=False, rate=rate, double_backward=twice, **how)

    @property
    def judged_by(self) -> None:
        """No loss of a game says how good the pictures are."""
        return

    # ---- the game ----------------------------------------------------------------------------------------------

    def noise(self, batch: Batch, rng: torch.Generator) -> Draws:
        """z: B×L standard normal, one for each example of the batch."""
        return {"z": self.prior(len(batch.x), rng)}

    def views(self, batch: Batch, rng: torch.Generator, *sides: str) -> Draws:
        """What the augmentation of each side ("real", "fake") needs; nothing without one."""
        if not self.config.diff_augment:
            return {}
        policy, n = self.config.diff_augment, len(batch.x)
        return {name: u for side in sides for name, u in augment.draws(policy, n, rng, prefix=side).items()}

    def made(self, z_BL: Tensor, y_B: Tensor | None) -> Tensor:
        """Pictures x_BX from noise, in the model's value range."""
        out = self.generator(z_BL, y_B)
        return {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "linear": torch.clone}[self.output](out)

    def judged(self, x_BX: Tensor, y_B: Tensor | None, draws: Draws, side: str) -> Tensor:
        """The discriminator's logits B of augmented pictures."""
        if self.config.diff_augment:
            low = -1.0 if self.output == "tanh" else 0.0
            x_BX = augment.apply(x_BX, self.config.diff_augment, draws, low=low, high=1.0, prefix=side)
        return self.discriminator(x_BX, y_B)

    # ---- abilities ---------------------------------------------------------------------------------------------

    def prior(self, n: int, rng: torch.Generator) -> Tensor:
        """N(0, I), z_NL."""
        return torch.randn(n, self.latent_dim, generator=rng, device=rng.device)

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """x_BX in the range of the output activation."""
        return self.made(z_BL, y_B)

    def discriminate(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        """Logits B, positive means real."""
        return self.discriminator(x_BX, y_B)


class SharedFakes(Adversarial):
    """Both players see the same generated batch, which is made once per step."""

    def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> Draws:
        """shared: z, B×L; the phases: what their augmentation needs."""
        if phase == "shared":
            return self.noise(batch, rng)
        return self.views(batch, rng, "real", "fake")

    def shared(self, batch: Batch, draws: Draws) -> Draws:
        """fake: generated x_BX, one for each real example and with its label."""
        return {"fake": self.made(draws["z"], batch.y)}


@dataclass(frozen=True, kw_only=True)
class CriticSettings(Settings):
    """Settings that Wasserstein GANs share."""

    critic_steps: int = setting(5, "of the critic, each on new pictures, for one of the generator", at_least=1)


class Wasserstein(Adversarial):
    """Several critic steps, each on new real and generated pictures, then one of the generator on fresh noise.

    The critic's loss, turned round, estimates the Wasserstein distance between the two (Arjovsky et al. 2017,
    https://arxiv.org/abs/1701.07875, algorithm 1) as far as something holds the critic Lipschitz.
    """

    norms = (True, False)
    probabilities = False

    def players(self) -> tuple[Phase, ...]:
        """The critic, several times, and the generator."""
        critic = self.discriminating("criticise", repeat=self.config.critic_steps, after_step=self.after_critic)
        return critic, Phase("generate", (self.generator,), low_precision=False)

    def after_critic(self) -> None:
        """What is done to the critic after each of its steps; nothing unless the model says otherwise."""

    def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> Draws:
        """z: B×L, and what the augmentation needs."""
        return self.noise(batch, rng) | self.views(batch, rng, "real", "fake")

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """The critic's estimate of the distance, or what the generator makes of it."""
        if phase == "generate":
            score = self.judged(self.made(draws["z"], batch.y), batch.y, draws, "fake").mean()
            return Losses(-score, {"fake_score": score})
        with torch.no_grad():
            fake_BX = self.made(draws["z"], batch.y)
        real_B = self.judged(batch.x, batch.y, draws, "real")
        fake_B = self.judged(fake_BX, batch.y, draws, "fake")
        loss = adversarial.critic_loss(real_B, fake_B)
        penalty, terms = self.penalised(batch, fake_BX, draws)
        return Losses(loss + penalty, {"wasserstein_estimate": -loss, **terms})

    def penalised(self, batch: Batch, fake_BX: Tensor, draws: Draws) -> tuple[Tensor | float, dict[str, Tensor]]:
        """What the critic's loss gets added, and terms to log; nothing unless the model says otherwise."""
        return 0.0, {}


def told_apart(real_B: Tensor, fake_B: Tensor) -> dict[str, Tensor]:
    """Terms to log: mean logits, and the share that the discriminator tells rightly."""
    right = 0.5 * ((real_B > 0).float().mean() + (fake_B < 0).float().mean())
    return {"real_logit": real_B.mean(), "fake_logit": fake_B.mean(), "accuracy": right}
