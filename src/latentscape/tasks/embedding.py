"""The latents of a set as numbers: to a file, and what a linear map and neighbours read off them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentscape.contract import Batch, Encodes, Model
from latentscape.data import ImageSet
from latentscape.data.batches import Gatherer, in_order
from latentscape.data.imageset import SPLITS
from latentscape.errors import ConfigError, DataError
from latentscape.latents import encode
from latentscape.metrics import latent, probe
from latentscape.runs import RunFolder
from latentscape.tasks import inputs, using
from latentscape.tasks.evaluating import KNN_TRAIN, is_own, load_for, pick_device
from latentscape.tasks.showing import Stage
from latentscape.training import heap
from latentscape.training.checkpoint import write_atomically

PROBE_TRAIN = 20_000
"""Most training latents that linear maps are fitted to."""

ENDINGS = (".npy", ".csv", ".parquet")

NO_ENCODER = "`project` finds the latents of pictures by optimisation"


# ---- latents of a set --------------------------------------------------------------------------------------------


def usable(folder: RunFolder, model: Model, images: ImageSet, split: str) -> Tensor:
    """Positions within a split of the examples that the model can encode: those with a label, where it reads one.

    Raises `DataError` where it reads labels and the set's are not its classes.
    """
    rows = images.indices(split)
    if not model.needs_labels:
        return torch.arange(len(rows))
    if not inputs.known_classes(folder, images):
        raise DataError(
            f"the model in {folder.path} reads labels, and {images.name} does not have its {model.classes} classes; "
            "give data labelled like the run's own"
        )
    assert images.labels is not None
    return (images.labels[rows] >= 0).nonzero()[:, 0]


def latents_of(model: Any, images: ImageSet, split: str, picks: Tensor, *, bf16: bool = False) -> Tensor:
    """Latents z_NL (posterior means) of the examples at given positions of a split, on the CPU."""
    device = pick_device(model)
    model.eval().to(device)
    try:
        source = Gatherer(images, split, model.value_range, device)
        if not len(picks):
            raise DataError(f"none of the {split} examples of {images.name} can be encoded, since none has a label")
        return encode.encode_all(model, in_order(source, picks=picks), bf16=bf16)[0]
    finally:
        model.to("cpu")


def encoded(model: Any, x_NX: Tensor, y_N: Tensor | None, *, bf16: bool = False) -> Tensor:
    """Latents z_NL of examples at hand, on the CPU."""
    parts = torch.arange(len(x_NX)).split(250)
    batches = (Batch(x_NX[p], None if y_N is None else y_N[p]) for p in parts)
    return encode.encode_all(model, batches, bf16=bf16)[0]


def labels_of(stage: Stage, given: inputs.Inputs, label: str | int | None) -> Tensor | None:
    """What examples are encoded and decoded under: the label asked for, else their own; None for a model without any.

    Raises `AbilityError` for a label that nothing reads, `ConfigError` where one is needed and not known.
    """
    if label is not None and label != "":
        stage.need_labels()
        return torch.full((len(given),), using.find_label(stage, label)[0])
    if stage.model.needs_labels and given.y is None:
        raise ConfigError(f"{stage.name} reads labels: say with --label what the pictures are")
    return given.y


def some_of(positions: Tensor, most: int) -> Tensor:
    """At most so many of the positions, drawn at random with seed 0, in order."""
    drawn = torch.randperm(len(positions), generator=torch.Generator().manual_seed(0))[:most]
    return positions[drawn.sort().values]


# ---- the command -------------------------------------------------------------------------------------------------


@heap.kept("cpu")
def embed(
    path: Path | str,
    pictures: Sequence[Path | str] = (),
    *,
    data: Any = None,
    split: str = "test",
    label: str | int | None = None,
    scores: bool = True,
    precision: str = "float32",
    out: Path | str | None = None,
) -> dict[str, Any]:
    """Write the latents of a set, or of pictures, and say what can be read off them.

    out: X.npy: float32 N×L; X.csv, X.parquet: a line for each example with its name, and as far as they are known its
    split, label and attributes, then z1 … zL; the run's pictures/latents.npy if None. split: train, valid, test or
    all; of other data than the run's own, all. label: what a model that reads labels is told of pictures. precision:
    "float32" or "bf16", see `latents.encode`; scores are read off float32. scores:
    `knn_accuracy` and `probe_accuracy` where the set has labels, and `r2` by attribute: fitted to training latents,
    read on the test part, or the validation part without one. Raises `UserError`.
    """
    folder = RunFolder(path)
    model = folder.load_model()
    stage = Stage(folder, model, None)  # type: ignore[arg-type]
    stage.need(Encodes, NO_ENCODER)
    target = Path(out) if out else folder.pictures_path / "latents.npy"
    if target.suffix.lower() not in ENDINGS:
        raise ConfigError(f"latents are written to X.npy, X.csv or X.parquet, got --out {target}")
    bf16 = using.in_bf16(precision)
    answer: dict[str, Any] = {"run": str(folder.path)}
    if pictures:
        given = inputs.examples(folder, model, pictures, data=data)
        z_NL, columns = encoded(model, given.x, labels_of(stage, given, label), bf16=bf16), {"name": list(given.names)}
        said = given.said
    else:
        images = load_for(folder, data)
        split = split if data is None or is_own(folder.config(), data) else "all"
        picks = usable(folder, model, images, split)
        z_NL = latents_of(model, images, split, picks, bf16=bf16)
        said = f"{len(picks):,} {split} examples of {images.name}"
        columns = _columns(images, images.indices(split)[picks], picks)
        answer |= {"split": split} | (_scores(folder, model, images) if scores else {})
    _write(target, z_NL, columns)
    return answer | {"of": said, "n": len(z_NL), "latent_dim": z_NL.shape[1], "out": str(target)}


def _columns(images: ImageSet, rows: Tensor, picks: Tensor) -> dict[str, list[Any]]:
    """What is known of examples by column; None where something is unknown."""
    parts = [SPLITS[code] for code in images.split[rows].tolist()]
    names = [str(i) for i in picks.tolist()] if images.files is None else [images.files[i] for i in rows.tolist()]
    columns: dict[str, list[Any]] = {"name": names, "split": parts}
    if images.labels is not None:
        columns["label"] = [images.label_names[k] if k >= 0 else None for k in images.labels[rows].tolist()]
    if images.attributes is not None:
        for name, column in zip(images.attribute_names, images.attributes[rows].unbind(1), strict=True):
            columns[name] = [None if v != v else v for v in column.tolist()]
    return columns


def _write(target: Path, z_NL: Tensor, columns: dict[str, list[Any]]) -> None:
    """Latents as an array, or as a table behind the columns, whole or not at all."""
    ending = target.suffix.lower()
    if ending == ".npy":
        using.write_array(target, z_NL)
        return
    whole: dict[str, Any] = {**columns, **{f"z{i + 1}": z for i, z in enumerate(z_NL.numpy().T)}}
    if ending == ".csv":
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(whole)
        writer.writerows(zip(*(map(_cell, column) for column in whole.values()), strict=True))
        write_atomically(target, text.getvalue().encode())
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table(whole), sink)
    write_atomically(target, sink.getvalue())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.9g}"  # nine digits give a float32 back exactly


# ---- what can be read --------------------------------------------------------------------------------------------


def _scores(folder: RunFolder, model: Model, images: ImageSet) -> dict[str, Any]:
    """Accuracies and R² with the counts they rest on; empty where there is nothing to fit to or to read."""
    held = next((s for s in ("test", "valid") if images.sizes()[s]), "")
    if not (held and images.sizes()["train"]) or (images.labels is None and images.attributes is None):
        return {}
    train, test = (some_of(usable(folder, model, images, s), PROBE_TRAIN) for s in ("train", held))
    z_train, z_test = latents_of(model, images, "train", train), latents_of(model, images, held, test)
    rows_train, rows_test = images.indices("train")[train], images.indices(held)[test]
    found: dict[str, Any] = {}
    if images.labels is not None:
        y_train, y_test = images.labels[rows_train], images.labels[rows_test]
        a, b = y_train >= 0, y_test >= 0
        if a.any() and b.any():
            known = (z_train[a], y_train[a], z_test[b], y_test[b])
            near = some_of(torch.arange(int(a.sum())), KNN_TRAIN)
            found["knn_accuracy"] = latent.knn_accuracy(known[0][near], known[1][near], *known[2:])
            found["probe_accuracy"] = probe.probe_accuracy(*known)
    if images.attributes is not None:
        both = (images.attributes[rows_train], images.attributes[rows_test])
        r2 = {name: _r2(z_train, both[0][:, i], z_test, both[1][:, i]) for i, name in enumerate(images.attribute_names)}
        found["r2"] = {name: value for name, value in r2.items() if value == value}
    return found | {"fitted_to": len(z_train), "read_on": len(z_test), "read_split": held}


def _r2(z_train: Tensor, a_train: Tensor, z_test: Tensor, a_test: Tensor) -> float:
    a, b = ~a_train.isnan(), ~a_test.isnan()
    return (
        probe.linear_r2(z_train[a], a_train[a], z_test[b], a_test[b]) if a.sum() > 1 and b.sum() > 1 else float("nan")
    )
