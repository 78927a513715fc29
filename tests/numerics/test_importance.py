from __future__ import annotations

import math

import pytest
import torch

from latentscape.numerics import importance


def test_bound_is_the_log_of_the_mean_weight() -> None:
    w_KB = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    assert importance.bound(w_KB.log()).tolist() == pytest.approx([math.log(2), math.log(4)])


def test_bound_survives_weights_that_no_float_holds() -> None:
    assert importance.bound(torch.tensor([[-5000.0], [-5001.0]])).isfinite().all()


def test_bound_never_falls_with_more_samples_in_expectation() -> None:
    """Weights of a log-normal: E log-mean of k rises with k towards log E w (Burda et al. 2016, theorem 1)."""
    log_w = torch.randn(500, 20_000, generator=torch.Generator().manual_seed(0)) - 0.5  # E w = 1
    means = [float(importance.bound(log_w[:k]).mean()) for k in (1, 5, 50, 500)]
    assert means == sorted(means)
    assert means[0] == pytest.approx(-0.5, abs=0.02)
    assert means[-1] == pytest.approx(0, abs=0.01)
