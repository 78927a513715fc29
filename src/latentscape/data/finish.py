"""The last step for every source: an attribute as the label, classes alone, split, limit, binarise, fingerprint."""

from __future__ import annotations

import difflib
import hashlib
import json

import numpy as np
import torch
from torch import Tensor

from latentscape.data.adapt import adapt
from latentscape.data.imageset import ImageSet
from latentscape.data.raw import Raw
from latentscape.data.settings import DataSettings
from latentscape.data.split import TRAIN, assign_split, choose, digests_of, leaked
from latentscape.errors import DataError

BINARISE_SEED = 1
"""Seed of the one draw that "fixed" takes for every image, and "dynamic" for validation and test images."""


def finish(raw: Raw, settings: DataSettings) -> ImageSet:
    """Make the `ImageSet` that `settings` ask for."""
    _check(raw, settings)
    if settings.label_attribute:
        label_by(raw, settings.label_attribute)
    if settings.only_classes:
        _keep_classes(raw, settings.only_classes)
    digests = digests_of(raw.x) if raw.digests is None else raw.digests
    split = assign_split(digests, raw.split, settings)
    if raw.split is not None and (both := leaked(digests, split)):
        raw.findings.notes.append(f"{both:,} of the set's own test examples also stand in its training part")
    if settings.limit:
        kept = choose(digests, split, settings.limit)
        if len(kept) < len(split):
            _take(raw, kept)
            digests, split = digests[kept], split[kept]
    if not raw.x.is_floating_point() and (adapted := adapt(raw.x, settings)) is not raw.x:
        raw.x, digests = adapted, digests_of(adapted)
    if settings.max_shift and settings.max_shift >= min(raw.x.shape[2:]):
        raise DataError(
            f"--max-shift must be less than either side of the images of {raw.name}, which are {raw.x.shape[2]} x "
            f"{raw.x.shape[3]} pixels; got {settings.max_shift}"
        )
    if settings.labelled:
        _hide_labels(raw, split, settings)
    split_N = torch.from_numpy(split)
    raw.findings.used = len(split)
    return ImageSet(
        name=raw.name,
        x=_binarised(raw.x, split_N, settings.binarise),
        split=split_N,
        fingerprint=_fingerprint(raw, digests, split, settings),
        labels=None if raw.labels is None else torch.from_numpy(raw.labels),
        label_names=raw.label_names,
        attributes=None if raw.attributes is None else torch.from_numpy(raw.attributes),
        attribute_names=raw.attribute_names,
        files=raw.files,
        findings=raw.findings,
        binarise=settings.binarise,
        flip=settings.flip,
        max_shift=settings.max_shift,
        cache_path=raw.cache_path,
    )


def _check(raw: Raw, settings: DataSettings) -> None:
    if not len(raw.x):
        raise DataError(f"{raw.name} holds no examples; at least one is needed")
    if 0 in raw.x.shape:
        raise DataError(f"{raw.name} holds examples without any values (shape {'×'.join(map(str, raw.x.shape))})")
    if raw.labels is not None and len(raw.labels) != len(raw.x):
        raise DataError(f"{raw.name} must have one label per example, found {len(raw.labels):,} for {len(raw.x):,}")
    if raw.x.is_floating_point():
        for flag, given in (
            ("--size", settings.size),
            ("--mode", settings.mode != "auto"),
            ("--flip", settings.flip != "none"),
            ("--max-shift", settings.max_shift),
        ):
            if given:
                raise DataError(f"{flag} is for images, but {raw.name} holds vectors of {raw.x.shape[1]}; leave it out")
        if settings.binarise != "none":
            raise DataError(f"--binarise is for grey images, but {raw.name} holds vectors; leave it out")


def label_by(raw: Raw, asked: str) -> None:
    """Make an attribute of two values the label: "yes" for the larger, "no" for the smaller, none where it is unknown.

    A column of text with two values goes by the column's name (gender for gender=male), as in every other command.
    """
    names = raw.attribute_names
    column = next((n for n in names if n == asked), "")
    if not column:
        columns = [n for n in names if n.startswith(f"{asked}=")]
        if len(columns) != 1:
            raise DataError(_no_attribute(raw, asked, columns))
        column = columns[0]
    assert raw.attributes is not None
    values_N = raw.attributes[:, names.index(column)]
    known_N = ~np.isnan(values_N)
    found = np.unique(values_N[known_N])
    if len(found) != 2:
        raise DataError(
            f"--label-attribute must be an attribute of two values, and {column} of {raw.name} has {len(found):,}"
        )
    raw.labels, raw.label_names = np.where(known_N, values_N == found[1], -1).astype(np.int64), ("no", "yes")
    yes, no = int((raw.labels == 1).sum()), int((raw.labels == 0).sum())
    unknown = f", {len(values_N) - yes - no:,} unknown" if yes + no < len(values_N) else ""
    raw.findings.notes.append(f"the label is {column}: {yes:,} yes, {no:,} no{unknown}")


