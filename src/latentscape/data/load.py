"""One door for all data: a name, a path, an array."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from latentscape.data.finish import finish
from latentscape.data.imageset import ImageSet
from latentscape.data.names import NAMES, named
from latentscape.data.raw import Raw
from latentscape.data.recognise import ACCEPTED, is_pattern, recognise
from latentscape.data.settings import DataSettings
from latentscape.errors import DataError


def load_data(
    data: str | Path | np.ndarray | Tensor | tuple[Any, Any] | ImageSet,
    settings: DataSettings | None = None,
    *,
    progress: bool = False,
) -> ImageSet:
    """Read a data set.

    data: a name (`NAMES`; a folder called like one is ./digits), hf:owner/name for a set on the Hugging Face hub, a
        path to whatever `recognise` knows, an array or tensor (N×H×W, N×H×W×C, N×C×H×W pixels or N×D vectors), a pair
        (examples, labels), or an `ImageSet`, which is returned as it is.
    settings: size, colour mode, split and the rest; the defaults if None.
    progress: show a bar on standard error while files are decoded, if that is a terminal.

    Raises `DataError` in one sentence for anything that is missing, damaged or not what was said; `DiskFull` where
    the packed cache of a folder does not fit.
    """
    if isinstance(data, ImageSet):
        return data
    settings = settings or DataSettings()
    if isinstance(data, (str, Path)):
        return _load_text(data, settings, progress)
    from latentscape.data.sources.arrays import load_memory

    if settings.stream:
        raise DataError("--stream is for tar shards, but the data is an array; leave it out")
    settings = _without_table(settings, "an array")
    return finish(load_memory(data), settings)


def _load_text(data: str | Path, settings: DataSettings, progress: bool) -> ImageSet:
    if settings.stream:
        return _load_stream(data, settings, progress)
    if name := named(data):
        settings = _without_table(settings, name)
        return finish(load_named(name, settings, progress=progress), settings)
    if isinstance(data, str) and data.startswith("hf:"):
        from latentscape.data.sources.huggingface import load_hub

        settings = _without_table(settings, data)
        return finish(load_hub(data, settings, progress=progress), settings)
    path = Path(data).expanduser()
    try:
        there = bool(str(data).strip()) and path.exists()
    except (OSError, ValueError):
        there = False
    if not there and not is_pattern(str(data)):
        raise DataError(_not_there(data))
    kind = recognise(path) if there else "shards"
    if kind == "folder":
        from latentscape.data.sources.folder import load_folder

        return finish(load_folder(path, settings, progress=progress), settings)
    settings = _without_table(settings, path.name)
    return finish(_load_file(kind, path, settings, progress), settings)


def _load_stream(data: str | Path, settings: DataSettings, progress: bool) -> ImageSet:
    from latentscape.data.streaming import load_stream

    path = Path(data).expanduser()
    shards = is_pattern(str(data)) or (not named(data) and path.exists() and recognise(path) == "shards")
    if not shards:
        what = f"the data is {data}" if named(data) or path.exists() else _not_there(data)
        raise DataError(
            f"--stream is for tar shards (a .tar file, a folder of them, or shards-{{000..099}}.tar); {what}"
        )
    return load_stream(data, settings, progress=progress)


def load_named(name: str, settings: DataSettings, *, progress: bool = False) -> Raw:
    """One of `NAMES`; the settings are for those that are decoded into the packed cache."""
    if name == "celeba":
        from latentscape.data.sources.celeba import load_by_name

        return load_by_name(settings, progress=progress)
    if name == "digits":
        from latentscape.data.sources.digits import load_digits as load
    elif name == "shapes":
        from latentscape.data.sources.shapes import load_shapes as load
    elif name == "curves":
        from latentscape.data.sources.curves import load_curves as load
    elif name == "stacked-mnist":
        from latentscape.data.sources.mnist import load_stacked as load
    else:
        from latentscape.data.sources.mnist import load_mnist

        return load_mnist(name)
    return load()


def _load_file(kind: str, path: Path, settings: DataSettings, progress: bool) -> Raw:
    from latentscape.data.sources import arrays, folder, idx

    if kind == "shards":
        from latentscape.data.sources.shards import load_shards

        return load_shards(path, settings, progress=progress)
    if kind == "celeba":
        from latentscape.data.sources import celeba

        layout = celeba.find_celeba(path)
        assert layout is not None
        return celeba.load_celeba(layout, settings, progress=progress)
    if kind == "picture":
        return folder.load_picture(path, settings)
    if kind in ("parquet", "parquet-folder"):
        from latentscape.data.sources.parquet import load_parquet

        return load_parquet(path, settings, progress=progress)
    readers = {
        "npy": arrays.load_npy,
        "npz": arrays.load_npz,
        "idx-file": idx.load_idx_file,
        "idx-folder": idx.load_idx_folder,
    }
    return readers[kind](path)


def _without_table(settings: DataSettings, what: str) -> DataSettings:
    if settings.labels:
        raise DataError(f"--labels is for folders of pictures, but the data is {what}; leave it out")
    return settings


def _not_there(data: str | Path) -> str:
    text = " ".join(str(data).split())
    near = difflib.get_close_matches(text.lower(), NAMES, 3, 0.5)
    path = Path(text).expanduser()
    beside: list[str] = []
    with contextlib.suppress(OSError, ValueError):
        if path.name:
            beside = difflib.get_close_matches(path.name, sorted(os.listdir(path.parent))[:10_000], 3)
    close = [*near, *(str(path.with_name(name)) for name in beside)]
    if re.fullmatch(r"[\w.-]+/[\w.-]+", text) and not close:
        return (
            f"there is no data set and no path {text!r}; if it is one on the Hugging Face hub, it is called hf:{text}"
        )
    hint = f"; did you mean {' or '.join(close)}?"
    if not close:
        hint = f"; names are {', '.join(NAMES)}; a path may be {ACCEPTED}"
    return f"there is no data set and no path {text!r}{hint}"
