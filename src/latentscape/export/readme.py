"""The page inside an export: what its files take and give, and a program that uses them."""

from __future__ import annotations

import json
from typing import Any

_IS = {
    "encoder.onnx": "examples → latents, the means of the posterior where the model has one",
    "decoder.onnx": "latents → examples",
    "discriminator.onnx": "examples → logits, larger for what looks more real",
    "classifier.onnx": "examples → logits of the classes",
}

_OPENINGS = {
    "encoder.onnx": ('encoder = onnxruntime.InferenceSession("encoder.onnx")', 'z = encoder.run(["z"], {"x": x%s})[0]'),
    "decoder.onnx": ('decoder = onnxruntime.InferenceSession("decoder.onnx")', 'x = decoder.run(["x"], {"z": z%s})[0]'),
    "discriminator.onnx": (
        'discriminator = onnxruntime.InferenceSession("discriminator.onnx")',
        'logit = discriminator.run(["logit"], {"x": x%s})[0]',
    ),
    "classifier.onnx": (
        'classifier = onnxruntime.InferenceSession("classifier.onnx")',
        'logits = classifier.run(["logits"], {"x": x})[0]',
    ),
}


def readme(card: dict[str, Any]) -> str:
    """Markdown, from what the card says."""
    parts = [
        f"# {_plain(card['name'])}",
        f"A `{card['model']}` trained on {_plain(card['data'])}, as ONNX files that need no PyTorch. `card.json` says "
        "all of this for programs.",
        _files(card),
        _values(card),
        _example(card),
        _figures(card),
        f"## How it was made\n\n```text\n{card['made'].replace('```', '')}\n```\n\n"
        f"With [latentscape](https://pypi.org/project/latentscape/) {card['latentscape']}.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _files(card: dict[str, Any]) -> str:
    rows = [
        f"| `{name}` | {_IS[name]} | {_said(f['inputs'])} | {_said(f['outputs'])} | {f['parity']:.1e} |"
        for name, f in card["files"].items()
    ]
    return "\n".join(
        [
            "## Files",
            "",
            "| file | is | takes | gives | differs from PyTorch by at most |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
            "Everything is float32, except labels `y`, which are int64; `batch` is any number from 1. Differences are "
            "absolute, over the largest value of the output where that is above 1; `card.json` has each file's "
            "SHA-256.",
        ]
    )


def _said(sides: dict[str, list[Any]]) -> str:
    return ", ".join(f"`{name}` {'×'.join(map(str, shape))}" for name, shape in sides.items())


def _values(card: dict[str, Any]) -> str:
    lines = ["## Values", "", f"- {_range(card)}"]
    if card["latent_dim"]:
        lines.append(f"- A latent `z` has {card['latent_dim']} numbers.")
    if card["needs_labels"]:
        lines.append(f"- `y` is a class from 0 to {card['classes'] - 1}.")
    if card["labels"]:
        names = [_plain(str(name)) for name in card["labels"][:50]]
        more = ", …" if len(card["labels"]) > 50 else ""
        lines.append(f"- The classes are, from 0: {', '.join(names)}{more}.")
    if prior := card.get("prior"):
        standard = not any(prior["mean"]) and all(s == 1 for s in prior["std"])
        what = "N(0, I)" if standard else "independent Gaussians, `prior` in `card.json`"
        lines.append(f"- To sample, draw `z` from {what}.")
    if "score" in card:
        lines.append(
            "- How unusual an example is: the mean squared error of its reconstruction, pixels on [0, 1], beside "
            f"`score` in `card.json`, the quantiles 0, 0.01, …, 1 of {card['score']['n']:,} held-out examples."
        )
    return "\n".join(lines)


def _range(card: dict[str, Any]) -> str:
    if len(card["shape"]) == 1:
        return f"An example `x` is a vector of {card['shape'][0]} numbers, as in the data."
    channels, height, width = card["shape"]
    kind = {1: "grey", 3: "RGB"}.get(channels, f"{channels}-channel")
    said = f"An example `x` is a {kind} picture of {height}×{width} pixels (height × width), channels first, "
    if card["value_range"] == [-1.0, 1.0]:
        return said + "with bytes 0…255 as -1…1."
    return said + "with bytes 0…255 as 0…1" + ("; outputs may lie outside." if card["value_range"] is None else ".")


def _example(card: dict[str, Any]) -> str:
    """A whole program: opens every file and runs it on random input."""
    shape, files = card["shape"], card["files"]
    label = ', "y": y' if card["needs_labels"] else ""
    # A decoder runs where its latents come from: after the encoder, or on draws.
    body = ["import numpy as np", "import onnxruntime", ""]
    body += [_OPENINGS[name][0] for name in files]
    body += ["rng = np.random.default_rng(0)"]
    if card["needs_labels"]:
        body.append(f"y = np.arange(4) % {card['classes']}  # a class for each of four examples")
    body.append(f"x = {_random(card)}  # your own here")
    for name in files:
        if name == "decoder.onnx" and "encoder.onnx" not in files:
            body.append(f"z = rng.standard_normal((4, {card['latent_dim']})).astype(np.float32)")
        run = _OPENINGS[name][1]
        body.append(run % label if "%s" in run else run)
    if len(shape) == 3 and "decoder.onnx" in files:
        body.append(f"pixels = np.clip({_bytes(card)}, 0, 255).round().astype(np.uint8)  # batch×C×H×W")
    return "## Use\n\n```bash\npip install onnxruntime\n```\n\n```python\n" + "\n".join(body) + "\n```"


def _random(card: dict[str, Any]) -> str:
    size = json.dumps([4, *card["shape"]]).replace("[", "(").replace("]", ")")
    if len(card["shape"]) == 1:
        return f"rng.standard_normal({size}).astype(np.float32)"
    low, high = card["value_range"] or (0.0, 1.0)
    return f"rng.uniform({low:g}, {high:g}, {size}).astype(np.float32)"


def _bytes(card: dict[str, Any]) -> str:
    return "127.5 * (x + 1)" if card["value_range"] == [-1.0, 1.0] else "255 * x"


def _figures(card: dict[str, Any]) -> str:
    if not card["metrics"]:
        return ""
    on = f" on {card['measured_on']}" if card["measured_on"] else ""
    rows = [f"| {name} | {value:.4g} |" for name, value in card["metrics"].items()]
    return "\n".join([f"## Figures\n\nMeasured{on}.\n", "| metric | value |", "| --- | --- |", *rows])


def _plain(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|").replace("`", "'")
