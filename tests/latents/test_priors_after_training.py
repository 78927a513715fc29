"""Priors fitted to latents: planted densities are found, densities integrate to one, draws follow them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentscape.errors import ConfigError, DataError
from latentscape.latents import priors
from latentscape.latents.priors import Budget, flow_matching, learning
from latentscape.latents.priors.base import Density, Whitening, held_out
from latentscape.nets.autoregressive_flow import AutoregressiveFlow

DENSITIES = ("diagonal", "full", "gmm", "flow")
QUICK = Budget(steps=150, components=(2, 4))
every_kind = pytest.mark.parametrize("kind", priors.KINDS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(n: int, seed: int = 0) -> tuple[Tensor, torch.distributions.MultivariateNormal]:
    """n draws of a correlated Gaussian whose coordinates have very different scales, and its distribution."""
    factor = torch.tensor([[20.0, 0.0, 0.0], [9.0, 3.0, 0.0], [-0.3, 0.2, 0.1]])
    mean = torch.tensor([100.0, -2.0, 0.5])
    z_NL = mean + torch.randn(n, 3, generator=generator(seed)) @ factor.T
    return z_NL, torch.distributions.MultivariateNormal(mean, scale_tril=factor)


def two_blobs(n: int, seed: int = 0) -> Tensor:
    """Half of the draws round (2, 2), half round (−2, −2), with a standard deviation of 0.5."""
    rng = generator(seed)
    centre_N1 = 4.0 * torch.randint(2, (n, 1), generator=rng) - 2
    return centre_N1 + 0.5 * torch.randn(n, 2, generator=rng)


@pytest.fixture(scope="module")
def blobs() -> dict[str, Any]:
    """Every kind fitted to the two blobs."""
    return {
        kind: priors.fit(kind, two_blobs(4_000), budget=Budget(steps=400, components=(2, 4))) for kind in priors.KINDS
    }


def able(prior: Any) -> Any:
    """A prior that has a density, whatever its class."""
    assert isinstance(prior, Density)
    return prior


@every_kind
def test_draws_follow_the_seed_and_come_back_after_packing(kind: str, blobs: dict[str, Any]) -> None:
    prior = blobs[kind]
    assert prior.kind == kind
    assert set(prior.figures) >= {"latents", "seconds"}
    drawn, again, other = (prior.sample(50, generator(s)) for s in (1, 1, 2))
    assert drawn.shape == (50, 2)
    assert drawn.dtype == torch.float32
    assert torch.equal(drawn, again)
    assert not torch.equal(drawn, other)
    back = priors.unpacked(kind, *prior.packed())
    assert torch.equal(back.sample(50, generator(1)), drawn)
    assert back.figures == prior.figures
    torch.testing.assert_close(back.mean_L, prior.mean_L)


@pytest.mark.parametrize("kind", ["gmm", "flow", "flow-matching"])
def test_fits_follow_the_seed_and_leave_the_global_generator_alone(kind: str) -> None:
    z_NL, before = two_blobs(300), torch.get_rng_state()
    one, again, other = (priors.fit(kind, z_NL, seed=s, budget=Budget(steps=20, components=(4,))) for s in (0, 0, 1))
    drawn = one.sample(20, generator())
    assert torch.equal(drawn, again.sample(20, generator()))
    assert not torch.equal(drawn, other.sample(20, generator()))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_gradients_all_the_same() -> None:
    with torch.no_grad():
        prior = priors.fit("flow", two_blobs(300), budget=Budget(steps=5))
    assert prior.figures["steps"] == 5


@pytest.mark.parametrize("kind", DENSITIES)
def test_densities_integrate_to_one(kind: str, blobs: dict[str, Any]) -> None:
    axis = torch.arange(-8, 8, 0.1)
    mass = able(blobs[kind]).log_prob(torch.cartesian_prod(axis, axis)).double().exp().sum() * 0.1**2
    assert float(mass) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("kind", ["full", "gmm", "flow"])
def test_a_planted_gaussian_is_found(kind: str) -> None:
    """Held-out draws are as likely as under the truth, but for the few parameters' errors."""
    (z_NL, _), (held, truth) = gaussian(4_000), gaussian(2_000, seed=1)
    found = able(priors.fit(kind, z_NL, budget=QUICK)).log_prob(held)
    assert float(found.mean()) == pytest.approx(float(truth.log_prob(held).mean()), abs=0.03)


