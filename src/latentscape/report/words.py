"""Names, units and meanings of what a run measures, and numbers as people read them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Meaning:
    """A metric in words: full name, unit, which direction is better (`higher`, `lower` or ""), how to read it."""

    name: str
    unit: str
    better: str
    text: str
    percent: bool = False


MEANINGS = {
    "elbo_nats": Meaning(
        "evidence lower bound (ELBO)",
        "nats",
        "higher",
        "A lower bound on the log-probability the model gives to an image: how well it is rebuilt, less what its "
        "latent costs to state.",
    ),
    "iwae_nats": Meaning(
        "importance-weighted bound",
        "nats",
        "higher",
        "A tighter lower bound on the log-probability of an image, from many posterior samples.",
    ),
    "psnr_db": Meaning(
        "peak signal-to-noise ratio (PSNR)",
        "dB",
        "higher",
        "Pixel error on a logarithmic scale: 3 dB more halve the squared error. About 20 is recognisable, above 30 is "
        "close.",
    ),
    "ssim": Meaning(
        "structural similarity (SSIM)",
        "",
        "higher",
        "How alike local brightness, contrast and structure are: 1 is identical, 0 is unrelated.",
    ),
    "mse": Meaning(
        "mean squared error (MSE)",
        "",
        "lower",
        "Squared difference of pixels between 0 and 1, averaged: 0 is identical. It forgives blur and punishes shifts.",
    ),
    "bce": Meaning(
        "binary cross-entropy (BCE)",
        "nats per pixel",
        "lower",
        "Cost of stating each pixel with the rebuilt one as its probability. Its floor is not 0 where pixels are grey.",
    ),
    "kl_nats": Meaning(
        "KL divergence to the prior",
        "nats",
        "",
        "How much an image's latent says beyond the prior. Near 0 the latent carries nothing; very large, and samples "
        "of the prior will not look like the data.",
    ),
    "active_units": Meaning(
        "active latent units",
        "",
        "",
        "Latent dimensions that change from image to image; the others are not used.",
    ),
    "knn_accuracy": Meaning(
        "nearest-neighbour accuracy",
        "",
        "higher",
        "How often an image's nearest neighbours in latent space have its label: whether classes lie apart.",
        percent=True,
    ),
    "probe_accuracy": Meaning(
        "linear-probe accuracy",
        "",
        "higher",
        "How often a linear classifier reads the right label from the latent.",
        percent=True,
    ),
    "fid": Meaning(
        "Fréchet distance of features (FID)",
        "",
        "lower",
        "Distance between generated and real images in a classifier's features. Compare it with its floor and only at "
        "the same number of images.",
    ),
    "fid_floor": Meaning(
        "FID of real against real",
        "",
        "",
        "The same score between two sets of real images: no generator can be expected to score lower.",
    ),
    "kid": Meaning(
        "kernel distance of features (KID)",
        "",
        "lower",
        "Like FID, but unbiased for small sets: 0 is as good as real.",
    ),
    "kid_floor": Meaning("KID of real against real", "", "", "The same between two sets of real images: about 0."),
    "precision": Meaning(
        "precision", "", "higher", "Share of generated images that lie among real ones: are they good?", percent=True
    ),
    "recall": Meaning(
        "recall",
        "",
        "higher",
        "Share of real images that lie among generated ones: is everything there?",
        percent=True,
    ),
    "precision_floor": Meaning(
        "precision of real against real",
        "",
        "",
        "The same share with real images for samples: what a perfect generator would score.",
        percent=True,
    ),
    "recall_floor": Meaning(
        "recall of real against real",
        "",
        "",
        "The same share with real images for samples: what a perfect generator would score.",
        percent=True,
    ),
    "density": Meaning(
        "density", "", "higher", "Like precision, but outliers count less; about 1 is as dense as real images."
    ),
    "coverage": Meaning(
        "coverage", "", "higher", "Share of real images with a generated one near them; 1 is all.", percent=True
    ),
    "density_floor": Meaning(
        "density of real against real", "", "", "The same with real images for samples: about 1 on average."
    ),
    "coverage_floor": Meaning(
        "coverage of real against real",
        "",
        "",
        "The same share with real images for samples: what a perfect generator would score.",
        percent=True,
    ),
    "modes": Meaning("modes found", "", "higher", "Number of classes that occur among the samples at all."),
    "duplicate_fraction": Meaning(
        "near-duplicates among samples",
        "",
        "lower",
        "Share of samples that nearly equal another one: many mean that the generator has collapsed.",
        percent=True,
    ),
    "duplicate_fraction_floor": Meaning(
        "near-duplicates among real images", "", "", "The same share of as many real images.", percent=True
    ),
    "memorised_fraction": Meaning(
        "samples nearer to training images",
        "",
        "",
        "Share of samples that lie nearer to a training image than to any of as many held-out ones. Chance is 50 %; "
        "more means that training images are repeated.",
        percent=True,
    ),
    "sharpness": Meaning(
        "sharpness", "", "", "Variance of the Laplacian; best near that of real images, noise raises it too."
    ),
    "sharpness_real": Meaning("sharpness of real images", "", "", "The same of as many real images."),
    "class_histogram": Meaning("classes among samples", "", "", "Share of each class, as a classifier reads them."),
    "label_agreement": Meaning(
        "label agreement",
        "",
        "higher",
        "How often a classifier reads the label that was asked for.",
        percent=True,
    ),
    "transfer_agreement": Meaning(
        "transfer agreement",
        "",
        "higher",
        "How often a classifier reads the new label when an image is decoded under a label that is not its own.",
        percent=True,
    ),
    "mean_activation": Meaning("mean activation", "", "", "Mean activity of the code; compare it with its target."),
    "inside_fraction": Meaning(
        "latents inside the prior",
        "",
        "higher",
        "Share of latents where the prior has mass; what lies outside, samples of the prior never show.",
        percent=True,
    ),
    "energy_distance": Meaning(
        "energy distance to the prior",
        "",
        "lower",
        "How far the latents of all images are from the prior as a whole. Compare it with its floor.",
    ),
    "energy_distance_floor": Meaning(
        "energy distance of prior to prior",
        "",
        "",
        "The same between two sets of prior samples: latents that fill the prior exactly would score about this.",
    ),
    "style_accuracy": Meaning(
        "label read off the style",
        "",
        "lower",
        "How often a classifier that is trained anew finds the label in the latent, which is meant not to hold it. "
        "Chance is best.",
        percent=True,
    ),
    "mig": Meaning(
        "mutual information gap (MIG)",
        "",
        "higher",
        "Whether each true factor sits in one latent dimension: 1 is fully, 0 not at all.",
    ),
    "dci_disentanglement": Meaning(
        "disentanglement (DCI)",
        "",
        "higher",
        "Whether each latent dimension speaks of one true factor only: 1 is fully.",
    ),
    "dci_completeness": Meaning(
        "completeness (DCI)", "", "higher", "Whether each true factor sits in one latent dimension only: 1 is fully."
    ),
    "dci_informativeness": Meaning(
        "informativeness (DCI)", "", "higher", "How much of the true factors can be read off the latent: 1 is all."
    ),
    "error_rate": Meaning("error rate", "", "lower", "Share of wrong labels.", percent=True),
    "auroc": Meaning(
        "area under the ROC curve",
        "",
        "higher",
        "Probability that an anomaly scores above a normal image: ½ is chance.",
    ),
}
"""In the order of importance that the page keeps; a metric it does not know comes after them, by its own name."""

_TERMS = {
    "recon": "reconstruction",
    "kl": "KL divergence to the prior",
    "total": "total loss",
    "real": "loss on real images",
    "fake": "loss on generated images",
    "adversarial": "adversarial loss",
    "prior": "loss on prior samples",
}

_UNITS = (
    ("_nats_per_image", "nats per image"),
    ("_nats_per_example", "nats per example"),
    ("_nats_per_pixel", "nats per pixel"),
    ("_per_image", "per image"),
    ("_per_pixel", "per pixel"),
    ("_nats", "nats"),
    ("_db", "dB"),
    ("_percent", "%"),
)


def meaning(metric: str) -> Meaning:
    """What a metric means; of one that is not known, its name with spaces."""
    return MEANINGS.get(metric) or Meaning(metric.replace("_", " "), "", "", "")


def term_words(term: str) -> tuple[str, str]:
    """Name and unit of a loss term without its phase: `recon_nats_per_image` → reconstruction, nats per image."""
    for suffix, unit in _UNITS:
        if term.endswith(suffix) and term != suffix:
            stem = term.removesuffix(suffix)
            return _TERMS.get(stem, stem.replace("_", " ")), unit
    return _TERMS.get(term, term.replace("_", " ")), "loss" if term == "total" else ""


def number(value: float, digits: int = 4) -> str:
    """A number as people write it: rounded, thousands apart, with a true minus sign: 1,797 · 0.01234 · −86.4."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if abs(value) < 1e12 and (value == int(value) or abs(value) >= 10 ** (digits - 1)):
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.{digits}g}".replace("-", "−")


def measured(metric: str, value: Any, digits: int = 4) -> str:
    """A metric's value without its unit; shares in percent; lists and tables in full."""
    about = meaning(metric)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if about.percent and 0 <= value <= 1:
            return f"{100 * value:.1f} %"
        return number(value, digits)
    if metric == "class_histogram" and isinstance(value, dict):
        return ", ".join(f"{name}: {100 * share:.3g} %" for name, share in value.items())
    return plain(value)


def interval(metric: str, ends: Any) -> str:
    """A metric's interval in words, its ends with as many digits as the value; "" for none."""
    if not isinstance(ends, (list, tuple)) or len(ends) != 2:
        return ""
    low, high = (measured(metric, end).removesuffix(" %") for end in ends)
    unit = " %" if meaning(metric).percent else ""
    return f"{low} to {high}{unit}"


def plain(value: Any) -> str:
    """Any value of a settings or data table as text; nothing is left out."""
    if value is None or value == [] or value == {} or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}".replace("-", "−") if math.isfinite(value) else number(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value))
    if isinstance(value, dict):
        return ", ".join(f"{k}: {plain(v)}" for k, v in value.items())
    return str(value)


def duration(seconds: float) -> str:
    """A time span in the two units that matter: 12 s · 3 min 20 s · 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
