"""What an exported model says of itself: `card.json`, read and checked before anything is served."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentscape.errors import UserError

FORMAT = 1
FILES = ("encoder.onnx", "decoder.onnx", "discriminator.onnx")
"""Names that a card may have; nothing else in the folder is opened."""

MOST_VALUES = 1 << 24
"""Most values of one example and of one latent."""

PRIVATE = ("made",)
"""What is not told over the network: a command line has folders of the machine that trained."""


@dataclass(frozen=True)
class Card:
    """The checked parts of a card. `shape` is C×H×W or D; `value_range` None means real numbers."""

    name: str
    shape: tuple[int, ...]
    value_range: tuple[float, float] | None
    latent_dim: int
    labels: tuple[str, ...]
    prior_mean_L: np.ndarray | None
    prior_std_L: np.ndarray | None
    score_quantiles: np.ndarray | None
    score_n: int
    files: dict[str, str]
    raw: dict[str, Any]

    @property
    def is_picture(self) -> bool:
        """Whether examples are pictures: C×H×W of one or three channels, and of a known range."""
        return len(self.shape) == 3 and self.shape[0] in (1, 3) and self.value_range is not None

    def public(self) -> dict[str, Any]:
        """The card as it is told over the network."""
        told = {key: value for key, value in self.raw.items() if key not in PRIVATE}
        if isinstance(told.get("data"), str):
            told["data"] = told["data"].replace("\\", "/").rstrip("/").rpartition("/")[2]
        return told

    def to_unit(self, x_BX: np.ndarray) -> np.ndarray:
        """Values of the model → [0, 1]; real numbers stay."""
        if self.value_range is None:
            return x_BX
        low, high = self.value_range
        return (x_BX - np.float32(low)) / np.float32(high - low)

    def from_unit(self, x_BX: np.ndarray) -> np.ndarray:
        """[0, 1] → values of the model."""
        assert self.value_range is not None
        low, high = self.value_range
        return x_BX * np.float32(high - low) + np.float32(low)


def read_card(folder: Path) -> Card:
    """Read and check `card.json`. Raises `UserError` where there is none or where it is damaged."""
    path = folder / "card.json"
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"{folder} has no card.json, so it is no exported model; latentscape export RUN --out {folder} makes one"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(folder, f"it cannot be read: {type(error).__name__}") from None
    if isinstance(raw, dict) and raw.get("format") != FORMAT:
        raise UserError(
            f"the card of {folder} has format {str(raw.get('format'))[:20]}, and this latentscape reads {FORMAT}; "
            "export the run again with the latentscape that serves it"
        )
    try:
        return _checked(raw)
    except _Wrong as wrong:
        raise _damaged(folder, str(wrong)) from None


def read_file(folder: Path, name: str, digest: str) -> bytes:
    """A model file's bytes, compared with the card's SHA-256. Raises `UserError` where they differ."""
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UserError(f"{name} of {folder} cannot be read ({why}); export the run again") from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise UserError(f"{name} of {folder} is damaged: its SHA-256 is not the card's; copy or export it again")
    return data


class _Wrong(Exception):
    """What is wrong with a card, in a few words."""


def _damaged(folder: Path, why: str) -> UserError:
    return UserError(f"card.json of {folder} is damaged ({why}); copy or export the run again")


def _checked(raw: Any) -> Card:
    if not isinstance(raw, dict):
        raise _Wrong("it holds no JSON object")
    latent_dim = _whole(raw, "latent_dim")
    shape = tuple(raw["shape"]) if isinstance(raw.get("shape"), list) else ()
    if len(shape) not in (1, 3) or not all(_is_whole(s) for s in shape) or math.prod(shape) > MOST_VALUES:
        raise _Wrong("shape must be [C, H, W] or [D]")
    labels = raw.get("labels") or []
    if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
        raise _Wrong("labels must be a list of names")
    classes = raw.get("classes") or 0
    if not isinstance(classes, int) or not 0 <= classes <= MOST_VALUES or (labels and len(labels) != classes):
        raise _Wrong("classes must be the number of labels")
    mean, std = _prior(raw.get("prior"), latent_dim)
    quantiles, n = _score(raw.get("score"))
    return Card(
        name=str(raw.get("name", "model"))[:200],
        shape=shape,
        value_range=_range(raw.get("value_range")),
        latent_dim=latent_dim,
        labels=tuple(labels) or tuple(map(str, range(classes))),
        prior_mean_L=mean,
        prior_std_L=std,
        score_quantiles=quantiles,
        score_n=n,
        files=_files(raw.get("files")),
        raw=raw,
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_VALUES


def _whole(raw: dict[str, Any], name: str) -> int:
    if not _is_whole(raw.get(name)):
        raise _Wrong(f"{name} must be a whole number above 0")
    return raw[name]


def _vector(values: Any, length: int, what: str) -> np.ndarray:
    try:
        vector = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        vector = np.empty(0)
    if vector.shape != (length,) or not np.isfinite(vector).all():
        raise _Wrong(f"{what} must be {length} numbers")
    return vector


def _prior(prior: Any, latent_dim: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    if prior is None:
        return None, None
    if not isinstance(prior, dict) or prior.get("kind") != "normal":
        raise _Wrong("prior must be of kind normal")
    mean = _vector(prior.get("mean"), latent_dim, "prior.mean")
    std = _vector(prior.get("std"), latent_dim, "prior.std")
    if (std < 0).any():
        raise _Wrong("prior.std must not be negative")
    return mean, std


def _score(score: Any) -> tuple[np.ndarray | None, int]:
    if score is None:
        return None, 0
    if not isinstance(score, dict) or score.get("kind") != "reconstruction_mse":
        raise _Wrong("score must be of kind reconstruction_mse")
    quantiles = _vector(score.get("quantiles"), 101, "score.quantiles")
    if (np.diff(quantiles) < 0).any():
        raise _Wrong("score.quantiles must ascend")
    return quantiles, _whole(score, "n")


def _range(pair: Any) -> tuple[float, float] | None:
    if pair is None:
        return None
    low, high = _vector(pair, 2, "value_range")
    if low >= high:
        raise _Wrong("value_range must ascend")
    return float(low), float(high)


def _files(files: Any) -> dict[str, str]:
    if not isinstance(files, dict) or not files or not set(files) <= set(FILES):
        raise _Wrong(f"files must be of {', '.join(FILES)}")
    digests = {name: entry.get("sha256") for name, entry in files.items() if isinstance(entry, dict)}
    if len(digests) < len(files) or not all(isinstance(d, str) and len(d) == 64 for d in digests.values()):
        raise _Wrong("every file must have its sha256")
    return {name: str(digest) for name, digest in digests.items()}
