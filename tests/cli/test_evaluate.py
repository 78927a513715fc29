"""`evaluate`: which part is measured, samples and bounds on request, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command import latentscape, refusal
from latentscape import api
from latentscape.data import DataSettings, load_data
from latentscape.report import words
from latentscape.runs import RunFolder
from latentscape.tasks import classify, features, judging
from latentscape.tasks.evaluating import PROTOCOL, evaluate
from tiny_runs import TINY

COMPARED = ("fid", "kid", "precision", "recall", "density", "coverage", "duplicate_fraction")
SAMPLED = {*COMPARED, *(f"{name}_floor" for name in COMPARED), "memorised_fraction", "sharpness", "sharpness_real"}
SAMPLED |= {"class_histogram", "modes"}


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classify, "STEPS", 20)


def trained(folder: Path, model: str = "vae", data: Any = "digits", **settings: Any) -> Path:
    settings = {**TINY, "max_steps": 2, **settings}
    if model == "classifier":
        settings.pop("latent_dim")
    if model == "pca":
        settings = {"latent_dim": 2}
    return api.train(model, data, out=folder, finish=False, **settings).path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def own_data(tmp_path: Path) -> Path:
    """A labelled set in a file: 40 pictures of two kinds."""
    rng = np.random.default_rng(0)
    y_N = np.arange(60) % 2
    x_NHW = rng.integers(0, 90, (60, 8, 8)) + 120 * y_N[:, None, None]
    np.savez(tmp_path / "kinds.npz", x=x_NHW.astype(np.uint8), y=y_N)
    return tmp_path / "kinds.npz"


def measured(*args: Any) -> dict[str, Any]:
    answer = latentscape("evaluate", *args, "--json")
    assert answer.status == 0, answer.err
    return json.loads(answer.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


# ---- parts -----------------------------------------------------------------------------------------------------


def test_every_part_can_be_measured_and_all_of_them(run: Path) -> None:
    found = {split: measured(run, "--split", split) for split in ("train", "valid", "test", "all")}
    sizes = RunFolder(run).data()["split"]
    assert {split: found[split]["n"] for split in sizes} == sizes
    assert found["all"]["n"] == found["all"]["of"] == sum(sizes.values())
    whole = sum(found[split]["n"] * found[split]["metrics"]["mse"] for split in sizes) / sum(sizes.values())
    assert found["all"]["metrics"]["mse"] == pytest.approx(whole, rel=1e-5)
    assert "knn_accuracy" not in found["all"]["metrics"]  # training examples would be their own neighbours


def test_the_table_says_which_part_it_is_of(run: Path) -> None:
    sizes = RunFolder(run).data()["split"]
    title = " ".join(latentscape("evaluate", run).out.splitlines()[0].split())
    assert title == f"vae on digits, {sizes['test']} test images of {sum(sizes.values())} in all"
    title = latentscape("evaluate", run, "--split", "all").out.splitlines()[0]
    assert title.strip() == f"vae on digits, all {sum(sizes.values())} images"


def test_other_data_are_measured_without_the_run_s_limit_and_in_words(run: Path, own_data: Path) -> None:
    other = latentscape("evaluate", run, "--data", own_data)
    n = load_data(own_data, DataSettings()).sizes()["test"]
    assert f"vae on kinds, {n} test images of 60 in all" in " ".join(other.out.split())
    assert other.err.strip() == "Measured the test part only; --split all measures all 60 images."
    assert latentscape("evaluate", run, "--data", own_data, "--split", "all").err == ""
    limited = measured(run, "--data", "shapes")
    assert limited["of"] == len(load_data("shapes", DataSettings(size="8", mode="grey"))) > 3 * TINY["limit"]


def test_a_relative_path_to_the_run_s_own_data_is_its_own_data(
    own_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its labels, and the answer is kept."""
    path = trained(tmp_path / "run", data=str(own_data), limit=30)
    expected = measured(path)
    assert "knn_accuracy" in expected["metrics"]
    monkeypatch.chdir(own_data.parent)
    (path / "metrics.json").unlink()
    found = measured(path, "--data", own_data.name)
    assert found["metrics"] == expected["metrics"]
    assert found["of"] == expected["of"] < 60
    assert json.loads((path / "metrics.json").read_text())["metrics"] == expected["metrics"]


def test_a_table_of_labels_belongs_to_the_run_s_own_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(tmp_path / "pictures" / f"{i:02}.png")
    rows = [f"{i:02}.png,{'even' if i % 2 == 0 else 'odd'}" for i in range(40)]
    (tmp_path / "table.csv").write_text("\n".join(["file,label", *rows]) + "\n")
    path = trained(tmp_path / "run", data=str(tmp_path / "pictures"), limit=0, labels=str(tmp_path / "table.csv"))
    monkeypatch.chdir(tmp_path)
    assert "knn_accuracy" in measured(path, "--data", "pictures")["metrics"]


