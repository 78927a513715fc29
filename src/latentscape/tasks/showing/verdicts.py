"""What a discriminator says of pictures: real ones, its generator's, noise, and any others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentscape.contract import Discriminates, Model, Samples
from latentscape.errors import ConfigError, DataError
from latentscape.latents import encode
from latentscape.pictures import plots, sheets
from latentscape.tasks.showing.registry import Drawing, picture
from latentscape.tasks.showing.stage import Stage

BINS = 25
"""Bins of the histograms, the same for all sources."""

SHARE = {True: "share_judged_real", False: "share_above_real_median"}
"""What the share in the figures is called, of probabilities and of scores."""

LONGEST = 24
"""Letters of a name on the sheet."""


@dataclass(frozen=True)
class Source:
    """Pictures of one kind: x_NX in the model's value range, and the labels y_N they are judged under, if it reads any.

    files: of single pictures, the name of each.
    """

    name: str
    x: Tensor
    y: Tensor | None
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What the discriminator says of a source, N: probabilities of being real, or a critic's scores."""

    source: Source
    values: Tensor


def own_sources(stage: Stage, n: int, seed: int, split: str) -> list[Source]:
    """Real pictures of a split, the model's own, and two kinds of noise; n of each, of the real ones as many as exist.

    Noise is N(0, 1), not clipped, and −1 or 1 at random, where the data lie in [-1, 1]; the same, halved and moved by a
    half, where they lie in [0, 1].
    """
    model, rng = stage.model, torch.Generator().manual_seed(seed)
    found = [_real(stage, n, split, rng)]
    y_N = in_turn(model, n)
    if isinstance(model, Samples):
        found.append(Source("generated", encode.decode_all(model, model.prior(n, rng), y_N), y_N))
    gaussian = torch.randn(n, *model.shape.dims, generator=rng)
    signs = 2.0 * torch.randint(2, (n, *model.shape.dims), generator=rng) - 1
    return [*found, *(Source(k, _ranged(x, model), y_N) for k, x in (("N(0, 1) noise", gaussian), ("±1 noise", signs)))]


def _real(stage: Stage, n: int, split: str, rng: torch.Generator) -> Source:
    usable = stage.picks(len(stage.images.indices(split)), split)
    if not len(usable):
        raise DataError(f"no {split} example of {stage.images.name} has a label, and {stage.name} reads them")
    batch = stage.at(usable[torch.randperm(len(usable), generator=rng)[:n]], split)
    return Source(
        "real" if split == "all" else f"real ({split})", batch.x, batch.y if stage.model.needs_labels else None
    )


def _ranged(noise: Tensor, model: Model) -> Tensor:
    """From [-1, 1] to where the model's pictures lie; vectors have no range, so that noise stays as it is."""
    return (noise + 1) / 2 if model.shape.is_image and model.value_range != "signed" else noise


def in_turn(model: Model, n: int) -> Tensor | None:
    """Labels 0, 1, 2, … of all classes again and again, n of them; None for a model that reads none."""
    return torch.arange(n) % model.classes if model.needs_labels else None


@torch.no_grad()
def judge(stage: Stage, sources: Sequence[Source], batch_size: int = 250) -> list[Verdict]:
    """Ask the discriminator, in evaluation mode."""
    model = stage.need(Discriminates, "GANs do")
    return [Verdict(s, torch.cat(list(_values(model, s, batch_size)))) for s in sources]


def _values(model: Any, source: Source, batch_size: int) -> Iterator[Tensor]:
    for start in range(0, len(source.x), batch_size):
        here = slice(start, start + batch_size)
        logits_B = model.discriminate(source.x[here], None if source.y is None else source.y[here]).float()
        yield torch.sigmoid(logits_B) if model.probabilities else logits_B


def figures(verdicts: Sequence[Verdict], is_probability: bool) -> list[dict[str, Any]]:
    """n, mean, median of each source, and a share: of probabilities above ½, or of scores above the real ones' median.

    The first source is the real one.
    """
    bar = 0.5 if is_probability else float(verdicts[0].values.quantile(0.5))
    found = []
    for v in verdicts:
        middle, above = float(v.values.quantile(0.5)), float((v.values > bar).float().mean())
        entry = {"source": v.source.name, "n": len(v.values), "mean": float(v.values.mean()), "median": middle}
        found.append(entry | {SHARE[is_probability]: above})
    return found


