"""The contractive penalty: exact where it claims to be, and an estimate that converges at its rate elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from latentscape.numerics import jacobian


def true_norm(net: nn.Module, x_BX: Tensor) -> Tensor:
    """‖∂z/∂x‖²_F of each example by itself, from autograd's full Jacobian."""
    rows = [torch.autograd.functional.jacobian(lambda x: net(x[None])[0], x) for x in x_BX]
    return torch.stack([j.square().sum() for j in rows])


def small(*layers: nn.Module) -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    net = nn.Sequential(*layers).double()
    for p in net.parameters():
        p.data = torch.randn(p.shape, generator=rng, dtype=torch.float64)
    return net, torch.rand(6, 5, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("squash", [nn.Sigmoid(), nn.Tanh(), nn.Identity()])
def test_one_layer_norm_is_autograd_s(squash: nn.Module) -> None:
    linear = nn.Linear(5, 3)
    net, x_BX = small(linear, squash)
    z = net(x_BX)
    slope = {"Sigmoid": z * (1 - z), "Tanh": 1 - z.square(), "Identity": torch.ones_like(z)}[type(squash).__name__]
    ours = jacobian.one_layer_norm(linear.weight, slope)
    torch.testing.assert_close(ours, true_norm(net, x_BX), rtol=1e-10, atol=1e-10)


def test_all_unit_vectors_as_probes_give_the_norm_exactly() -> None:
    """Σⱼ ‖eⱼᵀJ‖² = ‖J‖²_F: the estimate's building block is exact for deep nets too."""
    net, x_BX = small(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3), nn.Sigmoid())
    x_BX.requires_grad_()
    units = torch.eye(3, dtype=torch.float64)[:, None].expand(-1, 6, -1)
    ours = 3 * jacobian.hutchinson_norm(net(x_BX), x_BX, units)
    torch.testing.assert_close(ours, true_norm(net, x_BX.detach()), rtol=1e-10, atol=1e-10)


def test_the_estimate_is_unbiased_and_converges_as_one_over_the_root_of_probes() -> None:
    net, x_BX = small(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4))
    x_BX.requires_grad_()
    rng, truth, errors = torch.Generator().manual_seed(1), true_norm(net, x_BX.detach()).sum(), {}
    for probes in (4, 16, 64):
        found = []
        for _ in range(120):
            signs = 2.0 * torch.randint(0, 2, (probes, 6, 4), generator=rng).double() - 1
            found.append(jacobian.hutchinson_norm(net(x_BX), x_BX, signs).sum().detach())
        values = torch.stack(found)
        assert float((values.mean() - truth).abs()) < 4 * float(values.std()) / 120**0.5
        errors[probes] = float((values - truth).square().mean().sqrt())
    assert errors[4] / errors[16] == pytest.approx(2, rel=0.25)
    assert errors[16] / errors[64] == pytest.approx(2, rel=0.25)


def test_the_norm_has_gradients_in_the_weights() -> None:
    net, x_BX = small(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    signs = torch.ones(1, 6, 3, dtype=torch.float64)

    def norm(weight: Tensor) -> Tensor:
        x = x_BX.clone().requires_grad_()
        z = torch.func.functional_call(net, {"0.weight": weight}, (x,))
        return jacobian.hutchinson_norm(z, x, signs).sum()

    assert torch.autograd.gradcheck(norm, (net[0].weight.detach().clone().requires_grad_(),))
