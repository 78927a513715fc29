"""Weights from elsewhere into a model: whole or part by part, from runs and from files that another program wrote."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from latentscape.contract import Model
from latentscape.errors import ConfigError, RunError
from latentscape.runs import RunFolder
from latentscape.training import foreign

Sources = str | Path | Mapping[str, str | Path]
"""A run folder or file of weights for the whole model, or one for each part: `{"generator": "G.pt"}`, as text
`generator=G.pt,discriminator=RUN`."""

_PAIR = re.compile(r"[A-Za-z_][\w.]*=")


@dataclass(frozen=True)
class Adopted:
    """What one source gave: `part` ("" for the whole model), how its tensors were matched, and to how many.

    sha256: of the file; empty for a run folder, where "equal" says that tensors of equal name and shape were taken.
    """

    part: str
    path: str
    how: Literal["name", "order", "equal"]
    tensors: int
    of: int
    sha256: str = ""

    @property
    def said(self) -> str:
        """One sentence for the user."""
        whose = f" of {self.part}" if self.part else ""
        if self.how == "equal":
            return f"Took {self.tensors} of {self.of} tensors from {self.path}."
        matched = (
            ", matched by the order of layers, their kinds and their shapes, since the names differ"
            if self.how == "order"
            else ""
        )
        return f"Took all {self.tensors} tensors{whose} from {self.path}{matched}."


def sources(given: Sources) -> dict[str, Path]:
    """Part ("" for the whole model) → where its weights are. A part named twice or without a path: `ConfigError`."""
    if isinstance(given, Mapping):
        return {part: Path(path) for part, path in given.items()}
    text = str(given)
    if not _PAIR.match(text) or Path(text).exists():
        return {"": Path(text)}
    found: dict[str, Path] = {}
    for pair in re.split(rf",(?={_PAIR.pattern})", text):
        part, _, path = pair.partition("=")
        if part in found or not path:
            why = "is named twice" if part in found else "has no path"
            raise ConfigError(f"weights are given as part=path, part=path, and {part} {why} in {text!r}")
        found[part] = Path(path)
    return found


def as_text(given: Sources) -> str:
    """The sources with whole paths, as a run's record keeps them; `sources` reads it back."""
    return ",".join(
        f"{part}={path.resolve()}" if part else str(path.resolve()) for part, path in sources(given).items()
    )


def adopt(model: Model, given: Sources) -> list[Adopted]:
    """Copy weights into the model's parts and say what was taken.

    A run folder for the whole model gives every tensor of equal name and shape, at least one. Everything else must
    fit as a whole: each tensor of the part (or model) gets one, see `training.foreign`. Raises `ConfigError` for a
    part that the model does not have, `RunError` for weights that cannot be read or do not fit.
    """
    took = []
    for part, path in sources(given).items():
        if not part and not path.is_file() and path.suffix not in foreign.ENDINGS:
            took.append(_from_run(model, RunFolder(path)))
        else:
            took.append(_into_part(model, part, path))
    return took


def untouched(model: Model, took: list[Adopted]) -> list[str]:
    """The model's parts (its direct modules) that hold tensors and that no source reached, not even in part."""
    reached = [a.part for a in took]
    if "" in reached:
        return []
    return [name for name in parts(model) if not any(part.split(".")[0] == name for part in reached)]


def parts(model: Model) -> list[str]:
    """The direct modules of the model that hold tensors."""
    return [name for name, module in model.named_children() if module.state_dict()]


def _from_run(model: Model, folder: RunFolder) -> Adopted:
    saved, own = _renamed(model, folder.load_model().state_dict()), model.state_dict()
    fitting = {k: v for k, v in saved.items() if k in own and own[k].shape == v.shape}
    if not fitting:
        raise RunError(f"no weight of {folder.path} fits this model; --init-from needs a run with the same nets")
    model.load_state_dict(own | fitting)
    return Adopted("", str(folder.path), "equal", len(fitting), len(own))


def _renamed(model: Model, saved: dict[str, Tensor]) -> dict[str, Tensor]:
    """Another model's tensors as this one takes them: `Model.takes`, then `Model.adapted`."""
    named_here = {
        here + name[len(there) :]: value
        for name, value in saved.items()
        for there, here in model.takes.items()
        if name.startswith(there)
    }
    return model.adapted(named_here | saved)


def _into_part(model: Model, part: str, path: Path) -> Adopted:
    """All tensors of one part, from a file or a run folder."""
    module, called = _module(model, part), part or "this model"
    if path.is_dir():
        weights, digest = foreign.Weights(_renamed(model, RunFolder(path).load_model().state_dict())), ""
    else:
        weights = foreign.read(path)
        with open(path, "rb") as f:
            digest = hashlib.file_digest(f, "sha256").hexdigest()
    own = module.state_dict()
    try:
        fit = foreign.fit(own, weights, called, str(path))
    except RunError as error:
        hint = f"; weights of a part alone are given as {parts(model)[0]}={path.name}" if not part else ""
        raise RunError(f"{error}{hint}") from error
    given = {name: weights.tensors[there] for name, there in fit.names.items()}
    for name, there in fit.names.items():
        if not bool(torch.isfinite(given[name]).all()):
            raise RunError(f"{there} in {path} holds values that are not finite numbers; give weights that are whole")
    module.load_state_dict(own | given)
    count = len([name for name in fit.names if not name.endswith(foreign.COUNTER)])
    return Adopted(part, str(path), fit.how, count, count, digest)


def _module(model: Model, part: str) -> torch.nn.Module:
    try:
        module = model.get_submodule(part)
    except AttributeError as error:
        raise ConfigError(f"this model has no part {part!r}; its parts are {', '.join(parts(model))}") from error
    if not module.state_dict():
        raise ConfigError(f"{part} holds no weights to replace; the parts that do are {', '.join(parts(model))}")
    return module
