"""Corrupted images put through a model, beside what PCA makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from latentscape import models
from latentscape.contract import Reconstructs
from latentscape.data.batches import Gatherer
from latentscape.errors import ConfigError, DataError
from latentscape.metrics import reconstruction
from latentscape.models import pca
from latentscape.numerics import noise as corruption
from latentscape.pictures import sheets
from latentscape.tasks.showing.registry import Drawing, picture
from latentscape.tasks.showing.stage import Stage

PCA_IMAGES = 10_000
"""Most training images that PCA is fitted to for comparison."""

PCA_VALUES = 20_000_000
"""Most values of those images together; large pictures give fewer of them."""

COMPARED = 10_000
"""Most images whose errors are averaged."""

HIDES = 0.1
"""Mean brightness that a lost region must have had for its image to count."""


@dataclass
class Rows:
    """Versions of the same images, name by name: the first few for a picture, and sums of their errors."""

    n: int
    first: dict[str, list[Tensor]] = field(default_factory=dict)
    mse: dict[str, float] = field(default_factory=dict)
    psnr: dict[str, float] = field(default_factory=dict)
    count: int = 0

    def add(self, clean: Tensor, versions: dict[str, Tensor]) -> None:
        """Take in a batch; all on the [0, 1] scale, not clipped."""
        self.count += len(clean)
        for name, x in versions.items():
            self.mse[name] = self.mse.get(name, 0.0) + float(reconstruction.mse(clean, x).double().sum())
            self.psnr[name] = self.psnr.get(name, 0.0) + float(reconstruction.psnr_db(clean, x).double().sum())
        for name, x in {"clean": clean, **versions}.items():
            self.first.setdefault(name, []).append(x[: self.n])

    def picture(self) -> sheets.Picture:
        """One row per version."""
        return sheets.rows([(k, torch.cat(v)[: self.n].clamp(0, 1).numpy()) for k, v in self.first.items()])

    def told(self) -> str:
        """Every version's mean error and PSNR."""
        n = self.count
        return "; ".join(
            f"{name}: mean squared error {self.mse[name] / n:.4f}, PSNR {self.psnr[name] / n:.2f} dB"
            for name in self.mse
        )


def fitted_pca(stage: Stage) -> tuple[str, pca.Model]:
    """PCA of 90 % of the variance, fitted to training images, and what to call it."""
    shape, most = stage.model.shape, min(PCA_IMAGES, max(500, PCA_VALUES // stage.model.shape.size))
    model = models.build("pca", shape, pca.Config(variance=0.9))
    assert isinstance(model, pca.Model)
    source = Gatherer(stage.images, "train", "unit", "cpu")
    # Spread over the set: the first of a set sorted by class would be a single class.
    picks = torch.arange(min(most, len(source))) * len(source) // min(most, len(source))
    model.fit(lambda: (source.take(part).x for part in picks.split(500)), lambda text: None)
    return f"PCA, {model.latent_dim} components", model.eval()


def _compare(stage: Stage, n: int, corrupted: str, corrupt: Callable[[Tensor], tuple[Tensor, Tensor | None]]) -> Rows:
    """Rows of clean, corrupted, the model's and PCA's answers. `corrupt` works on [0, 1] pixels and may give a mask
    of the pixels that are lost: then only those are taken from the answers."""
    model = stage.need(Reconstructs, "it has nothing to clean with")
    rivals = {} if isinstance(stage.model, pca.Model) else dict([fitted_pca(stage)])
    rows, signed = Rows(n), stage.model.value_range == "signed"
    with torch.no_grad():
        for batch in stage.batches(COMPARED):
            clean = stage.as_unit(batch.x)
            bad, lost = corrupt(clean)
            answers = {stage.name: stage.as_unit(model.reconstruct(2 * bad - 1 if signed else bad, batch.y))}
            answers |= {name: rival.reconstruct(bad) for name, rival in rivals.items()}
            if lost is not None:
                answers = {name: torch.where(lost, x, bad) for name, x in answers.items()}
            keep = _hides_something(clean, lost)
            rows.add(clean[keep], {name: x[keep] for name, x in {corrupted: bad, **answers}.items()})
    if not rows.count:
        raise DataError(f"no square hides anything of {stage.images.name}'s images; give a larger side")
    return rows


def _hides_something(clean: Tensor, lost: Tensor | None) -> Tensor:
    """Which images count, B bool: those whose lost pixels are not black anyway, since to lose these costs nothing."""
    if lost is None:
        return torch.ones(len(clean), dtype=torch.bool)
    hidden = torch.where(lost, clean, 0.0).flatten(1).sum(1)
    return hidden >= HIDES * lost.flatten(1).sum(1) * clean.shape[1]


@picture
def denoise(
    stage: Stage, n: int = 10, sigma: float = 0.3, seed: int = 0, noise: str = "gaussian", amount: float = 0.3
) -> Drawing:
    """Noisy test images put through the model: clean, noisy, cleaned by the model and by PCA.

    noise: gaussian (of standard deviation `sigma`, not clipped), salt-and-pepper or drop (a share `amount` of the
    values set to 0 or 1, or to 0).
    """
    stage.need_images()
    rng = torch.Generator().manual_seed(seed)

    def corrupt(x: Tensor) -> tuple[Tensor, None]:
        if noise == "gaussian":
            return corruption.gaussian(x, torch.randn(x.shape, generator=rng), sigma), None
        uniform = torch.rand(x.shape, generator=rng)
        if noise == "salt-and-pepper":
            return corruption.salt_and_pepper(x, uniform, amount, 0.0, 1.0), None
        return corruption.drop(x, uniform, amount, 0.0), None

    words = {
        "gaussian": (f"σ = {sigma:g}", f"Gaussian noise of σ = {sigma:g} added (not clipped)"),
        "salt-and-pepper": (f"{amount:.0%} salt, pepper", f"{amount:.0%} of the pixels set to black or white"),
        "drop": (f"{amount:.0%} set to 0", f"{amount:.0%} of the values set to 0"),
    }
    if noise not in words:
        raise ConfigError(f"noise must be one of {', '.join(words)}, got {noise!r}")
    short, long = words[noise]
    rows = _compare(stage, n, f"noisy, {short}", corrupt)
    return Drawing(
        rows.picture(),
        "Denoised",
        f"{long}, then encoded and decoded. Against the clean image, over {stage.said(COMPARED)}: {rows.told()}.",
    )


@picture
def inpaint(stage: Stage, n: int = 10, side: int = 0, seed: int = 0) -> Drawing:
    """A square of each test image set to 0 and filled in by the model and by PCA; side: in pixels, 0: a third."""
    stage.need_images()
    height, width = stage.model.shape.dims[1:]
    side = side or max(1, round(min(height, width) / 3))
    if side > min(height, width):
        raise ConfigError(f"side must be at most {min(height, width)}, the image's shorter side, got {side}")
    rng = torch.Generator().manual_seed(seed)

    def corrupt(x: Tensor) -> tuple[Tensor, Tensor]:
        corner = torch.rand(len(x), 2, generator=rng)
        return corruption.mask_square(x, corner, side, 0.0), corruption.square(corner, side, height, width)

    rows = _compare(stage, n, "masked", corrupt)
    return Drawing(
        rows.picture(),
        "Masked regions filled in",
        f"A square of {side}×{side} pixels set to 0, the image encoded and decoded, and the answer's square put in its "
        f"place. Whole images against the clean ones, over the {rows.count:,} of {stage.said(COMPARED)} whose square "
        f"has a mean brightness of at least {HIDES:g}: {rows.told()}.",
    )
