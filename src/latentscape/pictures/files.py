"""Pictures to files, each written whole or not at all, with the words that belong to it.

A PNG carries its title, caption and the command that makes it again in its own text fields. In a folder called
`pictures`, as every run has one, `captions.json` says the same for every kind of file: `{file name: {"title": …,
"caption": …, "command": …}}`; beside a user's own files nothing else is written.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from latentscape.errors import DiskFull, UserError
from latentscape.pictures.sheets import Picture, enlarge, sheet, to_rgb, to_uint8, visible_scale

CAPTIONS = "captions.json"

GALLERY = "pictures"
"""The name of the folders that keep `captions.json`."""

FILM_SIDE = 280
"""Pixels that the longer side of a film made from small images should about reach (28×28 → ×10)."""


def save_png(path: str | Path, image_HWC: ArrayLike, *, title: str = "", caption: str = "", command: str = "") -> Path:
    """Write a uint8 picture, H×W×3 or H×W×1, with its words inside and, in a folder `pictures`, in `captions.json`.

    Missing folders are made. Raises `UserError` where the place cannot be written, `DiskFull` without space.
    """
    path = Path(path)
    _write_png(path, np.asarray(image_HWC), title, caption, command)
    _add_captions(path.parent, [path.name], title, caption, command)
    return path


def save_gif(
    path: str | Path,
    frames: Iterable[ArrayLike],
    ms: int = 40,
    *,
    title: str = "",
    caption: str = "",
    command: str = "",
) -> Path:
    """Write an endless GIF of uint8 frames H×W×3, `ms` milliseconds each (GIFs count in steps of 10).

    A frame equal to the one before it is stored by showing that one longer. Raises as `save_png`, and `ValueError`
    without any frame.
    """
    path = Path(path)
    images = [_gif_frame(np.asarray(frame)) for frame in frames]
    if not images:
        raise ValueError("a film needs at least one frame")
    with atomic(path) as temporary:
        words = "\n".join(w for w in (title, caption, command) if w).encode()
        options: dict[str, Any] = {"duration": ms, "loop": 0} | ({"comment": words} if words else {})
        images[0].save(temporary, format="GIF", save_all=True, append_images=images[1:], **options)
    _add_captions(path.parent, [path.name], title, caption, command)
    return path


def save_mp4(
    path: str | Path,
    frames: Iterable[ArrayLike],
    fps: float = 25,
    *,
    title: str = "",
    caption: str = "",
    command: str = "",
) -> Path:
    """Write an H.264 film of uint8 frames H×W×3, all of one size; an odd side gets one more white row or column.

    Raises as `save_gif`.
    """
    path = Path(path)
    pictures = [_even(np.asarray(frame)) for frame in frames]
    if not pictures:
        raise ValueError("a film needs at least one frame")
    import imageio_ffmpeg  # only films need it

    size = (pictures[0].shape[1], pictures[0].shape[0])
    with atomic(path) as temporary:
        settings = {"fps": fps, "quality": 8, "macro_block_size": 2, "ffmpeg_log_level": "error"}
        words = [f"title={title}", f"description={caption}", f"comment={command}"]
        parameters = [word for text in words for word in ("-metadata", text)] + ["-f", "mp4"]
        encoder = imageio_ffmpeg.write_frames(temporary, size, output_params=parameters, **settings)
        with closing(encoder):
            encoder.send(None)
            for picture in pictures:
                encoder.send(np.ascontiguousarray(picture))
    _add_captions(path.parent, [path.name], title, caption, command)
    return path


def save_images(
    path: str | Path,
    x_NCHW: ArrayLike,
    *,
    columns: int | None = None,
    scale: int | None = None,
    ms: int = 40,
    title: str = "",
    caption: str = "",
    command: str = "",
) -> Path:
    """Write images N×C×H×W (uint8, or float in [0, 1]) in the form that the path's ending asks for.

    `.npy` uint8 N×C×H×W · `.png` one sheet · `.gif`, `.mp4` a film, one image a frame of `ms` milliseconds, enlarged ·
    no ending or an existing folder: single PNGs `00000.png`, … with the images' own pixels. columns and scale are
    those of `sheet`. Raises `UserError` on any other ending, and as `save_png`.
    """
    path, x = Path(path), to_uint8(x_NCHW)
    words = {"title": title, "caption": caption, "command": command}
    suffix = "" if path.is_dir() else path.suffix.lower()
    if suffix == ".png":
        return save_png(path, sheet(x, columns, scale=scale), **words)
    if suffix in (".gif", ".mp4"):
        frames = enlarge(to_rgb(x), scale or _film_scale(*x.shape[2:]))
        return save_gif(path, frames, ms, **words) if suffix == ".gif" else save_mp4(path, frames, 1000 / ms, **words)
    if suffix == ".npy":
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.save(file, x)
        return path
    if suffix:
        raise UserError(f"pictures are written to .npy, .png, .gif, .mp4 or a folder, and {path.name} is none of them")
    return _save_singles(path, x, words)


def read_captions(folder: str | Path) -> dict[str, dict[str, str]]:
    """The words beside the pictures of a folder, by file name; empty where there are none or they are damaged."""
    try:
        entries = json.loads((Path(folder) / CAPTIONS).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(entries, dict):
        return {}
    keys = ("title", "caption", "command")
    return {name: {k: str(e.get(k, "")) for k in keys} for name, e in entries.items() if isinstance(e, dict)}


def _film_scale(height: int, width: int) -> int:
    return max(visible_scale(height, width), round(FILM_SIDE / max(height, width)))


def _save_singles(folder: Path, x_NCHW: NDArray[np.uint8], words: dict[str, str]) -> Path:
    names = [f"{i:05d}.png" for i in range(len(x_NCHW))]
    grey = x_NCHW.shape[1] == 1
    pictures = x_NCHW.transpose(0, 2, 3, 1) if grey else to_rgb(x_NCHW)
    with _plain_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, picture in zip(names, pictures, strict=True):
        _write_png(folder / name, picture, **words)
    _add_captions(folder, names, **words)
    return folder


def _write_png(path: Path, image_HWC: NDArray[Any], title: str, caption: str, command: str) -> None:
    if image_HWC.dtype != np.uint8 or image_HWC.ndim != 3 or image_HWC.shape[-1] not in (1, 3, 4):
        raise ValueError(f"a picture is uint8 H×W×3, got {image_HWC.dtype} of shape {image_HWC.shape}")
    info = PngInfo()
    words = {"Title": title, "Description": caption, "Software": "latentscape", "Command": command}
    for key, text in words.items():
        if text:
            info.add_text(key, text)
    image = Image.fromarray(image_HWC[..., 0] if image_HWC.shape[-1] == 1 else image_HWC)
    with atomic(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=info)


def _gif_frame(frame_HWC: NDArray[np.uint8]) -> Image.Image:
    """Grey frames keep all their 256 values; colours are reduced to the 256 that suit the frame."""
    if (frame_HWC == frame_HWC[..., :1]).all():
        return Image.fromarray(np.ascontiguousarray(frame_HWC[..., 0]))
    return Image.fromarray(frame_HWC)


def _even(frame_HWC: NDArray[np.uint8]) -> Picture:
    height, width = frame_HWC.shape[:2]
    return np.pad(frame_HWC, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=255)


def _add_captions(folder: Path, names: Sequence[str], title: str, caption: str, command: str) -> None:
    if folder.resolve().name != GALLERY:
        return
    entries = read_captions(folder)
    for name in names:
        if title or caption or command:
            entries[name] = {"title": title, "caption": caption, "command": command}
        else:
            entries.pop(name, None)  # the words of the picture that this one replaces would be false now
    if not entries and not (folder / CAPTIONS).exists():
        return
    with atomic(folder / CAPTIONS) as temporary:
        temporary.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", "utf-8")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place at the end, or is removed when something fails."""
    with _plain_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{uuid.uuid4().hex}.part"
        try:
            temporary.touch()  # a place that cannot be written says so here, not in an encoder's own words
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says about writing `path` into one sentence."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT) or _no_space(path.parent)
        if full:
            raise DiskFull(f"no space is left to write {path}; free some, or write to another disk") from error
        reason = error.strerror or "its encoder failed"
        raise UserError(f"{path} cannot be written ({reason}); give a place that can be with --out") from error


def _no_space(folder: Path) -> bool:
    # the film encoder is a program of its own and reports a full disk as a broken pipe
    with suppress(OSError):
        return shutil.disk_usage(folder).free < 64 * 1024
    return False
