"""Where a page begins in latent space: the mean, a draw, an example of the data, a picture that was dropped on it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentscape.config import LARGEST_SEED
from latentscape.contract import Samples
from latentscape.data.finish import finish
from latentscape.data.picture import fitted as fitted_picture
from latentscape.data.raw import Raw
from latentscape.data.settings import DataSettings
from latentscape.errors import AbilityError, ConfigError, DataError
from latentscape.latents import priors
from latentscape.studio.explorer import Explorer, short
from latentscape.studio.maps import as_text
from latentscape.studio.sliders import mean_of
from latentscape.tasks import fitted, places
from latentscape.tasks.evaluating import to_unit
from latentscape.web import uploads
from latentscape.web.limits import Limits

LIMITS = Limits()

MOST_AT_ONCE = 256
"""Latents that one request may decode."""


# ---- what comes from outside ---------------------------------------------------------------------------------------


def latents_from(body: bytes, latent_dim: int) -> Tensor:
    """Latents M×L from little-endian float32 numbers, as the page sends them. `ConfigError` for anything else."""
    row = 4 * latent_dim
    if not body or len(body) % row or len(body) > MOST_AT_ONCE * row:
        raise ConfigError(
            f"latents are 1 to {MOST_AT_ONCE} rows of {latent_dim} float32 numbers, got {len(body):,} bytes"
        )
    z_ML = torch.from_numpy(np.frombuffer(body, "<f4").astype(np.float32).reshape(-1, latent_dim))
    if not z_ML.isfinite().all():
        raise ConfigError("latents must be finite numbers; move the slider back, or start again from the mean")
    return z_ML


def latent_from(values: Sequence[float], latent_dim: int) -> Tensor:
    """One latent 1×L from numbers in JSON. `ConfigError` for another length or numbers that float32 does not hold."""
    z_1L = torch.tensor([list(values)], dtype=torch.float64).float()
    if len(values) != latent_dim or not z_1L.isfinite().all():
        raise ConfigError(f"a latent is {latent_dim} finite numbers, got {len(values)}")
    return z_1L


def picture_from(explorer: Explorer, body: bytes) -> Tensor:
    """A picture file's bytes as an example x 1×C×H×W in the model's value range, fitted as the run's own data are.

    Raises `Refused` for what is no picture or too large, `AbilityError` for models of vectors.
    """
    if not explorer.can()["upload"]:
        raise AbilityError(f"this model works on a {explorer.model.shape}, which no picture file holds")
    channels, height, width = explorer.model.shape.dims
    settings = DataSettings.from_dict(explorer.folder.config()["data"]).replace(
        labels="", label_column="", labelled=0, limit=0, only_classes="", label_attribute=""
    )
    image = uploads.open_picture(body, LIMITS).convert("L" if channels == 1 else "RGB")
    pixels = fitted_picture(image, (height, width), settings.fit)
    raw = Raw("picture", torch.from_numpy(pixels[None].copy()), split=np.zeros(1, np.uint8))
    return finish(raw, settings).examples(torch.tensor([0]), explorer.model.value_range)


# ---- places to begin -----------------------------------------------------------------------------------------------


def at_mean(explorer: Explorer) -> dict[str, Any]:
    """The mean of the latents; for a generator the first draw, since nothing it learned lies near the mean of noise."""
    if not explorer.can()["encode"]:
        return at_seed(explorer, 0)
    return _begun(mean_of(explorer), explorer.label(None), "the mean of the latents")


def at_seed(explorer: Explorer, seed: int) -> dict[str, Any]:
    """A draw of the model's prior, or of a Gaussian fitted to its latents: that of `sample --n 1 --seed SEED`."""
    if not 0 <= seed <= LARGEST_SEED:
        raise ConfigError(f"a seed is at least 0 and at most {LARGEST_SEED:,}, got {seed}")
    if not explorer.can()["sample"]:
        raise AbilityError("this model has no prior, and no data to fit one to, so that nothing can be drawn")
    rng = torch.Generator().manual_seed(seed)
    if isinstance(explorer.model, Samples):
        return _begun(explorer.model.prior(1, rng)[0], explorer.label(None), f"draw {seed} from the model's own prior")
    prior = explorer.kept("prior", lambda: _gaussian(explorer))
    return _begun(prior.sample(1, rng)[0], explorer.label(None), f"draw {seed} from {fitted.words('full', prior)}")


def _gaussian(explorer: Explorer) -> priors.Prior:
    """What `sample` draws from for a model without a prior; it keeps the fit in the run folder, the studio does not."""
    explorer.data()
    return priors.fit("full", explorer.stage.latents(fitted.GAUSSIAN_LATENTS, "train")[0])


def at_example(explorer: Explorer, position: int) -> dict[str, Any]:
    """The latent of an example of the split that is looked at, under its own class."""
    x_1X, known, name = explorer.example(position)
    return _encoded(explorer, x_1X, known, name)


def at_dot(explorer: Explorer, index: int) -> dict[str, Any]:
    """The latent of a dot: that of its example, or the draw itself."""
    dots = explorer.dots()
    if not 0 <= index < len(dots.z):
        raise ConfigError(f"dots are 0 to {len(dots.z) - 1:,}, got {index}")
    if dots.positions is not None:
        return at_example(explorer, int(dots.positions[index]))
    label = None if dots.y is None else int(dots.y[index])
    return _begun(dots.z[index], label, f"draw {index} of the map")


def at_upload(explorer: Explorer, body: bytes, label: int | None = None) -> dict[str, Any]:
    """The latent of a picture file. label: its class, for a model that reads one; None: the class that fits it best."""
    known = None if label is None else explorer.label(label)
    return _encoded(explorer, picture_from(explorer, body), known, "your picture")


def _encoded(explorer: Explorer, x_1X: Tensor, known: int | None, name: str) -> dict[str, Any]:
    label, how = explorer.own_label(x_1X, known)
    z_1L = explorer.encode(x_1X, label)
    if not z_1L.isfinite().all():
        raise DataError("the model encodes this picture as numbers that are not finite; choose another one")
    begun = _begun(z_1L[0], label, name)
    # What is shown is what the address can hold: the numbers as they are sent.
    xhat_1X = explorer.decode(torch.tensor([begun["z"]]), label)
    error = (to_unit(x_1X, explorer.model.value_range) - to_unit(xhat_1X, explorer.model.value_range)).square().mean()
    return begun | {"original": as_text(explorer, x_1X), "mse": float(f"{float(error):.5g}"), "label_how": how}


def _begun(z_L: Tensor, label: int | None, name: str) -> dict[str, Any]:
    return {"z": short(z_L), "label": label, "name": name}


# ---- commands ------------------------------------------------------------------------------------------------------


def command_for(explorer: Explorer, run: str, z_L: Sequence[float], label: int | None, seed: int | None = None) -> str:
    """The command that makes the picture of a latent again. run: its folder, as a person types it.

    seed: where it is a draw that nobody has moved since.
    """
    under = [] if label is None else ["--label", places.class_name(explorer.folder, label)]
    if seed is not None:
        return shlex.join(["latentscape", "sample", run, "--n", "1", "--seed", str(seed), *under, "--out", "new.png"])
    # Without exponents: argparse takes -1e-05 for a flag.
    values = [np.format_float_positional(np.float32(v), trim="-") for v in z_L]
    return shlex.join(["latentscape", "decode", run, "--z", *values, *under, "--out", "new.png"])
