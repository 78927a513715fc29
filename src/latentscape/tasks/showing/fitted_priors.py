"""What different priors, fitted to the same model's latents, decode to, and how far that is from real pictures."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from latentscape.contract import Decodes, Encodes, Samples
from latentscape.data.batches import Gatherer, in_order
from latentscape.errors import ConfigError, DataError
from latentscape.latents import priors
from latentscape.metrics import frechet
from latentscape.pictures import sheets
from latentscape.tasks import classify, fitted
from latentscape.tasks.showing.registry import Drawing, picture
from latentscape.tasks.showing.stage import CHOICES, Stage

BATCH = 500
"""Examples decoded and read at once."""

SCORED = 5_000
"""Draws of each prior that are compared with real images."""


@picture
def fitted_priors(
    stage: Stage, n: int = 10, kinds: tuple[str, ...] = (), score: int = SCORED, seed: int = 0
) -> Drawing:
    """A row of samples from each prior, with the Fréchet distance of `score` draws (0: none) to as many test images.

    kinds: "own" or names in `priors.KINDS`; none: all, and the model's own if it has one. The distance is taken in the
    features of the product's classifier, so that data without labels have none.
    """
    stage.need_images()
    stage.need(Decodes, "it cannot make pictures from latents")
    stage.need(Encodes, "so there are no latents to fit a prior to; `samples` shows its own")
    if n < 1 or score < 0:
        raise ConfigError(f"n must be at least 1 and score at least 0, got {n} and {score}")
    kinds = kinds or (*(["own"] if isinstance(stage.model, Samples) else []), *priors.KINDS)
    if wrong := [kind for kind in kinds if kind not in CHOICES[1:]]:
        raise ConfigError(f"kinds must be among {', '.join(CHOICES[1:])}, got {wrong[0]!r}")
    judge = Judge(stage, score) if score and stage.images.classes else None
    entries, figures = [], []
    for kind, z_NL in _draws(stage, kinds, max(n, score), seed):
        name = f"{kind} {judge.distance(z_NL):.1f}" if judge else kind
        entries.append((name, stage.decode(z_NL[:n], stage.cycle(n))))
        figures.append(name)
    caption = f"{n} draws of each prior (seed {seed}) decoded. {judge.words(figures) if judge else ''}".strip()
    return Drawing(sheets.rows(entries), "Samples by prior", caption)


def _draws(stage: Stage, kinds: tuple[str, ...], n: int, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Each prior's name and n draws of it; the training latents are found once for all."""
    encoded = functools.cache(lambda n: stage.latents(n, "train")[0])
    for kind in kinds:
        rng = torch.Generator().manual_seed(seed)
        if kind == "own":
            yield kind, stage.need(Samples, "leave `own` out").prior(n, rng)
        else:
            yield kind, fitted.fitted_prior(stage, kind, encoded=encoded).sample(n, rng)


class Judge:
    """Fréchet distances between decoded draws and real images of the stage's split, in a classifier's features.

    n: how many are compared; as many as the split and the training part have, at most. Raises `DataError` for too few,
    and where there is no classifier (`classify.reader`).
    """

    def __init__(self, stage: Stage, n: int) -> None:
        sizes = stage.images.sizes()
        self.stage, self.n = stage, min(n, sizes[stage.split], sizes["train"])
        if self.n < 2:
            raise DataError(f"a distance compares at least two images, and there is {self.n}; use score = 0")
        self.reader = classify.reader(stage.images)
        self.real_NF = self._features_of(stage.split)

    def _features_of(self, split: str) -> Tensor:
        source = Gatherer(self.stage.images, split, self.stage.model.value_range, "cpu")
        picks = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[: self.n]
        return self._read(batch.x for batch in in_order(source, BATCH, picks=picks))

    @torch.no_grad()
    def _read(self, batches: Iterable[Tensor]) -> Tensor:
        """Features N×F of examples in the model's value range."""
        range_ = self.stage.model.value_range
        return torch.cat([self.reader.features(classify.inputs_for(self.reader, x, range_)) for x in batches])

    @torch.no_grad()
    def distance(self, z_NL: Tensor) -> float:
        """Of the pictures that latents decode to; a conditional model's under all labels in turn."""
        z_NL, y_N = z_NL[: self.n], self.stage.cycle(self.n)
        model = self.stage.need(Decodes)
        parts = (
            model.decode(z_NL[start : start + BATCH], None if y_N is None else y_N[start : start + BATCH])
            for start in range(0, len(z_NL), BATCH)
        )
        return frechet.distance(self.real_NF, self._read(parts))

    def floor(self) -> float:
        """The distance of training images, which are as real."""
        return frechet.distance(self.real_NF, self._features_of("train"))

    def words(self, figures: list[str]) -> str:
        """The sentence of the caption."""
        return (
            f"Fréchet distance of {self.n:,} draws to as many {self.stage.split} images, in the features of a "
            f"classifier of this set: {', '.join(figures)}; of training images {self.floor():.1f}."
        )
