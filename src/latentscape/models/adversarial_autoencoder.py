"""Adversarial autoencoder: a discriminator brings the codes of the whole set to any prior one can draw from.

Source: Makhzani et al. 2015 (https://arxiv.org/abs/1511.05644), section 2; the course's variant is spec row B23. Three
players take turns in every step:

reconstruct    encoder and decoder lower the reconstruction loss;
generate       the encoder, on a fresh encoding, raises the discriminator's belief that its codes are prior draws
               (non-saturating);
discriminate   the discriminator tells codes from prior draws: one mean cross-entropy over a batch of codes and
               `prior_factor` times as many draws.

The third player should see the codes of the second. Phases are functions that keep nothing, so it encodes the batch
again, without gradient: those codes are one step of the encoder newer, and otherwise the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentscape import contract
from latentscape.config import DataShape, Settings, setting
from latentscape.contract import Batch, Draws, Losses, Phase
from latentscape.errors import ConfigError
from latentscape.models import _prior_points, autoencoder
from latentscape.numerics import priors, schedules


@dataclass(frozen=True, kw_only=True)
class AdversarySettings(Settings):
    """Settings of everything that a discriminator judges the codes of."""

    discriminator_rate: float = setting(
        3.0, "learning rate of the discriminator, a multiple of the run's: it has to keep up with the encoder", above=0
    )
    discriminator_hidden: tuple[int, ...] = setting((512, 256), "hidden layer sizes of the discriminator", at_least=1)
    discriminator_norm: Literal["none", "joint", "separate"] = setting(
        "none",
        "BatchNorm in the discriminator; joint: over prior draws and codes together; separate: each by itself, which "
        "hides scale and shift",
    )
    discriminator_octaves: int = setting(
        0,
        "the discriminator sees sines and cosines of each coordinate beside it, of so many octaves from the "
        "wavelength 2π down; without them it is slow to see edges and gaps",
        at_least=0,
        at_most=8,
    )
    octaves_warmup: int = setting(
        0,
        "steps in which the waves come in, so that codes spread before edges stand between them",
        at_least=0,
        in_steps=True,
    )
    prior_factor: int = setting(20, "prior draws per code in the discriminator's turn", at_least=1)


@dataclass(frozen=True, kw_only=True)
class PriorSettings(AdversarySettings, autoencoder.Settings):
    """Settings of every adversarial autoencoder."""

    latent_dim: int = setting(2, "size of the latent vector", at_least=1)
    loss: Literal["auto", "bce", "mse"] = setting("auto", "auto: bce for images, else mse")
    prior: Literal["uniform", "gaussian", "mixture", "ring", "swiss-roll", "boxes", "points"] = setting(
        "uniform", "uniform: U[-2.5, 2.5] in each dimension; ring, swiss-roll, boxes: in the plane; points: prior_file"
    )
    prior_file: str = setting("", "points: .npy or .csv, a point a row; or a picture whose bright pixels carry mass")


@dataclass(frozen=True, kw_only=True)
class Config(PriorSettings):
    """Settings of the adversarial autoencoder."""

    adversarial_weight: float = setting(
        0.01, "weight of the encoder's loss as a generator; Adam undoes it (see adversarial_rate)", at_least=0
    )
    adversarial_rate: float = setting(
        1.0, "learning rate of the encoder as a generator, a multiple of the run's", above=0
    )


class Model(autoencoder.Model, contract.Samples):
    """x → z → x̂, and z → discriminator ← draws of the prior."""

    Config = Config
    points: Tensor
    discriminator: Discriminator

    def __init__(self, shape: DataShape, config: Any, classes: int = 0) -> None:
        super().__init__(shape, config, classes)
        self._set_prior(config)
        self.phases = self.players()

    def auto_loss(self) -> Literal["bce", "mse"]:
        """What `--loss auto` stands for."""
        return "bce" if self.shape.is_image else "mse"

    def players(self) -> tuple[Phase, ...]:
        """The players in the order of their turns, with the nets that only they need."""
        self.discriminator = self.judge(self.latent_dim)
        return (
            Phase("reconstruct", (self.encoder, self.decoder)),
            Phase("generate", (self.encoder,), low_precision=False, rate=self.config.adversarial_rate),
            self.discriminating(),
        )

    def judge(self, dims: int) -> Discriminator:
        """A discriminator of vectors, as the settings say."""
        config = self.config
        hidden, norm, octaves = config.discriminator_hidden, config.discriminator_norm, config.discriminator_octaves
        return Discriminator(dims, hidden, norm, octaves=octaves)

    def discriminating(self) -> Phase:
        """The turn of the discriminator that judges codes."""
        rate = self.config.discriminator_rate
        return Phase("discriminate", (self.discriminator,), low_precision=False, rate=rate, steady=True)

    def _set_prior(self, config: PriorSettings) -> None:
        """A run keeps the user's points with its weights: a saved one is built and loaded without the file."""
        priors.check(config.prior, self.latent_dim)
        if config.prior != "points":
            if config.prior_file:
                raise ConfigError(f"--prior-file is read with --prior points, got --prior {config.prior}; leave it out")
            return
        try:
            points_NL = _prior_points.read(config.prior_file, self.latent_dim)
        except ConfigError:
            points_NL = torch.full((_prior_points.POINTS, self.latent_dim), math.nan)  # `train` says what is wrong
        self.register_buffer("points", points_NL)

    def train(self, mode: bool = True) -> Model:
        """As in `nn.Module`. Raises `ConfigError` where the prior's points were neither read nor loaded."""
        if mode and self.config.prior == "points" and bool(self.points.isnan().any()):
            self.points.copy_(_prior_points.read(self.config.prior_file, self.latent_dim))
        return super().train(mode)

    @classmethod
    def training_defaults(cls, shape: DataShape, config: Any) -> dict[str, Any]:
        """Spec row B23, with a cosine and with less momentum in Adam, at which the game between the players is calmer.

        A prior file that cannot be read raises `ConfigError` here, before a run begins.
        """
        if config.prior == "points":
            _prior_points.read(config.prior_file, config.latent_dim)
        rates = {"learning_rate": 1e-3, "schedule": "cosine", "beta1": 0.5, "weight_decay": 1e-6}
        return {**rates, "batch_size": 512, "epochs": 10}

    def notes(self) -> list[str]:
        """What the discriminator cannot see."""
        return discriminator_notes(self.config)

    # ---- training ----------------------------------------------------------------------------------------------

    def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> Draws:
        """prior: draws beside which the discriminator judges, (prior_factor·B)×L; none where it sees codes alone."""
        beside = phase == "discriminate" or (phase == "generate" and self.discriminator.joint)
        return {"prior": self.prior(self.config.prior_factor * len(batch.x), rng)} if beside else {}

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """The reconstruction loss, mean over all values; the generator's or the discriminator's cross-entropy."""
        if phase == "reconstruct":
            return super().forward(phase, batch, draws)
        if phase == "generate":
            z_BL = self.encoder(batch.x).float()
            logit_B = self.discriminator(z_BL, draws.get("prior"), self.amplitude(batch))
            return fooled(logit_B, self.config.adversarial_weight)
        with torch.no_grad():
            z_BL = self.encoder(batch.x).float()
        return told_apart(*self.discriminator.both(z_BL, draws["prior"], self.amplitude(batch)))

    def amplitude(self, batch: Batch) -> Tensor | float:
        """What the discriminator's waves have risen to, 0…1; 1 outside training."""
        if batch.step is None or not self.config.octaves_warmup:
            return 1.0
        return schedules.linear(batch.step, self.config.octaves_warmup)

    # ---- the prior ---------------------------------------------------------------------------------------------

    def prior(self, n: int, rng: torch.Generator) -> Tensor:
        """n draws z_NL of the prior that the settings name; of the user's points, with replacement."""
        if self.config.prior != "points":
            return priors.sample(self.config.prior, n, self.latent_dim, rng)
        picks = torch.randint(0, len(self.points), (n,), generator=rng, device=rng.device)
        return self.points.to(rng.device)[picks]

    def inside(self, z_NL: Tensor) -> Tensor | None:
        """Which codes lie where the prior has mass, N bool; None for a prior without a sharp edge."""
        return priors.inside(self.config.prior, z_NL)


