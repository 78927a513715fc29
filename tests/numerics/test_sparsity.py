from __future__ import annotations

import pytest
import torch
from torch.distributions import Bernoulli, kl_divergence

from latentscape.numerics import sparsity


def test_activation_is_that_of_the_course() -> None:
    z = torch.linspace(-9, 9, 37, dtype=torch.float64)
    torch.testing.assert_close(sparsity.activation(z), 2 * (torch.sigmoid(z.abs()) - 0.5))
    assert float(sparsity.activation(z).min()) == 0
    assert float(sparsity.activation(z).max()) < 1


@pytest.mark.parametrize("rho", [0.01, 0.1, 0.5, 0.99])
def test_bernoulli_kl_is_that_of_torch_distributions(rho: float) -> None:
    q = torch.linspace(0.001, 0.999, 25, dtype=torch.float64, requires_grad=True)
    ours = sparsity.bernoulli_kl(rho, q)
    theirs = kl_divergence(Bernoulli(torch.full_like(q, rho)), Bernoulli(q))
    torch.testing.assert_close(ours, theirs)
    one, other = (torch.autograd.grad(t.sum(), q)[0] for t in (ours, theirs))
    torch.testing.assert_close(one, other)


def test_bernoulli_kl_is_zero_at_rho_and_finite_at_the_ends() -> None:
    q = torch.tensor([0.1, 0.0, 1.0], requires_grad=True)
    kl = sparsity.bernoulli_kl(0.1, q)
    assert float(kl[0].detach()) == pytest.approx(0, abs=1e-7)
    assert torch.isfinite(kl).all()
    assert (kl[1:] > 1).all()
    assert torch.isfinite(torch.autograd.grad(kl.sum(), q)[0]).all()
