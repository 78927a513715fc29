"""Freed memory stays with the process while it trains: the next step wants the same blocks again.

glibc gives large blocks back to the system as soon as they are free and then gets them anew, page by page: some 1,000
page faults a step for a small multilayer perceptron, 5,000 for B3, a tenth to a quarter of the processor's time
(docs/performance.md). Other allocators, other systems and accelerators are left alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import platform
from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3), as in glibc's malloc.h
_NEVER = 2**31 - 1
_LARGEST = 1 << 30
"""Blocks beyond this are still mapped on their own, so that a single huge one does not stay for ever."""
_USUAL = 32 << 20
"""Where glibc's own thresholds end up in a program that frees large blocks; what they are set to afterwards."""


@contextlib.contextmanager
def kept(device: str) -> Iterator[None]:
    """Inside, memory that is freed stays with this process, if it trains on the CPU; afterwards it goes back."""
    libc = _glibc() if device.startswith("cpu") else None
    if libc is None:
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, _LARGEST)
    libc.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, _USUAL)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _USUAL)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if platform.libc_ver()[0] != "glibc":
        return None
    try:
        libc = ctypes.CDLL(None)
        return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
    except OSError:
        return None
