"""Commands that walk through latent space: interpolate, traverse, grid, transfer."""

from __future__ import annotations
