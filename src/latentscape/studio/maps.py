"""The map of the page Latent: test pictures as dots on a plane of the latent space, and what is caught with a lasso."""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from latentscape.errors import AbilityError, ConfigError, DataError
from latentscape.latents import walks
from latentscape.studio import sliders
from latentscape.studio.explorer import Explorer, short
from latentscape.tasks import mapping
from latentscape.tasks.evaluating import to_unit

KINDS = ("coordinates", "principal", "through")

TRAINING, TRAINING_VALUES = 10_000, 20_000_000
"""Most training pictures that the current one is compared with, and most values that they have together."""


@dataclass(frozen=True)
class Plane:
    """Codes origin + right·axes[0] + up·axes[1] with orthonormal axes; a single axis for L = 1 (the other is 0)."""

    origin_L: Tensor
    axes_2L: Tensor
    names: tuple[str, str]
    said: str
    corners_K2: Tensor | None = None
    """What must be in sight besides the dots: the three latents that the plane goes through."""

    def place(self, z_NL: Tensor) -> Tensor:
        """Where latents are seen, N×2: their shadow on the plane."""
        return (z_NL - self.origin_L) @ self.axes_2L.T


def plane(
    explorer: Explorer, kind: str = "", coordinates: Sequence[int] = (), through: Sequence[Sequence[float]] = ()
) -> Plane:
    """The plane that a page asks for.

    kind: coordinates (two, counted from 1; none: both of L = 2, else the two that matter most), principal (the two
    directions in which the latents vary most) or through (three latents); "" is principal for models with an encoder
    and more than two coordinates, else coordinates. Raises `ConfigError`.
    """
    size = explorer.latent_dim
    kind = kind or ("coordinates" if size <= 2 else "principal" if explorer.can()["encode"] else "coordinates")
    if kind not in KINDS:
        raise ConfigError(f"a plane is one of {', '.join(KINDS)}, got {kind!r}")
    if kind == "through":
        return _through(size, through)
    if kind == "principal":
        return _principal(explorer)
    return _of_coordinates(explorer, coordinates)


def _of_coordinates(explorer: Explorer, coordinates: Sequence[int]) -> Plane:
    size = explorer.latent_dim
    if size == 1:
        return Plane(torch.zeros(1), torch.tensor([[1.0], [0.0]]), ("z1", ""), "the only coordinate")
    if wrong := [c for c in coordinates if not 1 <= c <= size]:
        raise ConfigError(f"coordinates are 1 to {size}, got {wrong[0]}")
    if coordinates and (len(coordinates) != 2 or coordinates[0] == coordinates[1]):
        raise ConfigError(f"a plane takes two different coordinates, got {' '.join(map(str, coordinates))}")
    dims = [c - 1 for c in coordinates] or ([0, 1] if size == 2 else sliders.most_important(explorer)[:2])
    axes_2L = torch.eye(size)[dims]
    names = (f"z{dims[0] + 1}", f"z{dims[1] + 1}")
    said = "the whole latent space" if size == 2 else f"coordinates {names[0]} and {names[1]}"
    return Plane(torch.zeros(size), axes_2L, names, said)


def _principal(explorer: Explorer) -> Plane:
    if not explorer.can()["encode"]:
        raise AbilityError("noise varies equally in all directions; choose two coordinates, or three pictures")
    if explorer.latent_dim < 3:
        return _of_coordinates(explorer, ())
    z_NL = explorer.cloud().z

    def found() -> tuple[Tensor, Tensor]:
        return walks.principal_axes(z_NL)

    axes_LL, share_L = explorer.kept("principal", found)
    names = (f"first direction ({share_L[0]:.0%} of variance)", f"second ({share_L[1]:.0%})")
    return Plane(z_NL.mean(0), axes_LL[:2].float(), names, "the two directions in which the latents vary most")


