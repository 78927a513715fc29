"""The estimators' common base, what each ability adds to it, and the factory that makes a class of a model."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state, validation
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from latentscape import models
from latentscape.config import LARGEST_SEED, DataShape, Settings, range_words
from latentscape.contract import Classifies, Decodes, Encodes, HasLikelihood, HasPosterior, Reconstructs, Samples
from latentscape.data import DataSettings, ImageSet
from latentscape.data.finish import finish
from latentscape.data.imageset import to_range
from latentscape.data.raw import Raw
from latentscape.errors import UserError
from latentscape.metrics import latent
from latentscape.numerics import gaussian
from latentscape.sklearn.values import Array, Form, flattened, form_of
from latentscape.tasks import overrides, training
from latentscape.tasks.classify import to_unit
from latentscape.training import execution
from latentscape.training.settings import TrainSettings

_validation: Any = validation
"""scikit-learn declares no types, and those that can be read out of its code are not what is meant."""

BLOCK = 128
"""Examples pushed through a net at once, always so many: the last bits of a row's result then do not depend on how
many rows stand beside it."""

BOUND_DRAWS = 16
"""Posterior samples that a bound is the mean over."""

GAUSSIAN_FIT = 10_000
"""Most training latents that the Gaussian for sampling is taken over, where a model has no prior of its own."""

OWN: dict[str, tuple[Any, str]] = {
    "image_shape": (None, "(height, width) or (channels, height, width) of pictures that come as rows"),
    "pixel_range": (None, "(black, white); None: (0, 255) of uint8, else the ends of the training values"),
    "valid_fraction": (0.0, "share of the training examples held out, for early_stopping and the plateau schedule"),
    "random_state": (None, "int, RandomState or None: of weights, order and every draw"),
    "run_folder": (None, "keep the run folder here; it must not hold one; None: it is removed after fit"),
    "verbose": (False, "print what the training says"),
}
"""Parameters beside the model's and the loop's settings: default, meaning."""

_NOT_ASKED = {"seed"}
"""Settings of the loop that are another parameter here."""


class Printing(training.Silent):
    """Prints what a run says."""

    def say(self, text: str) -> None:
        """One line."""
        print(text)


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    """What a user did wrong is a `ValueError` to scikit-learn; a run that was interrupted ends everything."""
    try:
        yield
    except training.Stopped as error:
        raise KeyboardInterrupt from error
    except UserError as error:
        raise ValueError(str(error)) from error


class LatentModel(BaseEstimator):
    """Base of all estimators: training, and whatever needs no ability. `estimator` makes the classes."""

    name: ClassVar[str]
    """The model's name, that of its file."""

    # Parameters that every class has, and what `fit` leaves.
    image_shape: Any
    pixel_range: Any
    valid_fraction: float
    random_state: Any
    run_folder: Any
    verbose: bool
    model_: Any
    form_: Form
    history_: list[dict[str, Any]]
    n_steps_: int
    classes_: Array
    partly_labelled_: bool
    latent_mean_: Array
    latent_covariance_: Array

    # ---- parameters --------------------------------------------------------------------------------------------

    def _given(self) -> dict[str, Any]:
        """The settings that are not at their defaults, as plain values."""
        defaults = parameters(self.name)
        given = {name: _plain(getattr(self, name)) for name in defaults if name not in OWN}
        return {name: value for name, value in given.items() if value != defaults[name]}

    def _config(self) -> Any:
        fields = overrides.names(models.model_class(self.name).Config)
        return overrides.model_settings(self.name, {k: v for k, v in self._given().items() if k in fields})

    def _seed(self) -> int:
        if isinstance(self.random_state, (int, np.integer)):
            return int(self.random_state)
        rng: Any = check_random_state(self.random_state)
        return int(rng.randint(0, LARGEST_SEED, dtype=np.uint32))

    # ---- examples ----------------------------------------------------------------------------------------------

    def _rows(self, X: Any, *, fresh: bool = False) -> tuple[Array, tuple[int, ...] | None]:
        """X as rows N×D, checked, and the dimensions of one example where they are pictures."""
        rows, dims = flattened(X)
        pictures = dims is not None or self.image_shape is not None
        options: dict[str, Any] = {"dtype": "numeric" if pictures else np.float32, "order": "C"}
        if fresh:
            options["ensure_min_samples"] = 2
        return _validation.validate_data(self, rows, reset=fresh, **options), dims

    def _examples(self, X: Any) -> Tensor:
        check_is_fitted(self)
        return self.form_.examples(self._rows(X)[0])

    def _reads_labels(self) -> bool:
        check_is_fitted(self)
        return self.model_.needs_labels

    def _labels(self, y: Any, count: int) -> Tensor | None:
        """Labels as the model counts them; −1 stands for one that is not known, where training knew such."""
        if y is None or not hasattr(self, "classes_"):
            return None
        y = _validation.column_or_1d(y)
        if len(y) != count:
            raise ValueError(f"y must have one label for each of {count} examples, found {len(y)}")
        where = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        known = self.classes_[where] == y
        hidden = (y == -1) if self.partly_labelled_ else np.zeros(len(y), bool)
        if not (known | hidden).all():
            raise ValueError(f"y holds {y[~(known | hidden)][0]!r}, which is none of the classes {self.classes_}")
        return torch.from_numpy(np.where(known, where, -1).astype(np.int64))

    # ---- training ----------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> Any:
        """Train on X: N×D vectors, or pictures as N×H×W, N×C×H×W or rows with `image_shape`.

        y: labels, for models that read them; −1 is an unknown one to a semi-supervised model. Others ignore y. After
        it: `model_`, the torch module; `form_`; `history_`, the records of the run's log; `n_steps_`.
        """
        rows, dims = self._rows(X, fresh=True)
        self.form_ = form_of(rows, dims, self.image_shape, self.pixel_range)
        with _sentences():
            images = self._images(rows, y)
            with _place(self.run_folder) as place, _threads_kept():
                run = training.train(
                    self.name,
                    images,
                    out=place,
                    console=Printing() if self.verbose else training.Silent(),
                    seed=self._seed(),
                    valid_fraction=float(self.valid_fraction),
                    test_fraction=0.0,
                    **self._given(),
                )
                self.history_ = [r for r in run.folder.log() if r["kind"] in ("train", "held_out", "fitted")]
        self.model_, self.n_steps_ = run.model.requires_grad_(False), run.steps
        for text in run.warnings:
            warnings.warn(text, ConvergenceWarning, stacklevel=2)
        self._after_fit(images)
        return self

    def _images(self, rows: Array, y: Any) -> ImageSet:
        """The training set, with labels only for a model that has a use for them."""
        settings = DataSettings(valid_fraction=float(self.valid_fraction), test_fraction=0.0)
        labels, names = self._training_labels(y, len(rows))
        return finish(Raw("array", self.form_.examples(rows), labels, names), settings)

    def _training_labels(self, y: Any, count: int) -> tuple[Array | None, tuple[str, ...]]:
        kind, config = models.model_class(self.name), self._config()
        probe = models.build(self.name, self.form_.shape, config, 2)  # what it needs may depend on its settings
        if not (probe.needs_labels or issubclass(kind, Classifies)):
            return None, ()
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        y = _validation.column_or_1d(y, warn=True)
        _validation.check_array(y, ensure_2d=False, dtype=None, ensure_all_finite=True, input_name="y")
        check_classification_targets(y)
        if len(y) != count:
            raise ValueError(f"y must have one label for each of {count} examples, found {len(y)}")
        self.partly_labelled_ = any(phase.labelled for phase in getattr(probe, "phases", ()))
        self.classes_ = np.unique(y[y != -1] if self.partly_labelled_ else y)
        labels = self._labels(y, count)
        assert labels is not None
        return labels.numpy(), tuple(str(name) for name in self.classes_)

    def _after_fit(self, images: ImageSet) -> None:
        """What abilities take from the training examples."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        kind = models.model_class(self.name)
        tags.target_tags.required = kind.needs_labels or issubclass(kind, Classifies)
        return tags

    # ---- the net -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _through(self, do: Callable[..., Tensor], *inputs: Tensor | None) -> Array:
        """`do` over blocks of the inputs' rows on the device; float32 or float64, as `do` gives it.

        Inputs that are uint8 are scaled to the model's range. None is passed on.
        """
        device = execution.pick_device(getattr(self, "device", None) or "auto")
        count = next(len(t) for t in inputs if t is not None)
        model, parts = self.model_.to(device), []
        try:
            with _sentences():
                for start in range(0, count, BLOCK):
                    here = min(BLOCK, count - start)
                    rows = start + torch.arange(BLOCK) % here
                    block = [None if t is None else self._scaled(t[rows]).to(device) for t in inputs]
                    parts.append(do(*block)[:here].cpu())
        finally:
            model.to("cpu")
        return torch.cat(parts).numpy()

    def _scaled(self, t: Tensor) -> Tensor:
        return to_range(t, self.model_.value_range) if t.dtype == torch.uint8 else t

    def _pictures(self, x_BX: Tensor) -> Tensor:
        """What the model gives, pixels on [0, 1]."""
        return to_unit(x_BX.float(), self.model_.value_range) if self.form_.shape.is_image else x_BX.float()

    # ---- pickling ----------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """The torch module as safetensors and JSON: no code of it is in a pickle."""
        from safetensors.torch import save

        state: Any = super().__getstate__()
        if "model_" not in state:
            return state
        model = self.model_
        about = {"shape": model.shape.dims, "config": model.config.to_dict(), "classes": model.classes}
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
        packed = {"about": json.dumps(about), "weights": save(tensors)}
        return {**state, "model_": packed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        from safetensors.torch import load

        super().__setstate__(state)
        if "model_" not in state:
            return
        about = json.loads(state["model_"]["about"])
        config = models.model_class(self.name).Config.from_dict(about["config"])
        model = models.build(self.name, DataShape(tuple(about["shape"])), config, about["classes"])
        model.load_state_dict(load(state["model_"]["weights"]))
        self.model_ = model.eval().requires_grad_(False)


# ---- abilities -------------------------------------------------------------------------------------------------------


class Transforms(ClassNamePrefixFeaturesOutMixin, TransformerMixin, LatentModel):
    """For models with an encoder."""

    def transform(self, X: Any, y: Any = None) -> Array:
        """Latents, float32 N×L (posterior means). y: labels, for models whose encoder reads them."""
        x_NX = self._examples(X)
        return self._through(lambda x, y_B: self.model_.encode(x, y_B).float(), x_NX, self._labels(y, len(x_NX)))

    def fit_transform(self, X: Any, y: Any = None, **fit_params: Any) -> Array:
        """`fit`, and the latents of X."""
        return self.fit(X, y, **fit_params).transform(X, y)

    @property
    def _n_features_out(self) -> int:
        return self.model_.latent_dim

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


class Samplers(LatentModel):
    """For models with a decoder, and a prior or latents to fit one to."""

    def sample(self, n_samples: int = 1, random_state: Any = None, y: Any = None) -> Array:
        """New examples in the form of X, decoded from the model's prior, or a Gaussian fitted to training latents.

        y: labels to decode under, for models that read them; None: all classes in turn.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples}")
        rng: Any = check_random_state(random_state)
        if isinstance(self.model_, Samples):
            draws = torch.Generator().manual_seed(int(rng.randint(0, LARGEST_SEED, dtype=np.uint32)))
            with torch.no_grad():
                z_NL = self.model_.prior(n_samples, draws)
        else:
            drawn = rng.multivariate_normal(self.latent_mean_, self.latent_covariance_, n_samples, check_valid="ignore")
            z_NL = torch.from_numpy(drawn.astype(np.float32))
        y_N = self._labels(y, n_samples)
        if y_N is None and self._reads_labels():
            y_N = torch.arange(n_samples) % len(self.classes_)
        return self._decoded(z_NL, y_N)

    def _decoded(self, z_NL: Tensor, y_N: Tensor | None) -> Array:
        x_NX = self._through(lambda z, y_B: self._pictures(self.model_.decode(z, y_B)), z_NL, y_N)
        return self.form_.arrays(x_NX)

    def _after_fit(self, images: ImageSet) -> None:
        super()._after_fit(images)
        if isinstance(self.model_, Samples):
            return
        at = images.indices("train")[:GAUSSIAN_FIT]
        y_N = None if images.labels is None else images.labels[at]
        z_NL = self._through(lambda x, y_B: self.model_.encode(x, y_B).double(), images.x[at], y_N)
        self.latent_mean_ = z_NL.mean(0)
        self.latent_covariance_ = np.atleast_2d(np.cov(z_NL, rowvar=False))


