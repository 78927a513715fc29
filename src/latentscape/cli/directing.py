"""Commands about directions and places in latent space: arithmetic, map, embed."""

from __future__ import annotations
