"""The contract between models and everything else.

A model is a set of *phases*, the players of its game; a loss is a pure function of (phase, batch, draws); what a
model can do is said by the abstract classes below, and commands ask for the ability, never for a class name.

Shape suffixes, used everywhere: B batch, C channels, H height, W width, D data vector, L latent, K classes, N samples.
`x_BX` is a batch of examples of any shape: B×C×H×W images or B×D vectors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from latentscape.config import DataShape, Settings, ValueRange
from latentscape.errors import AbilityError, ConfigError
from latentscape.numerics import gaussian


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step sees.

    x: B×C×H×W or B×D float32, already in the model's value range.
    y: B int64 class indices, when the data has labels; -1 where one is unknown (semi-supervised training).
    attributes: B×A float32, when the data has attributes.
    step: 0-dim float32, how many steps the run had done before this one; weight schedules read it. None outside
        training: schedules stand at their end.
    """

    x: Tensor
    y: Tensor | None = None
    attributes: Tensor | None = None
    step: Tensor | None = None


Draws = dict[str, Tensor]
"""The random numbers of one phase, and the attached tensors of the shared forward if the model has one."""


@dataclass(frozen=True, slots=True)
class Losses:
    """`total`: 0-dim, differentiable, what the player minimises. `terms`: what is logged, units in the names."""

    total: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Phase:
    """One player's turn in a step.

    name: "reconstruct", "discriminate", "generate", …; the `phase` argument of `draw` and `forward`.
    player: the only modules whose parameters this phase moves.
    repeat: turns per step; each further turn takes the next batch (WGAN's critic: 5).
    after_step: called without gradient after each optimiser step (weight clipping).
    double_backward: the loss takes a derivative of a derivative; such a phase is never compiled.
    low_precision: bf16 keeps this phase's gradients (true of autoencoders, not shown of adversarial phases).
    rate: its learning rate as a multiple of the run's (two time scales: Heusel et al. 2017, arXiv 1706.08500).
    labelled: its batches hold labelled examples alone; see `training.loop`.
    steady: its learning rate stays where it began, whatever the run's schedule: a judge that is to keep up with a
        player that slows down.
    """

    name: str
    player: tuple[nn.Module, ...]
    repeat: int = 1
    after_step: Callable[[], None] | None = None
    double_backward: bool = False
    low_precision: bool = True
    rate: float = 1.0
    labelled: bool = False
    steady: bool = False

    def parameters(self) -> list[nn.Parameter]:
        """The player's parameters, each once, in registration order."""
        return list(dict.fromkeys(p for module in self.player for p in module.parameters()))