# ---- samples ---------------------------------------------------------------------------------------------------


def test_samples_are_judged_when_asked_for(run: Path) -> None:
    assert not SAMPLED & set(measured(run)["metrics"])
    answer = latentscape("evaluate", run, "--samples", "64", "--json")
    found = json.loads(answer.out)
    assert set(found["metrics"]) >= SAMPLED
    n = min(64, found["n"])
    assert found["samples"] == {"drawn": 64, "compared": n, "neighbours": n, "prior": "the model's own prior"}
    assert found["features"]["kind"] == "classifier"
    assert set(found["metrics"]) - set(found["intervals"]) == {
        "active_units",
        "energy_distance",
        "energy_distance_floor",
        "class_histogram",
        "modes",
    }
    assert set(found["classifier"]) == {"run", "accuracy", "split", "n"}
    assert set(found["metrics"]) == set(found["protocol"])
    histogram = found["metrics"]["class_histogram"]
    assert list(histogram) == [str(k) for k in range(10)]
    assert sum(histogram.values()) == pytest.approx(1)
    assert "Training a classifier that reads digits" in answer.err
    again = latentscape("evaluate", run, "--samples", "64", "--json")
    assert json.loads(again.out)["metrics"] == found["metrics"]
    assert "Training a classifier" not in again.err
    assert RunFolder(run).metrics() == json.loads(again.out)


def test_the_table_and_the_report_show_samples_in_words(run: Path) -> None:
    out = latentscape("evaluate", run, "--samples", "64").out
    said = " ".join(out.split())
    assert "64 samples from the model's own prior; distances compare " in said
    assert "Read by the classifier in " in said
    assert "examples rightly." in said
    assert "features of the classifier in" in said
    assert "95 % intervals: means over images from 1,000 bootstrap resamples" in said
    low, high = (RunFolder(run).metrics() or {})["intervals"]["mse"]
    assert f"{low:.4g} to {high:.4g}" in said
    histogram = (RunFolder(run).metrics() or {})["metrics"]["class_histogram"]
    name, share = max(histogram.items(), key=lambda item: item[1])
    assert f"{name}: {100 * share:.3g} %" in said
    page = api.report(run).read_text(encoding="utf-8")
    assert words.interval("mse", (low, high)) in page
    assert "real images: " in page.lower()
    assert "classes among samples" in page
    assert f"{name}: {100 * share:.3g} %" in page


def test_a_model_told_labels_is_asked_for_them(tmp_path: Path) -> None:
    found = measured(trained(tmp_path / "run", "conditional-vae"), "--samples", "40")
    for name in ("label_agreement", "transfer_agreement"):
        assert 0 <= found["metrics"][name] <= 1
        assert name in found["protocol"]


def test_a_classifier_of_one_s_own_reads_them(run: Path, tmp_path: Path) -> None:
    own = trained(tmp_path / "own", "classifier", width=2, net="conv")
    found = measured(run, "--samples", "40", "--classifier", own)["classifier"]
    assert (found["run"], found["split"], found["n"]) == (str(own), "test", RunFolder(run).data()["split"]["test"])
    rate = measured(own, "--split", "train")
    assert set(rate["metrics"]) == {"error_rate"}
    assert 0 <= rate["metrics"]["error_rate"] <= 1
    again = measured(run, "--samples", "40", "--classifier", own)["classifier"]  # its own evaluation is quoted
    assert again == found | {"accuracy": 1 - rate["metrics"]["error_rate"], "split": "train", "n": rate["n"]}


# ---- the importance-weighted bound -----------------------------------------------------------------------------


def test_the_bound_is_measured_when_asked_for(run: Path) -> None:
    assert "iwae_nats" not in measured(run)["metrics"]
    few, many = (measured(run, "--importance-samples", k) for k in (1, 100))
    n = few["n"]
    assert few["importance"] == {
        "samples": 1,
        "images": n,
        "elbo_nats": pytest.approx(few["metrics"]["elbo_nats"], 0.1),
    }
    assert many["importance"]["samples"] == 100
    assert many["metrics"]["iwae_nats"] > few["metrics"]["iwae_nats"]
    assert many["metrics"]["iwae_nats"] > many["importance"]["elbo_nats"]
    part = measured(run, "--importance-samples", 3, "--importance-images", 5)
    assert part["importance"]["images"] == 5
    assert measured(run, "--importance-samples", 3, "--importance-images", 0)["importance"]["images"] == n
    said = latentscape("evaluate", run, "--importance-samples", "3", "--importance-images", "5").out
    assert "iwae_nats: 3 samples of the posterior for each of 5 images" in " ".join(said.split())