def _no_attribute(raw: Raw, asked: str, columns: list[str]) -> str:
    if columns:
        return f"--label-attribute must be one of {', '.join(columns)}, got {asked!r}"
    if not raw.attribute_names:
        return f"--label-attribute makes an attribute the label, and {raw.name} has none; leave it out"
    assert raw.attributes is not None
    known = zip(raw.attribute_names, raw.attributes.T, strict=True)
    two = [name for name, values_N in known if len(np.unique(values_N[~np.isnan(values_N)])) == 2]
    near = difflib.get_close_matches(asked, two, 1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return (
        f"--label-attribute must be an attribute of {raw.name} that has two values, got {asked!r}{hint}; there are "
        f"{', '.join(two) or 'none'}"
    )


def _keep_classes(raw: Raw, asked: str) -> None:
    """Leave the examples of some classes alone, which are then all the classes there are, numbered anew from 0.

    The label of a single class says nothing, so that the set then has none.
    """
    names = list(dict.fromkeys(name.strip() for name in asked.split(",") if name.strip()))
    if raw.labels is None:
        raise DataError(f"--only-classes chooses by a set's labels, and {raw.name} has none; leave it out")
    if unknown := [name for name in names if name not in raw.label_names]:
        there = ", ".join(raw.label_names[:20]) + (", …" if len(raw.label_names) > 20 else "")
        raise DataError(f"--only-classes must be names of the classes of {raw.name} ({there}), got {unknown[0]!r}")
    names = [name for name in raw.label_names if name in names]
    number = np.full(len(raw.label_names) + 1, -1, np.int64)  # the last place is that of -1, no label
    number[[raw.label_names.index(name) for name in names]] = np.arange(len(names))
    labels = number[raw.labels]
    kept = np.flatnonzero(labels >= 0)
    if not len(kept):
        raise DataError(f"--only-classes {asked} leaves no example of {raw.name}; choose others")
    raw.findings.notes.append(f"{len(kept):,} of {len(labels):,} are kept, those of {_listed(names)}")
    raw.labels = labels
    _take(raw, kept)
    raw.split = None if raw.split is None else raw.split[kept]
    raw.digests = None if raw.digests is None else raw.digests[kept]
    raw.label_names = tuple(names)
    if len(names) == 1:
        raw.labels, raw.label_names = None, ()


def _listed(names: list[str]) -> str:
    return f"class {names[0]}" if len(names) == 1 else f"the classes {', '.join(names)}"


def _take(raw: Raw, kept: np.ndarray) -> None:
    raw.x = raw.x.index_select(0, torch.from_numpy(kept))
    raw.labels = None if raw.labels is None else raw.labels[kept]
    raw.attributes = None if raw.attributes is None else raw.attributes[kept]
    raw.files = None if raw.files is None else tuple(raw.files[i] for i in kept)


def _hide_labels(raw: Raw, split: np.ndarray, settings: DataSettings) -> None:
    """Keep `settings.labelled` training labels, the same number of each class, drawn at random; the others become -1.

    Labels that are not kept are unknown to everything that sees the set, so that no model can use them by mistake.
    """
    if raw.labels is None:
        raise DataError(f"--labelled keeps some of a set's labels, and {raw.name} has none; leave it out")
    each, over = divmod(settings.labelled, len(raw.label_names))
    if over or not each:
        raise DataError(
            f"--labelled must be a multiple of the {len(raw.label_names)} classes of {raw.name}, so that each keeps as "
            f"many labels; got {settings.labelled}"
        )
    rng, labels = np.random.default_rng(settings.labelled_seed), raw.labels.copy()
    labels[split == TRAIN] = -1
    for k, name in enumerate(raw.label_names):
        have = np.flatnonzero((raw.labels == k) & (split == TRAIN))
        if len(have) < each:
            raise DataError(
                f"--labelled {settings.labelled} needs {each:,} training labels of each class, and {name} of "
                f"{raw.name} has {len(have):,}; ask for fewer"
            )
        labels[rng.choice(have, each, replace=False)] = k
    raw.labels = labels
    raw.findings.notes.append(f"{settings.labelled:,} of the training labels are kept, {each:,} of each class")


def _binarised(x: Tensor, split_N: Tensor, binarise: str) -> Tensor:
    """0 or 255 with probability pixel/255 where asked; the draw depends on nothing but the position in the set."""
    if binarise == "none":
        return x
    if x.shape[1] != 1:
        raise DataError(f"--binarise {binarise} needs grey images, found {x.shape[1]} channels; add --mode grey")
    x = x.clone()
    rng = torch.Generator().manual_seed(BINARISE_SEED)
    for start in range(0, len(x), 4096):
        part = x[start : start + 4096]
        drawn = (torch.rand(part.shape, generator=rng) * 255 < part).to(torch.uint8) * 255
        keep_grey = (split_N[start : start + 4096] == TRAIN) if binarise == "dynamic" else torch.zeros(len(part)).bool()
        x[start : start + 4096] = torch.where(keep_grey[:, None, None, None], part, drawn)
    return x


def _fingerprint(raw: Raw, digests: np.ndarray, split: np.ndarray, settings: DataSettings) -> str:
    """Of what a model can see: shape, content, labels, attributes, split and binarisation, in order."""
    known = [list(raw.x.shape), str(raw.x.dtype), raw.label_names, raw.attribute_names, settings.binarise]
    state = hashlib.blake2b(json.dumps(known).encode(), digest_size=16)
    for part, kind in ((digests, "u1"), (split, "u1"), (raw.labels, "<i8"), (raw.attributes, "<f4")):
        state.update(b"|" if part is None else np.ascontiguousarray(part, dtype=kind).tobytes())
    return state.hexdigest()
