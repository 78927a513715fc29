"""Directions in latent space along which an attribute changes, and sums of latents.

All functions take latents z_NL and an attribute a_N that is known for each of them: 0 and 1, or any number. Latents are
counted in standard deviations of their coordinates, u = (z − mean) / std, so that a coordinate that hardly varies
cannot carry a direction far out of what the decoder knows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentscape.errors import DataError
from latentscape.latents import priors

RIDGE = 0.3
"""Added to the diagonal of the latents' correlation matrix before it is inverted.

Latents of a real model are often nearly dependent, and in a combination of them that hardly varies there is much to
read and nothing to see: weights of opposite signs that the decoder undoes. On a VAE of faces a reading of age without
a ridge correlates at 0.53 with it, and at 0.50 with this one; moving along it changes what a net reads by 3 years
without and by 24 with it (`docs/tutorials/directions.md`).
"""

LEFT = 1e-3
"""A direction of which less than this share stands orthogonally to those to be kept is none."""


def combine(plus_PL: Tensor, minus_ML: Tensor) -> Tensor:
    """Σ plus − Σ minus, L (Mikolov et al. 2013 for words; Radford et al. 2016, section 6.3.2 for pictures)."""
    return plus_PL.sum(0) - minus_ML.sum(0)


def is_binary(a_N: Tensor) -> bool:
    """Whether an attribute is 0 or 1 everywhere."""
    return bool(((a_N == 0) | (a_N == 1)).all())


def check(a_N: Tensor, what: str) -> None:
    """`DataError` for an attribute that no direction can be fitted to: too few examples, or no difference."""
    if len(a_N) < 2 or bool((a_N == a_N[0]).all()):
        raise DataError(
            f"a direction needs examples that differ in {what}, found {len(a_N):,}"
            + (f", all with the value {float(a_N[0]):g}" if len(a_N) else "")
            + "; choose another attribute or give more data"
        )


# ---- fitting ---------------------------------------------------------------------------------------------------------


def mean_difference(z_NL: Tensor, a_N: Tensor) -> Tensor:
    """How the mean latent changes with the attribute, L: Σ (a − ā)(z − z̄) / Σ (a − ā)².

    Of an attribute of 0 and 1 that is the mean latent of the one group minus that of the other, the "attribute vector"
    of Larsen et al. 2016 (arXiv 1512.09300, section 3.4) and White 2016 (arXiv 1609.04468, section 4.2); of any other
    it is the slope of the regression of z on a.
    """
    z, a = z_NL.double(), a_N.double() - a_N.double().mean()
    return ((a @ (z - z.mean(0))) / a.square().sum()).float()


def linear(z_NL: Tensor, a_N: Tensor) -> Tensor:
    """The way in which a linear reading of the attribute rises fastest, L: w of `reading`, taken back to latents.

    Of an attribute of 0 and 1 it is the normal of the plane between the groups, as in InterFaceGAN (Shen et al. 2020,
    arXiv 1907.10786, section 3.1), there by a linear SVM and here by logistic regression with a ridge. It differs from
    the mean's change where latents are correlated: what goes with the attribute but does not help to tell it counts
    less (Haufe et al. 2014, doi 10.1016/j.neuroimage.2013.10.067, on the two).
    """
    return (_scale(z_NL) * reading(z_NL, a_N)).float()


METHODS = {"mean-difference": mean_difference, "linear": linear}
"""Name on the command line → function of z_NL and a_N."""


def reading(z_NL: Tensor, a_N: Tensor) -> Tensor:
    """Weights w of the linear reading a ≈ w·u + b of latents in standard deviations, L float64.

    With a ridge: logistic regression (log-odds) where the attribute is 0 or 1, else least squares, scaled so that a
    difference in the reading is, on average, as large a difference in the attribute.
    """
    z = z_NL.double()
    u_NL = (z - z.mean(0)) * _inverse(_scale(z_NL))
    if is_binary(a_N):
        from sklearn.linear_model import LogisticRegression

        # The curvature of a logistic loss is at most ¼ of the squared error's, and so is its share of the ridge.
        fitted = LogisticRegression(C=4 / (RIDGE * len(z)), max_iter=1_000).fit(u_NL.numpy(), a_N.numpy())
        return torch.from_numpy(fitted.coef_[0]).double()
    gram_LL = u_NL.T @ u_NL / len(z) + RIDGE * torch.eye(z.shape[1], dtype=torch.float64)
    a = a_N.double() - a_N.double().mean()
    w_L = torch.linalg.solve(gram_LL, u_NL.T @ a / len(z))
    read_N = u_NL @ w_L
    return w_L * (read_N @ a) / read_N.square().sum().clamp_min(1e-300)


def keep(direction_L: Tensor, z_NL: Tensor, readings_KL: Tensor) -> Tensor | None:
    """The direction without the parts that would change other attributes' linear readings; None if nothing is left.

    readings_KL: `reading` of each of them. In standard deviations, u − Wᵀ(WWᵀ)⁻¹W u, so that W u = 0 afterwards
    (Shen et al. 2020, section 3.2, with any number of conditions).
    """
    scale_L = _scale(z_NL)
    u_L, w_KL = direction_L.double() * _inverse(scale_L), readings_KL.double()
    left_L = u_L - torch.linalg.pinv(w_KL) @ (w_KL @ u_L)
    return (scale_L * left_L).float() if left_L.norm() > LEFT * u_L.norm() else None


def _scale(z_NL: Tensor) -> Tensor:
    """Standard deviation of each coordinate, L float64; 0 for one that is constant but for rounding."""
    std_L = z_NL.double().std(0, correction=0)
    return torch.where(std_L > 1e-6 * std_L.max(), std_L, 0.0)


def _inverse(scale_L: Tensor) -> Tensor:
    return torch.where(scale_L > 0, 1 / scale_L, 0.0)


# ---- using -----------------------------------------------------------------------------------------------------------


def step(direction_L: Tensor, z_NL: Tensor) -> Tensor:
    """The direction as long as one unit of strength, L: a standard deviation of the latents' projection on it.

    Projected is in standard deviations of the coordinates, so that those that vary most do not drown the others.
    Strengths mean the same for every method and model then: at 2, an average picture is where one in forty lies.
    """
    scale_L = _scale(z_NL)
    inverse_L = _inverse(scale_L)
    unit_L = direction_L.double() * inverse_L
    unit_L = unit_L / unit_L.norm()
    return (scale_L * unit_L * ((z_NL.double() * inverse_L) @ unit_L).std(correction=0)).float()


def correlation(step_L: Tensor, fitted_ML: Tensor, z_NL: Tensor, a_N: Tensor) -> float:
    """Pearson's correlation of the latents' projection on the direction with the attribute; NaN if either is constant.

    fitted_ML: the latents that the direction was fitted to, whose standard deviations are the units.
    """
    inverse_L = _inverse(_scale(fitted_ML))
    p, a = (z_NL.double() * inverse_L) @ (step_L.double() * inverse_L), a_N.double()
    p, a = p - p.mean(), a - a.mean()
    size = (p.square().sum() * a.square().sum()).sqrt()
    return float((p @ a) / size) if size > 0 else float("nan")


def gain(step_L: Tensor, fitted_ML: Tensor, a_M: Tensor) -> float:
    """By how much one unit of strength raises the linear reading of an attribute (of 0 and 1: its log-odds)."""
    return float(reading(fitted_ML, a_M) @ (step_L.double() * _inverse(_scale(fitted_ML))))


def moved(z_NL: Tensor, step_L: Tensor, strengths: tuple[float, ...]) -> Tensor:
    """Each latent at every strength: z + strength · step, (N·S)×L, all of the first one's first."""
    by_SL = torch.tensor(strengths, dtype=z_NL.dtype)[:, None] * step_L
    return (z_NL[:, None] + by_SL).flatten(0, 1)


def distance(z_NL: Tensor, known_ML: Tensor) -> Tensor:
    """How far latents lie from the middle of known ones, N: root mean square over whitened coordinates.

    About 1 for a latent like the known ones, whatever L is: in many dimensions nearly all of a Gaussian lies in a thin
    shell. A sum of three independent ones with signs + − + lies at √3, outside of it.
    """
    fitted = priors.fit_gaussian(known_ML)
    white_LN = torch.linalg.solve_triangular(
        fitted.factor_LL.double(), (z_NL.double() - fitted.mean_L.double()).T, upper=False
    )
    return white_LN.square().mean(0).sqrt().float()
