"""Pictures of a trained model: functions of a stage (model and data) that recipes name.

A picture that a model cannot give (a GAN's reconstructions) raises `AbilityError`, one that the data cannot give
`DataError`; options that cannot be raise `ConfigError`.
"""

from __future__ import annotations

from latentscape.tasks.showing import (
    adversarial,
    basic,
    conditional,
    discrete,
    fitted_priors,
    latent,
    linear,
    noisy,
    posteriors,
    priors,
    reading,
    sparse,
    toy,
    verdicts,
)
from latentscape.tasks.showing.drawing import STANDARD, Beside, check, show, show_listed, show_standard
from latentscape.tasks.showing.film import Films
from latentscape.tasks.showing.registry import PICTURES, Drawing
from latentscape.tasks.showing.stage import CHOICES, MAP_POINTS, Stage, has_own_prior, prior_codes

THEMES = (
    adversarial,
    basic,
    conditional,
    discrete,
    fitted_priors,
    latent,
    linear,
    noisy,
    posteriors,
    priors,
    reading,
    sparse,
    toy,
    verdicts,
)
"""The files that hold pictures; importing them fills `PICTURES`."""

__all__ = [
    "CHOICES",
    "MAP_POINTS",
    "PICTURES",
    "STANDARD",
    "Beside",
    "Drawing",
    "Films",
    "Stage",
    "check",
    "has_own_prior",
    "prior_codes",
    "show",
    "show_listed",
    "show_standard",
]
