"""What is known of a trained model that its graphs do not say: where latents lie, what matters, how well it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentscape.contract import Decodes, Encodes, Model, Reconstructs, Samples
from latentscape.errors import RunError
from latentscape.export.folder import FORMAT
from latentscape.export.graphs import BATCHES, Graph, Part, Trial
from latentscape.metrics import reconstruction
from latentscape.runs import RunFolder
from latentscape.tasks import hub, inputs, places
from latentscape.tasks.evaluating import load_for, to_unit
from latentscape.tasks.showing import Stage
from latentscape.tasks.showing.stage import prior_codes
from latentscape.version import __version__

HELD_OUT = 1_000
"""Most held-out examples that the card's figures rest on."""

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

RANGES = {"unit": [0.0, 1.0], "signed": [-1.0, 1.0], "real": None}
"""A model's value range as numbers; None: unbounded."""


@dataclass
class Subject:
    """A run to export: its model, and its data where they can be had."""

    stage: Stage
    has_data: bool

    @classmethod
    def open(cls, path: Path | str, data: Any, command: str) -> Subject:
        """A run with its own data or other data; one made from imported weights may have none. Raises `UserError`."""
        folder = RunFolder(path)
        model = folder.load_model()
        if data is None and not folder.config()["run"]["data"]:
            return cls(Stage(folder, model, None, command), False)  # type: ignore[arg-type]
        return cls(Stage(folder, model, load_for(folder, data), command), True)

    @property
    def folder(self) -> RunFolder:
        """The run."""
        return self.stage.folder

    @property
    def model(self) -> Model:
        """On the CPU, in evaluation mode."""
        return self.stage.model

    @cached_property
    def _examples(self) -> tuple[Tensor, Tensor | None]:
        """At most `HELD_OUT` examples x_NX of the test part, or of what there is, spread over it; and their labels."""
        if not self.has_data:
            return torch.zeros(0, *self.model.shape.dims), torch.zeros(0, dtype=torch.int64)
        picks = self.stage.picks(len(self.stage.images.indices(self.stage.split)))
        if len(picks) > HELD_OUT:
            picks = picks[torch.arange(HELD_OUT) * len(picks) // HELD_OUT]
        found = self.stage.at(picks)
        return found.x.float(), found.y

    @property
    def held_out(self) -> tuple[Tensor, Tensor | None]:
        """Held-out examples x_NX, and their labels where the model reads them."""
        x_NX, y_N = self._examples
        return x_NX, y_N if self.model.needs_labels else None

    @property
    def labels(self) -> Tensor | None:
        """Labels of `held_out`, -1 where one is unknown; None where the set has none or not the run's classes."""
        return self._examples[1] if self.has_data and inputs.known_classes(self.folder, self.stage.images) else None

    @cached_property
    def latents(self) -> Tensor:
        """z_NL (posterior means) of `held_out`; of a model without an encoder, as many draws of its prior."""
        if isinstance(self.model, Encodes):
            return _in_parts(self.model.encode, *self.held_out)
        return self.draws(HELD_OUT)[0]

    def draws(self, n: int, seed: int = 0) -> tuple[Tensor, str]:
        """n latents as `latentscape sample` draws them, and from where; n×0 where there is no prior to be had."""
        if isinstance(self.model, Decodes) and (self.has_data or isinstance(self.model, Samples)):
            return prior_codes(self.stage, n, seed)
        return torch.zeros(0, getattr(self.model, "latent_dim", 0)), ""

    def trials(self, part: Part) -> list[Trial]:
        """Inputs of each of `BATCHES`: real examples or their latents, as far as there are any, and random ones."""
        real, y_N = (self.held_out[0] if part.takes == "x" else self.latents), self.held_out[1]
        if y_N is not None and len(y_N) < len(real):  # latents drawn from a prior have no labels
            y_N = torch.arange(len(real)) % self.model.classes
        rng, tried = torch.Generator().manual_seed(0), list[Trial]()
        for n in BATCHES:
            if len(real) >= n:
                tried.append((real[:n], None if y_N is None else y_N[:n]))
            labels = torch.arange(n) % self.model.classes if self.model.needs_labels else None
            tried.append((self._random(part, n, rng), labels))
        return tried

    def _random(self, part: Part, n: int, rng: torch.Generator) -> Tensor:
        """Values all over the model's range, or standard normal latents and vectors."""
        dims = self.model.shape.dims if part.takes == "x" else (getattr(self.model, "latent_dim", 0),)
        if part.takes == "z" or not self.model.shape.is_image:
            return torch.randn(n, *dims, generator=rng)
        low, high = RANGES[self.model.value_range] or (0.0, 1.0)
        return low + (high - low) * torch.rand(n, *dims, generator=rng)


@torch.no_grad()
def _in_parts(function: Any, x_NX: Tensor, y_N: Tensor | None) -> Tensor:
    parts = torch.arange(len(x_NX)).split(250)
    return torch.cat([function(x_NX[p], None if y_N is None else y_N[p]).float() for p in parts])


# ---- the card ------------------------------------------------------------------------------------------------------


def card(subject: Subject, graphs: Sequence[Graph], command: str) -> dict[str, Any]:
    """What `card.json` says, without the digests of the files; the page on exporting lists its entries."""
    folder, model = subject.folder, subject.model
    config, about, answer = folder.config(), folder.data(), folder.metrics() or {}
    files = {g.part.file for g in graphs}
    prior = _prior(subject) if "decoder.onnx" in files else None
    latents = (
        _latents(subject, can_decode="decoder.onnx" in files) if files & {"encoder.onnx", "decoder.onnx"} else None
    )
    score = _score(subject) if {"encoder.onnx", "decoder.onnx"} <= files else None
    made = {
        "format": FORMAT,
        "latentscape": __version__,
        "name": folder.name,
        "model": config["run"]["model"],
        "data": str(about.get("name") or "not named"),
        "shape": list(model.shape.dims),
        "value_range": RANGES[model.value_range],
        "latent_dim": getattr(model, "latent_dim", 0),
        "classes": model.classes,
        "labels": list(about.get("labels") or {})[: model.classes],
        "needs_labels": model.needs_labels,
        "abilities": _abilities(files, prior is not None, score is not None),
    }
    made |= {name: value for name, value in (("prior", prior), ("latents", latents), ("score", score)) if value}
    made |= {
        "metrics": {k: v for k, v in answer.get("metrics", {}).items() if isinstance(v, (int, float))},
        "measured_on": f"{answer['n']:,} {answer['split']} examples" if "n" in answer and "split" in answer else "",
        "settings": config["model"],
        "made": command,
    }
    return hub.without_places(made)  # nothing says where on this machine it was made


def _abilities(files: set[str], has_prior: bool, has_score: bool) -> list[str]:
    both = {"encoder.onnx", "decoder.onnx"} <= files
    can = {
        "encode": "encoder.onnx" in files,
        "decode": "decoder.onnx" in files,
        "reconstruct": both,
        "sample": has_prior,
        "score": has_score,
        "discriminate": "discriminator.onnx" in files,
        "classify": "classifier.onnx" in files,
    }
    return [name for name, able in can.items() if able]


def has_standard_prior(model: Model) -> bool:
    """Whether the model draws its latents from N(0, I): its draws are those of `torch.randn`."""
    if not isinstance(model, Samples):
        return False
    drawn, plain = (torch.Generator().manual_seed(5) for _ in range(2))
    return torch.equal(model.prior(3, drawn), torch.randn(3, model.latent_dim, generator=plain))


def _prior(subject: Subject) -> dict[str, Any] | None:
    """N(0, I) where that is the model's own, else a diagonal Gaussian with the moments of `Subject.latents`."""
    size = getattr(subject.model, "latent_dim", 0)
    if has_standard_prior(subject.model):
        return {"kind": "normal", "mean": [0.0] * size, "std": [1.0] * size}
    z_NL = subject.latents
    if not len(z_NL):
        return None
    return {"kind": "normal", "mean": z_NL.mean(0).tolist(), "std": z_NL.std(0, correction=0).tolist()}


def _latents(subject: Subject, can_decode: bool) -> dict[str, Any] | None:
    """Moments and quantiles of each coordinate, and their order by what they change in what is decoded."""
    z_NL = subject.latents
    if len(z_NL) < 2:
        return None
    rows = torch.quantile(z_NL.double(), torch.tensor(QUANTILES, dtype=torch.float64), dim=0)
    order = z_NL.var(0).argsort(descending=True, stable=True).tolist()
    if can_decode:
        y_N = subject.held_out[1]
        if y_N is not None and len(y_N) < len(z_NL):
            y_N = torch.arange(len(z_NL)) % subject.model.classes
        order = places.importance_of(subject.stage, places.Cloud(z_NL, y_N, ""), None)[0].order()
    return {
        "mean": z_NL.mean(0).tolist(),
        "std": z_NL.std(0, correction=0).tolist(),
        "quantiles": {f"{q:g}": row.tolist() for q, row in zip(QUANTILES, rows, strict=True)},
        "importance": order,
        "n": len(z_NL),
    }


def _score(subject: Subject) -> dict[str, Any] | None:
    """Quantiles 0, 0.01, …, 1 of the mean squared error of held-out examples' reconstructions, pixels on [0, 1]."""
    x_NX, y_N = subject.held_out
    if not len(x_NX) or not isinstance(subject.model, Reconstructs):
        return None
    model = subject.model
    xhat_NX = _in_parts(lambda x, y: model.decode(model.encode(x, y), y), x_NX, y_N)
    found_N = reconstruction.mse(to_unit(x_NX, model.value_range), to_unit(xhat_NX, model.value_range)).double()
    levels = torch.linspace(0, 1, 101, dtype=torch.float64)
    return {"kind": "reconstruction_mse", "quantiles": torch.quantile(found_N, levels).tolist(), "n": len(found_N)}


def check_finite(value: Any, name: str = "card") -> None:
    """`RunError` where a figure is not finite: a model that diverged is not handed on."""
    if isinstance(value, dict):
        for key, inner in value.items():
            check_finite(inner, f"{name}.{key}")
    elif isinstance(value, list):
        for inner in value:
            check_finite(inner, name)
    elif isinstance(value, float) and not -float("inf") < value < float("inf"):
        raise RunError(f"{name} is {value}, so that this model cannot be used; train it again before it is exported")
