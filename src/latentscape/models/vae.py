"""Variational autoencoder: an autoencoder whose latents follow a Gaussian one can sample from.

Source: Kingma & Welling 2014 (https://arxiv.org/abs/1312.6114); β: Higgins et al. 2017. The loss is
−log p(x|z) + β·KL(q(z|x) ‖ N(0, I)), both in nats per image. `beta` states the weight in nats; the course material of
this field states it beside a *mean* over pixels, which `beta_per_pixel` takes and converts: 0.005 beside a mean over
784 pixels is β = 3.92.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from latentscape import contract
from latentscape.config import DataShape, setting
from latentscape.contract import Batch, Draws, Losses, Phase, Posterior
from latentscape.nets import build
from latentscape.numerics import gaussian, likelihood


@dataclass(frozen=True, kw_only=True)
class Config(build.NetSettings):
    """Settings of the VAE."""

    latent_dim: int = setting(24, "size of the latent vector", at_least=1)
    hidden: tuple[int, ...] = setting((512, 256, 128), "mlp: hidden layer sizes, mirrored in the decoder", at_least=1)
    norm: Literal["auto", "batch", "none"] = setting("batch", "BatchNorm in hidden layers; auto: conv yes, mlp no")
    likelihood: Literal["auto", "bernoulli", "gaussian"] = setting("auto", "auto: bernoulli for images, else gaussian")
    noise_std: float = setting(0.1, "gaussian likelihood: its fixed standard deviation, in data units", above=0)
    beta: float | None = setting(None, "weight of the KL in nats; unset: beta_per_pixel for images, else 1", at_least=0)
    beta_per_pixel: float = setting(
        0.005, "KL weight beside a loss averaged over pixels; β = this × pixels", at_least=0
    )
    beta_warmup_steps: int = setting(0, "raise β linearly from 0 over so many steps", at_least=0)
    recon_weight: float = setting(1.0, "weight of the reconstruction term (0 shows posterior collapse)", at_least=0)
    log_scale: Literal["variance", "std"] = setting("variance", "what the encoder's second half is the log of")
    reduction: Literal["mean", "sum"] = setting("mean", "the loss that is stepped: per pixel, or per image")


class Model(contract.Trained, contract.Reconstructs, contract.Samples, contract.HasPosterior, contract.HasLikelihood):
    """x → q(z|x) = N(μ, σ²) → z → p(x|z)."""

    Config = Config

    def __init__(self, shape: DataShape, config: Config, classes: int = 0) -> None:
        super().__init__(shape, config, classes)
        self.latent_dim = config.latent_dim
        auto = "bernoulli" if shape.is_image else "gaussian"
        self.likelihood = auto if config.likelihood == "auto" else config.likelihood
        likelihood.check_pixels(self.likelihood == "bernoulli", shape.is_image)
        per_pixel = config.beta_per_pixel * shape.size if shape.is_image else 1.0
        self.beta = per_pixel if config.beta is None else config.beta
        self.encoder = build.encoder(shape, 2 * config.latent_dim, config)
        self.decoder = build.decoder(config.latent_dim, shape, config)
        self.phases = (Phase("elbo", (self.encoder, self.decoder)),)

    @classmethod
    def training_defaults(cls, shape: DataShape, config: Config) -> dict[str, Any]:
        """Spec rows B9 (conv: Adam 1e-4, 5 epochs) and B12 (mlp: Adam 1e-3, 10 epochs)."""
        conv = build.kind(shape, config) == "conv"
        return {"learning_rate": 1e-4, "epochs": 5} if conv else {"learning_rate": 1e-3, "epochs": 10}

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
        q = self.posterior(batch.x)
        z_BL = gaussian.reparameterise(q.mean, q.log_var, draws["eps"])
        recon = self._nll(self.decoder(z_BL).float(), batch.x).mean()
        kl = gaussian.kl_to_standard(q.mean, q.log_var).sum(1).mean()
        total = self.config.recon_weight * recon + self._beta_now(batch) * kl
        total = total / self.shape.size if self.config.reduction == "mean" else total
        return Losses(total, {"recon_nats_per_image": recon, "kl_nats_per_image": kl})

    def _beta_now(self, batch: Batch) -> Tensor | float:
        if not self.config.beta_warmup_steps or batch.step is None:
            return self.beta
        return self.beta * (batch.step / self.config.beta_warmup_steps).clamp(max=1)

    def _nll(self, out_BX: Tensor, x_BX: Tensor) -> Tensor:
        if self.likelihood == "bernoulli":
            return likelihood.bernoulli_nll(out_BX, x_BX)
        return likelihood.gaussian_nll(self._mean(out_BX), x_BX, self.config.noise_std)

    def _mean(self, out_BX: Tensor) -> Tensor:
        return torch.sigmoid(out_BX) if self.shape.is_image else out_BX

    def posterior(self, x_BX: Tensor, y_B: Tensor | None = None) -> Posterior:
        """q(z|x) = N(μ, σ²)."""
        mean_BL, scale_BL = self.encoder(x_BX).float().chunk(2, dim=1)
        return Posterior(mean_BL, scale_BL if self.config.log_scale == "variance" else 2 * scale_BL)

    def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        """Posterior means μ, z_BL."""
        return self.posterior(x_BX).mean

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """The mean of p(x|z), x̂_BX in [0, 1] for images."""
        return self._mean(self.decoder(z_BL).float())

    def log_likelihood(self, x_BX: Tensor, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """log p(x|z) in nats, B; grey pixels under a Bernoulli give the negative cross-entropy."""
        return -self._nll(self.decoder(z_BL).float(), x_BX)

    def prior(self, n: int, rng: torch.Generator) -> Tensor:
        """N(0, I), z_NL."""
        return torch.randn(n, self.latent_dim, generator=rng, device=rng.device)