def test_a_diagonal_gaussian_misses_what_the_coordinates_share() -> None:
    """By the mutual information, ½·(Σ log Σ_ii − log det Σ)."""
    z_NL, truth = gaussian(20_000)
    cov_LL = truth.covariance_matrix
    shared = 0.5 * float(cov_LL.diagonal().log().sum() - cov_LL.logdet())
    gap = (able(priors.fit("full", z_NL)).log_prob(z_NL) - able(priors.fit("diagonal", z_NL)).log_prob(z_NL)).mean()
    assert float(gap) == pytest.approx(shared, abs=0.05)


def test_what_bends_is_likelier_under_what_can_bend(blobs: dict[str, Any]) -> None:
    """The blobs' entropy is log 2 + log 2πe·0.5² nats: none can be likelier, and mixture and flow come near."""
    held = two_blobs(4_000, seed=5)
    nats = {kind: float(able(blobs[kind]).log_prob(held).mean()) for kind in DENSITIES}
    best = -(math.log(2) + math.log(2 * math.pi * math.e * 0.25))
    assert nats["diagonal"] < nats["full"] - 0.5
    assert best - 0.05 < nats["gmm"] < best + 0.05
    assert nats["full"] + 0.5 < nats["flow"] < best + 0.05


@pytest.mark.parametrize(("kind", "largest"), [("gmm", 0.01), ("flow", 0.15), ("flow-matching", 0.08)])
def test_draws_lie_in_both_blobs_and_seldom_between(kind: str, largest: float, blobs: dict[str, Any]) -> None:
    drawn = blobs[kind].sample(4_000, generator(3))
    near = [((drawn - centre).norm(dim=1) < 2).double().mean() for centre in (2.0, -2.0)]
    assert 1 - float(sum(near)) < largest
    assert [float(share) for share in near] == pytest.approx([0.5, 0.5], abs=0.08)
    assert (
        1
        - float(
            sum(((blobs["full"].sample(4_000, generator(3)) - c).norm(dim=1) < 2).double().mean() for c in (2.0, -2.0))
        )
        > 0.2
    )


# ---- degenerate latents --------------------------------------------------------------------------------------------


@every_kind
def test_dead_and_repeated_dimensions_break_nothing(kind: str) -> None:
    z_N2 = two_blobs(400)
    z_NL = torch.cat([z_N2, torch.full((400, 1), 7.0), 3 * z_N2[:, :1]], 1)
    prior = priors.fit(kind, z_NL, budget=QUICK)
    drawn = prior.sample(500, generator())
    torch.testing.assert_close(drawn[:, 2], torch.full((500,), 7.0), atol=0.02, rtol=0)
    if kind != "diagonal":
        torch.testing.assert_close(drawn[:, 3], 3 * drawn[:, 0], atol=0.1, rtol=0)
    if isinstance(prior, Density):
        assert prior.log_prob(z_NL).isfinite().all()
        off = z_NL[:1] + torch.tensor([0.0, 0.0, 1.0, 0.0])  # where no latent ever was
        assert float(prior.log_prob(off)) < float(prior.log_prob(z_NL[:1])) - 100


@every_kind
@pytest.mark.parametrize("z_NL", [torch.ones(3, 2), torch.full((1, 1), -4.0), torch.randn(4, 6, generator=generator())])
def test_few_or_constant_latents_break_nothing(kind: str, z_NL: Tensor) -> None:
    prior = priors.fit(kind, z_NL, budget=Budget(steps=3, components=(2,)))
    drawn = prior.sample(200, generator())
    assert drawn.isfinite().all()
    if kind in ("diagonal", "full") or len(z_NL) < 4:
        torch.testing.assert_close(drawn.mean(0), z_NL.mean(0), atol=0.3, rtol=0)
    back = priors.unpacked(kind, *prior.packed())
    assert torch.equal(back.sample(9, generator()), prior.sample(9, generator()))
    assert prior.sample(0, generator()).shape == (0, z_NL.shape[1])


