"""An export folder: written whole or not at all, and never over anything that is not an export."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentscape.errors import DiskFull, LatentscapeError, RunError
from latentscape.runs import RunFolder
from latentscape.training.checkpoint import to_json

CARD = "card.json"

FORMAT = 1
"""Of `card.json`: raised when a program that reads it must be changed."""


def target_of(run: RunFolder, out: Path | str | None, kind: str, force: bool) -> Path:
    """Where an export goes: `out`, or exports/NAME-onnx, exports/NAME-web.

    A place that holds anything is refused (`RunError`), unless it is an export, which `force` replaces.
    """
    target = Path(out) if out else Path("exports") / f"{run.name or 'run'}-{kind}"
    _refuse(target, force)
    return target


def _refuse(target: Path, force: bool) -> None:
    if not os.path.lexists(target):
        return
    if not target.is_dir() or target.is_symlink():
        raise RunError(f"{target} is there and is no folder; choose another --out")
    if not any(target.iterdir()):
        return
    contents = _contents(target)
    if contents is None:
        raise RunError(f"{target} holds other files; choose another --out, an empty or a new folder")
    found = {p.relative_to(target).as_posix() for p in target.rglob("*") if not p.is_dir() or p.is_symlink()}
    if strange := sorted(found - contents):
        raise RunError(f"{target} is an export that also holds {strange[0]}; move that away, or choose another --out")
    if not force:
        raise RunError(f"{target} holds an export already; choose another --out, or replace it with --force")


def _contents(target: Path) -> set[str] | None:
    """The names that an export says it is made of; None for a folder that is no export."""
    try:
        card = json.loads((target / CARD).read_text(encoding="utf-8"))
        named = {str(name) for name in card["contents"]} | {CARD}
        return named if isinstance(card["format"], int) and "latentscape" in card else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(target: Path, files: Mapping[str, bytes], card: dict[str, Any], *, force: bool = False) -> None:
    """Write files (relative POSIX path → content) and the card beside them, which then lists them as `contents`.

    They are written to a folder beside the target, flushed to the disk, and renamed; what fails leaves nothing behind
    and an old export as it was. Raises `DiskFull`, `RunError`.
    """
    listed = card | {"contents": sorted([*files, CARD])}
    whole = dict(files) | {CARD: (to_json(listed, indent=1, ensure_ascii=False) + "\n").encode()}
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}.part"
    made: list[Path] = []
    try:
        made = _make_parents(target.parent)
        for name, content in whole.items():
            _write_file(temporary / name, content)
        _put(temporary, target, force)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise _explain(error, target) from error
        raise


def _explain(error: OSError, target: Path) -> LatentscapeError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull(f"no space is left to write {target}; free some, or give another disk with --out")
    return RunError(f"cannot write {target}: {error.strerror or error}; give a place you may write to with --out")


def _make_parents(folder: Path) -> list[Path]:
    """Make a folder and those above it; the ones that were not there, outermost first."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()][::-1]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())


def _put(temporary: Path, target: Path, force: bool) -> None:
    """Rename the new folder into place; an old export goes first to a name beside it, then away."""
    _refuse(target, force)  # another process may have written there meanwhile
    old = temporary.with_suffix(".old")
    if target.exists():
        target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
