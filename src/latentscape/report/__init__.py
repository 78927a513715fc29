"""A run folder to one self-contained HTML page."""

from __future__ import annotations

from latentscape.report.html import write_report

__all__ = ["write_report"]
