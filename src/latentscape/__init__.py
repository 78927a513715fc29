"""latentscape: train, measure, look into and use latent-variable models of images.

The public names are imported when first used, so that `import latentscape` is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from latentscape.version import __version__

_HOME = {
    "load_data": "latentscape.data",
    "ImageSet": "latentscape.data",
    "DataSettings": "latentscape.data",
    "train": "latentscape.api",
    "resume": "latentscape.api",
    "reproduce": "latentscape.api",
    "evaluate": "latentscape.tasks.evaluating",
    "sample": "latentscape.tasks.using",
    "reconstruct": "latentscape.tasks.using",
    "project": "latentscape.tasks.projecting",
    "interpolate": "latentscape.tasks.walking",
    "traverse": "latentscape.tasks.walking",
    "grid": "latentscape.tasks.planes",
    "transfer": "latentscape.tasks.transferring",
    "combine": "latentscape.tasks.arithmetic",
    "move": "latentscape.tasks.arithmetic",
    "draw_map": "latentscape.tasks.mapping",
    "embed": "latentscape.tasks.embedding",
    "denoise": "latentscape.tasks.denoising",
    "detect": "latentscape.tasks.detecting",
    "compare": "latentscape.tasks.comparing",
    "push": "latentscape.tasks.hub",
    "pull": "latentscape.tasks.hub",
    "import_weights": "latentscape.tasks.importing",
    "load_run": "latentscape.runs",
    "RunFolder": "latentscape.runs",
    "LatentscapeError": "latentscape.errors",
}

__all__ = [  # noqa: RUF022 (in reading order)
    "load_data",
    "train",
    "resume",
    "reproduce",
    "evaluate",
    "sample",
    "reconstruct",
    "project",
    "interpolate",
    "traverse",
    "grid",
    "transfer",
    "combine",
    "move",
    "draw_map",
    "embed",
    "denoise",
    "detect",
    "compare",
    "push",
    "pull",
    "import_weights",
    "load_run",
    "ImageSet",
    "DataSettings",
    "RunFolder",
    "LatentscapeError",
    "__version__",
]

if TYPE_CHECKING:
    from latentscape.api import reproduce, resume, train
    from latentscape.data import DataSettings, ImageSet, load_data
    from latentscape.errors import LatentscapeError
    from latentscape.runs import RunFolder, load_run
    from latentscape.tasks.arithmetic import combine, move
    from latentscape.tasks.comparing import compare
    from latentscape.tasks.denoising import denoise
    from latentscape.tasks.detecting import detect
    from latentscape.tasks.embedding import embed
    from latentscape.tasks.evaluating import evaluate
    from latentscape.tasks.hub import pull, push
    from latentscape.tasks.importing import import_weights
    from latentscape.tasks.mapping import draw_map
    from latentscape.tasks.planes import grid
    from latentscape.tasks.projecting import project
    from latentscape.tasks.transferring import transfer
    from latentscape.tasks.using import reconstruct, sample
    from latentscape.tasks.walking import interpolate, traverse


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'latentscape' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
