"""Decode many pictures in parallel and note everything worth knowing about them."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from latentscape.data.decoding import decode_in_order
from latentscape.data.digest import DIGEST_BYTES
from latentscape.data.duplicates import exact_groups, near_pairs
from latentscape.data.imageset import Findings
from latentscape.data.picture import OtherSizeError, UnreadableError
from latentscape.data.raw import Raw
from latentscape.data.settings import DataSettings
from latentscape.errors import DataError


@dataclass
class Scan:
    """What decoding met. kept: positions of the files that were read, in order; digests: one for each of them."""

    findings: Findings
    kept: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    modes: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)

    def to_raw(self, name: str, x: Tensor, files: Sequence[str]) -> Raw:
        """The pictures `x` that were kept of `files`, with duplicates looked for."""
        kept = tuple(files[i] for i in self.kept)
        digests = np.frombuffer(b"".join(self.digests), np.uint8).reshape(-1, DIGEST_BYTES)
        findings = self.findings
        findings.used = len(kept)
        findings.modes, findings.sizes = dict(self.modes.most_common()), dict(self.sizes.most_common())
        findings.duplicates = exact_groups(digests, kept)
        findings.near_duplicates = [(kept[a], kept[b]) for a, b in near_pairs(x, digests)]
        return Raw(name, x, files=kept, digests=digests, findings=findings)


def decode_all(
    files: Sequence[str],
    source: Callable[[int], Path | bytes],
    settings: DataSettings,
    append: Callable[[np.ndarray], None],
    where: str,
    progress: bool,
) -> Scan:
    """Decode `source(i)` for every file, several at a time, and `append` the pixels (C×H×W) in the files' order.

    Files that cannot be read are listed in the findings. Raises `DataError` if none can, or if sizes differ and
    the settings give no target size; `where` names the place in its sentence.
    """
    scan = Scan(Findings(found=len(files)))
    expected: tuple[int, int] | None = None

    results = decode_in_order(source, len(files), settings, lambda: expected)
    with quiet_decoding(), contextlib.closing(results), _bar(len(files), progress) as advance:
        for i, result in enumerate(results):
            advance()
            if isinstance(result, UnreadableError):
                scan.findings.unreadable.append((files[i], str(result)))
                continue
            expected = expected or result.size
            scan.modes[result.mode] += 1
            scan.sizes[by(result.size)] += 1
            if isinstance(result, OtherSizeError) or (settings.target is None and len(scan.sizes) > 1):
                continue
            append(result.pixels)
            scan.kept.append(i)
            scan.digests.append(result.digest)
    _check(scan, files, settings, where)
    return scan


def _check(scan: Scan, files: Sequence[str], settings: DataSettings, where: str) -> None:
    if not scan.sizes:
        file, reason = scan.findings.unreadable[0]
        first = " ".join(file.split())
        raise DataError(f"none of the {len(files):,} pictures in {where} can be read; the first, {first}, is: {reason}")
    if settings.target is None and len(scan.sizes) > 1:
        common = scan.sizes.most_common(3)
        sizes = ", ".join(f"{size} ({n:,})" for size, n in common) + (", …" if len(scan.sizes) > 3 else "")
        shorter = min(int(side) for side in common[0][0].split("x"))
        raise DataError(
            f"the pictures in {where} must have one size, found {len(scan.sizes):,} sizes (height x width): {sizes}; "
            f"give --size, for example --size {shorter}"
        )


@contextmanager
def quiet_decoding() -> Iterator[None]:
    """What Pillow warns of (odd EXIF, large pictures) is either harmless or reported as unreadable."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _bar(total: int, progress: bool) -> Iterator[Callable[[], None]]:
    """A progress bar on standard error where that is a terminal."""
    if not progress or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading pictures", total=total)
        yield lambda: bar.advance(task)


def by(size: tuple[int, int]) -> str:
    """(48, 64) → "48x64"."""
    return f"{size[0]}x{size[1]}"
