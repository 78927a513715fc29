"""Checkpoints: one safetensors file each, with the rest of the state as JSON in its header.

One file, written to a temporary name, flushed to the disk and renamed, is either whole or not there. Nothing in it is
ever unpickled. A SHA-256 over tensors and state detects a damaged file.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from latentscape.errors import DiskFull, RunError


def write_atomically(path: Path, content: bytes) -> None:
    """Write so that `path` holds the old or the new content, never half of one. Raises `DiskFull`, `RunError`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise explain(error, path) from error


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def explain(error: OSError, path: Path) -> DiskFull | RunError:
    """An operating system's error while writing `path`, as one of ours."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull(f"no space is left to write {path}; free some and resume: what was written before is whole")
    return RunError(f"cannot write {path}: {error.strerror or error}; choose a folder you may write to")


def _digest(tensors: Mapping[str, Tensor], state: str) -> str:
    sha = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        t = tensors[name].contiguous()
        sha.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        sha.update(t.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


_NO_JSON = [{"float": word} for word in ("inf", "-inf", "nan")]


def to_json(value: Any, **options: Any) -> str:
    """JSON, which has no infinity and no NaN: such a number becomes {"float": "inf"}. `options`: of `json.dumps`."""
    return json.dumps(_as_json(value), allow_nan=False, **options)


def from_json(text: str) -> Any:
    """Read what `to_json` wrote. Raises `json.JSONDecodeError`."""
    return json.loads(text, object_hook=_number)


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _as_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(v) for v in value]
    return {"float": repr(value)} if isinstance(value, float) and not math.isfinite(value) else value


def _number(table: dict[str, Any]) -> Any:
    return float(table["float"]) if table in _NO_JSON else table


def save_state(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and a JSON state into one file, atomically."""
    plain = {k: v.detach().to("cpu").contiguous().clone() for k, v in tensors.items()}
    text = to_json(state)
    write_atomically(path, save(plain, {"state": text, "sha256": _digest(plain, text)}))


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_state` wrote. A damaged, cut or foreign file raises `RunError`."""
    try:
        with safe_open(path, "pt") as f:
            tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 (not a dict)
            header = f.metadata() or {}
        state = from_json(header["state"])
    except FileNotFoundError as error:
        raise RunError(f"{path} is not there") from error
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise RunError(f"{path} is damaged or cut short ({error}); remove it, and the one before it is used") from error
    if header.get("sha256") != _digest(tensors, header["state"]):
        raise RunError(
            f"{path} is damaged: its content does not match its checksum; remove it, and the one before it is used"
        )
    return tensors, state


def optimiser_state(optimiser: Optimizer, prefix: str, tensors: dict[str, Tensor]) -> list[dict[str, Any]]:
    """Put the optimiser's slots into `tensors` and return its groups (JSON)."""
    state = optimiser.state_dict()
    for i, slots in state["state"].items():
        for name, value in slots.items():
            if value is not None:
                tensors[f"{prefix}.{i}.{name}"] = torch.as_tensor(value)
    return state["param_groups"]


def restore_optimiser(optimiser: Optimizer, prefix: str, tensors: Mapping[str, Tensor], groups: list[Any]) -> None:
    """Inverse of `optimiser_state`.

    Restored moments take their parameter's strides: fused kernels pair storage in order, and a contiguous moment
    beside a channels_last parameter would train wrongly without a word.
    """
    params = [p for g in optimiser.param_groups for p in g["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(prefix + "."):
            i, name = key[len(prefix) + 1 :].split(".", 1)
            p = params[int(i)]
            if value.dim() and value.shape == p.shape:
                value = torch.empty_like(p, dtype=value.dtype).copy_(value)
            state.setdefault(int(i), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": groups})


def restore_module(module: nn.Module, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    """Copy parameters and buffers into the module, in place, keeping its strides."""
    own = {k[len(prefix) + 1 :]: v for k, v in tensors.items() if k.startswith(prefix + ".")}
    module.load_state_dict(own)


class CheckpointFolder:
    """`step-000000500.safetensors`, newest last; the newest `keep` stay."""

    def __init__(self, path: Path, keep: int) -> None:
        self.path, self.keep = path, keep

    def all(self) -> list[Path]:
        """Checkpoints by rising step."""
        return sorted(p for p in self.path.glob("step-*.safetensors") if re.fullmatch(r"step-\d+", p.stem))

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Path:
        """Write one and prune the oldest; a failed write leaves the others alone."""
        path = self.path / f"step-{step:09d}.safetensors"
        save_state(path, tensors, state)
        for old in self.all()[: -self.keep]:
            old.unlink(missing_ok=True)
        return path

    def keep_for_good(self, step: int, epoch: int) -> Path:
        """Give a checkpoint a second name, `epoch-0005.safetensors`, under which it stays."""
        path, there = self.path / f"epoch-{epoch:04d}.safetensors", self.path / f"step-{step:09d}.safetensors"
        path.unlink(missing_ok=True)
        try:
            path.hardlink_to(there)
        except OSError:  # a file system without links
            write_atomically(path, there.read_bytes())
        return path

    def newest(
        self, tell: Any = lambda text: None, *, after: int = -1
    ) -> tuple[Path, dict[str, Tensor], dict[str, Any]] | None:
        """The newest whole checkpoint of a step > `after`; damaged ones are passed over and told. None: no such one."""
        for path in reversed(self.all()):
            if int(path.stem.removeprefix("step-")) <= after:
                return None
            try:
                return path, *load_state(path)
            except RunError as error:
                tell(str(error))
        return None
