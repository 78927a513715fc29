"""A masked autoregressive flow, trained by maximum likelihood: an exact density (`nets.autoregressive_flow`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from latentscape.latents.priors.base import Budget, Report, WhitenedDensity, Whitening, in_parts, whitening_of
from latentscape.latents.priors.learning import learn, seeded
from latentscape.nets.autoregressive_flow import AutoregressiveFlow
from latentscape.numerics import gaussian

MAPS, HIDDEN = 6, 192
RATE = 2e-3


class Flow(WhitenedDensity):
    """ε ~ N(0, I) through an invertible net. It starts as the full Gaussian, and is never worse on held-out latents."""

    kind: ClassVar[str] = "flow"

    def __init__(self, whitening: Whitening, net: AutoregressiveFlow, figures: Any = None) -> None:
        super().__init__(whitening, figures)
        self.net = net.eval().requires_grad_(False)

    def sample_live(self, n: int, rng: torch.Generator) -> Tensor:
        """See `Whitened`."""
        return in_parts(self.net, torch.randn(n, self.whitening.live, generator=rng))

    def log_prob_live(self, u_NK: Tensor) -> Tensor:
        """See `WhitenedDensity`."""
        return in_parts(lambda u: log_density(self.net, u), u_NK.float())

    def packed(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Prior`."""
        tensors, settings = super().packed()
        return tensors | {f"net.{k}": v for k, v in self.net.state_dict().items()}, settings

    @classmethod
    def unpacked(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Flow:
        """See `Prior`."""
        net = AutoregressiveFlow(max(settings["live"], 1), MAPS, HIDDEN)
        net.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("net.")})
        return cls(whitening_of(tensors, settings), net, settings["figures"])


def log_density(net: AutoregressiveFlow, u_BK: Tensor) -> Tensor:
    """log p(u) = log N(ε; 0, I) + log |det ∂ε/∂u|, B (Papamakarios et al. 2017, eq. 1)."""
    eps_BK, log_det_B = net.inverse(u_BK)
    return gaussian.log_prob(eps_BK, torch.zeros_like(eps_BK)).sum(1) + log_det_B


def fit_flow(z_NL: Tensor, seed: int, report: Report, budget: Budget) -> Flow:
    """A flow that makes the latents likely; stopped by held-out ones."""
    whitening = Whitening.of(z_NL)
    live = whitening.live
    net, figures = seeded(lambda: AutoregressiveFlow(max(live, 1), MAPS, HIDDEN), seed), {"steps": 0}
    if live:
        net, figures = learn(
            net,
            lambda net, u_BK, rng: -log_density(net, u_BK).mean(),
            whitening.into(z_NL)[:, :live],
            steps=budget.steps,
            rate=RATE,
            seed=seed,
            report=report,
            what="Flow",
        )
    return Flow(whitening, net, figures)
