from __future__ import annotations

import math

import pytest
import torch

from latentscape.numerics import adversarial


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_discriminator_that_cannot_tell_pays_two_logs_of_two() -> None:
    zero_B = torch.zeros(7)
    assert float(adversarial.discriminator_loss(zero_B, zero_B)) == pytest.approx(2 * math.log(2))
    assert float(adversarial.generator_loss(zero_B)) == pytest.approx(math.log(2))
    assert float(adversarial.relativistic_loss(zero_B, zero_B)) == pytest.approx(math.log(2))


def test_cross_entropies_are_those_of_the_paper() -> None:
    real_B, fake_B = torch.randn(50, generator=rng()), torch.randn(50, generator=rng(1))
    d_real, d_fake = real_B.double().sigmoid(), fake_B.double().sigmoid()
    expected = -(d_real.log().mean() + (1 - d_fake).log().mean())
    assert float(adversarial.discriminator_loss(real_B, fake_B)) == pytest.approx(float(expected), rel=1e-5)
    assert float(adversarial.generator_loss(fake_B)) == pytest.approx(float(-d_fake.log().mean()), rel=1e-5)
    pairs = (fake_B.double() - real_B.double()).sigmoid()
    assert float(adversarial.relativistic_loss(fake_B, real_B)) == pytest.approx(float(-pairs.log().mean()), rel=1e-5)


def test_losses_stay_finite_far_out() -> None:
    far_B = torch.tensor([1e4, -1e4])
    for loss in (
        adversarial.discriminator_loss(far_B, -far_B),
        adversarial.generator_loss(far_B),
        adversarial.relativistic_loss(far_B, -far_B),
    ):
        assert torch.isfinite(loss)


def test_only_the_difference_matters_to_pairs() -> None:
    real_B, fake_B = torch.randn(9, generator=rng()), torch.randn(9, generator=rng(1))
    one = adversarial.relativistic_loss(real_B, fake_B)
    torch.testing.assert_close(adversarial.relativistic_loss(real_B + 3, fake_B + 3), one)


def test_the_critic_loss_of_the_best_clipped_line_is_the_distance_of_two_points() -> None:
    """On the line, W(δ₀, δ_a) = a; the 1-Lipschitz critic −x attains it."""
    assert float(-adversarial.critic_loss(-torch.zeros(5), -torch.full((5,), 2.5))) == pytest.approx(2.5)


def test_penalties_of_a_linear_critic_are_known() -> None:
    w_D = torch.tensor([3.0, 4.0])  # of norm 5 everywhere
    x_BD = torch.randn(6, 2, generator=rng()).requires_grad_()
    slope_BD = adversarial.slopes(x_BD @ w_D, x_BD)
    assert float(adversarial.zero_centred_penalty(slope_BD)) == pytest.approx(25)
    assert float(adversarial.gradient_penalty(slope_BD)) == pytest.approx(16, rel=1e-5)


def test_penalties_reach_the_weights_through_the_second_derivative() -> None:
    """For f = w·x²/2 the slope is w·x, so d(R1)/dw = 2·w·E x²."""
    w = torch.tensor(1.5, requires_grad=True)
    x_BD = torch.randn(20, 1, generator=rng()).requires_grad_()
    r1 = adversarial.zero_centred_penalty(adversarial.slopes((w * x_BD.square() / 2)[:, 0], x_BD))
    (found,) = torch.autograd.grad(r1, w)
    assert float(found) == pytest.approx(float(2 * w.detach() * x_BD.detach().square().mean()), rel=1e-5)


def test_the_penalty_of_a_flat_critic_has_a_finite_gradient() -> None:
    w_D = torch.zeros(2, requires_grad=True)
    x_BD = torch.randn(3, 2, generator=rng()).requires_grad_()
    adversarial.gradient_penalty(adversarial.slopes(x_BD @ w_D, x_BD)).backward()
    assert w_D.grad is not None
    assert torch.isfinite(w_D.grad).all()


def test_points_between_lie_on_the_lines() -> None:
    real, fake = torch.randn(4, 1, 3, 3, generator=rng()), torch.randn(4, 1, 3, 3, generator=rng(1))
    mix_B = torch.tensor([0.0, 1.0, 0.25, 0.5])
    made = adversarial.between(real, fake, mix_B)
    torch.testing.assert_close(made[0], fake[0])
    torch.testing.assert_close(made[1], real[1])
    torch.testing.assert_close(made[2], 0.25 * real[2] + 0.75 * fake[2])
