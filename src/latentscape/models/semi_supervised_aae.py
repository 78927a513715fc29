"""Semi-supervised adversarial autoencoder: few labels, and two adversaries that make a class of what is left.

Source: Makhzani et al. 2015 (https://arxiv.org/abs/1511.05644), section 5 and figure 8; spec row B25. The encoder gives
a style z and a label ŷ, a softmax, and the decoder takes both. One discriminator brings z to its prior, the other ŷ to
one-hot vectors of equally frequent classes, so that every example is put into one class, and the decoder has use for
it; the few labels say which class is which. Five players take turns in every step:

generate              the encoder fools both discriminators;
discriminate_style    tells styles from draws of their prior;
discriminate_labels   tells ŷ from one-hot vectors;
reconstruct           encoder and decoder lower the reconstruction loss;
supervise             trunk and label's head lower the cross-entropy of the known labels, in batches of those alone.

One thing is not the paper's: the style's discriminator is told ŷ. Without that it asks for the right distribution of
all styles together, each class may keep a part of it, and a style decoded under another label stays what it was.

The first three see one encoding, made once a step. The paper begins a step with the reconstruction; over a run of
steps that is the same order. In training the encoder sees its input under Gaussian noise, as in the paper.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentscape.config import DataShape, setting
from latentscape.contract import Batch, Draws, Losses, Phase
from latentscape.models import adversarial_autoencoder, style_label_aae
from latentscape.models.adversarial_autoencoder import fooled, told_apart
from latentscape.models.style_label_aae import read_rightly
from latentscape.nets import conditioning
from latentscape.numerics import noise, schedules


@dataclass(frozen=True, kw_only=True)
class Config(style_label_aae.StyleSettings):
    """Settings of the semi-supervised adversarial autoencoder."""

    decoder: Literal["auto", "mlp", "conv", "resnet"] = setting(
        "auto", "the decoder's net; auto: as net. An mlp beside a convolutional encoder costs a fraction of its mirror"
    )
    adversarial_weight: float = setting(
        1.0, "weight of the encoder's loss as a generator; Adam undoes it (see adversarial_rate)", at_least=0
    )
    adversarial_rate: float = setting(
        1.0, "learning rate of the encoder as a generator, a multiple of the run's", above=0
    )
    style_given_label: bool = setting(
        True,
        "the style's discriminator is told the label, so that styles must be alike in every class; off: the paper's, "
        "under which a style may tell the class",
    )
    discriminator_hidden: tuple[int, ...] = setting((256, 256), "hidden layer sizes of both discriminators", at_least=1)
    prior_factor: int = setting(1, "prior draws per code in the discriminators' turns", at_least=1)
    category_weight: float = setting(
        1.0, "weight of fooling the labels' discriminator beside the style's, in the encoder's loss", at_least=0
    )
    category_warmup: int = setting(
        500,
        "steps in which that weight rises from 0, so that the labels are read before they are made sure",
        at_least=0,
    )
    supervise_rate: float = setting(1.0, "learning rate of the supervised turn, a multiple of the run's", above=0)
    noise_std: float = setting(0.3, "standard deviation of the noise on the encoder's input in training", at_least=0)


class Model(style_label_aae.Model):
    """x → (z, ŷ) → x̂; z and ŷ → a discriminator each ← draws of their priors."""

    Config = Config

    def nets(self) -> tuple[nn.Module, nn.Module]:
        """The encoder, x_BX → z_BL and logits B×K, and the decoder, which takes z and ŷ, of a net of its own."""
        encoder = style_label_aae.Encoder(self.shape, self.latent_dim, self.classes, self.config)
        config = self.config
        if config.decoder != "auto":
            config = dataclasses.replace(config, net=config.decoder)
        return encoder, conditioning.ConditionalDecoder(self.latent_dim, self.shape, config, self.classes)

    def players(self) -> tuple[Phase, ...]:
        """The players in the order of their turns; generate first, while the encoding made for it still holds."""
        config = self.config
        self.discriminator = self.judge(self.latent_dim + (self.classes if config.style_given_label else 0))
        self.label_discriminator = self.judge(self.classes)
        encoder = self.encoder
        reader = (encoder.trunk, encoder.label)
        return (
            Phase("generate", (encoder,), low_precision=False, rate=config.adversarial_rate),
            Phase("discriminate_style", (self.discriminator,), low_precision=False, rate=config.discriminator_rate),
            Phase(
                "discriminate_labels", (self.label_discriminator,), low_precision=False, rate=config.discriminator_rate
            ),
            Phase("reconstruct", (encoder, self.decoder)),
            Phase("supervise", reader, rate=config.supervise_rate, labelled=True),
        )

    @property
    def judged_by(self) -> str:
        """The reconstruction: held-out examples need no labels for it, and no adversary has a say in it."""
        return "reconstruct"

    @classmethod
    def training_defaults(cls, shape: DataShape, config: Any) -> dict[str, Any]:
        """Ten epochs of Adam under a cosine, and an average of the weights; the rest as the parent has it."""
        return {
            **super().training_defaults(shape, config),
            "weight_decay": 0.0,
            "learning_rate": 1.5e-3,
            "schedule": "cosine",
            "batch_size": 128,
            "epochs": 10,
            "ema_halflife_images": 15_000,
        }

    def notes(self) -> list[str]:
        """What the discriminators cannot see."""
        return adversarial_autoencoder.discriminator_notes(self.config)

    # ---- training ----------------------------------------------------------------------------------------------

    def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> Draws:
        """What a phase needs.

        eps: standard normal like x, for phases that encode; prior: styles, (prior_factor·B)×L; category: classes,
        prior_factor·B int64, all equally likely. The generator takes the last two where the discriminators' BatchNorm
        sees codes and prior draws together.
        """
        beside, count = phase == "generate" and self.discriminator.joint, self.config.prior_factor * len(batch.x)
        draws: Draws = {}
        if phase in ("shared", "reconstruct", "supervise"):
            draws["eps"] = torch.randn(batch.x.shape, generator=rng, device=rng.device)
        if phase == "discriminate_style" or beside:
            draws["prior"] = self.prior(count, rng)
        if phase == "discriminate_labels" or beside:
            draws["category"] = torch.randint(0, self.classes, (count,), generator=rng, device=rng.device)
        return draws

    def shared(self, batch: Batch, draws: Draws) -> Draws:
        """style: B×L, label: B×K, a softmax; the encoder as a generator holds them attached."""
        z_BL, logits_BK = self.encoded(batch.x, draws["eps"])
        return {"style": z_BL, "label": logits_BK.softmax(1)}

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """The loss of one player; see the top of this file."""
        if phase == "generate":
            return self.generated(batch, draws)
        if phase == "discriminate_style":
            label_BK = draws["label"].detach()
            codes_BN, prior_NN = self.told(draws["style"].detach(), label_BK), self.told(draws["prior"], label_BK)
            return told_apart(*self.discriminator.both(codes_BN, prior_NN, self.amplitude(batch)))
        if phase == "discriminate_labels":
            return told_apart(
                *self.label_discriminator.both(
                    draws["label"].detach(), self.one_hot(draws["category"]), self.amplitude(batch)
                )
            )
        z_BL, logits_BK = self.encoded(batch.x, draws["eps"])
        if phase == "reconstruct":
            return self.reconstruction(self.decoder(z_BL, logits_BK.softmax(1)), batch.x)
        nats, right = read_rightly(logits_BK, batch.y)
        return Losses(nats, {"label_nats": nats, "label_accuracy": right})

    def encoded(self, x_BX: Tensor, eps_BX: Tensor) -> tuple[Tensor, Tensor]:
        """Style z_BL and logits B×K, float32, of examples under noise."""
        z_BL, logits_BK = self.encoder(noise.gaussian(x_BX, eps_BX, self.config.noise_std))
        return z_BL.float(), logits_BK.float()

    def generated(self, batch: Batch, draws: Draws) -> Losses:
        """What the encoder pays where the discriminators know its styles and labels, each non-saturating, in nats."""
        weight, prior, category = self.config.adversarial_weight, draws.get("prior"), draws.get("category")
        # No gradient reaches ŷ by way of the style's discriminator: it is the style that has to give way.
        label_BK = draws["label"].detach()
        style_NN = self.told(prior, label_BK) if prior is not None else None
        label_NK = self.one_hot(category) if category is not None else None
        style = fooled(self.discriminator(self.told(draws["style"], label_BK), style_NN, self.amplitude(batch)), weight)
        label = fooled(self.label_discriminator(draws["label"], label_NK, self.amplitude(batch)), weight)
        total = style.total + self.config.category_weight * self.warmth(batch.step) * label.total
        terms = {"style_nats": style.terms["generator_nats"], "label_nats": label.terms["generator_nats"]}
        return Losses(total, terms)

    def told(self, z_NL: Tensor, label_BK: Tensor) -> Tensor:
        """Styles or draws of their prior as the discriminator sees them: with the batch's ŷ beside, if it is told it.

        Codes have their own ŷ and draws anyone's, so the two are alike where style and label are independent.
        """
        if not self.config.style_given_label:
            return z_NL
        return torch.cat([z_NL, label_BK.repeat(len(z_NL) // len(label_BK), 1)], 1)

    def warmth(self, step: Tensor | None) -> Tensor | float:
        """What the weight of the labels' adversary has risen to, 0…1; 1 outside training."""
        if step is None or not self.config.category_warmup:
            return 1.0
        return schedules.linear(step, self.config.category_warmup)

    def one_hot(self, y_N: Tensor) -> Tensor:
        """Draws of the labels' prior: classes → N×K."""
        return F.one_hot(y_N, self.classes).float()
