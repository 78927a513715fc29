"""The words and schemas of the OpenAPI page."""

from __future__ import annotations

from typing import Any

from latentscape.serve import bodies
from latentscape.serve.exported import Exported
from latentscape.web.limits import Limits
from latentscape.web.uploads import MEDIA_TYPES

ABOUT = (
    "An exported model over HTTP. Bodies are JSON; where examples are asked for, a picture's own bytes do as well. "
    'Every error is JSON with one sentence: {"error": "…"}. With a token, send Authorization: Bearer TOKEN.'
)

SUMMARIES = {
    "encode": "Examples → latents",
    "decode": "Latents → examples",
    "reconstruct": "Examples → their reconstructions",
    "sample": "New examples",
    "score": "How unusual examples are",
}

BODIES: dict[str, type[bodies.Body]] = {
    "encode": bodies.ExamplesBody,
    "decode": bodies.DecodeBody,
    "reconstruct": bodies.ReconstructBody,
    "sample": bodies.SampleBody,
    "score": bodies.ExamplesBody,
}

_NUMBERS = {"type": "array", "items": {"type": "number"}}
_EXAMPLES = {"type": "array", "description": "numbers of each example, in the model's shape and value range"}
_PNGS = {"type": "array", "items": {"type": "string"}, "description": 'PNG files in base64, with "format": "png"'}
_ANSWERS: dict[str, dict[str, Any]] = {
    "encode": {"z": {"type": "array", "items": _NUMBERS, "description": "a latent for each example"}},
    "decode": {"x": _EXAMPLES, "png": _PNGS},
    "reconstruct": {"x": _EXAMPLES, "png": _PNGS, "mse": {**_NUMBERS, "description": "squared error on [0, 1]"}},
    "sample": {
        "x": _EXAMPLES,
        "png": _PNGS,
        "z": {"type": "array", "items": _NUMBERS, "description": "the latents that were drawn"},
        "seed": {"type": "integer", "description": "what gives the same ones again"},
    },
    "score": {
        "scores": {**_NUMBERS, "description": "mean squared error of the reconstruction, on [0, 1]"},
        "percentiles": {**_NUMBERS, "description": "percentage of held-out normal examples with a lower score"},
        "kind": {"type": "string"},
        "normal_examples": {"type": "integer", "description": "how many examples the percentages rest on"},
    },
}
_ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
_REFUSALS = {
    400: "The request cannot be read, or a picture is damaged",
    401: "The token is missing or wrong",
    408: "The body came too slowly",
    413: "More bytes, pixels, examples or numbers than are allowed",
    415: "A media type or a kind of file that is not read",
    422: "A field is missing, unknown, of the wrong type or out of its range",
    503: "Busy; try again after Retry-After seconds",
}


def responses(name: str) -> dict[int | str, dict[str, Any]]:
    """The answers of an operation."""
    content: dict[str, Any] = {"application/json": {"schema": {"type": "object", "properties": _ANSWERS[name]}}}
    if name in ("decode", "reconstruct", "sample"):
        content["image/png"] = {"schema": {"type": "string", "format": "binary"}}
    refusals = {
        status: {"description": words, "content": {"application/json": {"schema": _ERROR}}}
        for status, words in _REFUSALS.items()
    }
    return {200: {"description": "Done", "content": content}, **refusals}


def request(name: str, exported: Exported, limits: Limits) -> dict[str, Any]:
    """The body of an operation, with the limits and the shapes of this model."""
    content: dict[str, Any] = {"application/json": {"schema": _schema(name, exported, limits)}}
    takes_pictures = name in ("encode", "reconstruct", "score") and exported.card.is_picture
    if takes_pictures:
        words = f"a picture of at most {limits.pixels:,} pixels"
        content |= {
            kind: {"schema": {"type": "string", "format": "binary", "description": words}} for kind in MEDIA_TYPES
        }
    extra: dict[str, Any] = {"requestBody": {"required": name != "sample", "content": content}}
    if takes_pictures and exported.wants_labels(name):
        label = {"name": "label", "in": "query", "schema": {"type": "string"}}
        extra["parameters"] = [{**label, "description": "with a picture's bytes: its class, by name or number"}]
    return extra


def _schema(name: str, exported: Exported, limits: Limits) -> dict[str, Any]:
    schema = BODIES[name].model_json_schema()
    fields = schema["properties"]
    card = exported.card
    if "x" in fields:
        of_numbers = _nested(card.shape, card.value_range)
        encoded = {"type": "string", "contentEncoding": "base64"}
        items = {"anyOf": [encoded, of_numbers]} if card.is_picture else of_numbers
        fields["x"] |= {"items": items, "maxItems": limits.batch}
    if "z" in fields:
        fields["z"] |= {"items": _nested((card.latent_dim,), None), "maxItems": limits.batch}
    if "n" in fields:
        fields["n"]["maximum"] = limits.batch
    if exported.wants_labels(name):
        schema["required"] = [*schema.get("required", ()), "labels"]
    else:
        del fields["labels"]
    return schema


def _nested(shape: tuple[int, ...], value_range: tuple[float, float] | None) -> dict[str, Any]:
    """Lists of lists of numbers."""
    inner: dict[str, Any] = {"type": "number"}
    if value_range is not None:
        inner |= {"minimum": value_range[0], "maximum": value_range[1]}
    for length in reversed(shape):
        inner = {"type": "array", "items": inner, "minItems": length, "maxItems": length}
    return inner