# ---- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--samples", "-1"], "--samples must be at least 0, got -1"),
        (["--importance-samples", "-2"], "--importance-samples must be at least 0, got -2"),
        (["--importance-images", "-2"], "--importance-images must be at least 0, got -2"),
        (["--samples", "2"], "--samples must be at least 6, beside as many test images; there would be 2"),
        (["--features", "random"], "--features says how samples are drawn or judged; give --samples N beside it"),
        (["--prior", "full"], "--prior says how samples are drawn or judged; give --samples N beside it"),
        (["--classifier", "nowhere"], "--classifier says how samples are drawn or judged; give --samples N beside it"),
        (["--samples", "9", "--features", "inception"], "--features inception needs --inception-weights FILE, pytorch"),
        (["--samples", "9", "--classifier", "nowhere"], "there is no run folder nowhere"),
        (["--samples", "9", "--classifier", "RUN"], "the vae in RUN has no classifier"),
    ],
)
def test_bad_requests_are_refused_in_a_sentence(run: Path, args: list[str], says: str) -> None:
    told = refusal("evaluate", run, *[str(run) if a == "RUN" else a for a in args])
    assert told.startswith(says.replace("RUN", str(run)))


def test_models_without_the_ability_are_refused(tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain", "autoencoder")
    told = refusal("evaluate", plain, "--importance-samples", "5")
    assert told.startswith("an autoencoder has no posterior over latents ")
    assert told.endswith("; so that --importance-samples has nothing to weigh; leave it out")
    told = refusal("evaluate", trained(tmp_path / "own", "classifier"), "--samples", "9")
    assert told.startswith("a classifier has no decoder ")


def test_data_without_labels_are_refused_where_labels_are_needed(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 255, (60, 8, 8), dtype=np.uint8))
    vae = trained(tmp_path / "vae", data=str(tmp_path / "x.npy"))
    assert "x has no labels to train one with" in refusal("evaluate", vae, "--samples", "9", "--features", "classifier")
    assert measured(vae, "--samples", "9")["features"]["kind"] == "random"
    for model in ("classifier", "conditional-vae"):
        told = refusal("evaluate", trained(tmp_path / model, model), "--data", tmp_path / "x.npy")
        assert told == (
            f"the model in {tmp_path / model} knows 10 classes, and x has no labels; "
            "give data labelled like the run's own"
        )


# ---- features and priors ---------------------------------------------------------------------------------------


def test_features_and_priors_are_chosen_by_name(tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain", "autoencoder")
    answers = {
        kind: measured(plain, "--samples", "30", "--features", kind, "--prior", "diagonal")
        for kind in ("random", "latents")
    }
    for kind, found in answers.items():
        assert found["features"]["kind"] == kind
        assert found["samples"]["prior"].startswith("a diagonal Gaussian fitted to ")
        assert {"class_histogram", "fid", "kid_floor"} <= set(found["metrics"])
    assert answers["random"]["metrics"]["fid"] != answers["latents"]["metrics"]["fid"]
    said = " ".join(latentscape("evaluate", plain, "--samples", "30", "--features", "random").out.split())
    assert "Compared on 256 features of a random net, brought to one scale on" in said


def test_the_command_line_offers_what_there_is() -> None:
    out = " ".join(latentscape("evaluate", "--help").out.replace("│", " ").split())
    assert f"{{{','.join(features.KINDS)}}}" in out
    assert f"{{{','.join(judging.PRIORS)}}}" in out


def test_known_factors_give_disentanglement(tmp_path: Path) -> None:
    settings = {"net": "conv", "latent_dim": 3, "limit": 700, "size": "16"}
    path = api.train("vae", "shapes", out=tmp_path / "run", finish=False, max_steps=3, threads=1, **settings).path
    found = measured(path)["metrics"]
    for name in ("mig", "dci_disentanglement", "dci_completeness", "dci_informativeness"):
        assert 0 <= found[name] <= 1


# ---- words -----------------------------------------------------------------------------------------------------


def test_every_metric_has_a_meaning() -> None:
    assert set(PROTOCOL) <= set(words.MEANINGS)


def test_every_metric_that_a_run_gives_has_a_protocol(tmp_path: Path) -> None:
    path = trained(tmp_path / "run", "sparse-autoencoder")
    found = evaluate(path, samples=20)
    assert 0 <= found["metrics"]["mean_activation"] <= 1
    assert set(found["metrics"]) == set(found["protocol"]) <= set(PROTOCOL)


def test_help_says_what_is_required_and_what_a_fetch_takes() -> None:
    out = " ".join(latentscape("train", "vae", "--help").out.replace("│", " ").split())
    assert "images or arrays (required)" in out
    assert "(default: )" not in out
    assert "''" not in out
    fetch = latentscape("data", "fetch", "--help")
    assert fetch.status == 0
    assert "--address" in fetch.out


def test_info_leaves_out_what_was_not_found(own_data: Path) -> None:
    out = latentscape("data", "info", own_data).out
    assert "fingerprint" in out
    for empty in ("unreadable", "duplicates", "first:"):
        assert empty not in out
