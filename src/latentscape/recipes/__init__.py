"""Recipes: one TOML file each, named after what it shows; `latentscape reproduce NAME` runs it."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any

from latentscape.errors import ConfigError

REQUIRED = {"title", "row", "model", "data", "settings", "show"}


def paths() -> dict[str, Path]:
    """Recipe name → file."""
    return {p.stem: p for p in sorted(Path(__file__).parent.glob("*.toml"))}


def read(name: str) -> dict[str, Any]:
    """A recipe by name, or a path to a user's own. Raises `ConfigError`."""
    path = paths().get(name) or Path(name)
    if not path.is_file():
        near = difflib.get_close_matches(name, list(paths()), 1)
        raise ConfigError(
            f"there is no recipe {name!r}; "
            + (
                f"did you mean {near[0]}?"
                if near
                else "`latentscape recipes` lists them, or give the path of a .toml file"
            )
        )
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} is not a readable recipe: {error}") from error
    if missing := REQUIRED - set(recipe):
        raise ConfigError(
            f"the recipe {path.name} lacks {', '.join(sorted(missing))}; a recipe has {', '.join(sorted(REQUIRED))}"
        )
    return recipe
