"""Pictures of a trained model: each function marked `@_picture` is one that recipes name.

A picture that a model cannot give (a GAN's reconstructions) raises `AbilityError`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentscape.contract import Decodes, Encodes, HasPosterior, Model, Reconstructs, Samples, require
from latentscape.data import ImageSet
from latentscape.data.batches import Gatherer, in_order
from latentscape.errors import AbilityError, ConfigError, DataError
from latentscape.latents import encode, priors, walks
from latentscape.metrics import reconstruction
from latentscape.numerics import paths
from latentscape.pictures import files, plots, sheets
from latentscape.runs import RunFolder
from latentscape.tasks.evaluating import to_unit

MAP_POINTS = 5_000
"""Most latents drawn on a map."""

PRIOR_FIT = 10_000
"""Training latents a prior is fitted to."""


@dataclass
class Stage:
    """A trained model (CPU, evaluation mode) with its data; `command` goes into the pictures' captions."""

    folder: RunFolder
    model: Model
    images: ImageSet
    command: str = ""

    @property
    def name(self) -> str:
        """The model's name on the command line."""
        return self.folder.config()["run"]["model"]

    @property
    def split(self) -> str:
        """Where pictures are taken from: the test split if there is one."""
        return next((s for s in ("test", "valid") if self.images.sizes()[s]), "train")

    def examples(self, n: int, split: str = "") -> Any:
        """The first n examples of a split, in the model's value range."""
        source = Gatherer(self.images, split or self.split, self.model.value_range, "cpu")
        return source.take(torch.arange(min(n, len(source))))

    def unit(self, x_NX: Tensor) -> np.ndarray:
        """From the model's value range to [0, 1] pixels."""
        return to_unit(x_NX, self.model.value_range).float().clamp(0, 1).numpy()

    def save(self, name: str, picture: np.ndarray, title: str, caption: str) -> Path:
        """A PNG in the run's pictures."""
        path = self.folder.pictures_path / f"{name}.png"
        return files.save_png(
            path, picture, title=title, caption=caption, command=self.command or self.folder.command()
        )

    def need(self, ability: type, instead: str = "") -> Any:
        """The model with the ability, or `AbilityError`."""
        return require(self.model, ability, f"{_article(self.name)} {self.name}", instead)

    def need_images(self) -> None:
        """Pictures of vectors make no sense (`AbilityError`)."""
        if not self.model.shape.is_image:
            raise AbilityError(f"the data is a {self.model.shape}, not images; `map` and `points` show it instead")


def _article(word: str) -> str:
    return "an" if word[:1] in "aeio" else "a"


def has_own_prior(model: Model, prior: str = "auto") -> bool:
    """Whether `prior` stands for the model's own, so that no data is needed to sample."""
    return prior == "own" or (prior == "auto" and isinstance(model, Samples))


def prior_codes(stage: Stage, n: int, seed: int, prior: str = "auto") -> tuple[Tensor, str]:
    """n latents to decode and where they come from: the model's own prior, or a Gaussian fitted to training latents."""
    rng = torch.Generator().manual_seed(seed)
    if has_own_prior(stage.model, prior):
        why = "use --prior full or diagonal, a Gaussian fitted to its training latents"
        return stage.need(Samples, why).prior(n, rng), "the model's own prior"
    prior = "full" if prior == "auto" else prior
    model = stage.need(Encodes)
    source = Gatherer(stage.images, "train", stage.model.value_range, "cpu")
    z_NL, _ = encode.encode_all(model, in_order(source, 500, PRIOR_FIT))
    fitted = priors.fit_gaussian(z_NL, diagonal=prior == "diagonal")
    return fitted.sample(n, rng), f"a {prior} Gaussian fitted to {len(z_NL):,} training latents"


PICTURES: dict[str, Callable[..., Path]] = {}
"""Picture name → function; filled by the functions below."""


def _picture(function: Callable[..., Path]) -> Callable[..., Path]:
    PICTURES[function.__name__] = function
    return function


# ---- what can be shown -----------------------------------------------------------------------------------------


