"""Searching for latents: planted ones are found again, each row by itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from latentscape.latents import projection
from latentscape.latents.projection import Frame, search


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_rate_rises_and_falls_as_in_the_paper() -> None:
    """Karras et al. 2020, appendix D: up over the first 50 of 1000 steps, down by a cosine over the last 250."""
    assert projection.rate_at(0) == 0
    assert projection.rate_at(0.025) == pytest.approx(0.5)
    assert projection.rate_at(0.05) == projection.rate_at(0.5) == projection.rate_at(0.75) == 1
    assert projection.rate_at(0.875) == pytest.approx(0.5)
    assert projection.rate_at(0.75 + 0.25 / 3) == pytest.approx(0.5 - 0.5 * math.cos(2 * math.pi / 3))
    assert projection.rate_at(1) == pytest.approx(0)


def test_the_noise_falls_to_none_as_in_the_paper() -> None:
    """0.05·σ·t², t from one to zero during the first three quarters."""
    assert projection.noise_at(0) == pytest.approx(0.05)
    assert projection.noise_at(0.375) == pytest.approx(0.05 / 4)
    assert projection.noise_at(0.75) == projection.noise_at(0.9) == 0


def test_a_search_goes_by_the_rate() -> None:
    """Down a slope that is the same everywhere, Adam moves by its rate in each step."""
    frame = Frame(torch.zeros(1), torch.full((1,), 2.0))
    z_ML, _ = search(torch.zeros(1, 1), lambda z: z.sum(1), frame, steps=40, rate=0.1, rng=generator())
    rates = [0.1 * projection.rate_at((k + 1) / 41) for k in range(40)]
    assert sum(rates) < 0.9 * 40 * 0.1
    assert float(z_ML) == pytest.approx(-2 * sum(rates), rel=1e-4)


def test_a_search_looks_round_by_the_noise() -> None:
    """Where there is no slope, what is looked at is the start and the noise."""
    frame, seen = Frame(torch.zeros(2_000), torch.full((2_000,), 3.0)), list[Tensor]()

    def flat(z_ML: Tensor) -> Tensor:
        seen.append(z_ML.detach())
        return 0 * z_ML.sum(1)

    search(torch.ones(1, 2_000), flat, frame, steps=8, rate=0.1, rng=generator())
    spread = [float((z - 1).std()) for z in seen[1:-1]]  # without the first and the last look, which have none
    assert spread == pytest.approx([3 * projection.noise_at(k / 8) for k in range(8)], rel=0.06, abs=1e-6)


def test_a_frame_measures_draws() -> None:
    z_NL = torch.randn(20_000, 3, generator=generator()) * torch.tensor([2.0, 1.0, 0.0]) + torch.tensor([0.0, 5.0, 7.0])
    frame = Frame.of(z_NL)
    assert frame.mean_L.tolist() == pytest.approx([0, 5, 7], abs=0.05)
    assert frame.std_L.tolist() == pytest.approx([2, 1, 0.002], rel=0.02)  # the last does not vary
    normal = torch.distributions.Normal(frame.mean_L, frame.std_L)
    z_ML = z_NL[:4]
    constant = (0.5 * math.log(2 * math.pi) + frame.std_L.log()).mean()
    assert torch.allclose(frame.nats(z_ML), -normal.log_prob(z_ML).mean(1) - constant, atol=1e-5)


def test_a_quadratic_s_lowest_point_is_found_whatever_the_prior_s_scale() -> None:
    for scale in (1e-2, 1.0, 100.0):
        frame = Frame(torch.full((4,), 3 * scale), torch.full((4,), scale))
        goal_ML = frame.mean_L + scale * torch.randn(5, 4, generator=generator(1))
        start_ML = frame.mean_L.repeat(5, 1)

        def miss(z_ML: Tensor, goal_ML: Tensor = goal_ML, scale: float = scale) -> Tensor:
            return ((z_ML - goal_ML) / scale).square().sum(1)

        z_ML, loss_M = search(start_ML, miss, frame, steps=300, rate=0.1, rng=generator())
        assert float(((z_ML - goal_ML) / scale).abs().max()) < 1e-2
        assert torch.equal(loss_M, miss(z_ML))


def test_rows_are_searched_by_themselves() -> None:
    """What is far away in one row leaves the next row's path alone, noise and all."""
    frame = Frame(torch.zeros(2), torch.ones(2))

    def from_zero(goal_ML: Tensor) -> Tensor:
        return search(
            torch.zeros(2, 2), lambda z: (z - goal_ML).square().sum(1), frame, steps=50, rate=0.1, rng=generator()
        )[0]

    near, far = from_zero(torch.tensor([[1.0, 2.0], [0.0, 3.0]])), from_zero(torch.tensor([[1.0, 2.0], [-500.0, 3.0]]))
    assert torch.equal(near[0], far[0])
    assert not torch.equal(near[1], far[1])


def test_it_never_ends_above_its_start_and_survives_what_is_not_a_number() -> None:
    frame, start_ML = Frame(torch.zeros(2), torch.ones(2)), torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    z_ML, loss_M = search(start_ML, lambda z: z.square().sum(1).sqrt() + 1, frame, steps=3, rate=50.0, rng=generator())
    assert torch.equal(z_ML[0], start_ML[0])  # its gradient at the start is not a number
    assert bool((loss_M <= (start_ML.square().sum(1).sqrt() + 1)).all())


def test_no_steps_give_the_start() -> None:
    start_ML = torch.randn(3, 2, generator=generator())
    frame = Frame(torch.zeros(2), torch.ones(2))
    z_ML, loss_M = search(start_ML, lambda z: z.square().sum(1), frame, steps=0, rate=0.1, rng=generator())
    assert torch.equal(z_ML, start_ML)
    assert torch.equal(loss_M, start_ML.square().sum(1))