def _through(size: int, through: Sequence[Sequence[float]]) -> Plane:
    """Through three latents: the first is the origin, the second lies to the right, the third above (Gram–Schmidt)."""
    if len(through) != 3 or any(len(z) != size for z in through):
        raise ConfigError(f"a plane goes through three latents of {size} numbers each; choose three pictures")
    a, b, c = (torch.tensor(z, dtype=torch.float64) for z in through)
    right = b - a
    up = c - a
    up = up - right * (up @ right) / right.square().sum().clamp_min(1e-300)
    if not (right.norm() > 1e-9 and up.norm() > 1e-6 * max(1.0, float((c - a).norm()))):
        raise ConfigError("three pictures on one line span no plane; choose three different ones")
    axes_2L = torch.stack([right / right.norm(), up / up.norm()]).float()
    found = Plane(a.float(), axes_2L, ("from A to B", "towards C"), "the plane through A, B and C")
    return replace(found, corners_K2=found.place(torch.tensor(through)))


# ---- what is sent ------------------------------------------------------------------------------------------------


def as_json(explorer: Explorer, found: Plane, colour: str = "") -> dict[str, Any]:
    """The plane with every dot on it: {axes, origin, names, said, x, y, extent, colour, dots}."""
    dots = explorer.dots()
    places_N2 = found.place(dots.z)
    return {
        "axes": [short(axis) for axis in found.axes_2L],
        "origin": short(found.origin_L),
        "names": list(found.names),
        "said": found.said,
        "x": short(places_N2[:, 0], 5),
        "y": short(places_N2[:, 1], 5),
        "extent": _extent(places_N2, found.corners_K2),
        "colour": _colours(explorer, colour),
        "colour_choices": colour_choices(explorer),
        "dots": dots.said,
        "examples": dots.rows is not None,
        "positions": None if dots.positions is None else dots.positions.tolist(),
    }


def _extent(places_N2: Tensor, corners_K2: Tensor | None) -> list[float]:
    """Left, right, bottom and top that show all but stray dots, and every corner, with a margin."""
    edges = []
    for axis, values in enumerate(places_N2.double().T):
        low, high = torch.quantile(values, torch.tensor([0.002, 0.998], dtype=torch.float64)).tolist()
        if corners_K2 is not None:
            low, high = min(low, float(corners_K2[:, axis].min())), max(high, float(corners_K2[:, axis].max()))
        wide = (high - low) or 2.0
        edges += [low - 0.12 * wide, high + 0.12 * wide]
    return [float(f"{e:.5g}") for e in edges]


def colour_choices(explorer: Explorer) -> list[str]:
    """What dots may be coloured by."""
    if explorer.dots().rows is None:
        return ["label"] if explorer.dots().y is not None else []
    images = explorer.data()
    return [*(["label"] if images.labels is not None else []), *images.attribute_names]


def _colours(explorer: Explorer, by: str) -> dict[str, Any]:
    """{name, names, values}: classes as places in `names`, quantities as they are (names empty); null: unknown."""
    dots = explorer.dots()
    if dots.rows is None:
        if dots.y is None or by == "none":
            return {"name": "", "names": [], "values": None}
        return {"name": "label", "names": explorer.labels, "values": dots.y.tolist()}
    found = mapping.colours_of(explorer.data(), dots.rows, by)
    values = None if found.values is None else [None if math.isnan(v) else round(v, 4) for v in found.values.tolist()]
    return {"name": found.name, "names": list(found.names), "values": values}


def lassoed(explorer: Explorer, picks: Sequence[int]) -> dict[str, Any]:
    """The mean picture and the mean latent of dots, and how many of them are of each class."""
    dots = explorer.dots()
    if not picks or min(picks) < 0 or max(picks) >= len(dots.z):
        raise ConfigError(f"dots are 0 to {len(dots.z) - 1:,}, at least one; draw the lasso round some")
    chosen = torch.tensor(sorted(set(picks)))
    total_X = sum(explorer.pictures_of_dots(part).sum(0) for part in chosen.split(500))
    mean_X = torch.as_tensor(total_X) / len(chosen)
    return {
        "n": len(chosen),
        "picture": as_text(explorer, mean_X[None]),
        "z": short(dots.z[chosen].mean(0)),
        "label": None if dots.y is None else int(dots.y[chosen].mode().values),
        "classes": dict(Counter(_labels_of(explorer, chosen)).most_common()),
    }


