"""The lossy VAE's loss is eq. 1 of its source, its decoder sees a window and no more, and drawing follows p(x|z)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

import loops
from latentscape.contract import Batch
from latentscape.errors import ConfigError
from latentscape.models.lossy_vae import Model

IMAGE, COLOUR, VECTOR = (1, 6, 5), (3, 5, 4), (5,)

every_shape = pytest.mark.parametrize("shape", [IMAGE, COLOUR, VECTOR], ids=["grey", "colour", "vector"])


def make(shape: tuple[int, ...], **settings: Any) -> Model:
    small = {
        "net": "mlp",
        "hidden": (16,),
        "latent_dim": 3,
        "local_width": 9,
        "flow_hidden": 8,
        "window": 1,
        "beta_warmup_steps": 0,
    }
    model = loops.make("lossy_vae", shape, **{**small, **settings})
    assert isinstance(model, Model)
    return model.train()


def setting(shape: tuple[int, ...], step: float | None = None) -> tuple[Batch, dict[str, Tensor]]:
    rng = torch.Generator().manual_seed(0)
    x_BX = torch.rand(5, *shape, generator=rng).round()
    at = Batch(x_BX, step=None if step is None else torch.tensor(step))
    return at, {"eps": torch.randn(5, 3, generator=rng)}


@every_shape
@pytest.mark.parametrize("prior", ["flow", "normal"])
def test_loss_is_the_elbo_with_one_sample(shape: tuple[int, ...], prior: str) -> None:
    model = make(shape, prior=prior)
    at, draws = setting(shape)
    mean_BL, log_var_BL = model.encoder(at.x).chunk(2, 1)
    q = Normal(mean_BL, (log_var_BL / 2).exp())
    z_BL = mean_BL + q.stddev * draws["eps"]
    recon = -model.log_likelihood(at.x, z_BL).mean()
    eps_BL, log_det_B = model.flow.inverse(z_BL) if model.flow else (z_BL, torch.zeros(5))
    log_prior_B = Normal(0.0, 1.0).log_prob(eps_BL).sum(1) + log_det_B
    kl = (q.log_prob(z_BL).sum(1) - log_prior_B).mean()
    losses = model("elbo", at, draws)
    torch.testing.assert_close(model.log_prior(z_BL), log_prior_B)
    torch.testing.assert_close(losses.terms["recon_nats_per_image"], recon)
    torch.testing.assert_close(losses.terms["kl_nats_per_image"], kl)
    torch.testing.assert_close(losses.terms["elbo_nats_per_image"], -recon - kl)
    torch.testing.assert_close(losses.total, (recon + kl) / at.x[0].numel())
    assert (model.flow is None) == (prior == "normal")


@pytest.mark.parametrize(("step", "weight"), [(0.0, 0.0), (5.0, 0.5), (20.0, 1.0), (None, 1.0)])
def test_the_kl_is_warmed_up(step: float | None, weight: float) -> None:
    model = make(IMAGE, beta_warmup_steps=10)
    losses = model("elbo", *setting(IMAGE, step))
    recon, kl = losses.terms["recon_nats_per_image"], losses.terms["kl_nats_per_image"]
    torch.testing.assert_close(losses.total, (recon + weight * kl) / 30)


def test_free_nats_cost_nothing() -> None:
    plain, free = (make(IMAGE, free_nats=f)("elbo", *setting(IMAGE)) for f in (0.0, 50.0))
    recon, kl = plain.terms["recon_nats_per_image"], plain.terms["kl_nats_per_image"]
    assert kl < 50
    torch.testing.assert_close(free.terms["kl_nats_per_image"], kl)  # logged as it is
    torch.testing.assert_close(free.total, (recon + 50) / 30)


# ---- the decoder sees what it may ----------------------------------------------------------------------------------


def position(model: Model, value: int) -> tuple[int, int, int]:
    """Colour, row, column of a value of the flattened example."""
    dims = model.shape.dims if model.shape.is_image else (1, 1, model.shape.size)
    return value // (dims[1] * dims[2]), value // dims[2] % dims[1], value % dims[2]


def may_see(model: Model, seer: int, seen: int) -> bool:
    """Whether the conditional of one value depends on another: earlier in the window, or an earlier colour."""
    (c, i, j), (d, k, m), w = position(model, seer), position(model, seen), model.config.window
    if (i, j) == (k, m):
        return d < c
    return abs(i - k) <= w and abs(j - m) <= w and (k < i or (k == i and m < j))


@every_shape
@pytest.mark.parametrize("window", [0, 1, 2])
def test_each_value_sees_the_window_before_it_and_nothing_else(shape: tuple[int, ...], window: int) -> None:
    model = make(shape, window=window, local_width=60).eval()
    at, draws = setting(shape)
    told = model._global(draws["eps"][:1])

    def conditionals(x_X: Tensor) -> Tensor:
        picture = x_X.view(1, *(shape if len(shape) == 3 else (1, 1, *shape)))
        return model.local(model.local.pad(picture), told).flatten()

    jacobian = torch.autograd.functional.jacobian(conditionals, at.x[0].flatten())
    n = len(jacobian)
    allowed = torch.tensor([[may_see(model, a, b) for b in range(n)] for a in range(n)])
    assert not jacobian[~allowed].any()
    if allowed.any():
        assert (jacobian[allowed] != 0).double().mean() > 0.7


@every_shape
@pytest.mark.parametrize("learn_noise", ["no", "shared", "per-value"])
def test_drawing_pixel_by_pixel_agrees_with_the_conditionals_of_the_loss(
    shape: tuple[int, ...], learn_noise: str
) -> None:
    """Windows give the whole picture's conditionals; a draw is where its number falls in its distribution function."""
    model = make(shape, window=2, learn_noise=learn_noise, likelihood="gaussian").eval()
    z_BL = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    picture = shape if len(shape) == 3 else (1, 1, *shape)
    uniform = torch.rand(4, *picture, generator=torch.Generator().manual_seed(2)).clamp(0.01, 0.99)
    drawn_BX, means_BX = model.draw_pixels(z_BL, uniform)
    with torch.no_grad():
        out = model.local(model.local.pad(drawn_BX.view(4, *picture)), model._global(z_BL))
        out_BX = out.view(4, *model.likelihood.output.dims)
        torch.testing.assert_close(means_BX, model.likelihood.mean(out_BX), rtol=1e-4, atol=1e-5)
        log_std = torch.as_tensor(model.likelihood.split(out_BX)[1])
        p = Normal(means_BX, log_std.exp().expand_as(means_BX)).cdf(drawn_BX)
    torch.testing.assert_close(p.flatten(), uniform.flatten(), rtol=1e-3, atol=1e-3)