class Model(nn.Module, ABC):
    """Base of all models. One file per model; the file's name is the model's name on the command line.

    `Config` holds the model's own settings. `shape` is what one example looks like, `classes` how many labels there
    are (0: none), `value_range` what the input is scaled to and the output lies in.
    """

    Config: ClassVar[type[Settings]]
    needs_labels: bool = False
    """Whether encoding or decoding takes a label for each example; such a model is not built for 0 classes. One whose
    settings decide that sets it on the instance before `super().__init__`."""
    takes: ClassVar[Mapping[str, str]] = {}
    """Where parts of other models belong in this one, prefix of a tensor's name → prefix here (a decoder as a
    generator); names that are equal need no entry."""

    def __init__(self, shape: DataShape, config: Any, classes: int = 0) -> None:
        super().__init__()
        if self.needs_labels and not classes:
            raise ConfigError(
                "this model is trained with labels and the data has none; give a set with class folders or --labels "
                "TABLE"
            )
        self.shape = shape
        self.config = config
        self.classes = classes
        self.value_range: ValueRange = "unit" if shape.is_image else "real"

    @classmethod
    def training_defaults(cls, shape: DataShape, config: Any) -> dict[str, Any]:
        """Training settings (names of `training.settings.TrainSettings`) that suit this model on such data.

        batch_size_at_most beside learning_rate, instead of batch_size: larger sets take a larger batch, and the rate
        that stands here for 64 grows with its cube root (`tasks.overrides`).
        """
        return {}

    def adapted(self, saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Another model's tensors, under the names of `takes`, as this one begins with them.

        For parts that this model has in another form: a layer that is wider here, or one that is missing there.
        """
        return dict(saved)

    def notes(self) -> list[str]:
        """Sentences a user should read before training: conversions of units, unusual settings."""
        return []


class Trained(Model):
    """A model trained by gradient steps, phase by phase."""

    phases: tuple[Phase, ...]

    @property
    def judged_by(self) -> str | None:
        """The phase whose loss on held-out examples says how good the model is: the first, unless the model says so.

        None: no loss does (a GAN's losses say who is ahead in the game), so nothing can be stopped or scheduled by one.
        """
        return self.phases[0].name

    def draw(self, phase: str, batch: Batch, rng: torch.Generator) -> Draws:
        """Every random number that `phase` needs, taken from `rng`. The phase "shared" feeds the shared forward."""
        return {}

    def shared(self, batch: Batch, draws: Draws) -> Draws:
        """Forward run once per step, whose attached tensors join every phase's draws (a GAN's fakes).

        At most one phase may use these tensors attached; every other detaches them. `draws` are those of the phase
        "shared"; what other phases need of them belongs into the answer.
        """
        return {}

    @property
    def has_shared(self) -> bool:
        """Whether the model defines a shared forward."""
        return type(self).shared is not Trained.shared

    def run_shared(self, batch: Batch, rng: torch.Generator) -> Draws:
        """Draw for the shared forward and run it; nothing is drawn for a model that has none."""
        return self.shared(batch, self.draw("shared", batch, rng)) if self.has_shared else {}

    @abstractmethod
    def forward(self, phase: str, batch: Batch, draws: Draws) -> Losses:
        """The losses of one phase: a pure function of its arguments and the model's parameters and buffers."""


class Fitted(Model):
    """A model fitted in closed form."""

    @abstractmethod
    def fit(self, batches: Callable[[], Iterable[Tensor]], report: Callable[[str], None]) -> dict[str, float]:
        """Fit to the training set and return figures to log.

        `batches()` starts one pass over the set, yielding x_BX; it may be called several times. `report` takes a
        sentence about progress.
        """


@dataclass(frozen=True, slots=True)
class Posterior:
    """A diagonal Gaussian q(z|x): `mean` and `log_var` are B×L, `log_var` is the log of the variance."""

    mean: Tensor
    log_var: Tensor
    extra: dict[str, Tensor] = field(default_factory=dict)


class Encodes(ABC):
    """Has an encoder."""

    latent_dim: int

    @abstractmethod
    def encode(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        """x_BX in the model's value range → z_BL, deterministic (posterior means)."""


class Decodes(ABC):
    """Has a decoder."""

    latent_dim: int

    @abstractmethod
    def decode(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """z_BL → x_BX in the model's value range."""


class Reconstructs(Encodes, Decodes):
    """Encodes and decodes the same latents."""

    def reconstruct(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        """x_BX → x̂_BX through the deterministic code."""
        return self.decode(self.encode(x_BX, y_B), y_B)


class Samples(Decodes):
    """Has a prior of its own to sample from."""

    @abstractmethod
    def prior(self, n: int, rng: torch.Generator) -> Tensor:
        """n draws z_NL from the model's prior, on the generator's device."""


class HasPosterior(Encodes):
    """Encodes to a distribution."""

    @abstractmethod
    def posterior(self, x_BX: Tensor, y_B: Tensor | None = None) -> Posterior:
        """q(z|x) for each example."""

    def log_prior(self, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """log p(z) in nats, B; N(0, I) unless the model says otherwise."""
        return gaussian.log_prob(z_BL, torch.zeros_like(z_BL)).sum(1)


class HasLikelihood(Decodes):
    """Decodes to a distribution over data."""

    @abstractmethod
    def log_likelihood(self, x_BX: Tensor, z_BL: Tensor, y_B: Tensor | None = None) -> Tensor:
        """log p(x|z) in nats per example, B."""


class Classifies(ABC):
    """Reads a label off an example."""

    @abstractmethod
    def classify(self, x_BX: Tensor) -> Tensor:
        """x_BX → logits B×K."""

    @abstractmethod
    def features(self, x_BX: Tensor) -> Tensor:
        """x_BX → B×F, the activations before the last layer; distances between sets of pictures are taken on them."""


class Discriminates(ABC):
    """Tells real examples from generated ones."""

    probabilities: bool = True
    """Whether the sigmoid of a logit is a probability; a Wasserstein critic's number is only larger or smaller."""

    @abstractmethod
    def discriminate(self, x_BX: Tensor, y_B: Tensor | None = None) -> Tensor:
        """x_BX → logits B; positive means real. `y_B` where the model reads labels."""


WHAT = {
    Encodes: "an encoder",
    Decodes: "a decoder",
    Reconstructs: "an encoder and a decoder",
    Samples: "a prior to sample from",
    HasPosterior: "a posterior over latents",
    HasLikelihood: "a likelihood",
    Classifies: "a classifier",
    Discriminates: "a discriminator",
}

A = TypeVar("A")


def require(model: Any, ability: type[A], name: str, instead: str = "") -> A:
    """The model, typed as having the ability; `AbilityError` in one sentence if it has not."""
    if isinstance(model, ability):
        return model
    has = [words for kind, words in WHAT.items() if isinstance(model, kind) and kind is not Reconstructs]
    raise AbilityError(
        f"{name} has no {WHAT[ability].removeprefix('an ').removeprefix('a ')}"
        f" (it has {', '.join(has) or 'none of the abilities commands ask for'})" + (f"; {instead}" if instead else "")
    )


def abilities(model_class: type) -> list[str]:
    """What a model class can do, in the words of the `models` command."""
    names = {
        Encodes: "encode",
        Decodes: "decode",
        Samples: "sample",
        Classifies: "classify",
        Discriminates: "discriminate",
        HasPosterior: "posterior",
        HasLikelihood: "likelihood",
    }
    return [name for kind, name in names.items() if issubclass(model_class, kind)]