@_picture
def reconstructions(stage: Stage, n: int = 10) -> Path:
    """Originals above their reconstructions."""
    stage.need_images()
    model = stage.need(Reconstructs, "it has nothing to reconstruct with; `sample` shows what it makes")
    batch = stage.examples(n)
    with torch.no_grad():
        xhat = model.reconstruct(batch.x, batch.y)
    error = reconstruction.mse(to_unit(batch.x, stage.model.value_range), to_unit(xhat, stage.model.value_range))
    picture = sheets.rows([("original", stage.unit(batch.x)), ("reconstruction", stage.unit(xhat))])
    return stage.save(
        "reconstructions",
        picture,
        "Reconstructions",
        f"The first {len(batch.x)} {stage.split} images and what the model gives back; mean squared error "
        f"per image {', '.join(f'{e:.4f}' for e in error.tolist())}.",
    )


@_picture
def samples(stage: Stage, n: int = 64, seed: int = 0, prior: str = "auto") -> Path:
    """New pictures decoded from draws of a prior."""
    stage.need_images()
    model = stage.need(Decodes, "it cannot make pictures from latents")
    z_NL, source = prior_codes(stage, n, seed, prior)
    picture = sheets.sheet(stage.unit(encode.decode_all(model, z_NL)))
    return stage.save("samples", picture, "Samples", f"{n} latents drawn from {source} (seed {seed}), decoded.")


@_picture
def map(stage: Stage, n: int = MAP_POINTS) -> Path:
    """Test latents in the plane, coloured by label."""
    model = stage.need(Encodes)
    source = Gatherer(stage.images, stage.split, stage.model.value_range, "cpu")
    z_NL, y_N = encode.encode_all(model, in_order(source, 500, n))
    z_N2, xlabel, ylabel = walks.plane(z_NL)
    labels = y_N.numpy() if y_N is not None else None
    picture = plots.scatter(z_N2.numpy(), labels, stage.images.label_names, title="", xlabel=xlabel, ylabel=ylabel)
    colour = "coloured by label" if labels is not None else "one dot each"
    means = "posterior means of " if isinstance(model, HasPosterior) else ""
    return stage.save(
        "map", picture, "Latent map", f"{means}{len(z_NL):,} {stage.split} examples, {colour}.".capitalize()
    )


@_picture
def grid(stage: Stage, steps: int = 20, low: float | None = None, high: float | None = None) -> Path:
    """The decoded latent plane (L = 2, or the two coordinates that vary most)."""
    stage.need_images()
    model = stage.need(Decodes, "it has no latents to walk over")
    stage.need(Encodes, "so the plane's range is unknown; `sample` shows what it makes")
    source = Gatherer(stage.images, stage.split, stage.model.value_range, "cpu")
    z_NL, _ = encode.encode_all(model, in_order(source, 500, MAP_POINTS))
    order = z_NL.var(0).argsort(descending=True)
    if z_NL.shape[1] == 1:
        raise AbilityError("a grid needs at least two latent dimensions, and this model has one")
    dims = (0, 1) if z_NL.shape[1] == 2 else (int(order[0]), int(order[1]))
    spread = float(z_NL[:, list(dims)].abs().quantile(0.98))
    low, high = (-spread if low is None else low), (spread if high is None else high)
    codes = walks.lattice(z_NL.mean(0), dims, low, high, steps)
    x = stage.unit(encode.decode_all(model, codes))
    picture = plots.lattice(x, steps, steps, (low, high, low, high), f"z{dims[0] + 1}", f"z{dims[1] + 1}")
    return stage.save(
        "grid",
        picture,
        "Decoded latent plane",
        f"Latent coordinates {dims[0] + 1} and {dims[1] + 1} over [{low:.3g}, {high:.3g}]², decoded.",
    )


