"""Flow matching with straight conditional paths: a velocity field that carries noise to latents.

Source: Lipman et al. 2023 (https://arxiv.org/abs/2210.02747), section 4.1, example II: the path ψ_t of eq. 22 and the
regression of eq. 23, between N(0, I) at t = 0 and the latents at t = 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from latentscape.latents.priors.base import Budget, Report, Whitened, Whitening, in_parts, whitening_of
from latentscape.latents.priors.learning import learn, seeded
from latentscape.nets import mlp
from latentscape.numerics import integration

HIDDEN = (256, 256, 256)
FREQUENCIES = 4
RATE = 2e-3

SIGMA_MIN = 1e-3
"""Standard deviation of the noise that stays at t = 1, in whitened latents."""


class Velocity(nn.Module):
    """v(u, t): a perceptron of u, t, and sines and cosines of t; it starts at zero."""

    def __init__(self, size: int) -> None:
        super().__init__()
        sizes = [size + 1 + 2 * FREQUENCIES, *HIDDEN]
        last = nn.Linear(sizes[-1], size)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.net = nn.Sequential(*mlp.layers(sizes, norm=False, activation=nn.SiLU), last)

    def forward(self, u_BK: Tensor, t_B1: Tensor) -> Tensor:
        """B×K at times B×1 in [0, 1] → B×K."""
        angle = math.pi * t_B1 * torch.arange(1, FREQUENCIES + 1, device=t_B1.device)
        return self.net(torch.cat([u_BK, t_B1, angle.sin(), angle.cos()], 1))


def matching_loss(net: nn.Module, u_BK: Tensor, rng: torch.Generator) -> Tensor:
    """E ‖v(ψ_t(ε), t) − (u − (1 − σ_min)·ε)‖², ψ_t(ε) = (1 − (1 − σ_min)·t)·ε + t·u (eq. 22, 23), mean over u's.

    The times lie evenly over [0, 1], moved by one random number, which makes the sum less noisy than independent ones.
    """
    eps_BK = torch.randn(u_BK.shape, generator=rng)
    t_B1 = ((torch.arange(len(u_BK)) + torch.rand(1, generator=rng)) / len(u_BK))[:, None]
    at_BK = (1 - (1 - SIGMA_MIN) * t_B1) * eps_BK + t_B1 * u_BK
    return (net(at_BK, t_B1) - (u_BK - (1 - SIGMA_MIN) * eps_BK)).square().sum(1).mean()


class FlowMatching(Whitened):
    """ε ~ N(0, I) carried from t = 0 to 1 along the velocity, in `steps` steps of four evaluations."""

    kind: ClassVar[str] = "flow-matching"

    def __init__(self, whitening: Whitening, net: Velocity, figures: Any, steps: int) -> None:
        super().__init__(whitening, figures)
        self.net, self.steps = net.eval().requires_grad_(False), steps

    def sample_live(self, n: int, rng: torch.Generator) -> Tensor:
        """See `Whitened`."""
        return in_parts(self._carried, torch.randn(n, self.whitening.live, generator=rng))

    def _carried(self, eps_NK: Tensor) -> Tensor:
        return integration.runge_kutta(lambda u, t: self.net(u, u.new_full((len(u), 1), t)), eps_NK, self.steps)

    def packed(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Prior`."""
        tensors, settings = super().packed()
        net = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        return tensors | net, settings | {"steps": self.steps}

    @classmethod
    def unpacked(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> FlowMatching:
        """See `Prior`."""
        net = Velocity(max(settings["live"], 1))
        net.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("net.")})
        return cls(whitening_of(tensors, settings), net, settings["figures"], settings["steps"])


def fit_flow_matching(z_NL: Tensor, seed: int, report: Report, budget: Budget) -> FlowMatching:
    """A velocity field regressed on straight paths to the latents; stopped by held-out ones."""
    whitening = Whitening.of(z_NL)
    live = whitening.live
    net, figures = seeded(lambda: Velocity(max(live, 1)), seed), {"steps": 0}
    if live:
        net, figures = learn(
            net,
            matching_loss,
            whitening.into(z_NL)[:, :live],
            steps=budget.steps,
            rate=RATE,
            seed=seed,
            report=report,
            what="Flow matching",
        )
    return FlowMatching(whitening, net, figures, budget.sampler_steps)
