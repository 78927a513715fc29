"""Real small runs side by side: on the same examples, with what differs, what they cost and what they lack."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentscape.data import load_data
from latentscape.errors import ConfigError, DataError, RunError
from latentscape.report.words import meaning
from latentscape.tasks import comparing, evaluating, training
from tiny_runs import TINY


def better(metric: str) -> str:
    return meaning(metric).better


def trained(folder: Path, model: str = "vae", data: Any = "digits", **settings: Any) -> Path:
    settings = {**TINY, "max_steps": 6, **settings}
    if model == "pca":
        settings = {"latent_dim": 2, "limit": 80}
    if model == "gan":
        settings["net"] = "mlp"
    return training.train(model, data, out=folder, **settings).path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two seeds of one VAE, one of another, longer; a Gaussian one, a conditional one, a GAN and a PCA."""
    room = tmp_path_factory.mktemp("runs")
    return {
        "one": trained(room / "one"),
        "two": trained(room / "two", seed=1, threads=1),
        "wide": trained(room / "wide", hidden=(16,), max_steps=12, beta_per_pixel=0.1),
        "gauss": trained(room / "gauss", likelihood="gaussian"),
        "cvae": trained(room / "cvae", "conditional-vae"),
        "gan": trained(room / "gan", "gan"),
        "pca": trained(room / "pca", "pca"),
    }


def compared(runs: dict[str, Path], *names: str, **options: Any) -> dict[str, Any]:
    return comparing.compare([runs[n] for n in names], better, **options).answer


def metric(answer: dict[str, Any], name: str) -> dict[str, Any]:
    return next(m for m in answer["metrics"] if m["metric"] == name)


def test_figures_are_those_of_evaluate(runs: dict[str, Path]):
    answer = compared(runs, "one", "wide")
    assert (answer["n"], answer["split"], answer["data"]) == (80, "test", "digits")
    for name, cell in zip(("one", "wide"), metric(answer, "psnr_db")["cells"], strict=True):
        own = evaluating.evaluate(runs[name], keep=False)["metrics"]["psnr_db"]
        assert cell["value"] == pytest.approx(own)
        assert cell["interval"][0] < own < cell["interval"][1]
    assert not (runs["one"] / "metrics.json").exists(), "a comparison keeps no evaluation"


def test_only_settings_that_differ_are_listed(runs: dict[str, Path]):
    answer = compared(runs, "one", "wide")
    listed = {s["name"]: s["values"] for s in answer["settings"]}
    assert listed["model.hidden"] == [(8,), (16,)]
    assert listed["train.max_steps"] == [6, 12]
    assert listed["model.beta_per_pixel"][1] == 0.1, "a setting that config.toml leaves out in one run"
    assert set(listed) == {"model.hidden", "train.max_steps", "model.beta_per_pixel"}


def test_settings_that_a_model_lacks_come_after_those_that_differ(runs: dict[str, Path]):
    answer = compared(runs, "one", "pca")
    epochs = next(s for s in answer["settings"] if s["name"] == "train.epochs")
    assert not epochs["differs"]
    assert epochs["values"][1] is None, "a fit in closed form has no epochs"
    order = [s["differs"] for s in answer["settings"]]
    assert order == sorted(order, reverse=True)


def test_unequal_budgets_are_said(runs: dict[str, Path]):
    cautions = " ".join(compared(runs, "one", "wide")["cautions"])
    assert "Unequal budgets: steps 6 (one), 12 (wide); images 96 (one), 192 (wide)" in cautions
    assert compared(runs, "one", "gauss")["cautions"] == []


def test_costs_are_counted(runs: dict[str, Path]):
    entry = compared(runs, "one", "gan")["entries"][0]
    parameters = sum(p.numel() for p in comparing.RunFolder(runs["one"]).build_model().parameters())
    assert (entry["steps"], entry["images"], entry["parameters"]) == (6, 96, parameters)
    players = compared(runs, "one", "gan")["runs"][1]["budget"]["parameters_moved_by"]
    assert set(players) == {"discriminate", "generate"}