@pytest.mark.parametrize(
    ("kind", "z_NL", "error", "words"),
    [
        (
            "uniform",
            torch.ones(3, 2),
            ConfigError,
            "prior must be one of diagonal, full, gmm, flow, flow-matching, got",
        ),
        ("full", torch.ones(0, 2), DataError, "there are none"),
        ("flow", torch.full((3, 2), math.nan), DataError, "some are not finite"),
    ],
)
def test_what_cannot_be_fitted_is_refused(kind: str, z_NL: Tensor, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        priors.fit(kind, z_NL)


def test_the_budget_bounds_the_latents() -> None:
    prior = priors.fit("full", two_blobs(500), budget=Budget(latents=100))
    assert prior.figures["latents"] == 100
    assert priors.fit("full", two_blobs(500)).figures["latents"] == 500


# ---- whitening -----------------------------------------------------------------------------------------------------


def test_whitening_makes_unit_covariance_and_knows_its_volume() -> None:
    z_NL, truth = gaussian(5_000)
    w = Whitening.of(z_NL)
    u_NL = w.into(z_NL)
    torch.testing.assert_close(torch.cov(u_NL.T, correction=0), torch.eye(3).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(w.back(u_NL), z_NL, rtol=1e-5, atol=1e-4)
    assert w.live == 3
    assert w.log_det == pytest.approx(-0.5 * float(truth.covariance_matrix.logdet()), abs=0.05)


def test_whitening_counts_what_lives() -> None:
    z_NL = torch.cat([gaussian(100)[0], torch.ones(100, 2)], 1)
    assert Whitening.of(z_NL).live == 3
    assert Whitening.of(torch.ones(5, 2)).live == 0


def test_held_out_latents_are_others() -> None:
    u_NK = torch.arange(100.0)[:, None]
    train, held = held_out(u_NK, generator())
    assert sorted([*train[:, 0].tolist(), *held[:, 0].tolist()]) == u_NK[:, 0].tolist()
    assert len(held) == 10
    assert all(len(part) == 4 for part in held_out(u_NK[:4], generator()))


# ---- mixture -------------------------------------------------------------------------------------------------------


def test_held_out_likelihood_chooses_the_number_of_gaussians() -> None:
    told: list[str] = []
    mixture = priors.fit("gmm", two_blobs(2_000), report=told.append, budget=Budget(components=(2, 200)))
    assert mixture.figures["components"] == 2
    assert [t.split(":")[0] for t in told] == ["Mixture of 2 Gaussians", "Mixture of 200 Gaussians"]
    one = priors.fit("gmm", gaussian(300)[0], budget=Budget(components=(100,)))
    assert one.figures["components"] == 1


# ---- flow ----------------------------------------------------------------------------------------------------------


def test_the_flow_is_inverted_and_knows_its_volume(blobs: dict[str, Any]) -> None:
    net: AutoregressiveFlow = blobs["flow"].net
    eps_NK = torch.randn(64, 2, generator=generator())
    with torch.no_grad():
        back, log_det_N = net.inverse(net(eps_NK))
        torch.testing.assert_close(back, eps_NK, atol=1e-3, rtol=1e-3)
        u_NK = net(eps_NK)
    jacobian = torch.autograd.functional.jacobian(lambda u: net.inverse(u[None])[0][0], u_NK[0])
    assert isinstance(jacobian, Tensor)
    assert float(jacobian.det().abs().log()) == pytest.approx(float(log_det_N[0]), abs=1e-3)


def test_a_flow_is_never_worse_than_the_gaussian_it_starts_as() -> None:
    """On the held-out latents that stop it, even where it can only learn by heart."""
    z_NL, w = gaussian(30)[0], Whitening.of(gaussian(30)[0])
    flow = priors.fit("flow", z_NL, budget=Budget(steps=1_000))
    _, held = held_out(w.into(z_NL), generator())
    start = 0.5 * float(held.square().sum(1).mean()) + 1.5 * math.log(2 * math.pi)
    assert flow.figures["heldout_loss"] <= start + 0.2  # the first weights are small, not zero
    assert flow.figures["steps"] == flow.figures["kept_step"] + learning.PATIENCE * learning.CHECK


# ---- flow matching -------------------------------------------------------------------------------------------------


class Exact(nn.Module):
    """The velocity between N(0, 1) noise and N(0, 1) latents, in closed form, times `factor`."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, u_BK: Tensor, t_B1: Tensor) -> Tensor:
        shrink = 1 - flow_matching.SIGMA_MIN
        noise = 1 - shrink * t_B1
        return self.factor * u_BK * (t_B1 - shrink * noise) / (noise**2 + t_B1**2)


def test_the_exact_velocity_has_the_least_matching_loss() -> None:
    u_NK = torch.randn(20_000, 2, generator=generator(1))
    losses = {f: float(flow_matching.matching_loss(Exact(f), u_NK, generator())) for f in (0.8, 1.0, 1.2)}
    assert losses[1.0] < min(losses[0.8], losses[1.2]) - 0.01


def test_noise_is_carried_along_the_velocity() -> None:
    """x(1) = x(0)·√(1 + σ_min²), which only the field integrated from 0 to 1 gives."""
    whitening = Whitening.of(torch.randn(1_000, 2, generator=generator()))
    net: Any = Exact()
    prior = flow_matching.FlowMatching(whitening, net, None, 16)
    eps_NK = torch.randn(10, 2, generator=generator(4))
    found = prior.sample_live(10, generator(4))
    torch.testing.assert_close(found, eps_NK * math.sqrt(1 + flow_matching.SIGMA_MIN**2), atol=1e-3, rtol=0)


def test_the_velocity_starts_at_zero_and_knows_the_time() -> None:
    net = flow_matching.Velocity(3)
    u_BK, t_B1 = torch.randn(4, 3, generator=generator()), torch.rand(4, 1, generator=generator())
    assert torch.equal(net(u_BK, t_B1), torch.zeros(4, 3))
    nn.init.normal_(net.net[-1].weight)  # type: ignore[arg-type]
    assert not torch.allclose(net(u_BK, t_B1), net(u_BK, 1 - t_B1))


# ---- training ------------------------------------------------------------------------------------------------------


class Point(nn.Module):
    """One number."""

    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.zeros(1))


def learned(loss: Any, steps: int, u_NK: Tensor | None = None) -> tuple[Any, dict[str, Any]]:
    u_NK = torch.full((100, 1), 3.0) if u_NK is None else u_NK
    return learning.learn(Point(), loss, u_NK, steps=steps, rate=0.05, seed=0, report=lambda text: None, what="Point")


def test_training_goes_down_and_keeps_the_best() -> None:
    point, figures = learned(lambda net, u_BK, rng: (u_BK - net.at).square().mean(), 600)
    assert float(point.at) == pytest.approx(3.0, abs=0.1)
    assert figures["heldout_loss"] < 0.05


def test_training_that_makes_held_out_latents_worse_is_undone_and_stopped() -> None:
    """The loss falls where it is trained, with gradients, and rises where it is judged, without."""

    def loss(net: Point, u_BK: Tensor, rng: torch.Generator) -> Tensor:
        return (-net.at if torch.is_grad_enabled() else net.at).sum()

    point, figures = learned(loss, 10_000)
    assert float(point.at) == 0
    assert figures["kept_step"] == 0
    assert figures["steps"] == learning.PATIENCE * learning.CHECK


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    point, figures = learned(lambda net, u_BK, rng: net.at.sum() * (math.nan if torch.is_grad_enabled() else 1), 100)
    assert figures["steps"] == 0
    assert float(point.at) == 0
