"""Adversarial autoencoder with style and label apart: the code z holds what the label does not say.

Source: Makhzani et al. 2015 (https://arxiv.org/abs/1511.05644), sections 4 and 5; spec row B24. The encoder gives a
style z, brought to its prior by a discriminator as in the adversarial autoencoder, and a label ŷ, learned from the
labels by the cross-entropy. The decoder takes both. A further player, the adversary, reads the label off z, and the
encoder is made to leave it at the uniform guess. Players in their order:

reconstruct    encoder and decoder lower the reconstruction loss plus the label's cross-entropy, and the encoder fools
               discriminator and adversary;
discriminate   the discriminator, told the label, tells styles from draws of the prior;
accuse         the adversary learns to read the label off z, several turns a step.

One thing is not the paper's: the encoder has one turn for all that it wants, as in Lample et al. 2017
(https://arxiv.org/abs/1706.00409, section 3.2). In a turn of its own Adam would take equally large steps against
adversaries that hardly object any more, and the game would never settle. These keep their learning rate while the
encoder's falls, so that they catch up with it in the end.

A reading that stays at chance may only mean that the adversary is weak: `style_accuracy` of the evaluation is what a
fresh classifier finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentscape import contract
from latentscape.config import DataShape, setting
from latentscape.contract import Batch, Draws, Losses, Phase
from latentscape.models import adversarial_autoencoder
from latentscape.models.adversarial_autoencoder import fooled, told_apart
from latentscape.nets import build, conditioning, mlp


@dataclass(frozen=True, kw_only=True)
class StyleSettings(adversarial_autoencoder.PriorSettings):
    """Settings of every autoencoder that keeps style and label apart."""

    net: Literal["auto", "mlp", "conv", "resnet"] = setting("auto", "auto: conv for images, mlp for vectors")
    latent_dim: int = setting(10, "size of the style vector", at_least=1)
    prior: Literal["uniform", "gaussian", "mixture", "ring", "swiss-roll", "boxes", "points"] = setting(
        "gaussian",
        "of the style; uniform: U[-2.5, 2.5] in each dimension; ring, swiss-roll, boxes: in the plane; "
        "points: prior_file",
    )


@dataclass(frozen=True, kw_only=True)
class Config(StyleSettings):
    """Settings of the style and label autoencoder."""

    one_trunk: bool = setting(
        False, "whether style and label are linear in one net's features; two nets: hiding the label costs none of it"
    )
    adversarial_weight: float = setting(
        0.03, "weight of what the encoder pays where it does not fool the discriminator, in nats", at_least=0
    )
    label_weight: float = setting(1.0, "weight of the label's cross-entropy beside the reconstruction", at_least=0)
    adversary: bool = setting(True, "whether a further net reads the label off the style, and the encoder resists")
    adversary_weight: float = setting(
        0.3, "weight of what the encoder pays where the adversary can read it, in nats", at_least=0
    )
    adversary_hidden: tuple[int, ...] = setting((256, 256), "hidden layer sizes of the adversary", at_least=1)
    adversary_turns: int = setting(1, "turns of the adversary in a step, each with the next batch", at_least=1)
    adversary_rate: float = setting(1.0, "the adversary's learning rate as a multiple of the run's", above=0)


class Model(adversarial_autoencoder.Model, contract.Classifies):
    """x → (z, ŷ) → x̂; the decoder takes the probabilities of ŷ, or a label where it is given one."""

    Config = Config
    needs_labels = True
    encoder: Encoder

    def nets(self) -> tuple[nn.Module, nn.Module]:
        """The encoder, x_BX → z_BL and logits B×K, and the decoder, which takes z and a label's code."""
        kind = Encoder if self.config.one_trunk else TwoEncoders
        encoder = kind(self.shape, self.latent_dim, self.classes, self.config)
        return encoder, conditioning.ConditionalDecoder(self.latent_dim, self.shape, self.config, self.classes)

    def players(self) -> tuple[Phase, ...]:
        """The players in the order of their turns."""
        config = self.config
        self.discriminator = self.judge(self.latent_dim)
        # In float32: what fools an adversary loses much in bf16.
        players = [Phase("reconstruct", (self.encoder, self.decoder), low_precision=False), self.discriminating()]
        if config.adversary:
            sizes = (self.latent_dim, *config.adversary_hidden)
            layers = mlp.layers(sizes, norm=False, activation=partial(nn.LeakyReLU, 0.2))
            # Normalised first: an encoder would else evade the adversary by shrinking what tells the label.
            norm = nn.BatchNorm1d(self.latent_dim, affine=False)
            self.adversary = nn.Sequential(norm, *layers, nn.Linear(sizes[-1], self.classes))
            turns, rate = config.adversary_turns, config.adversary_rate
            accuse = Phase("accuse", (self.adversary,), turns, low_precision=False, rate=rate, steady=True)
            players.append(accuse)
        return tuple(players)

    # ---- training ----------------------------------------------------------------------------------------------

    def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> Draws:
        """prior: draws beside which the discriminator judges, (prior_factor·B)×L; none where it sees codes alone."""
        beside = phase == "discriminate" or (phase == "reconstruct" and self.discriminator.joint)
        return {"prior": self.prior(self.config.prior_factor * len(batch.x), rng)} if beside else {}

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """The loss of one player; see the top of this file."""
        if phase == "reconstruct":
            return self.reconstructed(batch, draws)
        with torch.no_grad():
            z_BL = self.encode(batch.x).float()
        if phase == "discriminate":
            return told_apart(*self.discriminator.both(z_BL, draws["prior"], self.amplitude(batch)))
        nats, right = read_rightly(self.adversary(z_BL), batch.y)
        return Losses(nats, {"adversary_nats": nats, "adversary_accuracy": right})

    def reconstructed(self, batch: Batch, draws: Draws) -> Losses:
        """The reconstruction from z and ŷ, mean over all values, and weighted: three losses of the encoder in nats.

        The cross-entropy of known labels; what it pays where the discriminator knows its styles; and where the
        adversary reads them, the cross-entropy of that reading under the uniform guess: least, log K, where the
        reading is uniform. To maximise the adversary's own loss would reward styles read as a wrong class.
        """
        config = self.config
        z_BL, logits_BK = (part.float() for part in self.encoder(batch.x))
        recon = self.reconstruction(self.decoder(z_BL, logits_BK.softmax(1)), batch.x)
        nats, right = read_rightly(logits_BK, batch.y)
        styles = fooled(self.discriminator(z_BL, draws.get("prior"), self.amplitude(batch)), config.adversarial_weight)
        total = recon.total + config.label_weight * nats + styles.total
        terms = {**recon.terms, "label_nats": nats, "label_accuracy": right, **styles.terms}
        if config.adversary:
            terms["blind_nats"] = -F.log_softmax(self.adversary(z_BL), 1).mean()
            total = total + config.adversary_weight * terms["blind_nats"]
        return Losses(total, terms)

    # ---- use ---------------------------------------------------------------------------------------------------

    def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        """The style z_BL; the encoder is not told the label."""
        return self.encoder.styles(x_BX)

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """x̂_BX of a style under given labels; `y_B` must be given, and −1 decodes under none."""
        return self.output(self.decoder(z_BL, conditioning.label_code(y_B, self.classes, "one-hot")))

    def reconstruct(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        """x̂_BX under the label given, or the encoder's own where none is, or it is −1."""
        z_BL, logits_BK = self.encoder(x_BX)
        c_BK = logits_BK.float().softmax(1)
        if y_B is not None:
            c_BK = torch.where(y_B[:, None] < 0, c_BK, conditioning.label_code(y_B, self.classes, "one-hot"))
        return self.output(self.decoder(z_BL, c_BK))

    def classify(self, x_BX: Tensor) -> Tensor:
        """Logits B×K of ŷ."""
        return self.encoder.label(self.encoder.trunk(x_BX))

    def features(self, x_BX: Tensor) -> Tensor:
        """B×F: what the label is a linear function of."""
        return self.encoder.trunk(x_BX)


class Encoder(nn.Module):
    """x_BX → z_BL and logits B×K: one trunk with two linear heads."""

    def __init__(self, shape: DataShape, dims: int, classes: int, settings: build.NetSettings) -> None:
        super().__init__()
        self.trunk, size = build.trunk(shape, settings)
        self.style, self.label = nn.Linear(size, dims), nn.Linear(size, classes)

    def styles(self, x_BX: Tensor) -> Tensor:
        """z_BL."""
        return self.style(self.trunk(x_BX))

    def forward(self, x_BX: Tensor) -> tuple[Tensor, Tensor]:
        """z_BL and logits B×K."""
        features_BF = self.trunk(x_BX)
        return self.style(features_BF), self.label(features_BF)


class TwoEncoders(Encoder):
    """The same with a net of its own for the style; `trunk` is the label's."""

    def __init__(self, shape: DataShape, dims: int, classes: int, settings: build.NetSettings) -> None:
        super().__init__(shape, dims, classes, settings)
        self.style_trunk, _ = build.trunk(shape, settings)

    def styles(self, x_BX: Tensor) -> Tensor:
        """z_BL."""
        return self.style(self.style_trunk(x_BX))

    def forward(self, x_BX: Tensor) -> tuple[Tensor, Tensor]:
        """z_BL and logits B×K."""
        return self.styles(x_BX), self.label(self.trunk(x_BX))


def read_rightly(logits_BK: Tensor, y_B: Tensor | None) -> tuple[Tensor, Tensor]:
    """Cross-entropy in nats and share read rightly over the examples with a label; a batch without any costs 0."""
    assert y_B is not None
    known_B = y_B >= 0
    count = known_B.sum().clamp_min(1)
    nats = F.cross_entropy(logits_BK.float(), y_B, ignore_index=-1, reduction="sum") / count
    return nats, ((logits_BK.argmax(1) == y_B) & known_B).sum() / count