def test_seeds_of_the_same_settings_are_taken_together(runs: dict[str, Path]):
    answer = compared(runs, "one", "wide", "two")
    assert [e["runs"] for e in answer["entries"]] == [["one", "two"], ["wide"]]
    assert answer["entries"][0]["seeds"] == [0, 1]
    cell = metric(answer, "mse")["cells"][0]
    values = [r["metrics"]["mse"] for r in answer["runs"] if r["name"] != "wide"]
    assert cell["value"] == pytest.approx(np.mean(values))
    assert cell["deviation"] == pytest.approx(np.std(values, ddof=1))
    apart = compared(runs, "one", "wide", "two", group_seeds=False)
    assert [e["runs"] for e in apart["entries"]] == [["one"], ["wide"], ["two"]]
    assert "without further seeds" in " ".join(answer["cautions"])


def test_the_same_seed_twice_is_not_two_seeds(runs: dict[str, Path], tmp_path: Path):
    again = trained(tmp_path / "again")
    answer = comparing.compare([runs["one"], again], better).answer
    assert len(answer["entries"]) == 2
    found = metric(answer, "mse")
    assert found["cells"][1]["verdict"] == "level", "the very same model is never told apart from itself"
    assert found["cells"][1]["difference"] == 0


def test_a_model_that_is_much_worse_is_told_apart(runs: dict[str, Path], tmp_path: Path):
    trained(tmp_path / "good", max_steps=120, learning_rate=0.02)
    answer = comparing.compare([runs["one"], tmp_path / "good"], better).answer
    for name in ("mse", "psnr_db", "elbo_nats"):
        assert [c["verdict"] for c in metric(answer, name)["cells"]] == ["worse", "best"]
    assert answer["methods"].keys() >= {"paired"}


def test_what_a_model_lacks_is_said(runs: dict[str, Path]):
    answer = compared(runs, "one", "gan", "pca")
    assert "no encoder" in metric(answer, "mse")["cells"][1]["why"]
    assert "no posterior" in metric(answer, "kl_nats")["cells"][2]["why"]
    assert metric(answer, "mse")["cells"][2]["verdict"] in ("best", "worse", "level")
    assert "Fitted in closed form, without steps: pca." in answer["cautions"]


@pytest.mark.parametrize(("other", "told"), [("gauss", "gaussian likelihood"), ("cvae", "given the label")])
def test_bounds_on_different_scales_are_not_ranked(runs: dict[str, Path], other: str, told: str):
    found = metric(compared(runs, "one", other), "elbo_nats")
    assert found["best"] is None
    assert told in found["unranked"]
    assert metric(compared(runs, "one", "wide"), "elbo_nats")["best"] is not None


def test_labels_that_one_model_is_told_are_said(runs: dict[str, Path]):
    assert "Told each image's label, unlike the others: cvae." in compared(runs, "one", "cvae")["cautions"]


def test_sheets_show_the_same_images_and_say_who_cannot(runs: dict[str, Path]):
    rebuilt, drawn = comparing.compare([runs["one"], runs["gan"], runs["cvae"]], better).sheets
    assert [s.name for s in rebuilt.strips] == ["the images", "one", "gan", "cvae"]
    images, one, gan, cvae = (s.pixels for s in rebuilt.strips)
    assert gan is None
    assert "no encoder" in rebuilt.strips[2].said
    assert images is not None
    assert one is not None
    assert cvae is not None
    assert images.shape == one.shape == cvae.shape
    data = load_data("digits", training.DataSettings(limit=80))
    first = data.x[data.indices("test")[0], 0].numpy()
    scale = images.shape[0] // 8
    assert (images[: 8 * scale : scale, : 8 * scale : scale, 0] == first).all()
    assert all(s.pixels is not None for s in drawn.strips)
    assert "under each class in turn" in drawn.strips[2].said


def test_samples_are_the_same_every_time(runs: dict[str, Path]):
    once, again = (comparing.compare([runs["one"], runs["gan"]], better).sheets[1].strips for _ in range(2))
    for a, b in zip(once, again, strict=True):
        assert a.pixels is not None
        assert b.pixels is not None
        assert (a.pixels == b.pixels).all()


# ---- refusals --------------------------------------------------------------------------------------------------