@_picture
def denoise(stage: Stage, n: int = 10, sigma: float = 0.3, seed: int = 0) -> Path:
    """Noisy test images put through the model: clean, noisy, cleaned."""
    stage.need_images()
    model = stage.need(Reconstructs)
    source = Gatherer(stage.images, stage.split, stage.model.value_range, "cpu")
    rng = torch.Generator().manual_seed(seed)
    scale = 2.0 if stage.model.value_range == "signed" else 1.0
    errors, first = torch.zeros(2, dtype=torch.float64), None
    for batch in in_order(source, 500, MAP_POINTS):
        noisy = batch.x + scale * sigma * torch.randn(batch.x.shape, generator=rng)
        with torch.no_grad():
            clean = model.reconstruct(noisy, batch.y)
        x, xn, xc = (to_unit(t, stage.model.value_range) for t in (batch.x, noisy, clean))
        errors += torch.stack([reconstruction.mse(x, xn).double().sum(), reconstruction.mse(x, xc).double().sum()])
        first = first or (batch.x[:n], noisy[:n], clean[:n])
    count = min(len(source), MAP_POINTS)
    noisy_mse, clean_mse = (errors / count).tolist()
    assert first is not None
    picture = sheets.rows(
        [(t, stage.unit(x)) for t, x in zip(("clean", f"noisy, σ = {sigma:g}", "cleaned"), first, strict=True)]
    )
    return stage.save(
        "denoised",
        picture,
        "Denoised",
        f"Gaussian noise of σ = {sigma:g} added (not clipped), then "
        f"encoded and decoded. Over {count:,} {stage.split} images the mean squared error to the clean "
        f"image goes from {noisy_mse:.4f} to {clean_mse:.4f}.",
    )


@_picture
def interpolation(stage: Stage, steps: int = 10, labels: tuple[int, int] = (7, 6), spherical: bool = False) -> Path:
    """Between two test images: decoded path, and the pixel cross-fade for comparison."""
    stage.need_images()
    model = stage.need(Reconstructs)
    batch = stage.examples(500)
    a, b = _two(batch.y, labels)
    ends = batch.x[[a, b]]
    y = batch.y[[a, b]] if batch.y is not None else None
    with torch.no_grad():
        z = model.encode(ends, y)
    walk = (paths.spherical if spherical else paths.linear)(z[:1], z[1:], steps)[:, 0]
    fade = paths.linear(ends[:1].flatten(1), ends[1:].flatten(1), steps).view(steps, *ends.shape[1:])
    decoded = encode.decode_all(model, walk)
    picture = sheets.rows([("cross-fade of pixels", stage.unit(fade)), ("walk in latent space", stage.unit(decoded))])
    kind = "spherical" if spherical else "linear"
    return stage.save(
        "interpolation",
        picture,
        "Interpolation",
        f"From {stage.split} image {a} to {b} in {steps} steps: "
        f"pixels mixed above, the {kind} path between the latents decoded below.",
    )


def _two(y_N: Tensor | None, labels: tuple[int, int]) -> tuple[int, int]:
    """Positions of the first example of each label, or the first two of different labels, or the first two."""
    if y_N is None or len(y_N) < 2:
        return 0, min(1, 0 if y_N is None else len(y_N) - 1) if y_N is not None else 1
    found = [(y_N == k).nonzero() for k in labels]
    if all(len(f) for f in found):
        return int(found[0][0]), int(found[1][0])
    other = (y_N != y_N[0]).nonzero()
    return 0, int(other[0]) if len(other) else 1


@_picture
def posterior(stage: Stage, n: int = MAP_POINTS) -> Path:
    """Histograms of the posterior's means and variances."""
    model = stage.need(HasPosterior)
    source = Gatherer(stage.images, stage.split, stage.model.value_range, "cpu")
    with torch.no_grad():
        qs = [model.posterior(b.x, b.y) for b in in_order(source, 500, n)]
    mean, var = torch.cat([q.mean for q in qs]), torch.cat([q.log_var for q in qs]).exp()
    # Each on its own axis: σ² lives in [0, 1] while μ spreads over several units.
    panels = [
        plots.histograms({name: values.flatten().numpy()}, bins=40, columns=1)
        for name, values in (("posterior mean μ", mean), ("posterior variance σ²", var))
    ]
    return stage.save(
        "posterior",
        np.concatenate(panels, axis=1),
        "Posterior",
        f"Means (their mean magnitude {mean.abs().mean():.3f}) and variances (mean σ {var.sqrt().mean():.3f}) "
        f"over {len(mean):,} {stage.split} examples and all {mean.shape[1]} latent dimensions.",
    )


