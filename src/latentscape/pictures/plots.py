"""Plots as arrays: scatter maps, curves, histograms, bars, heat maps and decoded lattices.

Each function returns a uint8 H×W×3 picture and touches no state of matplotlib but its own figure, so that plots can
be drawn in any thread, with or without a display.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentscape.pictures.sheets import Picture, sheet, to_rgb, visible_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACCENT = "#0b63a5"
INK = "#222222"
QUIET = "#6b7280"
GRID = "#e5e7eb"
FAINT = "#c9ced6"

PALETTE = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9",
    "#7a5195", "#8c6d1f", "#5c6770", "#a3c900", "#e03a5b", "#17456b",
)  # fmt: skip
"""Okabe and Ito's colours, which the colour-blind can tell apart, and six more of other lightness."""

MARKERS = ("o", "^", "s", "D")
"""A second round through the palette takes the next marker."""

MOST_CLASSES = len(PALETTE) * len(MARKERS)

DPI = 100

THUMBNAIL = 40
"""Pixels of the longer side of a picture in a map."""

LONGEST_NAME = 24
"""Most characters of a name in a map."""


def scatter(
    z_N2: ArrayLike,
    labels: ArrayLike | None = None,
    names: Sequence[str] = (),
    *,
    title: str = "",
    xlabel: str = "z₁",
    ylabel: str = "z₂",
    background: ArrayLike | None = None,
    thumbnails: tuple[ArrayLike, ArrayLike] | None = None,
    most_thumbnails: int | None = None,
    label_name: str = "",
    marked: tuple[ArrayLike, Sequence[str]] | None = None,
) -> Picture:
    """A map of points, coloured by class or by a continuous attribute.

    z_N2: positions; points that are not finite are left out. labels: one per point; integers are classes (`names`
    gives class k its name) with a legend outside, floats are a quantity with a colour bar named `label_name`.
    background: other points M×2, drawn in grey below, such as the prior. thumbnails: (places K×2, images K×C×H×W) in
    order of preference, drawn over the points as long as there are fewer than most_thumbnails; one that would cover
    another, or a class's name, is left out. marked: (places M×2, names), drawn as stars with their names. Raises
    `ValueError` if the shapes do not fit.
    """
    z = _points(z_N2)
    figure, axes = _figure(8.2, 6.6)
    if background is not None:
        back = _points(background)
        axes.scatter(back[:, 0], back[:, 1], s=_dot(len(back)), color=FAINT, linewidths=0, zorder=1, rasterized=True)
    if labels is None:
        axes.scatter(z[:, 0], z[:, 1], s=_dot(len(z)), color=ACCENT, alpha=0.6, linewidths=0, zorder=2)
    else:
        values = np.asarray(labels)
        if values.shape != (len(z),):
            raise ValueError(f"labels are one per point, got {values.shape} for {len(z)} points")
        if _is_categorical(values):
            _draw_classes(figure, axes, z, values, names)
        else:
            dots = axes.scatter(z[:, 0], z[:, 1], c=values, s=_dot(len(z)), cmap="viridis", linewidths=0, zorder=2)
            _colour_bar(figure, dots, axes, label_name)
    if marked is not None:
        _draw_marked(axes, *marked)
    _dress(axes, title, xlabel, ylabel)
    axes.set_aspect("equal", adjustable="datalim")
    if thumbnails is not None:
        _draw_thumbnails(figure, axes, *thumbnails, most_thumbnails)
    return _picture(figure)


def small_scatters(
    z_N2: ArrayLike,
    labels: ArrayLike,
    names: Sequence[str] = (),
    *,
    title: str = "",
    xlabel: str = "z₁",
    ylabel: str = "z₂",
    columns: int = 4,
) -> Picture:
    """The map of all classes, then each class alone in front of the others in grey, all on the same axes.

    Arguments are those of `scatter`; labels are integers. Raises `ValueError` if the shapes do not fit.
    """
    z, y = _points(z_N2), np.asarray(labels)
    if y.shape != (len(z),) or not _is_categorical(y):
        raise ValueError(f"labels are one class per point (at most {MOST_CLASSES} classes), got {y.shape} {y.dtype}")
    classes = np.unique(y)
    columns = min(columns, len(classes) + 1)
    lines = math.ceil((len(classes) + 1) / columns)
    figure, panels = _panels(lines, columns, 2.9, 2.9, title)
    size = _dot(len(z)) * 0.5
    for axes, k in zip(panels, (None, *classes), strict=False):
        if k is None:
            for i, other in enumerate(classes):
                axes.scatter(*z[y == other].T, s=size, linewidths=0, **_look(i))
        else:
            axes.scatter(*z[y != k].T, s=size, color=GRID, linewidths=0)
            axes.scatter(*z[y == k].T, s=size, linewidths=0, **_look(int(np.searchsorted(classes, k))))
        _dress(axes, "all" if k is None else _class_name(k, names), xlabel, ylabel)
        _same_view(axes, z)
    for i, axes in enumerate(panels[: len(classes) + 1]):
        axes.label_outer()
        if i + columns > len(classes):  # the lowest of its column, though not in the last line
            axes.tick_params(labelbottom=True)
            axes.set_xlabel(xlabel)
    return _picture(figure)


