"""Data: whatever holds pictures or vectors becomes an `ImageSet`. Names load on first use, so importing is cheap."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentscape.data.fetching import fetch as fetch
    from latentscape.data.imageset import Findings as Findings
    from latentscape.data.imageset import ImageSet as ImageSet
    from latentscape.data.imageset import describe as describe
    from latentscape.data.imageset import to_range as to_range
    from latentscape.data.load import load_data as load_data
    from latentscape.data.names import NAMES as NAMES
    from latentscape.data.settings import DataSettings as DataSettings

_HOMES = {
    "NAMES": "names",
    "DataSettings": "settings",
    "Findings": "imageset",
    "ImageSet": "imageset",
    "describe": "imageset",
    "fetch": "fetching",
    "load_data": "load",
    "to_range": "imageset",
}

__all__ = ["NAMES", "DataSettings", "Findings", "ImageSet", "describe", "fetch", "load_data", "to_range"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