@_picture
def components(stage: Stage, n: int = 100) -> Path:
    """PCA's mean and leading components as pictures (eigenfaces, eigendigits)."""
    stage.need_images()
    directions = getattr(stage.model, "components", None)
    if not isinstance(directions, Tensor):
        raise AbilityError(f"{stage.name} has no principal components; `pca` has")
    x = directions[:, :n].T.reshape(-1, *stage.model.shape.dims)
    span = x.abs().flatten(1).amax(1).view(-1, 1, 1, 1).clamp_min(1e-12)
    picture = sheets.sheet((0.5 + 0.5 * x / span).numpy())
    return stage.save(
        "components",
        picture,
        "Principal components",
        f"The {len(x)} leading components, each stretched about mid-grey by its largest magnitude.",
    )


@_picture
def spectrum(stage: Stage) -> Path:
    """PCA's explained variance against the number of components."""
    values, total = getattr(stage.model, "spectrum", None), getattr(stage.model, "total_variance", None)
    if not isinstance(values, Tensor) or not isinstance(total, Tensor):
        raise AbilityError(f"{stage.name} has no spectrum of variances; `pca` has")
    share = (values.double().cumsum(0) / total.double().clamp_min(1e-300)).numpy()
    kept, size = int(stage.need(Encodes).latent_dim), stage.model.shape.size
    picture = plots.curves(
        {"explained share of variance": (np.arange(1, len(share) + 1), share)},
        xlabel="components",
        ylabel="share of variance",
    )
    return stage.save(
        "spectrum",
        picture,
        "Explained variance",
        f"{kept} components explain {share[kept - 1]:.1%}. In "
        f"numbers an example takes {kept} instead of {size} ({kept / size:.1%}); in bytes {4 * kept} "
        f"(float32) instead of {size} (uint8): {4 * kept / size:.1%}.",
    )


@_picture
def points(stage: Stage, n: int = MAP_POINTS) -> Path:
    """Vectors of two numbers: the test points over their reconstructions."""
    if stage.model.shape.dims != (2,):
        raise AbilityError(f"`points` shows vectors of 2, and the data is {stage.model.shape}")
    model = stage.need(Reconstructs)
    batch = stage.examples(n)
    with torch.no_grad():
        xhat = model.reconstruct(batch.x, batch.y)
    labels = batch.y.numpy() if batch.y is not None else None
    picture = plots.scatter(
        xhat.numpy(), labels, stage.images.label_names, background=batch.x.numpy(), xlabel="x₁", ylabel="x₂"
    )
    return stage.save(
        "points",
        picture,
        "Reconstructed points",
        f"Reconstructions of {len(batch.x):,} {stage.split} points (coloured) over the points themselves (grey).",
    )


# ---- choosing ------------------------------------------------------------------------------------------------

STANDARD = ("reconstructions", "samples", "map", "grid", "points")
"""What every run shows, as far as its model can."""


def check(entry: dict[str, Any]) -> None:
    """An entry of a recipe's `show`: unknown pictures or options raise `ConfigError`."""
    what = entry.get("what")
    if what not in PICTURES:
        raise ConfigError(f"there is no picture {what!r}; what must be one of {', '.join(PICTURES)}")
    known = list(inspect.signature(PICTURES[what]).parameters)[1:]
    for name in entry:
        if name not in (*known, "what"):
            raise ConfigError(f"the picture {what!r} has no option {name!r}; it has {', '.join(known)}")


def show(stage: Stage, what: str, **options: Any) -> Path:
    """Draw one picture by name. Unknown names or options raise `ConfigError`."""
    check({"what": what, **options})
    return PICTURES[what](stage, **{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()})


def show_standard(stage: Stage) -> list[Path]:
    """The standard pictures that this model can give."""
    made = []
    for what in STANDARD:
        if what == "grid" and getattr(stage.model, "latent_dim", 0) != 2:
            continue  # a plane through many dimensions says little; `grid` draws it when asked
        try:
            made.append(show(stage, what))
        except (AbilityError, DataError):
            continue
    return made
