"""Detecting: scores against closed forms, the promised false-alarm rate, labels, tables, refusals."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from latentscape.data import DataSettings, load_data
from latentscape.errors import AbilityError, ConfigError, DataError, RunError
from latentscape.metrics import detection
from latentscape.runs import RunFolder
from latentscape.tasks import detecting, restoring, training
from latentscape.tasks.detecting import detect
from tiny_runs import TINY


@pytest.fixture(scope="module")
def zeros(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PCA of the zeros among the digits."""
    out = tmp_path_factory.mktemp("zeros") / "run"
    settings = {"only_classes": "0", "latent_dim": 8, "valid_fraction": 0.3, "test_fraction": 0.2}
    return training.train("pca", "digits", out=out, **settings).path


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("vae") / "run"
    settings = TINY | {"limit": 0, "latent_dim": 4, "hidden": (32,)}
    return training.train(
        "vae", "digits", out=out, only_classes="0,1", epochs=60, learning_rate=5e-3, valid_fraction=0.2, **settings
    ).path


def pictures(place: Path, label: int, n: int = 10) -> Path:
    data = load_data("digits")
    assert data.labels is not None
    place.mkdir()
    for i, x in enumerate(data.x[data.labels == label][:n]):
        Image.fromarray(x[0].numpy()).save(place / f"{label}-{i}.png")
    return place


