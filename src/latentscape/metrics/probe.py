"""What a linear map reads off latents: classes by logistic regression, quantities by least squares.

A linear probe (Alain & Bengio 2016, arXiv 1610.01644) is trained on training latents and read on held-out ones, so that
it says what lies open in a latent space, not what a deep net could still dig out of it.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

RIDGE = 1e-4
"""Added to the diagonal of the latents' correlation matrix, so that dead and repeated coordinates do no harm."""


def standardised(train_NL: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Latents with the training ones' mean 0 and variance 1, float64; a coordinate that is constant there becomes 0."""
    z_NL = train_NL.double()
    mean_L, std_L = z_NL.mean(0), z_NL.std(0, correction=0)
    scale_L = torch.where(std_L > 1e-6 * std_L.max().clamp_min(1e-12), 1 / std_L, 0.0)
    return tuple((z.double() - mean_L) * scale_L for z in (train_NL, *others))


def probe_accuracy(train_NL: Tensor, y_train_N: Tensor, test_NL: Tensor, y_test_N: Tensor) -> float:
    """Share of test examples whose class a logistic regression reads rightly off their standardised latents.

    Multinomial with an L2 penalty of C = 1 (scikit-learn's), at most 1,000 steps of L-BFGS. With a single class in the
    training part, that one is read everywhere. Labels are int64, none of them unknown (-1).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if len(y_train_N.unique()) == 1:
        return float((y_test_N == y_train_N[0]).double().mean())
    train, test = (u.numpy() for u in standardised(train_NL, test_NL))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what it reads after 1,000 steps is what is told
        reader = LogisticRegression(C=1.0, max_iter=1_000).fit(train, y_train_N.numpy())
    return float(np.mean(reader.predict(test) == y_test_N.numpy()))


def linear_r2(train_NL: Tensor, a_train_N: Tensor, test_NL: Tensor, a_test_N: Tensor) -> float:
    """1 − (squared error of a least-squares regression) / (squared deviation from the test part's own mean).

    1: read without error; 0: no better than naming the mean; below 0: worse. NaN where the test values are all equal.
    """
    u_train, u_test = standardised(train_NL, test_NL)
    a_train, a_test = a_train_N.double(), a_test_N.double()
    gram_LL = u_train.T @ u_train / len(u_train) + RIDGE * torch.eye(u_train.shape[1], dtype=torch.float64)
    weights_L = torch.linalg.solve(gram_LL, u_train.T @ (a_train - a_train.mean()) / len(u_train))
    errors_N = a_test - a_train.mean() - u_test @ weights_L
    spread = (a_test - a_test.mean()).square().sum()
    return float(1 - errors_N.square().sum() / spread) if spread > 0 else float("nan")