def test_other_data_is_refused_by_name(runs: dict[str, Path], tmp_path: Path):
    trained(tmp_path / "shapes", data="shapes", size="8", mode="grey")
    with pytest.raises(DataError, match=r"one was trained on digits \(.*\) and shapes on shapes \(.*--data"):
        comparing.compare([runs["one"], tmp_path / "shapes"], better)


def test_the_same_files_read_otherwise_are_other_data(runs: dict[str, Path], tmp_path: Path):
    trained(tmp_path / "binary", binarise="fixed")
    with pytest.raises(DataError, match="read with binarise none and fixed"):
        comparing.compare([runs["one"], tmp_path / "binary"], better)
    answer = comparing.compare([runs["one"], tmp_path / "binary"], better, data="digits").answer
    assert "The runs were trained on different data." in answer["cautions"]
    assert metric(answer, "mse")["best"] is not None


def test_one_run_or_the_same_one_twice_is_refused(runs: dict[str, Path]):
    with pytest.raises(ConfigError, match="two or more different runs, and got 1"):
        comparing.compare([runs["one"]], better)
    with pytest.raises(ConfigError, match="one is given twice"):
        comparing.compare([runs["one"], runs["one"] / ".." / "one"], better)


def test_runs_of_another_shape_are_refused(runs: dict[str, Path], tmp_path: Path):
    trained(tmp_path / "big", size="12")
    with pytest.raises(DataError, match="big"):
        comparing.compare([runs["one"], tmp_path / "big"], better, data="digits")


def test_features_of_a_run_of_its_own_are_refused(runs: dict[str, Path]):
    with pytest.raises(ConfigError, match="the same for every run"):
        compared(runs, "one", "wide", samples=60, features="latents")


def test_an_unknown_folder_is_refused(runs: dict[str, Path], tmp_path: Path):
    with pytest.raises(RunError, match="no run folder"):
        comparing.compare([runs["one"], tmp_path / "nothing"], better)


def test_data_that_changed_since_is_refused(tmp_path: Path):
    x = np.random.default_rng(0).integers(0, 255, (60, 8, 8)).astype(np.uint8)
    np.save(tmp_path / "x.npy", x)
    paths = [trained(tmp_path / n, data=str(tmp_path / "x.npy"), limit=0, seed=i) for i, n in enumerate("ab")]
    np.save(tmp_path / "x.npy", 255 - x)
    with pytest.raises(DataError, match="is not what the runs were trained on"):
        comparing.compare(paths, better)


def test_vectors_and_arrays_in_memory_are_compared(tmp_path: Path):
    """They have no sheets, and the data is handed over again."""
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    paths = [trained(tmp_path / n, data=x, limit=0, latent_dim=d) for d, n in ((1, "a"), (2, "b"))]
    found = comparing.compare(paths, better, data=x)
    assert found.sheets == []
    assert metric(found.answer, "mse")["best"] is not None
    with pytest.raises(RunError, match="--data"):
        comparing.compare(paths, better)


def test_an_unfinished_run_is_said_to_be_one(runs: dict[str, Path], tmp_path: Path):
    path = trained(tmp_path / "cut", hidden=(16,))
    log = (path / "log.jsonl").read_text().splitlines()
    (path / "log.jsonl").write_text("\n".join(line for line in log if '"done"' not in line) + "\n")
    assert "cut is not finished" in " ".join(comparing.compare([runs["one"], path], better).answer["cautions"])


def test_folders_of_one_name_are_called_by_their_paths(runs: dict[str, Path], tmp_path: Path):
    path = trained(tmp_path / "one", seed=5)
    answer = comparing.compare([runs["one"], path], better, group_seeds=False).answer
    assert [e["name"] for e in answer["entries"]] == [str(runs["one"]), str(path)]


def test_runs_with_unlabelled_pictures_share_labelled_ones():
    images = load_data("digits", training.DataSettings(limit=80))
    assert images.labels is not None
    labels = images.labels.clone()
    test = images.indices("test")
    labels[test[:3]] = -1
    found = comparing._positions(dataclasses.replace(images, labels=labels), "test")
    assert found.tolist() == list(range(3, 13))
