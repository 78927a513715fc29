"""Values for settings, made from what the settings declare about themselves."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any, Literal


def hints(settings: type) -> dict[str, Any]:
    return typing.get_type_hints(settings)


def base(hint: Any) -> Any:
    """The type without `| None` and `tuple[…, ...]`."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return base(next(h for h in typing.get_args(hint) if h is not type(None)))
    return base(typing.get_args(hint)[0]) if typing.get_origin(hint) is tuple else hint


def just_outside(f: dataclasses.Field, hint: Any) -> list[Any]:
    """For each declared bound the nearest value beyond it, in the field's own type."""
    whole = base(hint) is int
    out = []
    for kind, bound in f.metadata.get("bounds", {}).items():
        if kind in ("above", "below"):
            value = bound
        else:
            away = -math.inf if kind == "at_least" else math.inf
            value = bound + (1 if away > 0 else -1) if whole else math.nextafter(bound, away)
        value = int(value) if whole else float(value)
        out.append((value,) if typing.get_origin(hint) is tuple else value)
    return out


def inside(f: dataclasses.Field, hint: Any) -> list[Any]:
    """For each declared bound the outermost allowed value."""
    whole = base(hint) is int
    out = []
    for kind, bound in f.metadata.get("bounds", {}).items():
        if kind in ("above", "below"):
            away = math.inf if kind == "above" else -math.inf
            value = bound + (1 if away > 0 else -1) if whole else math.nextafter(bound, away)
        else:
            value = bound
        value = int(value) if whole else float(value)
        out.append((value,) if typing.get_origin(hint) is tuple else value)
    return out


def another(settings: type) -> dict[str, Any]:
    """Another allowed value than the default for every field."""
    out: dict[str, Any] = {}
    for f in dataclasses.fields(settings):
        hint = hints(settings)[f.name]
        kind = base(hint)
        bounds = f.metadata.get("bounds", {})
        if typing.get_origin(kind) is Literal:
            value = next(v for v in typing.get_args(kind) if v != f.default)
            out[f.name] = (value,) if typing.get_origin(hint) is tuple else value
        elif kind is bool:
            out[f.name] = not f.default
        elif kind in (int, float):
            low = bounds.get("at_least", bounds.get("above", 0))
            high = bounds.get("at_most", bounds.get("below", low + 20))
            value = kind(low + (high - low) / 2) if kind is float else int(low) + 1
            value = value if value != f.default else value + (1 if kind is int else (high - low) / 8)
            out[f.name] = (value, value) if typing.get_origin(hint) is tuple else value
    return out
