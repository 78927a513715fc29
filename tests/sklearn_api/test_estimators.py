"""Estimators do what scikit-learn's users expect: in pipelines, searches and pickles, on vectors and on pictures."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import decomposition
from sklearn.base import clone, is_classifier, is_outlier_detector
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import latentscape
from latentscape import sklearn as estimators
from latentscape.sklearn import PCA, VAE, AnomalyDetector, Autoencoder, Classifier, ConditionalVAE, SemiSupervisedAAE
from latentscape.sklearn.base import BOUND_DRAWS

SMALL: dict[str, Any] = {"hidden": (16,), "latent_dim": 4, "max_steps": 60, "learning_rate": 3e-3, "threads": 1}
IMAGES: dict[str, Any] = {"net": "mlp", "image_shape": (8, 8), "random_state": 0, **SMALL}

pytestmark = pytest.mark.filterwarnings("ignore:posterior collapse:sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return X[:400], y[:400]


# ---- what the numbers are ------------------------------------------------------------------------------------------


def test_pca_is_scikit_learns(digits: Any) -> None:
    X = digits[0]
    ours, theirs = PCA(latent_dim=5).fit(X), decomposition.PCA(5).fit(X)
    a, b = ours.transform(X), theirs.transform(X)
    signs = np.sign((a * b).sum(0))
    np.testing.assert_allclose(a * signs, b, atol=1e-3)
    again = theirs.inverse_transform(b)
    np.testing.assert_allclose(ours.inverse_transform(a), again, atol=1e-3)
    np.testing.assert_allclose(ours.score_samples(X), -np.square(again - X).mean(1), rtol=1e-4)
    assert ours.score(X) == pytest.approx(ours.score_samples(X).mean())
    assert list(ours.get_feature_names_out()) == ["pca0", "pca1", "pca2", "pca3", "pca4"]


def test_pixels_come_back_in_the_units_and_the_form_they_came_in(digits: Any) -> None:
    X = digits[0]  # 0 … 16
    rows = PCA(variance=1.0, image_shape=(8, 8)).fit(X)
    np.testing.assert_allclose(rows.inverse_transform(rows.transform(X)), X, atol=16 / 255)
    for dims in ((8, 8), (1, 8, 8)):
        pictures = X.reshape(-1, *dims)
        net = PCA(variance=1.0).fit(pictures)
        assert net.n_features_in_ == 64
        again = net.inverse_transform(net.transform(pictures))
        assert again.shape == pictures.shape
        np.testing.assert_allclose(again, pictures, atol=16 / 255)
        assert net.sample(3, random_state=0).shape == (3, *dims)


def test_the_range_of_pixels_is_that_of_training(digits: Any) -> None:
    X = digits[0]
    net = PCA(latent_dim=3, image_shape=(8, 8)).fit(X)
    dark = np.full((1, 64), 4.0)
    np.testing.assert_allclose(net.transform(dark), net.transform(np.vstack([dark, X]))[:1], atol=1e-6)
    bytes_ = (X * 15).astype(np.uint8)
    asked = PCA(latent_dim=3, image_shape=(8, 8), pixel_range=(0, 16)).fit(X)
    np.testing.assert_allclose(asked.transform(X), net.transform(X))
    assert PCA(latent_dim=3, image_shape=(8, 8)).fit(bytes_).form_.high == 255
    with pytest.raises(ValueError, match="pixel_range"):
        PCA(image_shape=(8, 8), pixel_range=(1, 1)).fit(X)
    with pytest.raises(ValueError, match="image_shape"):
        PCA(image_shape=(8, 9)).fit(X)


def test_an_estimator_is_the_run_that_the_same_settings_make(digits: Any, tmp_path: Path) -> None:
    X = digits[0].astype(np.float32)
    net = Autoencoder(**SMALL, random_state=3).fit(X)
    run = latentscape.train(
        "autoencoder", X, out=tmp_path / "run", finish=False, seed=3, valid_fraction=0.0, test_fraction=0.0, **SMALL
    )
    z = run.model.encode(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(net.transform(X), z, rtol=1e-5, atol=1e-5)
    assert net.n_steps_ == run.steps == 60
    assert [r["terms"] for r in net.history_] == [r["terms"] for r in run.folder.log() if r["kind"] == "train"]


def test_score_samples_of_a_vae_is_its_bound(digits: Any) -> None:
    X = digits[0]
    net = VAE(**IMAGES).fit(X)
    x = net.form_.examples(X[:6]).float() / 255
    q = net.model_.posterior(x)
    rng = torch.Generator().manual_seed(0)
    eps = torch.randn(BOUND_DRAWS, 4, generator=rng)
    kl = 0.5 * (q.mean**2 + q.log_var.exp() - 1 - q.log_var).sum(1)
    by_hand = torch.stack([net.model_.log_likelihood(x, q.mean + (q.log_var / 2).exp() * e) for e in eps]).mean(0) - kl
    np.testing.assert_allclose(net.score_samples(X[:6]), by_hand.numpy(), rtol=1e-5)
    far = 16 - X[:50]
    assert net.score_samples(X[:50]).mean() > net.score_samples(far).mean()


def test_learning_raises_the_score(digits: Any) -> None:
    X = digits[0]
    few, many = (VAE(**{**IMAGES, "max_steps": n}).fit(X).score(X) for n in (1, 150))
    assert many > few + 5


# ---- scikit-learn's machinery --------------------------------------------------------------------------------------


def test_a_pipeline_reads_digits(digits: Any) -> None:
    X, y = digits
    vae = VAE(**{**SMALL, "max_steps": 200, "latent_dim": 8}, random_state=0)
    pipe = make_pipeline(StandardScaler(), vae, LogisticRegression(max_iter=2000))
    pipe.fit(X[:300], y[:300])
    assert pipe.score(X[300:], y[300:]) > 0.5  # by chance: 0.1


def test_a_grid_search_finds_the_larger_code(digits: Any) -> None:
    X = digits[0]
    search = GridSearchCV(PCA(latent_dim=1), {"latent_dim": np.array([1, 2, 16])}, cv=2).fit(X)
    assert search.best_params_ == {"latent_dim": 16}
    nets = GridSearchCV(Autoencoder(**SMALL, random_state=0), {"max_steps": [1, 100]}, cv=2, n_jobs=1).fit(X)
    assert nets.best_params_ == {"max_steps": 100}


def test_parameters_are_those_of_the_model_and_of_training() -> None:
    params = VAE().get_params()
    assert params["latent_dim"] == 24
    assert params["learning_rate"] is None
    assert "seed" not in params
    given = [1, 2]
    net = VAE(hidden=given, beta=np.float64(2))
    assert net.hidden is given  # stored unaltered
    assert clone(net).get_params()["hidden"] == [1, 2]
    assert "latent_dim" in inspect.signature(VAE).parameters
    assert "latent_dim=24: size of the latent vector; at least 1." in (VAE.__doc__ or "")
    with pytest.raises(TypeError, match="latentdim"):
        VAE(latentdim=2)


def test_what_is_wrong_is_a_value_error_of_one_sentence(digits: Any) -> None:
    X = digits[0]
    for params, words in (
        ({"latent_dim": 0}, "--latent-dim must be at least 1"),
        ({"optimiser": "adagrad"}, "--optimiser must be one of"),
        ({"early_stopping": 2}, "needs held-out images"),
    ):
        with pytest.raises(ValueError, match=words):
            Autoencoder(**{**SMALL, **params}).fit(X)
    with pytest.raises(NotFittedError):
        Autoencoder().transform(X)
    with pytest.raises(NotFittedError):
        Autoencoder().sample()
    with pytest.raises(ValueError, match="2 latents"):
        PCA(latent_dim=2).fit(X).inverse_transform(X)


def test_unknown_names_are_not_there() -> None:
    assert estimators.vae is VAE
    with pytest.raises(AttributeError, match="AnomalyDetector"):
        _ = estimators.Nothing


def test_held_out_examples_are_looked_at_when_asked_for(digits: Any) -> None:
    net = Autoencoder(**{**SMALL, "max_steps": 20}, valid_fraction=0.2).fit(digits[0])
    assert any(r["kind"] == "held_out" for r in net.history_)


def test_detectors_speak_as_warnings(digits: Any) -> None:
    with pytest.warns(ConvergenceWarning, match="posterior collapse"):
        VAE(**{**IMAGES, "recon_weight": 0.0, "max_steps": 120}).fit(digits[0])


# ---- pickles and places --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PCA, VAE])
def test_a_pickle_holds_no_module_and_gives_the_same(kind: Any, digits: Any) -> None:
    X = digits[0]
    net = kind(latent_dim=3) if kind is PCA else kind(**IMAGES)
    net.fit(X)
    data = pickle.dumps(net)
    assert b"torch" not in data
    again = pickle.loads(data)
    assert type(again) is kind
    np.testing.assert_array_equal(again.transform(X), net.transform(X))
    np.testing.assert_array_equal(again.score_samples(X), net.score_samples(X))
    assert again.get_params() == net.get_params()


def test_the_run_folder_is_removed_or_kept(digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    X = digits[0]
    PCA(latent_dim=2).fit(X)
    assert list(tmp_path.iterdir()) == []
    net = PCA(latent_dim=2, run_folder=tmp_path / "kept").fit(X)
    assert torch.equal(latentscape.load_run(tmp_path / "kept").components, net.model_.components)
    with pytest.raises(ValueError, match="holds a run already"):
        net.fit(X)


def test_fit_leaves_threads_and_random_numbers_alone(digits: Any) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    wanted = (torch.rand(1).item(), np.random.rand())
    torch.manual_seed(5)
    np.random.seed(5)
    threads = torch.get_num_threads()
    Autoencoder(**{**SMALL, "max_steps": 2, "threads": 2}, random_state=1).fit(digits[0])
    assert torch.get_num_threads() == threads
    assert (torch.rand(1).item(), np.random.rand()) == wanted


def test_random_state_decides(digits: Any) -> None:
    X = digits[0]

    def fitted(state: Any) -> np.ndarray:
        return Autoencoder(**{**SMALL, "max_steps": 2}, random_state=state).fit(X).transform(X[:3])

    np.testing.assert_array_equal(fitted(1), fitted(1))
    np.testing.assert_array_equal(fitted(np.random.RandomState(1)), fitted(np.random.RandomState(1)))
    assert not np.allclose(fitted(1), fitted(2))


# ---- labels and samples --------------------------------------------------------------------------------------------


def test_samples_follow_the_seed_and_look_like_training(digits: Any) -> None:
    X = digits[0]
    for net in (PCA(latent_dim=10).fit(X), Autoencoder(**{**IMAGES, "max_steps": 300}).fit(X)):
        a, b = net.sample(200, random_state=0), net.sample(200, random_state=0)
        np.testing.assert_array_equal(a, b)
        assert a.shape == (200, 64)
        # Nearer to the mean picture of digits than to that of their negatives
        assert np.abs(a.mean(0) - X.mean(0)).mean() < 0.3 * np.abs(a.mean(0) - (16 - X).mean(0)).mean()
    with pytest.raises(ValueError, match="n_samples"):
        net.sample(0)


def test_a_classifier_gives_back_the_users_labels(digits: Any) -> None:
    X, y = digits
    names = np.array([f"digit {k}" for k in y])
    net = Classifier(hidden=(32,), max_steps=200, threads=1, random_state=0).fit(X / 16, names)
    assert is_classifier(net)
    assert list(net.classes_) == sorted(set(names))
    assert net.score(X / 16, names) > 0.9
    np.testing.assert_allclose(net.predict_proba(X[:5] / 16).sum(1), 1)
    assert not hasattr(net, "transform")
    with pytest.raises(ValueError, match="requires y"):
        Classifier().fit(X)


def test_a_conditional_model_takes_labels_where_it_reads_them(digits: Any) -> None:
    X, y = digits
    net = ConditionalVAE(**{**IMAGES, "max_steps": 20}).fit(X, y)
    z = net.transform(X[:5], y[:5])
    assert z.shape == (5, 4)
    assert net.fit_transform(X, y).shape == (400, 4)
    assert net.sample(4, random_state=0, y=[7, 7, 7, 7]).shape == (4, 64)
    one, other = (net.inverse_transform(z, y=[k] * 5) for k in (0, 1))
    assert not np.allclose(one, other)
    assert np.isfinite(net.score(X, y))
    np.testing.assert_array_equal(net.transform(X[:5]), z)  # its encoder is not told the label unless asked for
    with pytest.raises(ValueError, match="needs a label for each example"):
        net.score_samples(X[:5])
    with pytest.raises(ValueError, match="needs a label for each example"):
        net.set_params(label_encoder=True).fit(X, y).transform(X[:5])
    with pytest.raises(ValueError, match="none of the classes"):
        net.transform(X[:5], [11] * 5)


def test_unknown_labels_are_minus_one_to_a_semi_supervised_model(digits: Any) -> None:
    X, y = digits
    hidden = np.where(np.arange(len(y)) < 200, y, -1)
    net = SemiSupervisedAAE(image_shape=(8, 8), net="mlp", hidden=(16,), max_steps=20, threads=1).fit(X, hidden)
    assert list(net.classes_) == list(range(10))
    assert set(net.predict(X)) <= set(range(10))


# ---- outliers ------------------------------------------------------------------------------------------------------


def test_outliers_are_found_and_the_share_is_met(digits: Any) -> None:
    X, y = digits
    usual = X[y == 1]
    detector = AnomalyDetector(PCA(latent_dim=5), contamination=0.05).fit(usual)
    assert is_outlier_detector(detector)
    assert np.mean(detector.predict(usual) == -1) == pytest.approx(0.05, abs=1 / len(usual))
    assert np.mean(detector.predict(X[y == 0]) == -1) > 0.9
    np.testing.assert_array_equal(detector.predict(X) == -1, detector.decision_function(X) < 0)
    with pytest.raises(ValueError, match="contamination"):
        AnomalyDetector(contamination=0.0).fit(X)
    with pytest.raises(ValueError, match="score_samples"):
        AnomalyDetector(estimators.GAN()).fit(X)