# ---- what adversarial autoencoders share ---------------------------------------------------------------------------


class Waves(nn.Module):
    """z_NL → [z, a·sin 2ᵏz, a·cos 2ᵏz for k < octaves], N×(1 + 2·octaves)·L, with a amplitude from 0 to 1.

    A perceptron learns slow functions of its input first, and of these, steep ones are slow (Tancik et al. 2020, arXiv
    2006.10739, section 5).
    """

    def __init__(self, octaves: int) -> None:
        super().__init__()
        self.rates = [2.0**k for k in range(octaves)]

    def forward(self, z_NL: Tensor, amplitude: Tensor | float = 1.0) -> Tensor:
        """As above."""
        waves = [wave(rate * z_NL) for rate in self.rates for wave in (torch.sin, torch.cos)]
        return torch.cat([z_NL, *(amplitude * wave_NL for wave_NL in waves)], 1)


class Discriminator(nn.Module):
    """z → logit, positive for a draw of the prior: an MLP with LeakyReLU(0.2) and, if asked, waves and BatchNorm."""

    def __init__(self, dims: int, hidden: Sequence[int], norm: str, *, octaves: int = 0) -> None:
        super().__init__()
        self.joint, self.separate = norm == "joint", norm == "separate"
        self.waves = Waves(octaves)
        sizes, layers = ((1 + 2 * octaves) * dims, *hidden), list[nn.Module]()
        for before, after in pairwise(sizes):
            # Normalised before the rectifier: after it, separate batches would have the same mean logit, always.
            batch_norm = [] if norm == "none" else [nn.BatchNorm1d(after)]
            layers += [nn.Linear(before, after), *batch_norm, nn.LeakyReLU(0.2)]
        self.net = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))

    def both(self, z_BL: Tensor, prior_NL: Tensor, amplitude: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """Logits of codes, B, and of prior draws, N: through the net in one batch, or one after the other.

        amplitude: of the waves, 0…1.
        """
        if self.separate:
            return self(z_BL, None, amplitude), self(prior_NL, None, amplitude)
        logit_N = self(torch.cat([z_BL, prior_NL]), None, amplitude)
        return logit_N[: len(z_BL)], logit_N[len(z_BL) :]

    def forward(self, z_BL: Tensor, prior_NL: Tensor | None = None, amplitude: Tensor | float = 1.0) -> Tensor:
        """Logits of codes, B; `prior_NL` is what stands beside them in a batch that BatchNorm sees as one."""
        if prior_NL is not None:
            return self.both(z_BL, prior_NL, amplitude)[0]
        return self.net(self.waves(z_BL, amplitude))[:, 0]


def fooled(logit_B: Tensor, weight: float) -> Losses:
    """The encoder's loss as a generator: −weight·log D(z), the non-saturating one, in nats."""
    nats = F.softplus(-logit_B).mean()
    return Losses(weight * nats, {"generator_nats": nats})


def told_apart(codes_B: Tensor, prior_N: Tensor) -> Losses:
    """One mean cross-entropy over codes and prior draws together, and which share of each is told rightly.

    There may be more draws than codes, and the best logit where both are as dense is the log of their ratio: shares are
    read there, so that a discriminator that knows nothing has one half.
    """
    count = len(codes_B) + len(prior_N)
    nats = (F.softplus(codes_B).sum() + F.softplus(-prior_N).sum()) / count
    even = math.log(len(prior_N) / len(codes_B))
    told = {"accuracy_codes": (codes_B < even).float().mean(), "accuracy_prior": (prior_N > even).float().mean()}
    return Losses(nats, {"discriminator_nats": nats, **told})


def discriminator_notes(config: AdversarySettings) -> list[str]:
    """What a user should know of the discriminator's settings."""
    if config.discriminator_norm != "separate":
        return []
    return [
        "--discriminator-norm separate normalises codes and prior draws each by themselves, so the discriminator "
        "cannot see a difference of scale or shift; none or joint can"
    ]
