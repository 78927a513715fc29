"""Commands for pictures of one's own: denoise, detect."""

from __future__ import annotations
