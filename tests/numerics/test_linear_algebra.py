"""A planted spectrum is recovered, exactly and by the randomised solver, with fixed signs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentscape.numerics import linear_algebra


def planted(dim: int, values: list[float], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """A covariance with the given leading eigenvalues (the rest 0), these values and their vectors."""
    rng = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(dim, dim, generator=rng, dtype=torch.float64)).Q
    spectrum = torch.zeros(dim, dtype=torch.float64)
    spectrum[: len(values)] = torch.tensor(values, dtype=torch.float64)
    return basis @ spectrum.diag() @ basis.T, spectrum, basis


def assert_same_directions(a_DK: Tensor, b_DK: Tensor, atol: float) -> None:
    torch.testing.assert_close((a_DK * b_DK).sum(0).abs(), torch.ones(a_DK.shape[1]).double(), atol=atol, rtol=0)


def assert_signs_fixed(vectors_DK: Tensor) -> None:
    pivots = vectors_DK.gather(0, vectors_DK.abs().argmax(0, keepdim=True))
    assert (pivots > 0).all()


def test_exact_solver_recovers_a_planted_spectrum() -> None:
    covariance, spectrum, basis = planted(12, [9.0, 4.0, 1.0, 0.25])
    values, vectors = linear_algebra.top_eigenpairs(covariance)
    torch.testing.assert_close(values, spectrum, atol=1e-12, rtol=1e-12)
    assert_same_directions(vectors[:, :4], basis[:, :4], 1e-10)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(12, dtype=torch.float64), atol=1e-12, rtol=0)
    assert_signs_fixed(vectors)
    assert (values >= 0).all()  # rounding makes the zeros of the spectrum slightly negative


def test_randomised_solver_recovers_a_planted_spectrum() -> None:
    covariance, spectrum, basis = planted(200, [9.0, 4.0, 1.0, 0.25, 0.05])
    rng = torch.Generator().manual_seed(0)
    values, vectors = linear_algebra.randomised_eigenpairs(lambda v: covariance @ v, 200, 4, rng)
    assert values.shape == (4,)
    assert vectors.shape == (200, 4)
    torch.testing.assert_close(values, spectrum[:4], rtol=1e-9, atol=0)
    assert_same_directions(vectors, basis[:, :4], 1e-9)
    assert_signs_fixed(vectors)


def test_randomised_solver_agrees_with_the_exact_one_on_a_full_spectrum() -> None:
    covariance, _, _ = planted(80, [0.8**k for k in range(80)], seed=1)
    exact, directions = linear_algebra.top_eigenpairs(covariance)
    rng = torch.Generator().manual_seed(0)
    values, vectors = linear_algebra.randomised_eigenpairs(lambda v: covariance @ v, 80, 10, rng, passes=8)
    torch.testing.assert_close(values, exact[:10], rtol=1e-6, atol=0)
    torch.testing.assert_close(vectors, directions[:, :10], rtol=0, atol=1e-4)


def test_more_passes_are_more_exact() -> None:
    covariance, spectrum, _ = planted(120, [0.97**k for k in range(120)], seed=2)
    errors = []
    for passes in (0, 2, 8):
        rng = torch.Generator().manual_seed(0)
        values, _ = linear_algebra.randomised_eigenpairs(lambda v: covariance @ v, 120, 8, rng, passes=passes)
        errors.append(float((values - spectrum[:8]).abs().sum()))
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


def test_randomised_solver_takes_all_there_is() -> None:
    covariance, spectrum, _ = planted(6, [3.0, 2.0, 1.0, 0.5, 0.2, 0.1])
    values, vectors = linear_algebra.randomised_eigenpairs(
        lambda v: covariance @ v, 6, 6, torch.Generator().manual_seed(0)
    )
    torch.testing.assert_close(values, spectrum)
    assert vectors.shape == (6, 6)


@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_signs_do_not_depend_on_those_that_the_solver_gave(flip: float) -> None:
    vectors = torch.tensor([[0.6, 0.1], [-0.8, 0.9]], dtype=torch.float64)
    fixed = linear_algebra.fix_signs(flip * vectors)
    torch.testing.assert_close(fixed, torch.tensor([[-0.6, 0.1], [0.8, 0.9]], dtype=torch.float64))
