"""What is known of each example of a set besides its picture: a number or a yes and no, by name."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from latentscape.data import ImageSet
from latentscape.data import table as tables
from latentscape.errors import ConfigError, DataError


@dataclass(frozen=True)
class Attribute:
    """values: float32 N, NaN where unknown; 0 and 1 where the attribute has two values, else as the data has it."""

    name: str
    values: Tensor

    @property
    def known(self) -> Tensor:
        """Bool N."""
        return ~self.values.isnan()

    @property
    def is_binary(self) -> bool:
        """Whether it is a yes and no."""
        v = self.values[self.known]
        return bool(((v == 0) | (v == 1)).all())


def find(images: ImageSet, name: str, flag: str = "--attribute") -> Attribute:
    """An attribute of a set by its name, or a class as one: 1 for its examples, 0 for those of other classes.

    A column of text is called by the column's name where it has two values (gender for gender=male), and by name and
    value else. Of two values the larger counts as 1. Raises `ConfigError` for what the set does not know.
    """
    columns = [n for n in images.attribute_names if n == name] or [
        n for n in images.attribute_names if n.startswith(f"{name}=")
    ]
    if len(columns) > 1:
        raise ConfigError(f"{flag} must be one of {', '.join(columns)}, got {name!r}")
    if columns:
        assert images.attributes is not None
        return Attribute(columns[0], _two_valued(images.attributes[:, images.attribute_names.index(columns[0])]))
    if images.labels is not None and name in images.label_names:
        values = (images.labels == images.label_names.index(name)).float()
        return Attribute(name, torch.where(images.labels < 0, torch.nan, values))
    raise ConfigError(f"{flag} must be {_known(images)}, got {name!r}")


def with_table(images: ImageSet, table: Path | str) -> ImageSet:
    """The set with the attributes and labels that a CSV, TSV or Parquet table gives its files, in place of its own."""
    path = Path(table).expanduser()
    if path.suffix.lower() not in tables.SUFFIXES or not path.is_file():
        raise DataError(f"--table must be a .csv, .tsv or .parquet file that exists, got {table}")
    if images.files is None:
        raise DataError(f"--table names files, and {images.name} has none; use attributes of the data, or --with DIR")
    found = tables.join(path, images.files, "")
    if found is None:
        raise DataError(
            f"--table {table} must name the pictures of {images.name} in one of its columns, found none of them; the "
            f"first is {images.files[0]}"
        )
    return dataclasses.replace(
        images,
        labels=None if found.labels is None else torch.from_numpy(found.labels),
        label_names=found.label_names,
        attributes=None if found.attributes is None else torch.from_numpy(found.attributes),
        attribute_names=found.attribute_names,
    )


def _two_valued(values_N: Tensor) -> Tensor:
    """−1 and 1, or 1 and 2, as 0 and 1; other attributes as they are."""
    there = values_N[~values_N.isnan()].unique()
    return values_N if len(there) != 2 else torch.where(values_N.isnan(), torch.nan, (values_N == there[1]).float())


def _known(images: ImageSet) -> str:
    listed = [", ".join(names[:20]) + (", …" if len(names) > 20 else "") for names in _names(images)]
    kinds = [
        f"{words} of {images.name} ({names})"
        for words, names in zip(("an attribute", "a class"), listed, strict=True)
        if names
    ]
    return " or ".join(kinds) or f"in a table given with --table, since {images.name} has neither attributes nor labels"


def _names(images: ImageSet) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return images.attribute_names, images.label_names if images.labels is not None else ()
