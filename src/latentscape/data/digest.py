"""What stands for one example's content. Imports nothing heavy: processes that decode need it too."""

from __future__ import annotations

import hashlib

DIGEST_BYTES = 16


def digest(pixels: bytes | memoryview) -> bytes:
    """16 bytes that stand for one example's content (BLAKE2b)."""
    return hashlib.blake2b(pixels, digest_size=DIGEST_BYTES).digest()
