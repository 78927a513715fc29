"""What comes in: JSON or a picture's bytes → arrays that the nets take, or a refusal before anything runs."""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latentscape.serve.card import Card
from latentscape.serve.exported import FARTHEST, Arrays
from latentscape.web.limits import Limits
from latentscape.web.refusals import Refused, validation_sentence
from latentscape.web.uploads import MEDIA_TYPES, fit_picture, open_picture

JSON = "application/json"

LARGEST_SEED = 2**53 - 1
"""The largest whole number that every reader of JSON keeps."""

Label = Annotated[int | str, Field(union_mode="left_to_right")]
B = TypeVar("B", bound="Body")

_LABELS = "class by name or number: one for all examples, or a list with one for each; models without labels take none"


class Body(BaseModel):
    """What all bodies have in common: nothing unknown, nothing converted, labels."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    labels: Label | list[Label] | None = Field(None, description=_LABELS)


class ExamplesBody(Body):
    """Examples to encode or to score."""

    x: list[Any] = Field(
        min_length=1,
        description="examples: PNG, JPEG, GIF, WebP or BMP files in base64, brought to the model's size and colour; or "
        "nested lists of numbers in the model's shape and value range (see GET /v1/card)",
    )


class ReconstructBody(ExamplesBody):
    """Examples to reconstruct."""

    format: Literal["numbers", "png"] = Field("numbers", description="of the pictures in the answer: lists or base64")


class DecodeBody(Body):
    """Latents to decode."""

    z: list[Any] = Field(min_length=1, description="latents: a list of numbers for each")
    format: Literal["numbers", "png"] = Field("numbers", description="of the pictures in the answer: lists or base64")


class SampleBody(Body):
    """How many to draw, and how."""

    n: int = Field(1, ge=1, description="how many")
    seed: int | None = Field(None, ge=0, le=LARGEST_SEED, description="the same seed gives the same; none: a new one")
    temperature: float = Field(1.0, ge=0, le=10, description="times the spread of the prior; 0: its mean")
    format: Literal["numbers", "png"] = Field("numbers", description="of the pictures in the answer: lists or base64")


@dataclass(frozen=True)
class Asked:
    """A request's body as it came: its bytes, its media type, and the labels of the address (?label=)."""

    data: bytes
    media_type: str
    labels: tuple[str, ...] = ()

    @property
    def is_picture(self) -> bool:
        """Whether the body is a picture's file."""
        return self.media_type.startswith("image/")


def parsed(kind: type[B], asked: Asked) -> B:
    """A JSON body. Raises `Refused` (415, 422)."""
    if asked.media_type != JSON and asked.data:
        raise Refused(415, f"the body must be JSON: send it with Content-Type: {JSON}")
    try:
        body = kind.model_validate_json(asked.data or b"{}")
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise Refused(422, validation_sentence(list(found))) from None
    if asked.labels:
        raise Refused(422, "labels of a JSON body belong into it, as labels; ?label= is for a picture's bytes")
    return body


def examples(asked: Asked, kind: type[ExamplesBody], card: Card, limits: Limits) -> tuple[Arrays, ExamplesBody]:
    """x_BX of a JSON body or of one picture's bytes, and the body. Raises `Refused`."""
    if not asked.is_picture:
        body = parsed(kind, asked)
        return {"x": examples_of(body.x, card, limits)}, body
    if asked.media_type not in MEDIA_TYPES:
        raise Refused(415, f"a picture must be one of {', '.join(MEDIA_TYPES)}")
    if len(asked.labels) > 1:
        raise Refused(422, "one picture takes one ?label=")
    x_BX = picture(asked.data, card, limits)[None]
    return {"x": x_BX}, kind(x=[""], labels=asked.labels[0] if asked.labels else None)


def picture(data: bytes, card: Card, limits: Limits) -> np.ndarray:
    """A picture's file → C×H×W float32 in the model's value range. Raises `Refused`."""
    if not card.is_picture:
        raise Refused(
            415, f"this model takes {'×'.join(map(str, card.shape))} numbers, not pictures; send them as JSON"
        )
    channels, height, width = card.shape
    pixels_CHW = fit_picture(open_picture(data, limits, (height, width)), (channels, height, width))
    return card.from_unit(pixels_CHW.astype(np.float32) / np.float32(255))


