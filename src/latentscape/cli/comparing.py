"""The command that puts runs side by side: compare."""

from __future__ import annotations