def _labels_of(explorer: Explorer, chosen: Tensor) -> list[str]:
    dots = explorer.dots()
    if dots.rows is not None:
        images = explorer.data()
        if images.labels is None:
            return []
        return [images.label_names[k] if k >= 0 else "unknown" for k in images.labels[dots.rows[chosen]].tolist()]
    return [] if dots.y is None else [explorer.labels[k] for k in dots.y[chosen].tolist()]


def as_text(explorer: Explorer, x_NX: Tensor) -> str:
    """Pictures for an answer in JSON: base64 of `Explorer.bytes_of`."""
    return base64.b64encode(explorer.bytes_of(x_NX)).decode("ascii")


# ---- nearest training pictures -----------------------------------------------------------------------------------


CANDIDATES = 16
"""Pictures whose distances are computed again from the differences themselves, beyond those asked for."""


@dataclass(frozen=True)
class Training:
    """Training pictures to compare with: their rows in the set and places in the split, M; values M×D on [0, 1]
    (vectors: as they are), and the sum of each one's squares, M."""

    rows: Tensor
    positions: Tensor
    values_MD: Tensor
    squares_M: Tensor


def nearest(explorer: Explorer, x_1X: Tensor, k: int = 6) -> dict[str, Any]:
    """The k training pictures nearest to one, by mean squared difference of values: {of, found: […], pictures}.

    One product with all of them finds candidates, in milliseconds; these are compared by their differences.
    """
    train = explorer.kept("training pictures", lambda: _training(explorer))
    unit_D = to_unit(x_1X, explorer.model.value_range).float().flatten()
    unit_D = unit_D.clamp(0, 1) if explorer.model.shape.is_image else unit_D
    if not unit_D.isfinite().all():
        raise DataError("the decoder gives no finite numbers this far out; go back towards the mean")
    near = train.squares_M - 2 * (train.values_MD @ unit_D)
    few = near.topk(min(k + CANDIDATES, len(near)), largest=False).indices
    mse_F = (train.values_MD[few] - unit_D).double().square().mean(1)
    order = mse_F.argsort(stable=True)[:k]
    images, at = explorer.data(), few[order]
    rows = train.rows[at]
    found = [
        {
            "name": images.files[row] if images.files is not None else f"train {place}",
            "label": _label_name(explorer, row),
            "mse": float(f"{mse:.4g}"),
        }
        for row, place, mse in zip(rows.tolist(), train.positions[at].tolist(), mse_F[order].tolist(), strict=True)
    ]
    pictures = as_text(explorer, images.examples(rows, explorer.model.value_range))
    return {"of": f"{len(train.rows):,} training pictures", "found": found, "pictures": pictures}


def _label_name(explorer: Explorer, row: int) -> str | None:
    """The class of an example of the set; None where it has none."""
    images = explorer.data()
    if images.labels is None or int(images.labels[row]) < 0:
        return None
    return images.label_names[int(images.labels[row])]


def _training(explorer: Explorer) -> Training:
    """Training pictures, evenly spread over the split."""
    images = explorer.data()
    rows = images.indices("train")
    n = max(1, min(len(rows), TRAINING, TRAINING_VALUES // images.shape.size))
    picks = torch.arange(n) * len(rows) // n
    values = to_unit(images.examples(rows[picks], explorer.model.value_range), explorer.model.value_range)
    values_MD = values.float().flatten(1)
    return Training(rows[picks], picks, values_MD, values_MD.square().sum(1))
