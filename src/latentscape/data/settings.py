"""How data is read: the settings that travel with a run, so that resuming reads the same pictures again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from latentscape.config import LARGEST_SEED, Settings, setting
from latentscape.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DataSettings(Settings):
    """How to read a data set."""

    size: str = setting("", "target size, 64 (square) or 48x64 (height x width); empty: as found, where all agree")
    fit: Literal["crop", "pad", "stretch"] = setting(
        "crop", "other aspects: resize the short side and centre-crop, resize the long side and pad black, or stretch"
    )
    mode: Literal["auto", "grey", "rgb"] = setting(
        "auto", "colour mode; auto: a folder is grey when every picture is grey, arrays stay as they are"
    )
    labels: str = setting("", "CSV, TSV or Parquet table of labels, attributes or split per file name")
    label_column: str = setting("", "the table's column that holds the label; empty: label or class, if there is one")
    label_attribute: str = setting(
        "",
        "an attribute of two values as the label, in place of any other: class yes where it is 1 (or its larger "
        "value), no where it is 0",
    )
    valid_fraction: float = setting(
        -1.0, "share held out for validation; -1: 0.1, or none for sets with a fixed test split", at_least=-1, below=1
    )
    test_fraction: float = setting(
        -1.0, "share held out for testing; -1: 0.1, or the set's own test split", at_least=-1, below=1
    )
    binarise: Literal["none", "dynamic", "fixed"] = setting(
        "none", "grey images as Bernoulli draws: dynamic redraws every training batch, fixed draws once"
    )
    flip: Literal["none", "horizontal", "vertical", "both"] = setting(
        "none", "training images mirrored left to right, upside down or each of both, half of them, anew every batch"
    )
    max_shift: int = setting(
        0,
        "training images moved by up to so many pixels each way, anew every batch; edges repeat the border",
        at_least=0,
    )
    only_classes: str = setting(
        "", "keep the pictures of these classes alone, in every split: names, separated by commas; empty: all"
    )
    labelled: int = setting(
        0, "keep so many training labels, equally many of each class, and hide the rest; 0: all", at_least=0
    )
    labelled_seed: int = setting(0, "which labels are kept", at_least=0, at_most=LARGEST_SEED)
    stream: bool = setting(
        False,
        "tar shards: examples are decoded as they are trained on, for sets larger than the disk; a part of each split "
        "is packed to look at; needs size",
    )
    limit: int = setting(0, "use at most so many images of each split, chosen by content; 0: all", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size and not re.fullmatch(r"[1-9]\d{0,4}([x×][1-9]\d{0,4})?", self.size.strip()):
            raise ConfigError(f"--size must be 64 (square) or 48x64 (height x width), got {self.size!r}")
        if self.only_classes and not self.only_classes.replace(",", "").strip():
            raise ConfigError(f"--only-classes must name at least one class, got {self.only_classes!r}")
        if self.label_attribute and self.label_column:
            raise ConfigError(
                f"--label-attribute and --label-column both say what the label is, got {self.label_attribute!r} and "
                f"{self.label_column!r}; leave one out"
            )
        for flag, value in (("valid", self.valid_fraction), ("test", self.test_fraction)):
            if -1 < value < 0:
                raise ConfigError(f"--{flag}-fraction must be -1 (the default) or at least 0 and below 1, got {value}")
        if max(self.valid_fraction, 0) + max(self.test_fraction, 0) >= 1:
            raise ConfigError(
                f"--valid-fraction and --test-fraction must add up to less than 1 so that training images remain, "
                f"got {self.valid_fraction} and {self.test_fraction}"
            )

    @property
    def target(self) -> tuple[int, int] | None:
        """(height, width) that pictures are brought to; None: as found."""
        if not self.size:
            return None
        sides = [int(s) for s in re.split("[x×]", self.size.strip())]
        return sides[0], sides[-1]
