"""PCA recovers what was planted, keeps what explains the asked share, and equals NumPy's SVD."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
from torch import Tensor

from latentscape import api, models
from latentscape.config import DataShape
from latentscape.models import pca
from latentscape.runs import RunFolder


def planted(n: int, dim: int, variances: list[float], seed: int = 0) -> tuple[Tensor, Tensor]:
    """n examples whose sample covariance has exactly these eigenvalues (the rest 0), and the directions, D×K."""
    rng = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(dim, len(variances), generator=rng, dtype=torch.float64)).Q
    white = torch.randn(n, len(variances), generator=rng, dtype=torch.float64)
    white = torch.linalg.qr(white - white.mean(0)).Q * n**0.5
    mean = torch.linspace(-1, 2, dim, dtype=torch.float64)
    return (mean + white * torch.tensor(variances, dtype=torch.float64).sqrt() @ basis.T).float(), basis


def batches(x_ND: Tensor, size: int = 30) -> Callable[[], Iterable[Tensor]]:
    return lambda: iter(x_ND.split(size))


def fitted(x_ND: Tensor, **settings: object) -> pca.Model:
    model = models.build("pca", DataShape(tuple(x_ND.shape[1:])), pca.Config(**settings))
    model.fit(batches(x_ND), lambda text: None)
    return model


VARIANCES = [8.0, 4.0, 2.0, 1.0]


def test_planted_directions_and_variances_are_recovered() -> None:
    x_ND, basis = planted(400, 20, VARIANCES)
    model = fitted(x_ND, latent_dim=4)
    torch.testing.assert_close(model.variances.double(), torch.tensor(VARIANCES).double(), rtol=1e-4, atol=0)
    torch.testing.assert_close(
        (model.components.double() * basis).sum(0).abs(), torch.ones(4).double(), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(model.mean, x_ND.mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.reconstruct(x_ND), x_ND, atol=1e-3, rtol=1e-3)
    assert float(model.total_variance) == pytest.approx(15.0, rel=1e-4)


@pytest.mark.parametrize(("share", "kept"), [(0.5, 1), (0.53, 1), (0.54, 2), (0.8, 2), (0.9, 3), (0.94, 4), (1.0, 4)])
def test_as_many_components_as_explain_the_asked_share(share: float, kept: int) -> None:
    """The shares are 8/15 = 0.533, 12/15 = 0.8, 14/15 = 0.933 and 1."""
    x_ND, _ = planted(400, 4, VARIANCES)
    model = models.build("pca", DataShape((4,)), pca.Config(variance=share - 1e-6 if share == 0.8 else share))
    said: list[str] = []
    figures = model.fit(batches(x_ND), said.append)
    assert model.latent_dim == figures["components"] == kept
    assert figures["explained_variance"] == pytest.approx(sum(VARIANCES[:kept]) / 15, rel=1e-4)
    assert figures["compression_numbers"] == kept / 4
    assert figures["compression_bytes"] == 4 * kept / 4
    assert f"{kept} components explain" in said[-1]


def test_reconstruction_is_that_of_numpy_s_svd() -> None:
    x_NX = torch.rand(60, 1, 5, 4, generator=torch.Generator().manual_seed(1))
    model = fitted(x_NX, latent_dim=6)
    flat = x_NX.flatten(1).numpy().astype(np.float64)
    centred = flat - flat.mean(0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    expected = flat.mean(0) + centred @ directions[:6].T @ directions[:6]
    np.testing.assert_allclose(model.reconstruct(x_NX).flatten(1).numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(model.spectrum.numpy()[:20], singular**2 / 60, rtol=1e-4)
    assert model.decode(model.encode(x_NX)).shape == x_NX.shape
    torch.testing.assert_close(model.encode(x_NX).var(0, unbiased=False), model.variances, rtol=1e-3, atol=1e-6)


def test_no_linear_code_of_the_same_size_is_better() -> None:
    x_ND = torch.rand(100, 12, generator=torch.Generator().manual_seed(2))
    error = float((fitted(x_ND, latent_dim=3).reconstruct(x_ND) - x_ND).square().mean())
    for seed in range(20):
        basis = torch.linalg.qr(torch.randn(12, 3, generator=torch.Generator().manual_seed(seed))).Q
        centred = x_ND - x_ND.mean(0)
        assert error < float((centred @ basis @ basis.T - centred).square().mean())


@pytest.mark.parametrize("settings", [{"latent_dim": 5}, {"variance": 0.9}, {"variance": 0.999}])
def test_the_randomised_path_agrees_with_the_exact_one(
    settings: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    x_ND, _ = planted(500, 150, [0.9**k for k in range(120)], seed=3)
    exact = fitted(x_ND, **settings)
    monkeypatch.setattr(pca, "EXACT_UP_TO", 100)
    randomised = fitted(x_ND, **settings)
    assert randomised.latent_dim == exact.latent_dim
    assert len(randomised.spectrum) < len(exact.spectrum)  # the other path was indeed taken
    torch.testing.assert_close(randomised.variances[:5], exact.variances[:5], rtol=1e-3, atol=0)
    torch.testing.assert_close(randomised.components[:, :3], exact.components[:, :3], rtol=0, atol=2e-2)
    errors = [float((m.reconstruct(x_ND) - x_ND).square().mean()) for m in (exact, randomised)]
    assert errors[1] == pytest.approx(errors[0], rel=0.02)


def test_more_components_than_first_tried_are_taken_when_the_share_asks_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x_ND = torch.randn(400, 150, generator=torch.Generator().manual_seed(0))
    exact = fitted(x_ND, variance=0.9)
    monkeypatch.setattr(pca, "EXACT_UP_TO", 10)
    model, said = models.build("pca", DataShape((150,)), pca.Config(variance=0.9)), []
    model.fit(batches(x_ND), said.append)
    assert exact.latent_dim > 64
    assert abs(model.latent_dim - exact.latent_dim) <= 1
    assert any("taking more" in text for text in said)


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "randomised"])
def test_asking_for_more_components_than_examples_gives_what_was_asked_or_says_so(
    exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pca, "EXACT_UP_TO", 2048 if exact else 10)
    x_ND = torch.rand(8, 20, generator=torch.Generator().manual_seed(0))
    model = fitted(x_ND, latent_dim=12)
    assert model.latent_dim == model.components.shape[1] == len(model.variances)
    assert model.latent_dim == 12
    assert torch.isfinite(model.components).all()
    torch.testing.assert_close(model.reconstruct(x_ND), x_ND, atol=1e-4, rtol=0)


def test_the_prior_has_the_latents_variances() -> None:
    x_ND, _ = planted(400, 10, VARIANCES)
    model = fitted(x_ND, latent_dim=4)
    z_NL = model.prior(200_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(z_NL.var(0), torch.tensor(VARIANCES), rtol=0.02, atol=0)
    assert z_NL.mean(0).abs().max() < 0.03


def test_constant_data_has_no_variance_and_breaks_nothing() -> None:
    x_ND = torch.full((10, 6), 0.25)
    model = fitted(x_ND)
    assert model.latent_dim >= 1
    torch.testing.assert_close(model.reconstruct(x_ND), x_ND, atol=1e-5, rtol=0)


def test_signs_are_fixed_so_that_pictures_stay() -> None:
    x_ND = torch.rand(50, 9, generator=torch.Generator().manual_seed(0))
    components = fitted(x_ND, latent_dim=4).components
    assert (components.gather(0, components.abs().argmax(0, keepdim=True)) > 0).all()


def test_ninety_percent_of_digits(tmp_path: object) -> None:
    run = api.train("pca", "digits", out=tmp_path / "run", finish=False)
    assert run.model.latent_dim == 21  # as scikit-learn's PCA finds for 90 % of its digits
    assert "components explain 9" in run.ended
    assert RunFolder(run.path).load_model().latent_dim == 21


@pytest.mark.slow
def test_a_one_layer_linear_autoencoder_reaches_pca_s_error_and_subspace(tmp_path: object) -> None:
    """Spec row B2: without hidden layers the autoencoder is linear, and its best is PCA's."""
    x_ND, _ = planted(1000, 10, [9.0, 6.0, 4.0, 1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2])
    x_ND = x_ND[torch.randperm(1000, generator=torch.Generator().manual_seed(0))]
    data = {"valid_fraction": 0.0, "test_fraction": 0.0}
    best = api.train("pca", x_ND, out=tmp_path / "pca", finish=False, latent_dim=3, **data)
    run = api.train(
        "autoencoder", x_ND, out=tmp_path / "ae", finish=False, hidden=(), latent_dim=3, learning_rate=0.02,
        batch_size=100, epochs=200, schedule="step", schedule_every=100, precision="float32", threads=1, **data,
    )  # fmt: skip
    train = run.data.x[run.data.indices("train")]
    with torch.no_grad():
        errors = [float((m.reconstruct(train) - train).square().mean()) for m in (best.model, run.model)]
    assert errors[0] < errors[1] * (1 + 1e-6)
    assert errors[1] < 1.01 * errors[0]
    learned = torch.linalg.qr(run.model.decoder[0].weight.double()).Q  # D×L, the plane that it decodes to
    cosines = torch.linalg.svdvals(learned.T @ best.model.components.double())
    assert cosines.min() > 0.995
