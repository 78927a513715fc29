"""A map of the latent space: the latents of a set in the plane, coloured by what is known of them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentscape.config import LARGEST_SEED
from latentscape.contract import Encodes, HasPosterior
from latentscape.data import ImageSet
from latentscape.errors import ConfigError
from latentscape.latents import walks
from latentscape.numerics.linear_algebra import top_eigenpairs
from latentscape.pictures import files, plots
from latentscape.runs import RunFolder
from latentscape.tasks import attributes, inputs, using
from latentscape.tasks.embedding import NO_ENCODER, encoded, labels_of, latents_of
from latentscape.tasks.evaluating import is_own, load_for
from latentscape.tasks.showing import Stage

METHODS = ("auto", "coordinates", "pca", "umap")

CANDIDATES = 30
"""Examples that are tried for each thumbnail asked for: most of them would lie over one that is there."""


@dataclass(frozen=True)
class Plane:
    """A way from latents to the plane: z_NL → N×2, and what its two axes are."""

    place: Callable[[Tensor], Tensor]
    axes: tuple[str, str]
    method: str


def draw_map(
    path: Path | str,
    pictures: Sequence[Path | str] = (),
    *,
    method: str = "auto",
    colour_by: str = "",
    thumbnails: int = 0,
    n: int = 5_000,
    data: Any = None,
    split: str = "test",
    label: str | int | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Draw the latents of examples of a set in the plane, and mark those of pictures among them.

    method: see `plane_of`; it is fitted to the set's latents, and the pictures are put where it puts them. colour_by:
    `label`, an attribute, a class (one against the others), or `none`; "" is label where the set has labels.
    thumbnails: at most so many examples are drawn as their pictures, none over another. n: how many examples (0: all),
    as `inputs.examples` takes them; of other data than the run's own, of all parts. label: what a model that reads
    labels is told of the pictures. out: X.png, or X.npy for the places, float32 N×2. Raises `UserError`.
    """
    _check(method, thumbnails, n, seed)
    folder = RunFolder(path)
    model = folder.load_model()
    Stage(folder, model, None).need(Encodes, NO_ENCODER)  # type: ignore[arg-type]
    images = load_for(folder, data)
    split = split if data is None or is_own(folder.config(), data) else "all"
    stage, rows = Stage(folder, model, images, command), images.indices(split)
    picks = stage.picks(n or len(rows), split)
    z_NL = latents_of(model, images, split, picks)
    plane = plane_of(z_NL, method, seed)
    colours = colours_of(images, rows[picks], colour_by)
    own = inputs.examples(folder, model, pictures) if pictures else None
    own_M2 = None if own is None else plane.place(encoded(model, own.x, labels_of(stage, own, label)))
    target = _target(folder, out, plane.method, colours.name)
    answer = {"run": str(folder.path), "n": len(picks), "split": split, "method": plane.method}
    answer |= {"axes": list(plane.axes), "colour_by": colours.name, "out": str(target)}
    if own is not None and own_M2 is not None:
        answer["pictures"] = dict(zip(own.names, own_M2.tolist(), strict=True))
    z_N2 = plane.place(z_NL)
    if target.suffix == ".npy":
        using.write_array(target, z_N2)
        return answer
    marked = None if own is None or own_M2 is None else (own_M2.numpy(), own.names)
    shown = _thumbnails(stage, rows[picks], z_N2, thumbnails, seed) if thumbnails else None
    known = ~np.isnan(colours.values) if colours.values is not None else np.ones(len(z_N2), bool)
    picture = plots.scatter(
        z_N2.numpy()[known],
        None if colours.values is None else colours.values[known].astype(colours.kind),
        colours.names,
        xlabel=plane.axes[0],
        ylabel=plane.axes[1],
        background=None if known.all() else z_N2.numpy()[~known],
        thumbnails=shown,
        most_thumbnails=thumbnails,
        label_name=colours.name,
        marked=marked,
    )
    caption = _caption(stage, len(picks), split, plane, colours, int((~known).sum()), own)
    files.save_png(target, picture, title="Latent map", caption=caption, command=command)
    return answer


def _check(method: str, thumbnails: int, n: int, seed: int) -> None:
    if method not in METHODS:
        raise ConfigError(f"--method must be one of {', '.join(METHODS)}, got {method!r}")
    for name, value in (("thumbnails", thumbnails), ("n", n)):
        if value < 0:
            raise ConfigError(f"--{name} must be at least 0, got {value}")
    if not 0 <= seed <= LARGEST_SEED:
        raise ConfigError(f"--seed must be at least 0 and at most {LARGEST_SEED}, got {seed}")


