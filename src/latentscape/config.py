"""Settings: frozen dataclasses in which a constraint is declared once.

A field made with `setting` carries its help text and its range. The same declaration validates the value,
words the error, documents the range on the command line, and generates bad values for the tests.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from latentscape.errors import ConfigError

ValueRange = Literal["unit", "signed", "real"]
"""What a model expects its input in and gives its output in: [0, 1], [-1, 1], or unbounded.

Images stored as uint8 are scaled to it: `unit` and `real` divide by 255, `signed` divides by 127.5 and subtracts 1."""

S = TypeVar("S", bound="Settings")


LARGEST_SEED = 2**32 - 1
"""Seeds up to this one can be mixed with epochs and positions in 64 bits."""


def setting(
    default: Any,
    help: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    in_steps: bool = False,
) -> Any:
    """A dataclass field with its one-line help and the range that its value (or each of its values) must lie in.

    in_steps: the value counts training steps, so that it shrinks and grows with a run that is scaled.
    """
    bounds = {"at_least": at_least, "above": above, "at_most": at_most, "below": below}
    kept = {k: v for k, v in bounds.items() if v is not None}
    return field(default=default, metadata={"help": help, "bounds": kept, "in_steps": in_steps})


_HOLDS = {
    "at_least": lambda value, bound: value >= bound,
    "above": lambda value, bound: value > bound,
    "at_most": lambda value, bound: value <= bound,
    "below": lambda value, bound: value < bound,
}
_WORDS = {"at_least": "at least", "above": "above", "at_most": "at most", "below": "below"}


def range_words(f: dataclasses.Field) -> str:
    """The field's range in words: `at least 0 and below 1`; empty if it has none."""
    return " and ".join(f"{_WORDS[k]} {v}" for k, v in f.metadata.get("bounds", {}).items())


def flag(name: str) -> str:
    """The command-line spelling of a setting: `latent_dim` → `--latent-dim`."""
    return "--" + name.replace("_", "-")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of every group of settings. Raises `ConfigError` on a value out of its declared range or type."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for f in dataclasses.fields(self):
            _check_type(f, hints[f.name], getattr(self, f.name))
            _check_range(f, getattr(self, f.name))

    @classmethod
    def from_dict(cls: type[S], values: Mapping[str, Any]) -> S:
        """Build from plain values (a TOML table). Unknown names and wrong types raise `ConfigError`."""
        known = {f.name for f in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"
                raise ConfigError(f"there is no setting {name!r} here{hint}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, complete, in declaration order, ready for TOML or JSON."""
        pairs = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        return {name: list(value) if isinstance(value, tuple) else value for name, value in pairs}

    def scaled(self: S, scale: float) -> S:
        """A copy whose settings that count steps are multiplied by `scale`; what was above 0 stays at least 1."""
        counted = [f.name for f in dataclasses.fields(self) if f.metadata.get("in_steps")]
        return self.replace(**{n: max(1, round(scale * getattr(self, n))) for n in counted if getattr(self, n)})

    def replace(self: S, **changes: Any) -> S:
        """A copy with some values changed, validated again."""
        return dataclasses.replace(self, **changes)


def _check_range(f: dataclasses.Field, value: Any) -> None:
    for v in value if isinstance(value, tuple) else (value,):
        if isinstance(v, bool) or not isinstance(v, (int, float)):
            continue
        if isinstance(v, float) and not math.isfinite(v):
            words = " and ".join(filter(None, (range_words(f), "finite")))
            raise ConfigError(f"{flag(f.name)} must be {words}, got {v}")
        if not all(_HOLDS[k](v, b) for k, b in f.metadata.get("bounds", {}).items()):
            raise ConfigError(f"{flag(f.name)} must be {range_words(f)}, got {v}")


def _matches(hint: Any, value: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin is Literal:
        return value in typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_matches(h, value) for h in typing.get_args(hint))
    if origin is tuple:
        return isinstance(value, tuple) and all(_matches(typing.get_args(hint)[0], v) for v in value)
    if hint in (int, float):
        return isinstance(value, (int, float) if hint is float else int) and not isinstance(value, bool)
    return hint is Any or isinstance(value, hint)


def _check_type(f: dataclasses.Field, hint: Any, value: Any) -> None:
    if _matches(hint, value):
        return
    if typing.get_origin(hint) is Literal:
        raise ConfigError(f"{flag(f.name)} must be one of {', '.join(map(str, typing.get_args(hint)))}; got {value!r}")
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    raise ConfigError(f"{flag(f.name)} must be {words.get(hint, hint)}, got {value!r}")


@dataclass(frozen=True)
class DataShape:
    """The shape of one example: (channels, height, width) for an image, (length,) for a vector."""

    dims: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.dims) not in (1, 3) or any(d < 1 for d in self.dims):
            raise ConfigError(f"a shape is C×H×W for images or one length for vectors, all at least 1; got {self}")

    @property
    def is_image(self) -> bool:
        """Whether one example is an image (three dimensions) rather than a vector."""
        return len(self.dims) == 3

    @property
    def size(self) -> int:
        """Number of values in one example: C·H·W or the vector's length."""
        return math.prod(self.dims)

    @classmethod
    def parse(cls, text: str) -> DataShape:
        """Read `1x28x28` (C×H×W), `28x28` (grey) or `2` (a vector). Raises `ConfigError`."""
        if not re.fullmatch(r"\d+([x×]\d+){0,2}", text.strip()):
            raise ConfigError(f"a shape is written 3x64x64 (C×H×W), 28x28 (grey) or 2 (a vector); got {text!r}")
        dims = tuple(int(d) for d in re.split("[x×]", text.strip()))
        return cls((1, *dims) if len(dims) == 2 else dims)

    def __str__(self) -> str:
        return "×".join(map(str, self.dims)) if self.is_image else f"vector of {'×'.join(map(str, self.dims))}"