def curves(
    series: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    title: str = "",
    xlabel: str = "step",
    ylabel: str = "",
    logy: bool = False,
    raw: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
) -> Picture:
    """Lines over one axis, one per name: (x_N, y_N). A value that is not finite leaves a gap.

    logy: logarithmic upright axis; values of 0 and below are gaps there. raw: what a line of the same name was smoothed
    from, drawn pale below it.
    """
    figure, axes = _figure(8.2, 4.6)
    for i, (name, (x_N, y_N)) in enumerate(series.items()):
        x, y = np.asarray(x_N, np.float64), _drawable(y_N, logy)
        colour = ACCENT if i == 0 else PALETTE[i % len(PALETTE)]
        if raw and name in raw:
            axes.plot(raw[name][0], _drawable(raw[name][1], logy), color=colour, linewidth=1.0, alpha=0.35)
        style = ("-", "--", ":", "-.")[i // len(PALETTE) % 4]
        axes.plot(x, y, style, color=colour, linewidth=1.6, label=name, marker="o" if len(x) == 1 else None)
    if logy and any(np.nanmax(np.asarray(y, np.float64), initial=0) > 0 for _, y in series.values()):
        axes.set_yscale("log")
        _plain_log_ticks(axes)
    if all((np.rint(x) == x).all() for x in (np.asarray(x_N, np.float64) for x_N, _ in series.values())):
        axes.locator_params(axis="x", integer=True)
    if len(series) > 1:
        beside = len(series) > 4
        place = "outside right upper" if beside else "outside lower center"
        figure.legend(loc=place, frameon=False, fontsize=10, ncols=1 if beside else len(series))
    _dress(axes, title, xlabel, ylabel)
    return _picture(figure)


def histograms(
    values: Mapping[str, ArrayLike],
    bins: int | Sequence[float] = 10,
    title: str = "",
    *,
    xlabel: str = "",
    span: tuple[float, float] | None = None,
    columns: int = 3,
) -> Picture:
    """One histogram per name: the share of the finite values in each bin in percent, and their mean as a line.

    bins: a number of equal bins or their edges. span: the range of the bins; that of all values without it, the same
    for every panel. Shares are of all finite values, those outside the bins too.
    """
    finite = {name: _finite(v) for name, v in values.items()}
    some = [v for v in finite.values() if len(v)]
    if span is None:
        span = (min(float(v.min()) for v in some), max(float(v.max()) for v in some)) if some else (0.0, 1.0)
    edges = np.histogram_bin_edges(np.empty(0), bins, span)
    columns = max(1, min(columns, len(finite)))
    figure, panels = _panels(math.ceil(len(finite) / columns) or 1, columns, 3.6, 2.7, title)
    for axes, (name, v) in zip(panels, finite.items(), strict=False):
        share = np.histogram(v, edges)[0] * (100 / max(len(v), 1))
        axes.bar(edges[:-1], share, np.diff(edges), align="edge", color=ACCENT, edgecolor="white", linewidth=0.8)
        _dress(axes, name, xlabel, "% of values")
        axes.locator_params(axis="x", nbins=5)  # more would run into each other where numbers are long
        if len(v):
            axes.axvline(float(v.mean()), color=INK, linewidth=1.2, linestyle="--")
            back = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}  # over the mean's line
            note = {"fontsize": 10, "color": INK, "ha": "right", "va": "top", "transform": axes.transAxes, "bbox": back}
            axes.set_ylim(0, max(float(share.max()), 1e-9) * 1.22)
            axes.text(0.98, 0.97, f"mean {v.mean():.3g}".replace("-", "−"), **note)
        else:
            axes.text(0.5, 0.5, "no finite value", fontsize=10, color=QUIET, ha="center", transform=axes.transAxes)
    return _picture(figure)


