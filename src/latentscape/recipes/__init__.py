"""Recipes: one TOML file each, named after what it shows; `latentscape reproduce NAME` runs it.

title, row, model, data, settings     what is trained (`settings`: any training, model or data setting)
[[show]]        what: a picture's name; its options; beside: a companion whose picture stands beside it
[[companion]]   name, model, settings, data (else the recipe's): another run that is trained for comparison
[evaluate]      samples, importance_samples: how much the evaluation takes
[[film]]        what, options: a picture drawn again and again while the run trains; every_steps, every_epochs or both;
                collage: [rows, columns] of its frames, as one picture beside the film
init_from                             the recipe whose run this one starts from

Recipes that start from each other make a chain: a file in chains/ with title, row and stages, the recipes in order;
`reproduce` runs it as it runs a recipe.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from latentscape.errors import ConfigError

REQUIRED = {"title": str, "row": str, "model": str, "data": str, "settings": dict, "show": list}
OPTIONAL = {"companion": list, "evaluate": dict, "film": list, "init_from": str}
CHAIN = {"title": str, "row": str, "stages": list}
COMPANION = {"name": str, "model": str, "settings": dict, "data": str}
EVALUATE = {"samples": int, "importance_samples": int}
FILM = {"what": str, "every_steps": int, "every_epochs": int, "options": dict, "collage": object}
KINDS = {str: "a text", dict: "a table", list: "a list of tables", int: "a whole number"}


def paths() -> dict[str, Path]:
    """Recipe name → file."""
    return {p.stem: p for p in sorted(Path(__file__).parent.glob("*.toml"))}


def chains() -> dict[str, Path]:
    """Name of a chain → file."""
    return {p.stem: p for p in sorted((Path(__file__).parent / "chains").glob("*.toml"))}


def stages(name: str) -> list[str]:
    """The recipes of a chain in their order; none for a name that is no chain's."""
    return list(chain(name)["stages"]) if name in chains() else []


def chain(name: str) -> dict[str, Any]:
    """The chain of that name: title, row, stages."""
    table = tomllib.loads(chains()[name].read_text(encoding="utf-8"))
    _check_table(table, f"the chain {name}", CHAIN, CHAIN)
    return table


def chain_of(recipe: str) -> str:
    """The chain that a recipe is a later stage of; empty: none."""
    return next((name for name in chains() if recipe in stages(name)[1:]), "")


def read(name: str) -> dict[str, Any]:
    """A recipe by name, or a path to a user's own; `companion`, `evaluate`, `film` and `init_from` are always there.

    Raises `ConfigError` for one that is missing, unreadable, or has keys that it should not have.
    """
    path = paths().get(name) or Path(name)
    if not path.is_file():
        near = difflib.get_close_matches(name, [*paths(), *chains()], 1)
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
    return checked(recipe, path.name)


def checked(recipe: dict[str, Any], name: str) -> dict[str, Any]:
    """The recipe with empty optional entries where it has none. Raises `ConfigError`."""
    _check_table(recipe, f"the recipe {name}", REQUIRED | OPTIONAL, REQUIRED)
    recipe = {"companion": [], "evaluate": {}, "film": [], "init_from": "", **recipe}
    for companion in _tables(recipe, "companion", name):
        _check_table(companion, f"a companion in {name}", COMPANION, ("name", "model"))
        if not re.fullmatch(r"[\w.-]*\w", companion["name"]):
            raise ConfigError(
                f"a companion's name in {name} is also its folder's, so it must be made of letters, digits, . _ and -, "
                f"got {companion['name']!r}"
            )
    _check_table(recipe["evaluate"], f"the table evaluate in {name}", EVALUATE, ())
    for film in _tables(recipe, "film", name):
        _check_table(film, f"a film in {name}", FILM, ("what",))
    _check_values(recipe, name)
    return recipe


def _check_values(recipe: dict[str, Any], name: str) -> None:
    companions = [c["name"] for c in recipe["companion"]]
    if len(set(companions)) < len(companions):
        raise ConfigError(f"the companions in {name} must have different names, got {', '.join(companions)}")
    for show in _tables(recipe, "show", name):
        if not isinstance(show.get("what"), str):
            raise ConfigError(f"an entry of show in {name} lacks what, the name of a picture")
        if show.get("beside", "") not in ("", *companions):
            raise ConfigError(
                f"beside in {name} must name a companion ({', '.join(companions) or 'there is none'}), "
                f"got {show['beside']!r}"
            )
    for key, value in recipe["evaluate"].items():
        if value < 0:
            raise ConfigError(f"{key} in {name} must be at least 0, got {value}")
    for film in recipe["film"]:
        _check_film(film, name)


def _check_film(film: dict[str, Any], name: str) -> None:
    intervals = {key: film[key] for key in ("every_steps", "every_epochs") if key in film}
    if not intervals:
        raise ConfigError(f"a film in {name} lacks every_steps or every_epochs")
    for key, value in intervals.items():
        if value < 1:
            raise ConfigError(f"{key} in {name} must be at least 1, got {value}")
    shape = film.get("collage", [1, 1])
    is_pair = isinstance(shape, list) and len(shape) == 2
    if not is_pair or not all(type(side) is int and side >= 1 for side in shape):
        raise ConfigError(f"collage in {name} must be rows and columns, at least 1 each, as [5, 5], got {shape}")


def _tables(recipe: dict[str, Any], key: str, name: str) -> list[dict[str, Any]]:
    if not all(isinstance(entry, dict) for entry in recipe[key]):
        raise ConfigError(f"{key} in {name} must be a list of tables, each headed [[{key}]]")
    return recipe[key]


def _check_table(table: dict[str, Any], what: str, known: dict[str, type], needed: Iterable[str]) -> None:
    """Keys that are missing, unknown or of the wrong type raise `ConfigError`."""
    if missing := sorted(set(needed) - set(table)):
        raise ConfigError(f"{what} lacks {', '.join(missing)}; it has {', '.join(known)}")
    if unknown := sorted(set(table) - set(known)):
        raise ConfigError(f"{what} has an unknown key {unknown[0]!r}; the keys are {', '.join(known)}")
    for key, value in table.items():
        if not isinstance(value, known[key]) or isinstance(value, bool):
            raise ConfigError(f"{key} of {what} must be {KINDS[known[key]]}, got {value!r}")
