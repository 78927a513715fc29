"""Weights that another program saved: read without running anything in them, and fitted to a net by name or by order.

A file is PyTorch's (`torch.save` of a state dict, or of nested dicts with one inside, as Lightning writes) or
safetensors. Its nesting is flattened to dotted names, so that a state dict inside `state_dict`, `generator` or `module`
is one more prefix. A net takes the tensors under one prefix whose names are its own; failing that, those under one
prefix whose layers have the same kinds and shapes in the same order, which is what the numbers of two `nn.Sequential`
with different layers in between leave of one architecture.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from latentscape.errors import RunError

ENDINGS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
"""What files of weights are commonly called; what they are is told by content."""

COUNTER = "num_batches_tracked"
"""BatchNorm's counter, which older files do not have and which no output depends on."""

_WRAPPER = "_orig_mod"
"""The attribute that `torch.compile` puts between a module and its own names, wherever it was called."""

_KINDS = ("weight", "bias", "running_mean", "running_var")
"""The order in which the tensors of one layer are compared."""


@dataclass(frozen=True)
class Weights:
    """Tensors by dotted name. `ordered`: they stand in the order in which their modules were made."""

    tensors: dict[str, Tensor]
    ordered: bool = True


@dataclass(frozen=True)
class Fit:
    """How a net takes weights: own name → name there, found by equal names or by the order of layers."""

    names: dict[str, str]
    how: Literal["name", "order"]


# ---- reading ---------------------------------------------------------------------------------------------------


def read(path: Path) -> Weights:
    """The tensors of a file of weights, on the CPU. Nothing in the file is run.

    Raises `RunError` for a file that is missing, damaged, holds no named tensors, or needs more than tensors, numbers,
    texts, lists and dicts to be unpickled.
    """
    try:
        with open(path, "rb") as f:
            head = f.read(9)
    except FileNotFoundError as error:
        raise RunError(f"there is no file of weights {path}; give the path of one, or of a run folder") from error
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror or error}); check its permissions") from error
    weights = _read_safetensors(path) if head[8:] == b"{" else _read_torch(path)
    if not weights.tensors:
        raise RunError(f"{path} holds no named tensors; save a state dict: torch.save(model.state_dict(), FILE)")
    return weights


def _read_safetensors(path: Path) -> Weights:
    try:
        with safe_open(path, "pt") as f:
            names = sorted(f.keys(), key=_natural)
            return Weights({_plain(name): f.get_tensor(name) for name in names}, ordered=False)
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(f"{path} is damaged or cut short ({error}); fetch or save it again") from error


def _read_torch(path: Path) -> Weights:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that are refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise RunError(_refusal(path, str(error))) from error
    except (RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError, AttributeError, struct.error) as error:
        if "TorchScript" in str(error):
            raise RunError(
                f"{path} is a TorchScript program, which is never run; save the weights alone: "
                "torch.save(model.state_dict(), FILE)"
            ) from error
        raise RunError(
            f"{path} is damaged, cut short or no file of weights; give one written by torch.save or safetensors"
        ) from error
    return Weights(dict(_flat(content, "", set())))


def _refusal(path: Path, said: str) -> str:
    """Why a pickle is not read, with the name of what it asks for if PyTorch tells it."""
    asked = re.search(r"GLOBAL (\S+)", said)
    what = f"the object {asked[1]}" if asked else "objects"
    return (
        f"{path} holds {what} beside tensors, and unpickling objects can run any program; save the weights alone where "
        "you trust the file: torch.save(model.state_dict(), FILE)"
    )