def bars(
    values: Mapping[str, float],
    *,
    title: str = "",
    xlabel: str = "",
    errors: Mapping[str, tuple[float, float]] | None = None,
) -> Picture:
    """Level bars from top to bottom, one per name, each with its value written at its end.

    errors: (low, high) ends of an interval per name, drawn as a thin line. A value that is not finite is written, and
    has no bar.
    """
    names, y = list(values), np.arange(len(values))
    widths = np.array([v if math.isfinite(v) else 0.0 for v in values.values()], np.float64)
    figure, axes = _figure(8.2, max(1.6, 0.36 * len(names) + 1.0))
    axes.barh(y, widths, height=0.66, color=ACCENT, zorder=2)
    for i, name in enumerate(names):
        low, high = (errors or {}).get(name, (widths[i], widths[i]))
        if high > low:
            axes.plot([low, high], [i, i], color=INK, linewidth=1.4, zorder=3, marker="|", markersize=7)
        end, text = max(high, widths[i], 0.0), f"{values[name]:.4g}"
        axes.annotate(text, (end, i), (6, 0), textcoords="offset points", va="center", fontsize=10, color=INK)
    _dress(axes, title, xlabel, "")
    axes.set_yticks(y, names, fontsize=10)
    axes.grid(False, axis="y")
    axes.invert_yaxis()
    axes.margins(x=0.14)
    return _picture(figure)


def columns(
    values: ArrayLike,
    *,
    errors: ArrayLike | None = None,
    first: int = 1,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
) -> Picture:
    """Upright bars of a vector over its positions, counted from `first`: a latent's coordinates, uses of codes.

    errors: half the height of a line round each bar's end. Values that are not finite have no bar.
    """
    v = np.asarray(values, np.float64).ravel()
    x, v = np.arange(first, first + len(v)), np.where(np.isfinite(v), v, 0.0)
    figure, axes = _figure(8.2, 3.4)
    axes.bar(x, v, width=0.8 if len(v) <= 100 else 1.0, color=ACCENT, zorder=2)
    if errors is not None:
        look = {"fmt": "none", "ecolor": INK, "elinewidth": 1.2, "capsize": 3 if len(v) <= 40 else 0, "zorder": 3}
        axes.errorbar(x, v, np.nan_to_num(np.asarray(errors, np.float64).ravel()), **look)
    _dress(axes, title, xlabel, ylabel)
    axes.grid(False, axis="x")
    axes.margins(x=0.01)
    axes.locator_params(axis="x", integer=True)
    return _picture(figure)


def estimates(
    values: Mapping[str, float],
    errors: Mapping[str, float],
    *,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
) -> Picture:
    """Points with intervals, one per name from left to right, each with its value; the axis need not hold 0.

    errors: half the height of each interval.
    """
    figure, axes = _figure(8.2, 4.6)
    x, v = np.arange(len(values)), np.array(list(values.values()), np.float64)
    half = np.array([errors.get(name, 0.0) for name in values], np.float64)
    look = {"fmt": "o", "color": ACCENT, "ecolor": INK, "elinewidth": 1.4, "capsize": 5, "markersize": 7}
    axes.errorbar(x, v, half, **look)
    for i, value in enumerate(v):
        place = {"textcoords": "offset points", "va": "center", "fontsize": 10, "color": INK}
        axes.annotate(f"{value:.2f}".replace("-", "−"), (x[i], value), (12, 0), **place)
    _dress(axes, title, xlabel, ylabel)
    axes.set_xticks(x, list(values), fontsize=10)
    axes.set_xlim(-0.5, len(v) - 0.3)
    axes.grid(False, axis="x")
    return _picture(figure)


def traces(
    lines: Mapping[str, ArrayLike],
    points_N2: ArrayLike,
    *,
    title: str = "",
    xlabel: str = "x₁",
    ylabel: str = "x₂",
) -> Picture:
    """Curves in the plane, one M×2 array per name, over grey points: what a one-dimensional latent space decodes to."""
    back = _points(points_N2)
    figure, axes = _figure(8.2, 6.6)
    axes.scatter(back[:, 0], back[:, 1], s=_dot(len(back)), color=FAINT, linewidths=0, zorder=1)
    for i, (name, line) in enumerate(lines.items()):
        axes.plot(*_points(line).T, color=PALETTE[i % len(PALETTE)], linewidth=2.2, label=name, zorder=2)
    if len(lines) > 1:
        figure.legend(loc="outside right upper", frameon=False, fontsize=10)
    _dress(axes, title, xlabel, ylabel)
    axes.set_aspect("equal", adjustable="datalim")
    return _picture(figure)


