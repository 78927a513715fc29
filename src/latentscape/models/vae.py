"""Variational autoencoder: an autoencoder whose latents follow a Gaussian one can sample from.

Source: Kingma & Welling 2014 (https://arxiv.org/abs/1312.6114); β: Higgins et al. 2017; free bits: Kingma et al. 2016,
eq. 15. The loss is −log p(x|z) + β·KL(q(z|x) ‖ N(0, I)), both in nats per image. `beta` states the weight in nats; the
course material of this field states it beside a *mean* over pixels, which `beta_per_pixel` takes and converts: 0.005
beside a mean over 784 pixels is β = 3.92.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from latentscape import contract
from latentscape.config import DataShape, setting
from latentscape.contract import Batch, Draws, Losses, Phase, Posterior
from latentscape.models._likelihood import Likelihood, LikelihoodSettings
from latentscape.nets import build
from latentscape.numerics import gaussian, schedules

BETA_PER_PIXEL = 0.005
"""KL weight of images beside a mean over pixels, where the settings name none (spec row B9)."""

FIRST_LOG_STD = -1.0
"""log σ of every latent where a VAE begins from an autoencoder's weights (spec row B14)."""

MLP_BATCH = 512
"""The largest batch of a multilayer perceptron: its step is bound by moving weights, so that eight times row B12's
batch costs much less than eight steps, and at twice the rate the ELBO after as many epochs is no worse
(docs/performance.md)."""


@dataclass(frozen=True, kw_only=True)
class GaussianSettings(LikelihoodSettings, build.NetSettings):
    """Settings of every model with a Gaussian posterior."""

    latent_dim: int = setting(24, "size of the latent vector", at_least=1)
    hidden: tuple[int, ...] = setting((512, 256, 128), "mlp: hidden layer sizes, mirrored in the decoder", at_least=1)
    norm: Literal["auto", "batch", "none"] = setting("batch", "BatchNorm in hidden layers; auto: conv yes, mlp no")
    log_scale: Literal["variance", "std"] = setting("variance", "what the encoder's second half is the log of")
    reduction: Literal["mean", "sum"] = setting("mean", "the loss that is stepped: per value, or per example")


@dataclass(frozen=True, kw_only=True)
class Config(GaussianSettings):
    """Settings of the VAE."""

    beta: float | None = setting(
        None, "weight of the KL in nats; unset: beta_per_pixel, or 0.005 × pixels (vectors: 1)", at_least=0
    )
    beta_per_pixel: float | None = setting(
        None,
        "that weight beside a loss averaged over an example's values, where beta is unset: β = this × values",
        at_least=0,
    )
    beta_warmup_steps: int = setting(0, "raise β from 0 over so many steps", at_least=0, in_steps=True)
    beta_schedule: Literal["linear", "cosine", "cyclical"] = setting(
        "linear", "shape of the warm-up; cyclical: warm-up, then as many steps at full weight, again and again"
    )
    beta_cycles: int = setting(4, "cyclical: how often", at_least=1)
    free_nats: float = setting(0.0, "nats per latent dimension that the KL leaves free", at_least=0)
    recon_weight: float = setting(1.0, "weight of the reconstruction term (0 shows posterior collapse)", at_least=0)


