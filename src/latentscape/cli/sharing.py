"""Commands that hand runs on: push, pull."""

from __future__ import annotations