def _target(folder: RunFolder, out: Path | str | None, method: str, colour: str) -> Path:
    name = "".join(c if c.isalnum() else "-" for c in colour)
    target = Path(out) if out else folder.pictures_path / f"map-{method}{name and f'-{name}'}.png"
    if target.suffix.lower() not in (".png", ".npy"):
        raise ConfigError(f"map writes X.png or X.npy, got --out {target}")
    return target


# ---- the plane ---------------------------------------------------------------------------------------------------


def plane_of(z_NL: Tensor, method: str = "auto", seed: int = 0) -> Plane:
    """How latents are put in the plane.

    coordinates: the two that vary most (both for L = 2, the only one and 0 for L = 1); pca: the two principal axes of
    z_NL; umap: McInnes et al. 2018 (arXiv 1802.03426) with its own defaults, fitted to z_NL; auto: coordinates up to
    two of them, else pca. `ConfigError` for umap where the package umap-learn is not there.
    """
    size = z_NL.shape[1]
    if method == "auto":
        method = "coordinates" if size <= 2 else "pca"
    if size == 1 and method != "umap":
        return Plane(lambda z: torch.cat([z, torch.zeros_like(z)], 1), ("z1", ""), "coordinates")
    if method == "umap":
        return _umap(z_NL, seed)
    if method == "coordinates":
        dims = list(walks.most_varying(z_NL))
        return Plane(lambda z: z[:, dims], (f"z{dims[0] + 1}", f"z{dims[1] + 1}"), method)
    mean_L = z_NL.double().mean(0)
    centred = z_NL.double() - mean_L
    values, vectors = top_eigenpairs(centred.T @ centred / len(z_NL))
    shares = (values[:2] / values.sum().clamp_min(1e-300)).tolist()
    axes = (f"first principal axis ({shares[0]:.0%} of variance)", f"second ({shares[1]:.0%})")
    return Plane(lambda z: ((z.double() - mean_L) @ vectors[:, :2]).float(), axes, method)


def _umap(z_NL: Tensor, seed: int) -> Plane:
    try:
        umap = importlib.import_module("umap")
    except ImportError:
        raise ConfigError("--method umap needs a package that is not here: pip install umap-learn") from None
    reducer = umap.UMAP(
        n_neighbors=min(15, len(z_NL) - 1), random_state=seed, n_jobs=1
    )  # with a seed it uses one anyway
    places = torch.from_numpy(np.asarray(reducer.fit_transform(z_NL.numpy()), np.float32))

    def place(z: Tensor) -> Tensor:
        if z is z_NL:
            return places  # what was fitted lies where the fit put it
        return torch.from_numpy(np.asarray(reducer.transform(z.numpy()), np.float32))

    return Plane(place, ("UMAP 1", "UMAP 2"), "umap")


# ---- what is drawn -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Colours:
    """What points are coloured by: values float64 N, NaN where unknown; as whole numbers of classes, or a quantity."""

    name: str
    values: np.ndarray | None
    names: tuple[str, ...] = ()
    kind: Any = np.float64


def colours_of(images: ImageSet, rows: Tensor, colour_by: str) -> Colours:
    """What is known of the examples under a name. `ConfigError` for one that the set does not know."""
    if colour_by == "none" or (not colour_by and images.labels is None):
        return Colours("", None)
    if images.labels is not None and colour_by in ("", "label"):
        values = images.labels[rows].double()
        return Colours("label", torch.where(values < 0, torch.nan, values).numpy(), images.label_names, np.int64)
    found = attributes.find(images, colour_by, "--colour-by")
    values = found.values[rows].double().numpy()
    if found.is_binary:
        return Colours(found.name, values, (f"not {found.name}", found.name), np.int64)
    return Colours(found.name, values)


def _thumbnails(stage: Stage, rows: Tensor, z_N2: Tensor, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and pictures of examples in a random order: as many as are drawn without covering each other."""
    stage.need_images()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[: CANDIDATES * count]
    x_KX = stage.images.examples(rows[order], stage.model.value_range)
    return z_N2[order].numpy(), stage.unit(x_KX)


def _caption(
    stage: Stage, n: int, split: str, plane: Plane, colours: Colours, unknown: int, own: inputs.Inputs | None
) -> str:
    means = "Posterior means" if isinstance(stage.model, HasPosterior) else "Latents"
    text = f"{means} of {n:,} {split} examples of {stage.images.name}"
    text += {"umap": " by UMAP", "pca": " on their principal axes"}.get(plane.method, "")
    text += f", coloured by {colours.name}" if colours.name else ""
    text += f" (grey: {unknown:,} of which it is not known)" if unknown else ""
    return text + (f"; marked: {own.said}." if own is not None else ".")