def examples_of(values: list[Any], card: Card, limits: Limits) -> np.ndarray:
    """Base64 pictures or nested numbers → x_BX float32 in the model's value range. Raises `Refused`."""
    _check_count(len(values), limits)
    texts = [isinstance(value, str) for value in values]
    if all(texts):
        return np.stack([picture(_base64(text), card, limits) for text in values])
    if any(texts):
        raise Refused(422, "x must hold either base64 pictures or numbers, not both")
    x_BX = numbers(values, card.shape, "x")
    if card.value_range is not None:
        low, high = card.value_range
        slack = 1e-3 * (high - low)
        if x_BX.min() < low - slack or x_BX.max() > high + slack:
            found = f"{x_BX.min():g} to {x_BX.max():g}"
            raise Refused(422, f"x must lie in {low:g} to {high:g}, the model's value range, found {found}; scale it")
    return x_BX


def latents_of(values: list[Any], card: Card, limits: Limits) -> np.ndarray:
    """Lists of numbers → z_BL float32. Raises `Refused`."""
    _check_count(len(values), limits)
    z_BL = numbers(values, (card.latent_dim,), "z")
    if np.abs(z_BL).max() > FARTHEST:
        raise Refused(422, f"z must lie in -{FARTHEST:,.0f} to {FARTHEST:,.0f}")
    return z_BL


def numbers(values: list[Any], shape: tuple[int, ...], what: str) -> np.ndarray:
    """Nested lists → float32 N×shape; one channel may be left out. Raises `Refused` for anything else."""
    wanted = "×".join(map(str, shape))
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError):  # lists of different lengths, or too deep
        array = np.empty(0, object)
    if array.dtype.kind not in "iuf":
        raise Refused(422, f"{what} must be a list of examples, each {wanted} numbers in nested lists of equal length")
    if array.shape[1:] == shape[1:] and len(shape) == 3 and shape[0] == 1:
        array = array[:, None]
    if array.shape[1:] != shape:
        found = "×".join(map(str, array.shape[1:])) or "single numbers"
        raise Refused(422, f"each example of {what} must be {wanted} numbers in nested lists, found {found}")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise Refused(422, f"{what} must hold finite numbers, found NaN, infinity or one too large for 32 bits")
    return array


def label_numbers(labels: Any, n: int, card: Card, wanted: bool) -> Arrays:
    """{"y": y_N} where labels are wanted, {} where not. Raises `Refused` for unknown, missing or surplus labels."""
    if not wanted:
        if labels is not None:
            raise Refused(422, "this operation of this model takes no labels; leave them out")
        return {}
    if labels is None:
        raise Refused(422, f"this model needs labels: {_known(card)}")
    given = labels if isinstance(labels, list) else [labels] * n
    if len(given) != n:
        raise Refused(422, f"labels must be one for all or one for each of the {n} examples, found {len(given)}")
    return {"y": np.array([_label_number(label, card) for label in given], np.int64)}


def _label_number(label: int | str, card: Card) -> int:
    if isinstance(label, str) and label in card.labels:
        return card.labels.index(label)
    number = int(label) if isinstance(label, int) or (label.isascii() and label.isdecimal() and len(label) < 9) else -1
    if not 0 <= number < len(card.labels):
        raise Refused(422, f"there is no such label; this model knows {_known(card)}")
    return number


def _known(card: Card) -> str:
    shown = ", ".join(card.labels[:10])
    return shown + (f" and {len(card.labels) - 10} more" if len(card.labels) > 10 else "")


def check_answer(n: int, shape: tuple[int, ...], limits: Limits, most: int) -> None:
    """Refuse what would make an answer of more than `most` numbers."""
    _check_count(n, limits)
    if n * math.prod(shape) > most:
        raise Refused(413, f"the answer would have more than {most:,} numbers; ask for fewer at once")


def _check_count(n: int, limits: Limits) -> None:
    if n > limits.batch:
        raise Refused(413, f"a request must have at most {limits.batch:,} examples, found {n:,}; send several requests")


def _base64(text: str) -> bytes:
    start = text[:40].partition(";base64,")
    if start[1] and start[0].startswith("data:image/"):
        text = text[len(start[0]) + len(start[1]) :]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(422, "a text in x must be a picture's file in base64") from None