def marked(image_CHW: ArrayLike, pixels: Sequence[tuple[int, int]], side: int = 280) -> Picture:
    """One image in grey, enlarged to about `side`, with single pixels (row, column) filled in orange."""
    grey = to_rgb(np.asarray(image_CHW)[None])[0].mean(-1).astype(np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=-1)
    for row, column in pixels:
        picture[row, column] = (230, 159, 0)
    scale = max(1, side // max(picture.shape[:2]))
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def heatmaps(
    x_NHW: ArrayLike,
    titles: Sequence[str] = (),
    *,
    low: float,
    high: float,
    columns: int = 5,
    title: str = "",
    quantity: str = "",
) -> Picture:
    """Maps of one quantity, all on the fixed scale low … high that the colour bar at the right shows.

    x_NHW: one map per panel; cells that are not finite are white. Raises `ValueError` if it is not N×H×W or empty.
    """
    x = np.ma.masked_invalid(np.asarray(x_NHW, np.float64))
    if x.ndim != 3 or len(x) == 0:
        raise ValueError(f"heat maps are N×H×W with N at least 1, got {x.shape}")
    columns = min(columns, len(x))
    figure, panels = _panels(math.ceil(len(x) / columns), columns, 1.75, 1.6 * x.shape[1] / x.shape[2] + 0.3, title)
    image = None
    for axes, plane, name in zip(panels, x, [*titles, *[""] * len(x)], strict=False):
        image = axes.imshow(plane, vmin=low, vmax=high, cmap="viridis", interpolation="nearest")
        axes.set_title(name, fontsize=10, color=INK)
    for axes in panels:
        axes.set_axis_off()
    _colour_bar(figure, image, panels, quantity)
    return _picture(figure)


def matrix(counts_KK: ArrayLike, names: Sequence[str], *, xlabel: str, ylabel: str) -> Picture:
    """Counts of pairs, rows by columns, written into their cells where there are at most twelve classes.

    Raises `ValueError` if it is not K×K with one name per class.
    """
    counts = np.asarray(counts_KK)
    if counts.ndim != 2 or counts.shape != (len(names), len(names)):
        raise ValueError(f"a matrix is K×K with K names, got {counts.shape} and {len(names)} names")
    side = min(max(3.2, 0.42 * len(names) + 1.2), 12)
    figure, (axes,) = _panels(1, 1, side, side * 0.9, "")
    axes.imshow(counts, cmap="Blues", vmin=0, vmax=max(float(counts.max()), 1), interpolation="nearest")
    _dress(axes, "", xlabel, ylabel)
    axes.grid(False)
    if len(names) <= 40:
        axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 3 else 0)
        axes.set_yticks(range(len(names)), names)
    for row, column in np.argwhere(counts > 0) if len(names) <= 12 else ():
        colour = "white" if counts[row, column] > 0.6 * counts.max() else INK
        axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=9, color=colour)
    return _picture(figure)