def drawn(stage: Stage, verdicts: Sequence[Verdict], n: int) -> sheets.Picture:
    """A histogram for each source, all over the same values, and below them the first n pictures with their numbers.

    Single pictures are shown all; examples that are no images not at all.
    """
    is_probability = stage.need(Discriminates).probabilities
    histograms = plots.histograms(
        {f"{_short(v.source.name)}, {len(v.values):,}": v.values.numpy() for v in verdicts},
        BINS,
        xlabel="probability of being real" if is_probability else "the critic's score",
        span=(0.0, 1.0) if is_probability else None,
        columns=2 if len(verdicts) <= 4 else 3,
    )
    if not stage.model.shape.is_image:
        return histograms
    rows = [row for v in verdicts for row in _rows(stage, v, n, is_probability)]
    return sheets.stacked([histograms, sheets.titled_rows(rows)])


def _rows(stage: Stage, verdict: Verdict, n: int, is_probability: bool) -> Iterator[tuple[str, Any, list[str]]]:
    """Title, pictures and texts of each row, n pictures long; the first row only, but of single pictures all."""
    source, end = verdict.source, len(verdict.values) if verdict.source.files else n
    for start in range(0, min(end, len(verdict.values)), n):
        here = slice(start, min(start + n, end))
        texts = [said(v, is_probability) for v in verdict.values[here].tolist()]
        if len(set(source.files)) > 1:
            texts = [f"{t}\n{_short(f, 12)}" for t, f in zip(texts, source.files[here], strict=True)]
        if source.y is not None:
            texts = [f"{t}\nas {stage.class_name(int(k))}" for t, k in zip(texts, source.y[here], strict=True)]
        yield ("" if start else _short(source.name)), stage.unit(source.x[here]), texts


def said(value: float, is_probability: bool) -> str:
    """A probability with four decimals, a score with three digits."""
    return f"{value:.4f}" if is_probability else f"{value:.3g}".replace("-", "−")


def _short(name: str, most: int = LONGEST) -> str:
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


def caption(verdicts: Sequence[Verdict], is_probability: bool, seed: int) -> str:
    """What was asked, and the figures."""
    found = figures(verdicts, is_probability)
    asked = "the probability of being real" if is_probability else "its score, whose zero means nothing"
    share = SHARE[is_probability]
    above = "above ½" if is_probability else "above the median of the real ones"
    listed = "; ".join(
        f"{f['source']}: mean {said(f['mean'], is_probability)}, median {said(f['median'], is_probability)}, "
        f"{100 * f[share]:.3g} % {above} (n = {f['n']:,})"
        for f in found
    )
    return (
        f"What the discriminator says in evaluation mode, {asked}: {listed}. Real images are drawn at random (seed "
        f"{seed}), pictures are drawn clipped to their range. It learned to tell its own generator from the data and "
        "nothing else, so that it may take noise, or pictures of other things, for real."
    )


def check_counts(n: int, figures_n: int) -> None:
    """`ConfigError` for counts that cannot be."""
    if n < 1:
        raise ConfigError(f"n must be at least 1, got {n}")
    if figures_n < n:
        raise ConfigError(f"figures_n must be at least n, the {n:,} pictures that are shown, got {figures_n:,}")


@picture
def probe(stage: Stage, n: int = 10, figures_n: int = 1_000, seed: int = 0) -> Drawing:
    """What the discriminator says of real test images, its generator's, and noise: histograms, the first n of each."""
    check_counts(n, figures_n)
    model = stage.need(Discriminates, "GANs do")
    verdicts = judge(stage, own_sources(stage, figures_n, seed, stage.split))
    return Drawing(
        drawn(stage, verdicts, n),
        "What the discriminator says",
        caption(verdicts, model.probabilities, seed),
    )
