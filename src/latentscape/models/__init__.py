"""One file per model; the file's name is the model's name on the command line.

Discovery reads file names and docstrings without importing anything heavy. Packages add models through the
entry-point group `latentscape.models`: each entry names a module with a class `Model`.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentscape.errors import ConfigError

if TYPE_CHECKING:
    from latentscape.config import DataShape
    from latentscape.contract import Model

GROUP = "latentscape.models"


@cache
def modules() -> dict[str, str]:
    """Model name → module, the package's own and those of other packages."""
    own = {p.stem: f"{__name__}.{p.stem}" for p in sorted(Path(__file__).parent.glob("[!_]*.py"))}
    others = {e.name: e.value for e in importlib.metadata.entry_points(group=GROUP)}
    return others | own


def summaries() -> dict[str, str]:
    """Model name → first line of its module's docstring, read without importing it."""
    found = {}
    for name, module in modules().items():
        spec = importlib.util.find_spec(module)
        source = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
        found[name.replace("_", "-")] = (ast.get_docstring(ast.parse(source)) or "").split("\n")[0]
    return found


def model_class(name: str) -> type[Model]:
    """The model's class; an unknown name raises `ConfigError` with the near ones."""
    found = modules().get(name.replace("-", "_"))
    if found is None:
        known = [n.replace("_", "-") for n in modules()]
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        raise ConfigError(f"there is no model {name!r}; {hint}")
    return importlib.import_module(found).Model


def build(name: str, shape: DataShape, config: Any, classes: int = 0, seed: int = 0) -> Model:
    """A freshly initialised model; the same seed gives the same weights and leaves the global generator alone."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model_class(name)(shape, config, classes)
