"""denoise and detect as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from command import latentscape, refusal
from latentscape.data import load_data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PCA of the zeros among the digits, trained as a person would."""
    out = tmp_path_factory.mktemp("checking") / "run"
    settings = ("--only-classes", "0", "--valid-fraction", "0.3", "--latent-dim", "8", "--out", out)
    assert latentscape("train", "pca", "--data", "digits", *settings).status == 0
    return out


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Five digits of each of two classes in files."""
    data = load_data("digits")
    assert data.labels is not None
    (tmp_path / "digits").mkdir()
    for label in (0, 4):
        for i, x in enumerate(data.x[data.labels == label][:5]):
            Image.fromarray(x[0].numpy()).save(tmp_path / "digits" / f"{label}-{i}.png")
    return tmp_path / "digits"


def test_detect_says_and_writes_what_it_found(run, digits, tmp_path) -> None:
    answer = latentscape("detect", run, digits, "--false-alarm-rate", "0.1", "--out", tmp_path / "found")
    assert answer.status == 0, answer
    assert "of 10 are anomalous: neighbours above" in answer.out
    assert "10.0% false alarms asked, set on" in answer.out
    assert (
        (tmp_path / "found" / "anomalies.csv")
        .read_text()
        .startswith("file,score,threshold,p_value,anomalous\n0-0.png,")
    )
    with Image.open(tmp_path / "found" / "anomalies.png") as picture:
        assert picture.info["Command"].startswith("latentscape detect ")


def test_detect_measures_itself_where_the_run_knows_its_class(run, tmp_path) -> None:
    answer = latentscape("detect", run, "--false-alarm-rate", "0.1", "--heat-maps", "0", "--out", tmp_path, "--json")
    found = json.loads(answer.out)
    assert found["auroc"] > 0.97
    assert found["score"] == "neighbours"
    words = latentscape("detect", run, "--false-alarm-rate", "0.1", "--heat-maps", "0", "--out", tmp_path).out
    assert f"AUROC {found['auroc']:.4f}" in words
    assert "False alarms among normal ones: " in words
    named = latentscape("detect", run, "--normal", "0", "6", "--false-alarm-rate", "0.1", "--out", tmp_path, "--json")
    assert json.loads(named.out)["found"]["of"] < found["found"]["of"]


def test_denoise_cleans_files_and_names_the_damaged(run, digits, tmp_path) -> None:
    (digits / "torn.png").write_text("")
    answer = latentscape("denoise", run, digits, "--out", tmp_path / "clean")
    assert answer.status == 0, answer
    assert "Wrote 10 cleaned to" in answer.out
    assert "torn.png" in answer.err
    assert len(list((tmp_path / "clean").glob("*.png"))) == 10


def test_denoise_measures_what_it_made_noisy(run, tmp_path) -> None:
    words = ("denoise", run, "--noise", "gaussian", "--sigma", "0.2", "--no-rivals", "--out", tmp_path / "x.png")
    found = json.loads(latentscape(*words, "--json").out)
    assert found["versions"]["pca"]["psnr_db"] > found["versions"]["noisy"]["psnr_db"]
    assert "PSNR" in latentscape(*words).out


def test_refusals_are_one_sentence(run, digits, tmp_path) -> None:
    assert "say which pictures to clean" in refusal("denoise", run)
    assert "above 0 and below 1" in refusal("detect", run, "--false-alarm-rate", "2")
    assert "is followed by a RUN" in refusal("detect")
    assert "no data set and no path" in refusal("detect", run, tmp_path / "nothing.png", "--false-alarm-rate", "0.1")
    assert "--only-classes must be names" in refusal("train", "pca", "--data", "digits", "--only-classes", "ten")