def lattice(
    x_NCHW: ArrayLike,
    rows: int,
    columns: int,
    extent: tuple[float, float, float, float],
    xlabel: str = "z₁",
    ylabel: str = "z₂",
    title: str = "",
) -> Picture:
    """A decoded grid with the coordinates on its edges.

    x_NCHW: rows·columns images, row by row from the top left, so that the first row has the largest upright
    coordinate. extent: (left, right, bottom, top), the coordinates at the *centres* of the outermost images. Every
    image keeps its pixels, enlarged by a whole factor. Raises `ValueError` if the number of images is another.
    """
    x_NHWC = to_rgb(x_NCHW)
    count, height, width, _ = x_NHWC.shape
    if count != rows * columns or count == 0:
        raise ValueError(f"a lattice of {rows}×{columns} needs as many images, got {count}")
    scale = max(1, min(visible_scale(height, width), 900 // (max(rows, columns) * max(height, width)) or 1))
    picture = sheet(x_NCHW, columns, gap=0, scale=scale)
    figure, axes = _exact_axes(picture.shape[1], picture.shape[0])
    left, right, bottom, top = extent
    dx = (right - left) / max(columns - 1, 1) / 2 or 0.5
    dy = (top - bottom) / max(rows - 1, 1) / 2 or 0.5
    box = (left - dx, right + dx, bottom - dy, top + dy)
    axes.imshow(picture, extent=box, aspect="auto", interpolation="nearest")
    _dress(axes, title, xlabel, ylabel)
    axes.grid(False)
    for spine in axes.spines.values():  # lines and ticks stay off the outermost pixels
        spine.set_visible(False)
        spine.set_position(("outward", 2))
    return _picture(figure)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # pyright: ignore[reportOptionalMemberAccess, reportCallIssue]
    return figure, figure.add_subplot()


def _panels(lines: int, columns: int, width: float, height: float, title: str) -> tuple[Figure, list[Axes]]:
    """A grid of axes, those beyond the last panel hidden by the caller's zip; a common title above."""
    from matplotlib.figure import Figure

    size = (max(columns * width, 3.4) + 0.2, lines * height + (0.5 if title else 0.1))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # pyright: ignore[reportOptionalMemberAccess, reportCallIssue]
    panels = list(figure.subplots(lines, columns, squeeze=False).ravel())
    if title:
        figure.suptitle(title, fontsize=12.5, color=INK, fontweight="bold")
    return figure, panels


def _exact_axes(width: int, height: int) -> tuple[Figure, Axes]:
    """Axes of exactly width×height pixels, so that an image in them is not resampled."""
    from matplotlib.figure import Figure

    left, right, bottom, top = 72, 24, 56, 44
    full_width, full_height = width + left + right, height + bottom + top
    figure = Figure(figsize=(full_width / DPI, full_height / DPI), dpi=DPI, facecolor="white")
    place = (left / full_width, bottom / full_height, width / full_width, height / full_height)
    return figure, figure.add_axes(place)


def _dress(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    axes.set_title(title, fontsize=11.5, color=INK, fontweight="bold", loc="left", pad=8)
    axes.set_xlabel(xlabel, fontsize=10.5, color=INK)
    axes.set_ylabel(ylabel, fontsize=10.5, color=INK)
    axes.tick_params(labelsize=10, colors=QUIET, labelcolor=INK, length=3)
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)


def _picture(figure: Figure) -> Picture:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    for axes in figure.axes:
        if not axes.has_data() and not axes.texts:
            axes.set_visible(False)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # pyright: ignore[reportAttributeAccessIssue]  # a class may be called $5
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in a script the font lacks is drawn as boxes
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _points(z_N2: ArrayLike) -> NDArray[np.float64]:
    z = np.asarray(z_N2, np.float64)
    if z.ndim != 2 or z.shape[1] != 2:
        raise ValueError(f"points of a map are N×2, got {z.shape}")
    return np.where(np.isfinite(z), z, np.nan)


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    v = np.asarray(values, np.float64).ravel()
    return v[np.isfinite(v)]


def _drawable(y_N: ArrayLike, logy: bool) -> NDArray[np.float64]:
    y = np.asarray(y_N, np.float64)
    return np.where(np.isfinite(y) & ((y > 0) | (not logy)), y, np.nan)


def _is_categorical(labels: NDArray[Any]) -> bool:
    return labels.dtype.kind in "iub" and len(np.unique(labels)) <= MOST_CLASSES


def _class_name(k: Any, names: Sequence[str]) -> str:
    return str(names[int(k)]) if 0 <= int(k) < len(names) else str(k)


def _look(i: int) -> dict[str, str]:
    return {"color": PALETTE[i % len(PALETTE)], "marker": MARKERS[i // len(PALETTE) % len(MARKERS)]}


def _dot(count: int) -> float:
    """Area of a dot in points²: crowds get small ones."""
    return float(np.clip(24_000 / max(count, 1), 4, 26))


def _draw_classes(figure: Figure, axes: Axes, z: NDArray[Any], y: NDArray[Any], names: Sequence[str]) -> None:
    from matplotlib.patheffects import withStroke

    classes = np.unique(y)
    size = _dot(len(z))
    for i, k in enumerate(classes):
        name = _class_name(k, names)
        axes.scatter(*z[y == k].T, s=size, alpha=0.75, linewidths=0, zorder=2, label=name, **_look(i))
    # the name at the middle of its class, so that colour is not the only way to tell them apart
    for k in classes if len(classes) > 1 else ():
        own = z[y == k]
        own = own[~np.isnan(own).any(axis=1)]
        if len(own):
            x, y_ = np.median(own, axis=0)
            halo = [withStroke(linewidth=3, foreground="white")]
            style = {"ha": "center", "va": "center", "fontsize": 11, "fontweight": "bold", "color": INK, "zorder": 4}
            axes.text(x, y_, _class_name(k, names), path_effects=halo, **style)
    look = {"frameon": False, "fontsize": 10, "markerscale": (42 / size) ** 0.5, "ncols": math.ceil(len(classes) / 24)}
    figure.legend(loc="outside right upper", **look)


def _draw_thumbnails(
    figure: Figure, axes: Axes, places_K2: ArrayLike, x_KCHW: ArrayLike, most: int | None = None
) -> None:
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    places, images = _points(places_K2), to_rgb(x_KCHW)
    if len(places) != len(images):
        raise ValueError(f"thumbnails are one image per place, got {len(images)} for {len(places)} places")
    zoom = THUMBNAIL / max(images.shape[1:3])
    frame = {"edgecolor": QUIET, "linewidth": 0.6, "boxstyle": "square,pad=0"}
    # OffsetImage enlarges by dpi / 72, and a thumbnail is to have so many pixels
    look = {"zoom": zoom * 72 / DPI, "interpolation": "nearest" if zoom >= 1 else "antialiased"}
    for i in _apart(figure, axes, places)[:most]:
        box = AnnotationBbox(OffsetImage(images[i], **look), tuple(places[i]), pad=0, bboxprops=frame, zorder=5)
        box.set_in_layout(False)  # else the axes would be moved for one at the edge, and others come to overlap
        axes.add_artist(box)


def _apart(figure: Figure, axes: Axes, places_K2: NDArray[np.float64]) -> list[int]:
    """Places, first come first served, at which thumbnails cover neither each other nor a text."""
    figure.draw_without_rendering()  # only now it is known which pixel a place is
    texts = [np.asarray(text.get_window_extent().get_points()) for text in axes.texts]  # corners, 2×2
    gap = THUMBNAIL + 4
    taken: list[NDArray[np.float64]] = []
    kept = []
    for i, pixel in enumerate(axes.transData.transform(places_K2)):
        near_text = any((np.abs(pixel - t.mean(0)) < (t[1] - t[0] + gap) / 2).all() for t in texts)
        if np.isfinite(pixel).all() and not near_text and not any((np.abs(pixel - t) < gap).all() for t in taken):
            taken.append(pixel)
            kept.append(i)
    return kept


def _draw_marked(axes: Axes, places_M2: ArrayLike, names: Sequence[str]) -> None:
    """Stars with their names, above everything else."""
    from matplotlib.patheffects import withStroke

    places = _points(places_M2)
    if len(places) != len(names):
        raise ValueError(f"marked places have one name each, got {len(names)} for {len(places)}")
    axes.scatter(*places.T, s=240, marker="*", color="#ffd400", edgecolors=INK, linewidths=1.0, zorder=7)
    for place, name in zip(places, names, strict=True):
        if np.isfinite(place).all():
            short = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
            look = {"fontsize": 10, "color": INK, "zorder": 7, "va": "center", "clip_on": False}
            halo = [withStroke(linewidth=3, foreground="white")]
            axes.annotate(short, tuple(place), (10, 0), textcoords="offset points", path_effects=halo, **look)


def _colour_bar(figure: Figure, mappable: Any, axes: Axes | list[Axes], name: str) -> None:
    bar = figure.colorbar(mappable, ax=axes, shrink=0.8, pad=0.02, aspect=28)
    bar.set_label(name, fontsize=10.5, color=INK)
    bar.ax.tick_params(labelsize=10, colors=QUIET, labelcolor=INK)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


def _plain_log_ticks(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_ylim()
    few = math.log10(high / low) < 2
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _same_view(axes: Axes, z: NDArray[np.float64]) -> None:
    finite = z[~np.isnan(z).any(axis=1)]
    if not len(finite):
        return
    low, high = finite.min(axis=0), finite.max(axis=0)
    middle, half = (low + high) / 2, float((high - low).max()) / 2 * 1.06 or 1.0
    axes.set_xlim(middle[0] - half, middle[0] + half)
    axes.set_ylim(middle[1] - half, middle[1] + half)
    axes.set_aspect("equal")