def test_drawn_pictures_have_the_probabilities_of_the_likelihood() -> None:
    """Frequencies of all 2⁴ binary pictures of 2×2 pixels against exp(log p(x|z)), which sums to 1."""
    model = make((1, 2, 2), window=1).eval()
    with torch.no_grad():
        model.local.first.weight.mul_(6)
        model.local.last.weight.mul_(6)
    z_BL = torch.randn(1, 3, generator=torch.Generator().manual_seed(1))
    pictures = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4).view(16, 1, 2, 2)
    with torch.no_grad():
        p = model.log_likelihood(pictures, z_BL.expand(16, 3)).exp()
    uniform = torch.rand(20_000, 1, 2, 2, generator=torch.Generator().manual_seed(2))
    drawn_BX, _ = model.draw_pixels(z_BL.expand(20_000, 3), uniform)
    share = (drawn_BX.flatten(1).long() @ torch.tensor([8, 4, 2, 1])).bincount(minlength=16) / 20_000
    torch.testing.assert_close(p.sum(), torch.tensor(1.0))
    torch.testing.assert_close(share, p, atol=0.012, rtol=0)
    assert p.max() > 2 / 16


@pytest.mark.parametrize(("decoded", "binary"), [("draws", True), ("means", False)])
def test_decoding_gives_draws_or_their_means(decoded: str, binary: bool) -> None:
    model = make(IMAGE, decoded=decoded).eval()
    z_BL = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    x_BX = model.decode(z_BL)
    assert bool(((x_BX == 0) | (x_BX == 1)).all()) == binary
    assert torch.equal(model.decode(z_BL[:1].expand(4, 3))[3], x_BX[0])  # equal latents look equal


# ---- the prior, and what goes where --------------------------------------------------------------------------------


def test_sampling_the_prior_follows_its_density() -> None:
    """E[log p] over the prior's own draws is minus its entropy: that of N(0, I) plus E[log |det ∂z/∂ε|]."""
    model = make(IMAGE)
    flow = model.flow
    assert flow is not None
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(len(p))))
        rng = torch.Generator().manual_seed(0)
        z_NL = model.prior(2000, rng)
        eps_NL = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(flow.inverse(z_NL)[0], eps_NL, rtol=1e-3, atol=1e-3)
        jacobian = torch.autograd.functional.jacobian(lambda e: flow(e[None])[0], eps_NL[0])
    expected = Normal(0.0, 1.0).log_prob(eps_NL[0]).sum() - torch.linalg.slogdet(jacobian)[1]
    torch.testing.assert_close(model.log_prior(z_NL[:1])[0], expected, rtol=1e-3, atol=1e-3)
    normal_NL = make(IMAGE, prior="normal").prior(5, torch.Generator().manual_seed(0))
    assert torch.equal(normal_NL, torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))


def stripes(n: int, rng: torch.Generator) -> Tensor:
    """Six rows of eight pixels, each row a coin's toss for the first pixel that all others repeat."""
    return (torch.rand(n, 1, 6, 1, generator=rng) < 0.5).float().expand(n, 1, 6, 8).contiguous()


def trained_kl(window: int, **settings: Any) -> tuple[float, float]:
    """KL and reconstruction in nats per image after a short training on stripes."""
    model, rng = (
        make((1, 6, 8), window=window, hidden=(64,), latent_dim=6, **settings),
        torch.Generator().manual_seed(0),
    )
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    terms: dict[str, Tensor] = {}
    for _ in range(400):
        at = Batch(stripes(64, rng))
        losses = model("elbo", at, model.draw("elbo", at, rng))
        terms = losses.terms
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
    return float(terms["kl_nats_per_image"].detach()), float(terms["recon_nats_per_image"].detach())


def test_a_narrower_window_moves_nats_into_the_latents() -> None:
    """A window sees a row's first pixel, so the rest costs nothing; without one z must tell each row: 6·log 2 nats."""
    blind_kl, blind_recon = trained_kl(0)
    seeing_kl, seeing_recon = trained_kl(1)
    assert blind_kl > 2.5
    assert seeing_kl < 1.2
    assert abs(seeing_recon + seeing_kl - 4.16) < 1.0  # what the data cost at best
    assert blind_recon + blind_kl > 4.0


def test_pixels_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(ConfigError, match="pixels are drawn one by one"):
        make(IMAGE, likelihood="continuous-bernoulli")
