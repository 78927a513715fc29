"""A trained model as a folder of static files: a page that decodes in the browser and needs no server of ours.

index.html, explorer.css, js/, icon.svg    the page, the same for every model
vendor/                                    onnxruntime-web with its licences
card.json, README.md, *.onnx               as in an ONNX export
explorer.json                              how the next two are laid out
latents.bin                                float32, little-endian: latents of examples, then draws of a prior
examples.png                               the examples, a small picture each, row by row
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import math
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from latentscape.contract import Encodes
from latentscape.errors import AbilityError, RunError
from latentscape.export import folder, graphs, onnx
from latentscape.export.about import Subject, has_standard_prior
from latentscape.pictures import sheets

EXAMPLES = 1_000
"""Most held-out examples on the page."""

DRAWS = 256
"""Draws of a prior other than N(0, I) that random samples are taken from."""

VALUES = 500_000
"""Most numbers that the latents of the examples, and of the draws, have together: wide codes are fewer."""

THUMBNAIL = 40
"""Most pixels that the longer side of an example has on the sheet."""

_ABOUT_PAGE = """## The page

`index.html` explores this model in the browser. Any static host serves it, in a folder of any name; to try it here:

```bash
python -m http.server
```

"""


def export(
    path: Path | str,
    out: Path | str | None = None,
    *,
    data: Any = None,
    force: bool = False,
    command: str = "",
) -> dict[str, Any]:
    """Write a folder that any static host serves: a page that explores the latent space in the browser.

    For models that decode to grey or RGB pictures; `AbilityError` for others. Arguments, checks and errors are those of
    `onnx.export`; the folder is an ONNX export, too, without the discriminator.
    """
    graphs.require_packages()
    subject = Subject.open(path, data, command)
    _check(subject)
    target = folder.target_of(subject.folder, out, "web", force)
    made, notes = onnx.checked(subject, without=("discriminator.onnx",))
    files, card = onnx.contents(subject, made, command or f"latentscape export {subject.folder.name} --format web")
    readme = files[onnx.README].decode().replace("## Files\n", _ABOUT_PAGE + "## Files\n", 1)
    files |= {onnx.README: readme.encode()} | page() | examples(subject)
    folder.write(target, files, card, force=force)
    return onnx.answer(subject, target, card, notes) | {"bytes": sum(map(len, files.values()))}


def _check(subject: Subject) -> None:
    """`AbilityError` for a model that the page cannot show."""
    able, _ = graphs.parts_of(subject.model)
    shape = subject.model.shape
    if "decoder.onnx" not in [part.file for part in able]:
        raise AbilityError(
            f"the explorer decodes in the browser, and {subject.stage.name} has no decoder that ONNX can hold; "
            "--format onnx exports what it has"
        )
    if not shape.is_image or shape.dims[0] not in (1, 3):
        raise AbilityError(f"the explorer shows grey or RGB pictures, and the data is a {shape}; use --format onnx")


# ---- the page --------------------------------------------------------------------------------------------------------


def page() -> dict[str, bytes]:
    """What is the same for every model, by its path in the folder; the vendored files are unpacked and verified."""
    root = resources.files("latentscape.export") / "static"
    files = {name: content for name, content in _tree(root, "") if not name.startswith("vendor/")}
    return files | _vendored(root / "vendor")


def _tree(place: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    found = []
    for entry in sorted(place.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _tree(entry, f"{prefix}{entry.name}/")
        else:
            found.append((prefix + entry.name, entry.read_bytes()))
    return found


def _vendored(place: Traversable) -> dict[str, bytes]:
    """onnxruntime-web; its WebAssembly as gzip, which the page unpacks, since few hosts compress it on the way."""
    try:
        about = json.loads((place / "VERSION.json").read_text("utf-8"))
        files = {name: _unpacked(place, name) for name in about["sha256"]}
    except (OSError, ValueError, lzma.LZMAError) as error:
        raise RunError(
            f"onnxruntime-web in this installation is damaged ({error}); install latentscape again"
        ) from error
    for name, expected in about["sha256"].items():
        if hashlib.sha256(files[name]).hexdigest() != expected:
            raise RunError(f"{name} in this installation is damaged; install latentscape again")
    packed = {f"{n}.gz": gzip.compress(files.pop(n), 6, mtime=0) for n in list(files) if n.endswith(".wasm")}
    about["sha256"] |= {name: hashlib.sha256(content).hexdigest() for name, content in packed.items()}
    files |= packed | {"VERSION.json": (json.dumps(about, indent=2) + "\n").encode()}
    return {f"vendor/{name}": content for name, content in files.items()}


def _unpacked(place: Traversable, name: str) -> bytes:
    packed = place / f"{name}.xz"
    return lzma.decompress(packed.read_bytes()) if packed.is_file() else (place / name).read_bytes()


# ---- examples --------------------------------------------------------------------------------


def examples(subject: Subject) -> dict[str, bytes]:
    """explorer.json, latents.bin and, where the model encodes, examples.png."""
    size = getattr(subject.model, "latent_dim", 1)
    most = max(2, VALUES // size)
    draws = torch.zeros(0, size) if has_standard_prior(subject.model) else subject.draws(min(DRAWS, most))[0]
    about: dict[str, Any] = {"examples": 0, "columns": 0, "thumbnail": [0, 0], "labels": [], "draws": len(draws)}
    z_NL, files = torch.zeros(0, size), {}
    if isinstance(subject.model, Encodes) and len(subject.latents):
        n = min(EXAMPLES, most, len(subject.latents))
        picks = torch.arange(n) * len(subject.latents) // n
        z_NL, (sheet, columns, thumbnail) = subject.latents[picks], _sheet(subject, picks)
        about |= {"examples": n, "columns": columns, "thumbnail": thumbnail}
        if subject.labels is not None:
            about["labels"] = subject.labels[picks].tolist()
        files["examples.png"] = sheet
    content = torch.cat([z_NL, draws]).numpy().astype("<f4").tobytes()
    return files | {"latents.bin": content, "explorer.json": (json.dumps(about) + "\n").encode()}


def _sheet(subject: Subject, picks: torch.Tensor) -> tuple[bytes, int, list[int]]:
    """Pictures side by side without gaps: the PNG, how many stand in a row, and height and width of one."""
    x_NCHW = sheets.to_uint8(subject.stage.unit(subject.held_out[0][picks]))
    n, channels, height, width = x_NCHW.shape
    scale = min(1.0, THUMBNAIL / max(height, width))
    height, width = max(1, round(scale * height)), max(1, round(scale * width))
    columns = math.ceil(math.sqrt(n))
    sheet = np.zeros((height * math.ceil(n / columns), width * columns, channels), np.uint8)
    for i, picture in enumerate(x_NCHW):
        small = _resized(picture, height, width)
        top, left = height * (i // columns), width * (i % columns)
        sheet[top : top + height, left : left + width] = small
    out = io.BytesIO()
    Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet).save(out, "PNG", optimize=True)
    return out.getvalue(), columns, [height, width]


def _resized(picture_CHW: np.ndarray, height: int, width: int) -> np.ndarray:
    """H×W×C."""
    picture = picture_CHW.transpose(1, 2, 0)
    if picture.shape[:2] == (height, width):
        return picture
    image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)).reshape(height, width, -1)
