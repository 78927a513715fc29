"""VQ-VAE: images as a small grid of codes from a learned codebook, with a prior over the grids.

Source: van den Oord et al. 2017 (https://arxiv.org/abs/1711.00937). The encoder gives an h×w grid of vectors (a row of
them for data that are vectors), each is replaced by the nearest entry of the codebook, and gradients pass straight
through. The loss is eq. 3,

    −log p(x|z_q) + ‖sg[z_e] − e‖² + β·‖z_e − sg[e]‖²,

with each of the three as a mean over its own values, as in the authors' program: pixels, and numbers of the grid. The
codebook follows the second term's gradient, not the running means of the paper's appendix A.1: those would be state
that a loss moves, and here losses are functions of their arguments.

The second phase trains the prior of section 3.3, a PixelCNN over the grid (gated residual masked convolutions, van den
Oord et al. 2016), at the same time on the codes of the same batches; it moves neither encoder nor codebook.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentscape import contract
from latentscape.config import DataShape, setting
from latentscape.contract import Batch, Draws, Losses, Phase
from latentscape.models._likelihood import Likelihood, LikelihoodSettings
from latentscape.nets import conv, mlp
from latentscape.nets.masked import MaskedConv2d
from latentscape.numerics import vector_quantisation as vq


@dataclass(frozen=True, kw_only=True)
class Config(LikelihoodSettings):
    """Settings of the VQ-VAE."""

    codebook_size: int = setting(128, "entries of the codebook", at_least=2)
    code_dim: int = setting(16, "numbers per entry", at_least=1)
    halvings: int = setting(2, "images: the grid is the picture halved so often (28×28 → 7×7)", at_least=0, at_most=12)
    vector_codes: int = setting(4, "vectors: how many codes stand for one", at_least=1)
    width: int = setting(32, "images: filters of encoder and decoder", at_least=1)
    hidden: tuple[int, ...] = setting((256, 128), "vectors: hidden layer sizes of the encoder, mirrored", at_least=1)
    beta_commit: float = setting(0.25, "weight that holds the encoder to its codes", at_least=0)
    revive: float = setting(
        1.0, "encoder outputs that each entry unused in a batch is pulled to (0: none, as in the paper)", at_least=0
    )
    prior_width: int = setting(32, "filters of the prior over codes", at_least=1)
    prior_layers: int = setting(4, "gated residual layers of the prior", at_least=0)


class Model(contract.Trained, contract.Reconstructs, contract.Samples, contract.HasLikelihood):
    """x → grid of codes → p(x|codes); latents are the codes' vectors, D×h×w flattened."""

    Config = Config

    def __init__(self, shape: DataShape, config: Config, classes: int = 0) -> None:
        super().__init__(shape, config, classes)
        self.grid = conv.grid_size(shape, config.halvings) if shape.is_image else (1, config.vector_codes)
        self.latent_dim = config.code_dim * math.prod(self.grid)
        self.likelihood = Likelihood(shape, config)
        self.encoder, self.decoder = self._nets()
        self.encoder.apply(_keep_variance)
        self.codebook = Codebook(config.codebook_size, config.code_dim)
        self.code_prior = CodePrior(config.codebook_size, config.prior_width, config.prior_layers)
        self.phases = (
            Phase("reconstruct", (self.encoder, self.codebook, self.decoder, self.likelihood)),
            Phase("prior", (self.code_prior,)),
        )

    def _nets(self) -> tuple[nn.Module, nn.Module]:
        """The encoder, x_BX → B×D×h×w, and the decoder, B×D×h×w → what the likelihood takes."""
        c, out = self.config, self.likelihood.output
        if self.shape.is_image:
            sizes = {"width": c.width, "halvings": c.halvings}
            return conv.grid_encoder(self.shape, c.code_dim, **sizes), conv.grid_decoder(c.code_dim, out, **sizes)
        encoder = mlp.encoder(self.shape.size, self.latent_dim, c.hidden, norm=False)
        decoder = mlp.decoder(self.latent_dim, out.dims, c.hidden, norm=False)
        to_grid = nn.Unflatten(1, (c.code_dim, *self.grid))
        return nn.Sequential(encoder, to_grid), nn.Sequential(nn.Flatten(), decoder)

    @classmethod
    def training_defaults(cls, shape: DataShape, config: Config) -> dict[str, Any]:
        """Ten times the paper's Adam at 2e-4: small nets on small pictures."""
        return {"learning_rate": 2e-3, "epochs": 10}

    def notes(self) -> list[str]:
        """What a picture is compressed to."""
        height, width = self.grid
        bits = height * width * math.log2(self.config.codebook_size)
        return [f"an example becomes {height}×{width} codes of {self.config.codebook_size}: {bits:.0f} bits, or fewer"]

    def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> Draws:
        """pick: K U[0, 1), which encoder outputs unused entries are pulled to."""
        if phase != "reconstruct" or not self.config.revive:
            return {}
        return {"pick": torch.rand(self.config.codebook_size, generator=rng, device=rng.device)}

    def shared(self, batch: Batch, draws: Draws) -> Draws:
        """The encoder's output, attached (B×D×h×w), and its codes (B×h×w int64), for both phases."""
        z_BDHW = self.encoder(batch.x).float()
        return {"encoded": z_BDHW, "codes": self.codebook.nearest(z_BDHW)}

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """Eq. 3, or the prior's −log p(codes)."""
        if phase == "prior":
            return self._prior_loss(draws["codes"])
        z_BDHW, codes_BHW = draws["encoded"], draws["codes"]
        e_BDHW = self.codebook(codes_BHW)
        recon = self.likelihood.nll(self.decoder(vq.straight_through(z_BDHW, e_BDHW)).float(), batch.x).mean()
        codebook = (z_BDHW.detach() - e_BDHW).square().mean()
        commitment = (z_BDHW - e_BDHW.detach()).square().mean()
        counts_K = vq.use(codes_BHW.flatten(), self.config.codebook_size)
        total = recon / self.shape.size + codebook + self.config.beta_commit * commitment
        if self.config.revive:
            total = total + self.config.revive * self._revive(z_BDHW.detach(), counts_K, draws["pick"])
        terms = {"recon_nats_per_image": recon, "codebook_mse": codebook, "perplexity": vq.perplexity(counts_K)}
        return Losses(total, terms | {"codes_used": (counts_K > 0).float().sum()})

    def _revive(self, z_BDHW: Tensor, counts_K: Tensor, pick_K: Tensor) -> Tensor:
        """Pulls each entry that no vector of the batch chose to one of these vectors, as if that one had chosen it.

        An entry far from all encoder outputs is never chosen, gets no gradient and stays dead; in eq. 3 nothing helps
        it. Its weight is that of a single vector in eq. 3's second term, so the pull ends once others choose it.
        """
        z_ND = z_BDHW.movedim(1, -1).flatten(0, 2)
        target_KD = z_ND[(pick_K * len(z_ND)).long().clamp_max(len(z_ND) - 1)]
        unused_KD = (self.codebook.weight - target_KD).square() * (counts_K == 0)[:, None]
        return unused_KD.sum() / z_ND.numel()

    def _prior_loss(self, codes_BHW: Tensor) -> Losses:
        logits_BKHW = self.code_prior(codes_BHW).float()
        nats_per_code = F.cross_entropy(logits_BKHW, codes_BHW)
        per_image = nats_per_code * math.prod(self.grid)
        bits = per_image / math.log(2)
        return Losses(nats_per_code, {"code_nats_per_image": per_image, "code_bits_per_image": bits})

    def codes(self, x_BX: Tensor) -> Tensor:
        """Indices into the codebook, B×h×w int64."""
        return self.codebook.nearest(self.encoder(x_BX).float())

    def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        """The codes' vectors, z_BL with L = D·h·w."""
        return self.codebook(self.codes(x_BX)).flatten(1)

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """The mean of p(x|codes), x̂_BX; each vector of z is replaced by the nearest entry of the codebook first."""
        return self.likelihood.mean(self._decoded(z_BL))

    def log_likelihood(self, x_BX: Tensor, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """log p(x|codes) in nats, B, at the codes nearest to z."""
        return -self.likelihood.nll(self._decoded(z_BL), x_BX)

    def _decoded(self, z_BL: Tensor) -> Tensor:
        z_BDHW = z_BL.float().view(-1, self.config.code_dim, *self.grid)
        return self.decoder(self.codebook(self.codebook.nearest(z_BDHW))).float()

    @torch.no_grad()
    def prior(self, n: int, rng: torch.Generator) -> Tensor:
        """Codes drawn from the prior one after the other in reading order, all n at once; their vectors, z_NL."""
        return self.codebook(self.code_prior.sample(n, self.grid, rng)).flatten(1)


def _keep_variance(module: nn.Module) -> None:
    """Initialise a layer so that variance passes through rectifiers (He et al. 2015).

    PyTorch's own initialisation shrinks what differs between examples beside the constant from the biases, layer by
    layer: all encoder outputs then start near one entry of the codebook.
    """
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Codebook(nn.Module):
    """K entries of D numbers."""

    def __init__(self, entries: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(entries, dim) / math.sqrt(dim))

    def nearest(self, z_BDHW: Tensor) -> Tensor:
        """B×h×w int64."""
        z_BHWD = z_BDHW.movedim(1, -1)
        return vq.nearest(z_BHWD.flatten(0, 2), self.weight).view(z_BHWD.shape[:3])

    def forward(self, codes_BHW: Tensor) -> Tensor:
        """Indices → B×D×h×w."""
        return F.embedding(codes_BHW, self.weight).movedim(-1, 1)


class CodePrior(nn.Module):
    """PixelCNN over grids of codes: each code's distribution given those before it in reading order."""

    def __init__(self, entries: int, width: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(entries, width)
        self.first = MaskedConv2d("A", width, width, 7)
        self.layers = nn.Sequential(*(GatedResidual(width) for _ in range(layers)))
        self.last = nn.Conv2d(width, entries, 1)

    def forward(self, codes_BHW: Tensor) -> Tensor:
        """Codes → logits B×K×h×w; those at a place see earlier places only."""
        return self.last(torch.relu(self.layers(self.first(self.embed(codes_BHW).movedim(-1, 1)))))

    def sample(self, n: int, grid: tuple[int, int], rng: torch.Generator) -> Tensor:
        """n grids, n×h×w int64, on the generator's device."""
        codes_NHW = torch.zeros(n, *grid, dtype=torch.int64, device=rng.device)
        for i in range(grid[0]):
            for j in range(grid[1]):
                # Rows below the one being drawn are not seen, so they need not be computed.
                probability_NK = torch.softmax(self(codes_NHW[:, : i + 1])[:, :, i, j].float(), 1)
                codes_NHW[:, i, j] = torch.multinomial(probability_NK, 1, generator=rng)[:, 0]
        return codes_NHW


class GatedResidual(nn.Module):
    """x + 1×1(tanh(a)·σ(b)) with a, b from a masked 3×3 convolution (van den Oord et al. 2016b, eq. 2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.outer = MaskedConv2d("B", width, 2 * width, 3), nn.Conv2d(width, width, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """B×C×h×w → B×C×h×w."""
        a, b = self.inner(x_BCHW).chunk(2, 1)
        return x_BCHW + self.outer(torch.tanh(a) * torch.sigmoid(b))