def table(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


# ---- scores ----------------------------------------------------------------------------------------------------


def test_the_likelihood_of_pca_is_that_of_probabilistic_pca(tmp_path) -> None:
    """Against the density of N(μ, W·Wᵀ + σ²I) written out (Tipping & Bishop 1999)."""
    mixing = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    x = torch.randn(400, 6, generator=torch.Generator().manual_seed(1)) @ mixing
    run = training.train("pca", x.numpy(), out=tmp_path / "r", latent_dim=2, valid_fraction=0, test_fraction=0)
    score = detecting.Likelihood(run.model, x)
    values, vectors = torch.linalg.eigh(torch.cov(x.T.double(), correction=0))
    sigma2, lead = values[:4].mean(), vectors[:, 4:]
    covariance = lead @ (values[4:] - sigma2).diag() @ lead.T + sigma2 * torch.eye(6)
    density = torch.distributions.MultivariateNormal(x.mean(0).double(), covariance)
    torch.testing.assert_close(score(x[:50]), -density.log_prob(x[:50].double()), rtol=1e-4, atol=1e-3)
    assert float(score(10 * x[:1])) > float(score(x).max())


def test_the_latent_score_is_half_the_squared_mahalanobis_distance_and_a_constant(zeros) -> None:
    model, data = RunFolder(zeros).load_model(), load_data("digits")
    x = data.examples(data.indices("train"), "unit")[:200]
    z = model.encode(x).double()  # type: ignore[operator]
    centred = z - z.mean(0)
    squared = (centred @ torch.linalg.inv(torch.cov(z.T, correction=0)) * centred).sum(1)
    found = detecting.LatentDensity(model, x)(x)
    torch.testing.assert_close(found - found[0], (squared - squared[0]) / 2, rtol=1e-3, atol=1e-3)


def test_neighbours_do_not_mind_contrast_and_know_their_own(zeros) -> None:
    model, data = RunFolder(zeros).load_model(), load_data("digits")
    x = data.examples(data.indices("train"), "unit")
    assert data.labels is not None
    own = x[data.labels[data.indices("train")] == 0]
    score = detecting.Neighbours(model, own[:100])
    xhat = model.reconstruct(own[100:110]).flatten(1).double()  # type: ignore[operator]
    known = model.reconstruct(own[:100]).flatten(1).double()  # type: ignore[operator]
    cosine = torch.nn.functional.cosine_similarity(xhat[:, None], known[None], dim=2)
    expected = (1 - cosine.sort(descending=True).values[:, :5]).mean(1)
    torch.testing.assert_close(score(own[100:110]), expected, rtol=1e-4, atol=1e-5)
    score.train_MD = torch.nn.functional.normalize(own[:100].flatten(1), dim=1)
    score._points = lambda x_NX: torch.nn.functional.normalize(x_NX.flatten(1), dim=1)  # type: ignore[method-assign]
    torch.testing.assert_close(score(own[100:110] / 2), score(own[100:110]))


def test_the_elbo_of_one_example_does_not_depend_on_the_others(vae) -> None:
    model, data = RunFolder(vae).load_model(), load_data("digits")
    x = data.examples(data.indices("test"), "unit")
    score = detecting.NegativeElbo(model, x)
    together = score(x)
    torch.testing.assert_close(score(x[7:9]), together[7:9])
    noise = torch.rand(len(x), 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = detecting.finite(torch.cat([together, score(noise)]))
    assert detection.auroc(found, torch.arange(2 * len(x)) >= len(x)) > 0.6  # most digits are as strange to it


def test_what_overflows_is_the_strangest_of_all() -> None:
    scores = detecting.finite(torch.tensor([1.0, float("nan"), float("inf")], dtype=torch.float64))
    assert scores.tolist() == [1.0, detecting.OVERFLOW, detecting.OVERFLOW]


@pytest.mark.parametrize("score", ["reconstruction", "likelihood", "elbo"])
def test_scores_that_look_at_pixels_find_noise(vae, tmp_path, score) -> None:
    """The others may not: a net puts what it has never seen among what it knows."""
    np.save(tmp_path / "noise.npy", np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8))
    found = detect(vae, [tmp_path / "noise.npy"], score=score, false_alarm_rate=0.1, out=tmp_path)
    assert found["anomalous"] >= 18
    assert found["score"] == score


def test_another_density_is_another_score(vae, tmp_path) -> None:
    answers = [detect(vae, score="latent", density=d, false_alarm_rate=0.1, out=tmp_path) for d in ("full", "diagonal")]
    assert answers[0]["threshold"] != answers[1]["threshold"]
    assert answers[0]["auroc"] != answers[1]["auroc"]


# ---- the promise -----------------------------------------------------------------------------------------------


def test_the_threshold_is_that_of_the_held_out_part_and_scores_above_it_are_anomalous(zeros, tmp_path) -> None:
    found = detect(zeros, score="reconstruction", false_alarm_rate=0.1, out=tmp_path / "t.csv")
    folder = RunFolder(zeros)
    model = folder.load_model()
    data = load_data("digits", DataSettings.from_dict(folder.config()["data"]))
    held = data.examples(data.indices("valid"), "unit")
    errors = (held - model.reconstruct(held)).square().flatten(1).mean(1)  # type: ignore[operator]
    assert found["calibrated_on"] == len(held) > 30
    assert found["threshold"] == pytest.approx(detection.conformal_threshold(errors, 0.1), rel=1e-5)
    rows = table(found["csv"])
    assert [float(r["score"]) > float(r["threshold"]) for r in rows] == [r["anomalous"] == "1" for r in rows]
    assert all((float(r["p_value"]) <= 0.1 + 1e-9) == (r["anomalous"] == "1") for r in rows)
    assert sum(r["anomalous"] == "1" for r in rows) == found["anomalous"]


@pytest.mark.parametrize("score", ["reconstruction", "neighbours", "likelihood"])
def test_the_rate_is_kept_on_normal_examples_that_nothing_was_fitted_to(tmp_path, score) -> None:
    """1,000 set the threshold, 2,000 are judged: three standard deviations of both together are 0.035."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(4000, 6)).astype(np.float32) ** 3)
    settings = {"latent_dim": 2, "valid_fraction": 0.25, "test_fraction": 0.5}
    run = training.train("pca", tmp_path / "x.npy", out=tmp_path / "run", **settings).path
    found = detect(run, score=score, false_alarm_rate=0.1, out=tmp_path)
    assert found["anomalous"] / found["n"] == pytest.approx(0.1, abs=0.035)
    assert found["n"] > 1900


def test_all_classes_are_judged_by_a_run_of_one_and_the_labels_measure_it(zeros, tmp_path) -> None:
    found = detect(zeros, false_alarm_rate=0.1, out=tmp_path)
    rows = table(found["csv"])
    assert {r["label"] for r in rows} == set("0123456789")
    assert found["auroc"] > 0.97
    scores = torch.tensor([float(r["score"]) for r in rows])
    odd = torch.tensor([r["label"] != "0" for r in rows])
    assert found["auroc"] == pytest.approx(detection.auroc(scores, odd), abs=1e-6)
    assert found["average_precision"] == pytest.approx(detection.average_precision(scores, odd), abs=1e-6)
    alarms = [r["anomalous"] == "1" for r in rows if r["label"] == "0"]
    assert found["false_alarms"]["rate"] == pytest.approx(np.mean(alarms))
    assert found["false_alarms"]["of"] == len(alarms)
    low, high = found["false_alarms"]["interval"]
    assert low < found["false_alarms"]["rate"] < high
    assert found["found"]["rate"] > 0.8


def test_files_of_the_users_own(zeros, tmp_path) -> None:
    good, bad = pictures(tmp_path / "good", 0), pictures(tmp_path / "bad", 4)
    (bad / "torn.png").write_text("")
    few, many = (detect(zeros, [p], false_alarm_rate=0.1, out=tmp_path / f"of-{p.name}") for p in (good, bad))
    assert few["anomalous"] <= 3 < 8 <= many["anomalous"]
    assert [r["file"] for r in table(many["csv"])] == sorted(f"4-{i}.png" for i in range(10))
    assert "torn.png" in many["unreadable"][0][0]
    assert "auroc" not in many
    assert [e["file"] for e in many["examples"]] == sorted(f"4-{i}.png" for i in range(10))
    both = detect(zeros, [good, bad / "4-1.png"], false_alarm_rate=0.1, out=tmp_path / "both")
    assert both["n"] == 11


def test_normal_classes_are_named_for_other_data(zeros, tmp_path) -> None:
    (tmp_path / "set").mkdir()
    pictures(tmp_path / "set" / "fine", 0)
    pictures(tmp_path / "set" / "odd", 6)
    found = detect(zeros, data=tmp_path / "set", normal=["fine"], false_alarm_rate=0.1, out=tmp_path)
    assert found["auroc"] > 0.95
    assert found["false_alarms"]["of"] == found["found"]["of"] == 10
    assert "auroc" not in detect(zeros, data=tmp_path / "set", false_alarm_rate=0.1, out=tmp_path)
    with pytest.raises(ConfigError, match="--normal must name classes of what is judged \\(fine, odd\\), got 'good'"):
        detect(zeros, data=tmp_path / "set", normal=["good"], false_alarm_rate=0.1, out=tmp_path)


def test_calibration_pictures_set_the_threshold(zeros, tmp_path) -> None:
    """Calibrated on what is judged, just as many lie above as the rate allows."""
    good = pictures(tmp_path / "good", 0, 40)
    found = detect(zeros, [good], calibration=good, false_alarm_rate=0.2, out=tmp_path)
    assert found["calibrated_on"] == 40
    assert found["anomalous"] == 41 * 0.2 // 1 - 1
    assert "40 normal pictures of" in found["calibration"]


# ---- pictures --------------------------------------------------------------------------------------------------


def test_heat_maps_are_of_the_highest_scores(zeros, tmp_path) -> None:
    found = detect(zeros, false_alarm_rate=0.1, heat_maps=10, out=tmp_path / "x.png", command="latentscape detect …")
    assert found["csv"] == str(tmp_path / "x.csv")
    with Image.open(found["heat_maps"]) as picture:
        assert picture.info["Command"] == "latentscape detect …"
        assert "The 10 of" in picture.info["Description"]
    assert not detect(zeros, false_alarm_rate=0.1, heat_maps=0, out=tmp_path / "y.csv")["heat_maps"]
    assert not (tmp_path / "y.png").exists()
    colours = detecting._coloured(np.array([[[0.0, 1.0]]]))
    assert colours.shape == (1, 3, 1, 2)
    assert colours[0, :, 0, 1].sum() > 600 > 30 > colours[0, :, 0, 0].sum()


def test_results_go_into_the_runs_pictures_without_a_place(zeros) -> None:
    found = detect(zeros, false_alarm_rate=0.1)
    assert Path(found["csv"]).parent == RunFolder(zeros).pictures_path == Path(found["heat_maps"]).parent


# ---- other models and refusals ---------------------------------------------------------------------------------


def test_a_model_that_reads_labels_judges_pictures_without(tmp_path) -> None:
    settings = TINY | {"limit": 0}
    run = training.train("conditional-vae", "digits", out=tmp_path / "run", max_steps=30, **settings).path
    odd = pictures(tmp_path / "odd", 4, 5)
    for score in ("neighbours", "elbo", "latent"):
        assert detect(run, [odd], score=score, out=tmp_path / "out")["n"] == 5


def test_the_nearest_of_all_labels_is_taken(tmp_path) -> None:
    out = tmp_path / "run"
    model = training.train("conditional-vae", "digits", out=out, max_steps=60, learning_rate=0.02, **TINY).model
    data = load_data("digits")
    x = data.examples(data.indices("test"), "unit")[:20]
    best, y = restoring.restored(model, x)
    with torch.no_grad():
        all_KN = torch.stack(
            [restoring.squared_error(model, x, model.reconstruct(x, torch.full((20,), k))) for k in range(10)]  # type: ignore[operator]
        )
    assert y is not None
    assert torch.equal(y, all_KN.argmin(0))
    torch.testing.assert_close(restoring.squared_error(model, x, best), all_KN.amin(0))
    assert len(y.unique()) > 1


def test_a_gan_has_its_discriminator_only(tmp_path) -> None:
    run = training.train("gan", "digits", out=tmp_path / "run", max_steps=2, valid_fraction=0.2, **TINY).path
    odd = pictures(tmp_path / "odd", 4, 5)
    found = detect(run, [odd], out=tmp_path / "out")
    assert (found["score"], found["heat_maps"]) == ("discriminator", "")
    with pytest.raises(AbilityError, match="gan cannot give --score elbo; it can give discriminator"):
        detect(run, [odd], score="elbo")


def test_vectors(tmp_path) -> None:
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0)) @ torch.randn(3, 9)
    run = training.train("pca", x.numpy(), out=tmp_path / "run", latent_dim=3).path
    np.save(tmp_path / "far.npy", 30 + 10 * np.random.default_rng(0).normal(size=(10, 9)))
    np.save(tmp_path / "held.npy", x[:30].numpy())
    for score in ("neighbours", "likelihood"):
        with pytest.raises(RunError, match="names no data on disk"):
            detect(run, [tmp_path / "far.npy"], score=score, calibration=tmp_path / "held.npy", out=tmp_path)
    np.save(tmp_path / "x.npy", x.numpy())
    run = training.train("pca", tmp_path / "x.npy", out=tmp_path / "again", latent_dim=3).path
    for score in ("neighbours", "likelihood"):
        assert detect(run, [tmp_path / "far.npy"], score=score, false_alarm_rate=0.1, out=tmp_path)["anomalous"] == 10


def test_what_makes_no_sense_is_refused(zeros, tmp_path) -> None:
    odd = pictures(tmp_path / "odd", 4, 3)
    for options, kind, words in (
        ({"false_alarm_rate": 0.0}, ConfigError, "above 0 and below 1"),
        ({"false_alarm_rate": 0.001}, DataError, "needs at least 999 normal pictures"),
        ({"score": "best"}, ConfigError, "--score must be one of auto, neighbours"),
        ({"density": "flow-matching"}, ConfigError, "--density must be one of diagonal"),
        ({"asked": [odd], "data": "digits"}, ConfigError, "not both"),
        ({"asked": [odd], "normal": ["0"]}, ConfigError, "names classes of a set with labels"),
        ({"out": tmp_path / "x.gif"}, ConfigError, r"X\.csv with X\.png"),
    ):
        with pytest.raises(kind, match=words):
            detect(zeros, **options)
    run = training.train("pca", "digits", out=tmp_path / "run", latent_dim=3, valid_fraction=0).path
    with pytest.raises(ConfigError, match="kept no normal pictures aside"):
        detect(run, out=tmp_path)
    assert (
        "test part" in detect(run, [odd], out=tmp_path)["calibration"]
    )  # nothing else was held out, and is not judged
