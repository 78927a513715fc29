"""Concrete autoencoder: learns which few input values tell the most about all of them.

Source: Abid, Balın & Zou 2019 (https://arxiv.org/abs/1901.09346). The encoder is k selectors; each mixes all D inputs
with weights drawn from a concrete distribution (eq. 3) whose temperature falls exponentially, T(b) = T₀·(T_B/T₀)^(b/B)
(section 3.2), so that at the end each selector takes a single input, the one of its largest logit. The decoder sees
these k values and gives back all D; the loss is the squared error. Pixels of all channels are inputs: D = C·H·W.

Two things go wrong in practice, and both are logged: selectors that never make up their mind
(`mean_largest_probability` should end at 0.99 or more, the paper's stopping rule) and selectors that agree
(`distinct_inputs` below k wastes some of them).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from latentscape import contract
from latentscape.config import DataShape, setting
from latentscape.contract import Batch, Draws, Losses, Phase
from latentscape.errors import ConfigError
from latentscape.nets import build
from latentscape.numerics import concrete, likelihood, schedules

MOST_BY_DEFAULT = 50
"""Where the settings name no number of inputs, an eighth of them are selected, and at most so many."""


@dataclass(frozen=True, kw_only=True)
class Config(build.NetSettings):
    """Settings of the concrete autoencoder; the nets are the decoder's."""

    latent_dim: int | None = setting(None, "how many inputs to select; unset: an eighth, at most 50", at_least=1)
    indices: tuple[int, ...] = setting((), "select these inputs and learn the decoder alone", at_least=0)
    net: Literal["auto", "mlp", "conv", "resnet"] = setting("mlp", "decoder; auto: conv for images, mlp for vectors")
    start_temperature: float = setting(10.0, "of the selectors at the first step", above=0)
    end_temperature: float = setting(0.01, "after the annealing", above=0)
    anneal_steps: int = setting(
        15_000, "steps in which the temperature falls; train at least so long", at_least=1, in_steps=True
    )
    selector_rate: float = setting(
        10.0, "the selectors' learning rate as a multiple of the decoder's (1: as in the paper)", above=0
    )


class Model(contract.Trained, contract.Reconstructs):
    """x → k of its values → x̂."""

    Config = Config
    chosen: Tensor

    def __init__(self, shape: DataShape, config: Config, classes: int = 0) -> None:
        super().__init__(shape, config, classes)
        self.latent_dim = _count(shape, config)
        self.decoder = build.decoder(self.latent_dim, shape, config)
        player: tuple[nn.Module, ...] = (self.decoder,)
        if config.indices:
            self.selectors = None
            self.register_buffer("chosen", torch.tensor(config.indices))
        else:
            self.selectors = Selectors(self.latent_dim, shape.size, config.selector_rate)
            player = (self.selectors, self.decoder)
        # bf16 keeps 8 bits of a selected value, and near T = 0.01 not even the order of the logits.
        self.phases = (Phase("reconstruct", player, low_precision=False),)

    @classmethod
    def training_defaults(cls, shape: DataShape, config: Config) -> dict[str, Any]:
        """The paper's Adam at 1e-3; 20 epochs of MNIST outlast the annealing."""
        return {"learning_rate": 1e-3, "epochs": 20}

    def notes(self) -> list[str]:
        """How long the selectors need."""
        if self.selectors is None:
            return [f"the {self.latent_dim} selected inputs are given, so only the decoder learns"]
        c = self.config
        return [
            f"{self.latent_dim} of {self.shape.size:,} inputs are selected; the temperature falls from "
            f"{c.start_temperature:g} to {c.end_temperature:g} in {c.anneal_steps:,} steps, and a shorter run ends "
            "with selectors that are still undecided"
        ]

    def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> Draws:
        """uniform: k×D U[0, 1), one relaxed selection for the whole batch, as in the authors' program."""
        if self.selectors is None:
            return {}
        return {"uniform": torch.rand(self.latent_dim, self.shape.size, generator=rng, device=rng.device)}

    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """Mean squared error per value (section 3.1). Relaxed selections in training only; else what `encode` gives."""
        x_BD = batch.x.flatten(1)
        if self.selectors is None or not self.training or batch.step is None:
            z_BK = x_BD[:, self.selected()]
        else:
            z_BK = x_BD @ self.selectors(draws["uniform"], self.temperature(batch.step)).T
        mse = likelihood.squared_error(self.decoder(z_BK).float(), batch.x).mean() / self.shape.size
        return Losses(mse, {"recon_mse": mse} | self._selection_terms(batch.step))

    def temperature(self, step: Tensor) -> Tensor:
        """Exponential from the first temperature to the last, then the last."""
        c = self.config
        return schedules.exponential(step, c.anneal_steps, c.start_temperature, c.end_temperature)

    def _selection_terms(self, step: Tensor | None) -> dict[str, Tensor]:
        if self.selectors is None:
            return {}
        largest_K = torch.softmax(self.selectors.logits.detach(), 1).amax(1)
        terms = {"mean_largest_probability": largest_K.mean(), "distinct_inputs": distinct(self.selected())}
        return terms if step is None else terms | {"temperature": self.temperature(step)}

    def selected(self) -> Tensor:
        """Which input each selector takes, K int64 into the flattened example (channel, row, column)."""
        return self.chosen if self.selectors is None else self.selectors.logits.detach().argmax(1)

    def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        """The selected values as they are, z_BK."""
        return x_BX.flatten(1)[:, self.selected()]

    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """Selected values → x̂_BX, linear output."""
        return self.decoder(z_BL)


class Selectors(nn.Module):
    """K concrete distributions over D inputs.

    rate: Adam moves a parameter by about its learning rate a step whatever the gradient's size; the logits are `rate`
        times a parameter, so they move that much faster. Few steps need it: a choice of 0.99 among 784 inputs is a
        lead of 11 in the logits, over 11,000 steps at the paper's 1e-3.
    """

    def __init__(self, k: int, size: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.weight = nn.Parameter(torch.empty(k, size))
        nn.init.xavier_normal_(self.weight, gain=1 / rate)  # logits start as the authors' program starts them

    @property
    def logits(self) -> Tensor:
        """K×D."""
        return self.rate * self.weight

    def forward(self, uniform_KD: Tensor, temperature: Tensor) -> Tensor:
        """K×D weights that sum to 1 over the inputs."""
        return concrete.relaxed(self.logits, uniform_KD, temperature)


def distinct(indices_K: Tensor) -> Tensor:
    """How many different values there are, 0-dim float32; no host synchronisation, unlike `unique`."""
    ordered = indices_K.sort().values
    return 1 + (ordered[1:] != ordered[:-1]).float().sum()


def _count(shape: DataShape, config: Config) -> int:
    """How many inputs are selected; settings that contradict each other or the data raise `ConfigError`."""
    if config.indices:
        if config.latent_dim not in (None, len(config.indices)):
            raise ConfigError(
                f"--indices names {len(config.indices)} inputs and --latent-dim asks for {config.latent_dim}; "
                "leave one of them out"
            )
        if max(config.indices) >= shape.size:
            raise ConfigError(
                f"--indices must be at most {shape.size - 1}, an example has {shape.size} values ({shape}); "
                f"got {max(config.indices)}"
            )
        return len(config.indices)
    if config.latent_dim and config.latent_dim > shape.size:
        raise ConfigError(
            f"--latent-dim must be at most {shape.size}, the values of one example ({shape}), got {config.latent_dim}"
        )
    return config.latent_dim or max(1, min(MOST_BY_DEFAULT, shape.size // 8))