def _flat(content: Any, prefix: str, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor below a dict of dicts, under its dotted name; other values, and an optimiser's lists, are left.

    `seen`: dicts gone through, since a file can make one that holds itself.
    """
    if not isinstance(content, Mapping) or id(content) in seen:
        return
    seen.add(id(content))
    for name, value in content.items():
        if not isinstance(name, str):
            continue
        if isinstance(value, Tensor):
            if _is_plain(value):
                yield _plain(prefix + name), value.detach()
        else:
            yield from _flat(value, f"{prefix}{name}.", seen)


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != _WRAPPER)


def _is_plain(x: Tensor) -> bool:
    """Whether it is numbers in memory: not sparse, quantised, or a shape without values."""
    return x.layout == torch.strided and x.device.type == "cpu" and not x.is_quantized and not x.is_nested


# ---- fitting ---------------------------------------------------------------------------------------------------


def fit(own: Mapping[str, Tensor], weights: Weights, part: str, source: str) -> Fit:
    """Which tensor of `weights` each of `own` takes.

    own: the net's state dict, in its modules' order. part, source: what net and weights are called in messages; where
    several prefixes fit, the one that has the part's last name in it is meant. Raises `RunError` with the first tensor
    that does not fit, or if it cannot be told which of several sets is meant.
    """
    wanted = [name for name in own if not name.endswith(COUNTER)]
    trees = _trees(weights)
    for how, find in (("name", _by_name), ("order", _by_order)):
        found = {}
        for prefix, names in trees.items():
            pairs = find(own, wanted, weights, prefix, names)
            if pairs:
                found.setdefault(tuple(pairs.values()), (prefix, pairs))
        if found:
            pairs = _meant(list(found.values()), part, source)
            beside = {
                name: there
                for name in own
                if name.endswith(COUNTER) and (there := _counter(pairs, name)) in weights.tensors
            }
            return Fit(pairs | beside, how)  # type: ignore[arg-type]
    raise RunError(_mismatch(own, wanted, weights, trees, part, source))


def _trees(weights: Weights) -> dict[str, list[str]]:
    """Every prefix of the names ("" and all that end in a dot) → the names under it, without counters."""
    trees: dict[str, list[str]] = {}
    for name in weights.tensors:
        if not name.endswith(COUNTER):
            for prefix in ("", *(name[: m.end()] for m in re.finditer(r"\.", name))):
                trees.setdefault(prefix, []).append(name)
    return trees


def _by_name(
    own: Mapping[str, Tensor], wanted: list[str], weights: Weights, prefix: str, names: list[str]
) -> dict[str, str] | None:
    pairs = {name.removeprefix(prefix): name for name in names}
    if pairs.keys() != set(wanted) or any(not _alike(own[k], weights.tensors[v]) for k, v in pairs.items()):
        return None
    return {name: pairs[name] for name in wanted}


def _by_order(
    own: Mapping[str, Tensor], wanted: list[str], weights: Weights, prefix: str, names: list[str]
) -> dict[str, str] | None:
    if len(names) != len(wanted) or not (weights.ordered or _is_numbered(names)):
        return None
    pairs = dict(zip(_layerwise(wanted), _layerwise(names), strict=True))
    fits = all(_kind(a) == _kind(b) and _alike(own[a], weights.tensors[b]) for a, b in pairs.items())
    return pairs if fits else None


def _alike(own: Tensor, other: Tensor) -> bool:
    """Whether one can be copied into the other: the same shape, both of numbers with a fraction or both without."""
    return own.shape == other.shape and own.is_floating_point() == other.is_floating_point()


def _meant(found: list[tuple[str, dict[str, str]]], part: str, source: str) -> dict[str, str]:
    named = [pairs for prefix, pairs in found if part.split(".")[-1] in prefix.split(".")]
    if len(found) == 1 or len(named) == 1:
        return (named or [pairs for _, pairs in found])[0]
    places = " and ".join(repr(prefix.rstrip(".") or "its top") for prefix, _ in found[:3])
    raise RunError(
        f"{source} holds several sets of weights that fit {part}, under {places}; save the one you mean alone"
    )


def _kind(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _counter(pairs: Mapping[str, str], name: str) -> str:
    """Where the counter beside a layer's other tensors would be."""
    there = next((v for k, v in pairs.items() if _layer(k) == _layer(name)), "")
    return f"{_layer(there)}.{COUNTER}"


def _layerwise(names: Iterable[str]) -> list[str]:
    """Names in the order of their layers' first tensors, within a layer weight, bias, running mean, …"""
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(_layer(name), []).append(name)

    def rank(name: str) -> tuple[int, str]:
        kind = _kind(name)
        return (_KINDS.index(kind) if kind in _KINDS else len(_KINDS)), kind

    return [name for layer in layers.values() for name in sorted(layer, key=rank)]


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sorting key under which `layers.4` stands before `layers.12`."""
    return [(1, int(p), "") if p.isdigit() else (0, 0, p) for p in re.split(r"(\d+)", name)]


def _is_numbered(names: list[str]) -> bool:
    """Whether numbers alone tell one layer from the next, so that they give the order that the file has not kept."""
    layers = list(dict.fromkeys(map(_layer, names)))
    for a, b in pairwise(layers):
        first = next(((s, t) for s, t in zip_longest(a.split("."), b.split("."), fillvalue="") if s != t), ("", ""))
        stems = [re.sub(r"\d+$", "", s) for s in first]
        if stems[0] != stems[1] or stems[0] in first:
            return False
    return True


def _mismatch(
    own: Mapping[str, Tensor],
    wanted: list[str],
    weights: Weights,
    trees: dict[str, list[str]],
    part: str,
    source: str,
) -> str:
    """The first tensor that does not fit, in the set of weights that fits furthest."""
    mine = _layerwise(wanted)

    def common(names: list[str]) -> int:
        theirs = _layerwise(names)
        fits = (_kind(a) == _kind(b) and _alike(own[a], weights.tensors[b]) for a, b in zip(mine, theirs, strict=False))
        return next((i for i, fit in enumerate(fits) if not fit), min(len(mine), len(theirs)))

    last = part.split(".")[-1]
    best = max(trees, key=lambda p: (common(trees[p]), last in p.split("."), -abs(len(trees[p]) - len(mine))))
    theirs, at = _layerwise(trees[best]), common(trees[best])
    if at == len(mine) == len(theirs):
        return (
            f"{source} is a safetensors file, which keeps no order, and its names are neither those of {part} nor "
            "numbered; save the weights with torch.save, or under this net's names"
        )
    here = f"{mine[at]} of {_size(own[mine[at]])}" if at < len(mine) else "nothing more"
    there = f"{theirs[at]} of {_size(weights.tensors[theirs[at]])}" if at < len(theirs) else "nothing more"
    return (
        f"{source} does not fit {part}: expected {here}, found {there}; choose the settings of the net that the "
        "weights are from"
    )


def _size(x: Tensor) -> str:
    return ("×".join(map(str, x.shape)) or "one number") + ("" if x.is_floating_point() else f" ({x.dtype})")
