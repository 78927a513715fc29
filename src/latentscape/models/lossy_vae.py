"""Variational lossy autoencoder: latents for what is global, an autoregressive decoder for local detail.

Source: Chen et al. 2017 (https://arxiv.org/abs/1611.02731). A decoder p(x|z) = Π p(x_i | z, x_window(i)) sees, beside
z, the pixels before its own within a small window. What the window can tell is cheaper to code there than in z
(section 2's bits-back argument: z costs its KL in full), so z keeps only what the window cannot see: the coding is
lossy by design, and a narrower window moves more nats into z (section 3.1). The prior is an autoregressive flow
(section 3.2). The loss is −log p(x|z) − log p(z) + log q(z|x) in nats with one posterior sample.

A local decoder is good long before z is, and then z is ignored for good: its KL costs more than what it has to say at
that point. So the KL's weight rises from 0 (Bowman et al. 2016), and `free_nats` may spare it altogether up to a sum
(Kingma et al. 2016, as in the source's section 4).

The window is exact: one masked convolution of 2w + 1 pixels a side, then layers within the pixel. Pixels come in
reading order, colours within a pixel in order. Grey images under a Bernoulli give the cross-entropy, as in the VAE;
--binarise dynamic makes it a likelihood. A vector is taken as a picture of one row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentscape import contract
from latentscape.config import DataShape, setting
from latentscape.contract import Batch, Draws, Losses, Phase, Posterior
from latentscape.errors import ConfigError
from latentscape.models._likelihood import Likelihood, LikelihoodSettings
from latentscape.nets import build
from latentscape.nets.autoregressive_flow import AutoregressiveFlow
from latentscape.nets.masked import MaskedConv2d
from latentscape.numerics import gaussian, schedules

DECODING_SEED = 0
"""Of the random numbers that decoding draws pixels with, the same for every example: equal latents look equal."""


@dataclass(frozen=True, kw_only=True)
class Config(LikelihoodSettings, build.NetSettings):
    """Settings of the variational lossy autoencoder; the nets are those from and to z."""

    latent_dim: int = setting(24, "size of the latent vector", at_least=1)
    window: int = setting(1, "pixels that the decoder sees to the left, right and above; 0: none, a VAE", at_least=0)
    local_width: int = setting(32, "filters of the decoder's local part", at_least=1)
    features: int = setting(4, "numbers per pixel that z is decoded to for the local part", at_least=1)
    prior: Literal["flow", "normal"] = setting("flow", "p(z): an autoregressive flow, or N(0, I)")
    flow_maps: int = setting(3, "flow: autoregressive maps", at_least=1)
    flow_hidden: int = setting(128, "flow: size of the two hidden layers of each map", at_least=1)
    beta_warmup_steps: int = setting(
        1000,
        "raise the weight of the KL from 0 to 1 over so many steps; without, z is often ignored",
        at_least=0,
        in_steps=True,
    )
    free_nats: float = setting(0.0, "nats of the KL, mean over a batch's images, that cost nothing", at_least=0)
    decoded: Literal["means", "draws"] = setting(
        "means", "what decoding gives: drawn pixels, or the mean of each given z and the drawn pixels before it"
    )


class Model(contract.Trained, contract.Reconstructs, contract.Samples, contract.HasPosterior, contract.HasLikelihood):
    """x → q(z|x) = N(μ, σ²) → z → p(x|z), pixel by pixel."""

    Config = Config

    def __init__(self, shape: DataShape, config: Config, classes: int = 0) -> None:
        super().__init__(shape, config, classes)
        if config.likelihood == "continuous-bernoulli":
            raise ConfigError("--likelihood must be auto, bernoulli or gaussian here: pixels are drawn one by one")
        self.latent_dim = config.latent_dim
        self.likelihood = Likelihood(shape, config)
        self.encoder = build.encoder(shape, 2 * self.latent_dim, config)
        self.decoder = build.decoder(self.latent_dim, self._features_shape(), config)
        self.local = LocalDecoder(shape, self.likelihood.output.dims[0] // shape.dims[0], config)
        self.flow = None
        player: tuple[nn.Module, ...] = (self.encoder, self.decoder, self.local, self.likelihood)
        if config.prior == "flow":
            self.flow = AutoregressiveFlow(self.latent_dim, config.flow_maps, config.flow_hidden)
            player = (*player, self.flow)
        self.phases = (Phase("elbo", player),)

    def _features_shape(self) -> DataShape:
        """What z is decoded to: `features` numbers for each pixel."""
        _, *rest = self.shape.dims if self.shape.is_image else (1, self.shape.size)
        sizes = (self.config.features, *rest)
        return DataShape(sizes) if self.shape.is_image else DataShape((sizes[0] * sizes[1],))

    @classmethod
    def training_defaults(cls, shape: DataShape, config: Config) -> dict[str, Any]:
        """Adam at 1e-3."""
        return {"learning_rate": 1e-3, "epochs": 10}

    def notes(self) -> list[str]:
        """That decoding takes its time."""
        return [f"decoding draws {self.shape.size:,} values one after the other, so pictures take longer than training"]

    def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> Draws:
        """eps: B×L standard normal."""
        return {"eps": torch.randn(len(batch.x), self.latent_dim, generator=rng, device=rng.device)}

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """−log p(x|z) − log p(z) + log q(z|x) per value, one posterior sample; a warm-up weights the last two."""
        q = self.posterior(batch.x)
        z_BL = gaussian.reparameterise(q.mean, q.log_var, draws["eps"])
        recon = -self.log_likelihood(batch.x, z_BL).mean()
        log_prior = self.log_prior(z_BL).mean()
        kl = gaussian.log_prob(z_BL, q.mean, q.log_var).sum(1).mean() - log_prior
        terms = {"recon_nats_per_image": recon, "kl_nats_per_image": kl, "log_prior_nats_per_image": log_prior}
        total = recon + self._weight(batch) * kl.clamp_min(self.config.free_nats)
        return Losses(total / self.shape.size, terms | {"elbo_nats_per_image": -recon - kl})

    def _weight(self, batch: Batch) -> Tensor | float:
        steps = self.config.beta_warmup_steps
        return schedules.linear(batch.step, steps) if steps and batch.step is not None else 1.0

    def posterior(self, x_BX: Tensor, y_B: Tensor | None = None) -> Posterior:
        """q(z|x) = N(μ, σ²)."""
        return Posterior(*self.encoder(x_BX).float().chunk(2, dim=1))

    def log_prior(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """log p(z) in nats, B: of N(0, I) at the flow's ε, plus log |det ∂ε/∂z| (section 3.2)."""
        if self.flow is None:
            return super().log_prior(z_BL, y_B)
        eps_BL, log_det_B = self.flow.inverse(z_BL)
        return super().log_prior(eps_BL.float(), y_B) + log_det_B

    def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        """Posterior means μ, z_BL."""
        return self.posterior(x_BX, y_B).mean

    @torch.no_grad()
    def prior(self, n: int, rng: torch.Generator) -> Tensor:
        """Draws z_NL from the flow, or N(0, I)."""
        eps_NL = torch.randn(n, self.latent_dim, generator=rng, device=rng.device)
        return eps_NL if self.flow is None else self.flow(eps_NL)

    def log_likelihood(self, x_BX: Tensor, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """log p(x|z) in nats, B; grey pixels under a Bernoulli give the negative cross-entropy."""
        x_BCHW = _as_picture(x_BX)
        out_BCHW = self.local(self.local.pad(x_BCHW), self._global(z_BL)).float()
        return -self.likelihood.nll(out_BCHW.view(-1, *self.likelihood.output.dims), x_BX)

    def _global(self, z_BL: Tensor) -> Tensor:
        """What the local part is told of z, B×channels×H×W."""
        _, height, width = _picture(self.shape)
        return self.local.told(self.decoder(z_BL).view(len(z_BL), -1, height, width))

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """z_BL → x̂_BX, drawn pixel by pixel with the same random numbers for every example; see `--decoded`."""
        uniform = torch.rand(_picture(self.shape), generator=torch.Generator().manual_seed(DECODING_SEED))
        drawn_BX, means_BX = self.draw_pixels(z_BL, uniform.to(z_BL.device))
        return drawn_BX if self.config.decoded == "draws" else means_BX

    @torch.no_grad()
    def draw_pixels(self, z_BL: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Draws x ~ p(x|z) from U[0, 1) numbers (C×H×W, or B×C×H×W); x_BX, and the mean of each given those before it.

        Only the window of a pixel is computed again for it, for all examples at once.
        """
        told_BCHW, (colours, height, width) = self._global(z_BL.float()), _picture(self.shape)
        drawn_BCHW = self.local.pad(z_BL.new_zeros(len(z_BL), colours, height, width))
        means_BCHW = z_BL.new_zeros(len(z_BL), colours, height, width)
        w = self.config.window
        for i in range(height):
            for j in range(width):
                seen, told = (
                    drawn_BCHW[:, :, i : i + 2 * w + 1, j : j + 2 * w + 1],
                    told_BCHW[:, :, i : i + 1, j : j + 1],
                )
                for c in range(colours):
                    out_BC = self.local(seen, told)[:, :, 0, 0].float()
                    mean_B, value_B = self._pixel(out_BC, c, uniform[..., c, i, j])
                    means_BCHW[:, c, i, j], drawn_BCHW[:, c, i + w, j + w] = mean_B, value_B
        drawn_BCHW = drawn_BCHW[:, :, w : w + height, w : w + width]
        return drawn_BCHW.reshape(-1, *self.shape.dims), means_BCHW.view(-1, *self.shape.dims)

    def _pixel(self, out_BC: Tensor, c: int, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and drawn value of colour c, B each, by the inverse of its distribution function."""
        mean_B = self.likelihood.mean(out_BC)[:, c]
        if self.likelihood.kind == "bernoulli":
            return mean_B, (uniform < mean_B).float()
        log_std = self.likelihood.split(out_BC)[1]
        log_std = log_std[:, c] if isinstance(log_std, Tensor) and log_std.dim() else torch.as_tensor(log_std)
        return mean_B, mean_B + log_std.exp() * torch.special.ndtri(uniform.clamp(1e-6, 1 - 1e-6))


class LocalDecoder(nn.Module):
    """What a pixel is likely to be, from the pixels before it in a window and what it is told of z.

    numbers: how many each value's distribution takes, 1 or 2 (mean, log σ).
    """

    def __init__(self, shape: DataShape, numbers: int, config: Config) -> None:
        super().__init__()
        self.colours, self.numbers, self.window = _picture(shape)[0], numbers, config.window
        hidden = -(-config.local_width // self.colours) * self.colours  # the masks want a multiple of the colours
        self.first = MaskedConv2d("A", self.colours, hidden, 2 * config.window + 1, colours=self.colours)
        self.first.padding = (0, 0)  # `pad` does it, so that a single window gives a single pixel
        self.second = MaskedConv2d("B", hidden, hidden, 1, colours=self.colours)
        self.last = MaskedConv2d("B", hidden, numbers * self.colours, 1, colours=self.colours)
        # What z has to say goes to the hidden layer and straight to the output, where the window need not let it pass.
        # He et al. 2015 for its weights: a z that says little at first is soon not listened to.
        self.told = nn.Conv2d(config.features, hidden + numbers * self.colours, 1)
        nn.init.kaiming_normal_(self.told.weight)

    def pad(self, x_BCHW: Tensor) -> Tensor:
        """B×C×(H+2w)×(W+2w), zeros all around."""
        return F.pad(x_BCHW, (self.window,) * 4)

    def forward(self, padded_BCHW: Tensor, told_BCHW: Tensor) -> Tensor:
        """Padded pixels and what `told` gives → B×(numbers·C)×H×W, first all colours' first number."""
        to_hidden, to_out = told_BCHW.split([self.first.out_channels, self.last.out_channels], 1)
        h = torch.relu(self.first(padded_BCHW) + to_hidden)
        out = self.last(torch.relu(self.second(h))) + to_out
        batch, _, height, width = out.shape
        return out.view(batch, self.colours, self.numbers, height, width).transpose(1, 2).flatten(1, 2)


def _picture(shape: DataShape) -> tuple[int, int, int]:
    """C×H×W, of a vector 1×1×D."""
    channels, height, width = shape.dims if shape.is_image else (1, 1, shape.size)
    return channels, height, width


def _as_picture(x_BX: Tensor) -> Tensor:
    return x_BX if x_BX.dim() == 4 else x_BX[:, None, None]