class Inverts(Samplers):
    """For models that give back what they encoded."""

    def inverse_transform(self, Z: Any, y: Any = None) -> Array:
        """Latents N×L → examples in the form of X. y: labels, for models whose decoder reads them."""
        check_is_fitted(self)
        z_NL = _validation.check_array(Z, dtype=np.float32, input_name="Z")
        if z_NL.shape[1] != self.model_.latent_dim:
            raise ValueError(f"Z must have {self.model_.latent_dim} latents in a row, found {z_NL.shape[1]}")
        return self._decoded(torch.from_numpy(z_NL), self._labels(y, len(z_NL)))

    def score_samples(self, X: Any, y: Any = None) -> Array:
        """Minus the mean squared error of each reconstruction, in the units of X squared, float64 N."""
        x_NX = self._examples(X)
        rows = self._rows(X)[0].astype(np.float64)
        again = self._through(
            lambda x, y_B: self._pictures(self.model_.reconstruct(x, y_B)), x_NX, self._labels(y, len(x_NX))
        )
        return -np.square(self.form_.arrays(again).reshape(len(rows), -1) - rows).mean(1)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`: the more, the better."""
        return float(np.mean(self.score_samples(X, y if self._reads_labels() else None)))


class Bounds(DensityMixin, Inverts):
    """For models whose likelihood has a lower bound."""

    def score_samples(self, X: Any, y: Any = None) -> Array:
        """A lower bound of log p(x) in nats (the ELBO) for each example, float64 N.

        The mean over `BOUND_DRAWS` samples of the posterior, made from the same noise for every example, so that an
        example's score does not depend on the others. Pixels count on [0, 1], vectors as they are.
        """
        x_NX = self._examples(X)
        rng = torch.Generator().manual_seed(0)
        eps_KL = torch.randn(BOUND_DRAWS, self.model_.latent_dim, generator=rng)
        return self._through(lambda x, y_B: self._bound(x, y_B, eps_KL), x_NX, self._labels(y, len(x_NX)))

    def _bound(self, x_BX: Tensor, y_B: Tensor | None, eps_KL: Tensor) -> Tensor:
        q, total_B = self.model_.posterior(x_BX, y_B), x_BX.new_zeros(len(x_BX), dtype=torch.float64)
        for eps_L in eps_KL.to(x_BX.device):
            z_BL = gaussian.reparameterise(q.mean, q.log_var, eps_L.expand_as(q.mean))
            kl_B = latent.divergence(self.model_, q, z_BL, y_B)
            total_B += (self.model_.log_likelihood(x_BX, z_BL, y_B) - kl_B).double()
        return total_B / len(eps_KL)

    def score(self, X: Any, y: Any = None) -> float:  # type: ignore[override]
        """The mean of `score_samples`, in nats: the more, the better."""
        return Inverts.score(self, X, y)


class Classifiers(ClassifierMixin, LatentModel):
    """For models that read a label."""

    def predict_proba(self, X: Any) -> Array:
        """The probability of each of `classes_`, float64 N×K."""
        return self._through(lambda x: self.model_.classify(x).double().softmax(1), self._examples(X))

    def predict(self, X: Any) -> Array:
        """The likeliest of `classes_` for each example."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]


# ---- the factory -----------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """NumPy's numbers, as parameter grids have them, as Python's; lists as tuples."""
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


@contextlib.contextmanager
def _place(asked: Any) -> Iterator[Path]:
    """The run's folder: the one asked for, or one that is removed again."""
    if asked is not None:
        yield Path(asked)
        return
    with tempfile.TemporaryDirectory(prefix="latentscape-") as folder:
        yield Path(folder) / "run"


@contextlib.contextmanager
def _threads_kept() -> Iterator[None]:
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _settings_of(name: str) -> list[tuple[dataclasses.Field, Any]]:
    """Fields of the model and of the loop, with the default of the parameter: None where the model decides."""
    own: type[Settings] = models.model_class(name).Config
    loop = [(f, None) for f in dataclasses.fields(TrainSettings) if f.name not in _NOT_ASKED]
    return [(f, f.default) for f in dataclasses.fields(own)] + loop


@cache
def parameters(name: str) -> dict[str, Any]:
    """Every parameter of the estimator of a model and its default."""
    return {f.name: default for f, default in _settings_of(name)} | {n: d for n, (d, _) in OWN.items()}


def _words(name: str) -> str:
    """The estimator's docstring."""
    lines = [models.summaries()[name.replace("_", "-")], "", "Parameters (None: what suits the model)", ""]
    for f, default in _settings_of(name):
        help_ = "; ".join(w for w in (f.metadata.get("help", ""), range_words(f)) if w)
        lines.append(f"{f.name}={default!r}: {help_}.")
    lines += [f"{own}={default!r}: {text}." for own, (default, text) in OWN.items()]
    return "\n".join(lines)


def _bases(kind: type) -> tuple[type, ...]:
    """What a model's abilities add."""
    bases: list[type] = [Classifiers] if issubclass(kind, Classifies) else []
    bases += [Transforms] if issubclass(kind, Encodes) else []
    if issubclass(kind, HasPosterior) and issubclass(kind, HasLikelihood):
        bases.append(Bounds)
    elif issubclass(kind, Reconstructs):
        bases.append(Inverts)
    elif issubclass(kind, Decodes) and issubclass(kind, Samples):
        bases.append(Samplers)
    return tuple(bases) or (LatentModel,)


def title(name: str) -> str:
    """What a model's class is called: factor_vae → FactorVAE, wgan_gp → WGANGP."""
    parts = name.replace("-", "_").split("_")
    return "".join(p.upper() if len(p) <= 3 or p.endswith(("ae", "gan")) else p.capitalize() for p in parts)


@cache
def estimator(name: str) -> type[LatentModel]:
    """The estimator of a model, by the model's name."""
    defaults = parameters(name)

    def __init__(self: Any, **given: Any) -> None:  # noqa: N807
        for parameter in given:
            if parameter not in defaults:
                raise TypeError(f"{title(name)} has no parameter {parameter!r}")
        for parameter, default in defaults.items():
            setattr(self, parameter, given.get(parameter, default))

    kinds = inspect.Parameter
    signature = [kinds("self", kinds.POSITIONAL_OR_KEYWORD)]
    signature += [kinds(n, kinds.KEYWORD_ONLY, default=default) for n, default in defaults.items()]
    setattr(__init__, "__signature__", inspect.Signature(signature))  # noqa: B010 (functions declare no such thing)
    inside = {"__init__": __init__, "__doc__": _words(name), "__module__": "latentscape.sklearn", "name": name}
    made: Any = type(title(name), _bases(models.model_class(name)), inside)
    return made
