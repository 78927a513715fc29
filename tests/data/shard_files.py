"""Writes tar shards as WebDataset lays them out."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from making import picture


def jpeg(seed: int, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture(seed, **options).save(stream, "JPEG")
    return stream.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    """A tar file of these members, in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_shards(folder: Path, count: int = 3, each: int = 5, name: str = "set-{:06d}.tar", size: int = 12) -> Path:
    """`count` shards of `each` pictures: picture i has seed i, cls i % 3 and json {"age": i, "odd": i % 2 == 1}."""
    for s in range(count):
        members: dict[str, bytes] = {}
        for i in range(s * each, (s + 1) * each):
            members |= {
                f"{i:05d}.jpg": jpeg(i, height=size, width=size),
                f"{i:05d}.cls": str(i % 3).encode(),
                f"{i:05d}.json": json.dumps({"age": i, "odd": i % 2 == 1, "box": [1, 2]}).encode(),
            }
        write_tar(folder / name.format(s), members)
    return folder