class Model(contract.Trained, contract.Reconstructs, contract.Samples, contract.HasPosterior, contract.HasLikelihood):
    """x → q(z|x) = N(μ, σ²) → z → p(x|z)."""

    Config = Config

    def __init__(self, shape: DataShape, config: GaussianSettings, classes: int = 0) -> None:
        super().__init__(shape, config, classes)
        self.latent_dim = config.latent_dim
        self.likelihood = Likelihood(shape, config)
        self.encoder, self.decoder = self.nets()
        self.phases = (Phase("elbo", (self.encoder, self.decoder, self.likelihood)),)

    def nets(self) -> tuple[nn.Module, nn.Module]:
        """The encoder, x_BX → B×2L, and the decoder, z_BL → what `likelihood` takes."""
        encoder = build.encoder(self.shape, 2 * self.latent_dim, self.config)
        return encoder, build.decoder(self.latent_dim, self.likelihood.output, self.config)

    def adapted(self, saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """An autoencoder's last layer becomes the head of μ; that of log σ starts at weights 0, bias −1 (spec row B14).

        One whose code is its encoder's features themselves has no such layer, and the head starts as the identity.
        """
        last = next(reversed(list(self.encoder.children())), None)
        if not isinstance(last, nn.Linear):
            return dict(saved)
        size, name = last.out_features // 2, f"encoder.{len(list(self.encoder.children())) - 1}"
        weight, bias = saved.get(f"{name}.weight"), saved.get(f"{name}.bias")
        if weight is None and last.in_features == size and any(key.startswith("encoder.") for key in saved):
            weight, bias = torch.eye(size), torch.zeros(size)
        if weight is None or bias is None or weight.shape != (size, last.in_features):
            return dict(saved)
        log_scale = FIRST_LOG_STD * (2 if self.config.log_scale == "variance" else 1)
        heads = {
            f"{name}.weight": torch.cat([weight, torch.zeros_like(weight)]),
            f"{name}.bias": torch.cat([bias, torch.full((size,), log_scale)]),
        }
        return {**saved, **heads}

    @classmethod
    def training_defaults(cls, shape: DataShape, config: GaussianSettings) -> dict[str, Any]:
        """Spec rows B9 (conv: Adam 1e-4, 5 epochs) and B12 (mlp: Adam 1e-3, 10 epochs)."""
        mlp = build.kind(shape, config) == "mlp"
        if mlp:
            larger = {"batch_size_at_most": MLP_BATCH} if cls is Model else {}  # not measured for what builds on it
            return {"learning_rate": 1e-3, "epochs": 10, **larger}
        return {"learning_rate": 1e-4, "epochs": 5}

    def notes(self) -> list[str]:
        """The KL weight in nats, converted in the open."""
        per_pixel = self.beta / self.shape.size
        return [
            f"KL weight β = {self.beta:.4g} in nats per image, the same as {per_pixel:.4g} beside a mean over "
            f"{self.shape.size:,} values"
        ]

    def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> Draws:
        """eps: B×L standard normal."""
        return {"eps": torch.randn(len(batch.x), self.latent_dim, generator=rng, device=rng.device)}

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """Negative ELBO with weights, one posterior sample per image (Kingma & Welling 2014, eq. 10)."""
        q = self.posterior(batch.x, batch.y)
        z_BL = gaussian.reparameterise(q.mean, q.log_var, draws["eps"])
        recon = self.likelihood.nll(self.decoded(z_BL, batch.y), batch.x).mean()
        kl_L = gaussian.kl_to_standard(q.mean, q.log_var).mean(0)
        total = self.config.recon_weight * recon + self.beta_at(batch) * kl_L.clamp_min(self.config.free_nats).sum()
        return self.losses(total, {"recon_nats_per_image": recon, "kl_nats_per_image": kl_L.sum()})

    def losses(self, nats: Tensor, terms: dict[str, Tensor]) -> Losses:
        """What is minimised and logged: nats per image, stepped per value or per example as the settings say."""
        return Losses(nats / self.shape.size if self.config.reduction == "mean" else nats, terms)

    @property
    def beta(self) -> float:
        """The KL weight in nats per image."""
        config, size = self.config, self.shape.size
        if config.beta is not None:
            return config.beta
        if config.beta_per_pixel is not None:
            return config.beta_per_pixel * size
        return BETA_PER_PIXEL * size if self.shape.is_image else 1.0

    def beta_at(self, batch: Batch) -> Tensor | float:
        """β at this step of the warm-up; outside training, and without one, as the settings say."""
        steps = self.config.beta_warmup_steps
        if not steps or batch.step is None:
            return self.beta
        if self.config.beta_schedule == "cyclical":
            return self.beta * schedules.cyclical(batch.step, steps, self.config.beta_cycles)
        rise = schedules.cosine if self.config.beta_schedule == "cosine" else schedules.linear
        return self.beta * rise(batch.step, steps)

    def encoded(self, x_BX: Tensor, y_B: Tensor | None) -> Tensor:
        """The encoder's output, B×2L float32."""
        return self.encoder(x_BX).float()

    def decoded(self, z_BL: Tensor, y_B: Tensor | None) -> Tensor:
        """The decoder's output, float32, what `likelihood` takes."""
        return self.decoder(z_BL).float()

    def posterior(self, x_BX: Tensor, y_B: Tensor | None = None) -> Posterior:
        """q(z|x) = N(μ, σ²)."""
        mean_BL, scale_BL = self.encoded(x_BX, y_B).chunk(2, dim=1)
        return Posterior(mean_BL, scale_BL if self.config.log_scale == "variance" else 2 * scale_BL)

    def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        """Posterior means μ, z_BL."""
        return self.posterior(x_BX, y_B).mean

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """The mean of p(x|z), x̂_BX in [0, 1] for images."""
        return self.likelihood.mean(self.decoded(z_BL, y_B))

    def log_likelihood(self, x_BX: Tensor, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """log p(x|z) in nats, B; grey pixels under a Bernoulli give the negative cross-entropy."""
        return -self.likelihood.nll(self.decoded(z_BL, y_B), x_BX)

    def prior(self, n: int, rng: torch.Generator) -> Tensor:
        """N(0, I), z_NL."""
        return torch.randn(n, self.latent_dim, generator=rng, device=rng.device)
