"""From data to report by the command line and from Python, on the embedded digits with a tiny budget."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import latentscape as package
import loops
from command import Answer, latentscape
from latentscape import models
from latentscape.config import DataShape
from latentscape.contract import Model
from latentscape.runs import RunFolder
from latentscape.tasks import overrides
from latentscape.training.settings import TrainSettings
from loops import differing
from tiny_runs import TINY, weights

FLAGS = ["--net", "mlp", "--hidden", "16", "--latent-dim", "2", "--limit", "100", "--threads", "1"]


def done(answer: Answer) -> Answer:
    assert answer.status == 0, answer.err
    assert "Traceback" not in answer.err
    return answer


def one_object(answer: Answer) -> dict[str, Any]:
    """The one JSON object that standard output holds, and nothing else."""
    assert done(answer).out.count("\n") == 1
    found = json.loads(answer.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    run = tmp_path_factory.mktemp("runs") / "run"
    return run, latentscape("train", "vae", "--data", "digits", "--epochs", "2", *FLAGS, "--out", run)


@pytest.fixture
def run(trained: tuple[Path, Answer]) -> Path:
    done(trained[1])
    return trained[0]


# ---- train -----------------------------------------------------------------------------------------------------


def test_training_leaves_a_complete_run_folder(run: Path, trained: tuple[Path, Answer]) -> None:
    names = {p.name for p in run.iterdir() if not p.name.startswith(".")}
    assert names == {
        *["config.toml", "command.txt", "data.json", "environment.json", "log.jsonl", "checkpoints"],
        *["model.safetensors", "metrics.json", "pictures", "report.html"],
    }
    folder = RunFolder(run)
    assert set(folder.config()) == {"run", "train", "model", "data"}
    assert set(folder.config()["train"]) == overrides.names(TrainSettings)  # complete, every default written out
    assert folder.command().startswith("latentscape train vae --data digits --epochs 2")
    assert folder.data()["fingerprint"]
    assert folder.environment()["torch"] == torch.__version__
    assert {"reconstructions.png", "samples.png", "map.png", "grid.png"} <= {p.name for p, _ in folder.pictures()}
    said = trained[1].err.splitlines()
    assert said[0].startswith("KL weight β = 0.32 in nats per image")
    assert any(str(run) in line for line in said)
    assert "Trained 2 steps" in trained[1].err


def test_the_log_is_one_object_a_line_with_units_in_the_names(run: Path) -> None:
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    kinds = [r["kind"] for r in records]
    assert kinds[-1] == "done"
    assert {"train", "held_out", "done"} <= set(kinds)
    first = next(r for r in records if r["kind"] == "train")
    assert set(first["terms"]) == {"elbo/recon_nats_per_image", "elbo/kl_nats_per_image", "elbo/total"}
    assert {"step", "epoch", "images", "seconds", "images_per_second", "learning_rate"} <= set(first)


def test_train_json_is_one_object(tmp_path: Path) -> None:
    args = ["train", "pca", "--data", "digits", "--out", tmp_path / "run", "--json", "--limit", "100"]
    found = one_object(latentscape(*args))
    assert set(found) == {"run", "steps", "seconds", "ended", "warnings", "metrics"}
    assert found["run"] == str(tmp_path / "run")
    assert found["metrics"]["mse"] > 0


def test_a_bare_run_has_no_metrics_and_no_report(tmp_path: Path) -> None:
    args = ["train", "vae", "--data", "digits", "--max-steps", "2", *FLAGS, "--bare", "--json", "--out", tmp_path / "r"]
    found = one_object(latentscape(*args))
    assert found["steps"] == 2
    assert found["metrics"] == {}
    assert not (tmp_path / "r" / "report.html").exists()
    assert not list((tmp_path / "r" / "pictures").iterdir())


def test_without_a_name_runs_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        done(latentscape("train", "pca", "--data", "digits", "--bare"))
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["pca-digits-1", "pca-digits-2"]


def test_flags_reach_the_settings_and_the_rest_stays_at_its_default(tmp_path: Path) -> None:
    args = ["train", "autoencoder", "--data", "digits", "--max-steps", "1", "--bare", "--out", tmp_path / "run"]
    done(latentscape(*args, "--full-batch", "--hidden", "5", "4", "--net", "mlp", "--beta1", "0.5", "--size", "6"))
    config = RunFolder(tmp_path / "run").config()
    assert config["train"]["full_batch"] is True
    assert config["train"]["beta1"] == 0.5
    assert config["train"]["beta2"] == 0.999
    assert config["model"]["hidden"] == [5, 4]
    assert config["model"]["latent_dim"] == 24
    assert config["data"]["size"] == "6"
    assert config["run"]["shape"] == [1, 6, 6]


def test_init_from_takes_weights(run: Path, tmp_path: Path) -> None:
    args = ["train", "vae", "--data", "digits", *FLAGS, "--max-steps", "1", "--learning-rate", "1e-30", "--bare"]
    answer = done(latentscape(*args, "--seed", "5", "--init-from", run, "--out", tmp_path / "run"))
    assert f"tensors from {run}." in answer.err
    old, new = weights(run), weights(tmp_path / "run")
    for name in ("encoder.1.weight", "decoder.0.weight"):
        assert torch.equal(old[name], new[name])


def test_a_folder_of_pictures_of_several_sizes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in ("cats", "dogs"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for i in range(12):
            size = (9 + i % 4, 12, 3)
            Image.fromarray(rng.integers(0, 255, size, dtype=np.uint8)).save(tmp_path / "pets" / label / f"{i}.png")
    args = ["train", "vae", "--data", tmp_path / "pets", "--size", "8x10", "--max-steps", "2", "--width", "2"]
    done(latentscape(*args, "--out", tmp_path / "run"))
    assert RunFolder(tmp_path / "run").config()["run"]["shape"] == [3, 8, 10]
    assert RunFolder(tmp_path / "run").config()["run"]["classes"] == 2
    assert done(latentscape("evaluate", tmp_path / "run")).out


# ---- evaluate --------------------------------------------------------------------------------------------------


def test_evaluate_json_has_the_documented_names(run: Path) -> None:
    found = one_object(latentscape("evaluate", run, "--json"))
    assert {"run", "model", "data", "split", "n", "metrics"} <= set(found)
    assert (found["model"], found["data"], found["split"]) == ("vae", "digits", "test")
    expected = {"mse", "psnr_db", "ssim", "bce", "kl_nats", "elbo_nats", "active_units", "knn_accuracy"}
    expected |= {"energy_distance", "energy_distance_floor", "probe_accuracy"}
    assert set(found["metrics"]) == expected
    assert found["n"] == RunFolder(run).data()["split"]["test"] > 0
    assert json.loads((run / "metrics.json").read_text())["metrics"] == found["metrics"]
    assert 0 < found["metrics"]["mse"] < 0.5
    assert found["metrics"]["elbo_nats"] < 0


def test_evaluation_is_deterministic_and_depends_on_the_split(run: Path) -> None:
    one, again, other = (
        one_object(latentscape("evaluate", run, "--json", "--split", split))["metrics"]
        for split in ("test", "test", "train")
    )
    assert one == again
    assert one["mse"] != other["mse"]
    assert "knn_accuracy" not in other  # a training example is its own nearest neighbour


def test_evaluation_on_other_data_is_not_kept_as_the_run_s_own(run: Path) -> None:
    kept = one_object(latentscape("evaluate", run, "--json"))["metrics"]
    other = one_object(latentscape("evaluate", run, "--data", "shapes", "--json"))
    assert other["data"] == "shapes"
    assert other["metrics"]["mse"] != kept["mse"]
    assert json.loads((run / "metrics.json").read_text())["metrics"] == kept


def test_evaluate_shows_a_table(run: Path) -> None:
    out = done(latentscape("evaluate", run)).out
    assert "psnr_db" in out
    assert "mean of per-image values" in out


# ---- sample and reconstruct ------------------------------------------------------------------------------------


def test_samples_as_an_array(run: Path, tmp_path: Path) -> None:
    found = one_object(latentscape("sample", run, "--n", "5", "--out", tmp_path / "x.npy", "--json"))
    assert found["n"] == 5
    assert found["out"] == str(tmp_path / "x.npy")
    assert {"run", "n", "seed", "prior", "out", "sha256"} == set(found)
    x_NCHW = np.load(tmp_path / "x.npy", allow_pickle=False)
    assert found["sha256"] == hashlib.sha256(x_NCHW.tobytes()).hexdigest()
    assert x_NCHW.shape == (5, 1, 8, 8)
    assert x_NCHW.dtype == np.uint8
    assert x_NCHW.std() > 0


def test_samples_depend_on_the_seed_alone(run: Path, tmp_path: Path) -> None:
    arrays = []
    for i, seed in enumerate((0, 0, 1)):
        done(latentscape("sample", run, "--n", "5", "--seed", seed, "--out", tmp_path / f"{i}.npy"))
        arrays.append(np.load(tmp_path / f"{i}.npy"))
    assert (arrays[0] == arrays[1]).all()
    assert (arrays[0] != arrays[2]).any()


def test_temperature_zero_decodes_the_prior_s_centre(run: Path, tmp_path: Path) -> None:
    done(latentscape("sample", run, "--n", "3", "--temperature", "0", "--out", tmp_path / "x.npy"))
    x_NCHW = np.load(tmp_path / "x.npy")
    assert (x_NCHW == x_NCHW[:1]).all()
    centre = package.load_run(run).decode(torch.zeros(1, 2))
    assert np.abs(x_NCHW[0] - 255 * centre[0].numpy()).max() <= 0.51


def test_samples_as_pictures_and_films(run: Path, tmp_path: Path) -> None:
    done(latentscape("sample", run, "--n", "6", "--out", tmp_path / "x.png"))
    with Image.open(tmp_path / "x.png") as sheet:
        assert min(sheet.size) >= 16
        assert sheet.text["Command"].startswith("latentscape sample")
    done(latentscape("sample", run, "--n", "6", "--out", tmp_path / "x.gif"))
    with Image.open(tmp_path / "x.gif") as film:
        assert film.n_frames == 6
    done(latentscape("sample", run, "--n", "6", "--out", tmp_path / "singles"))
    assert len(list((tmp_path / "singles").glob("*.png"))) == 6
    with Image.open(next((tmp_path / "singles").glob("*.png"))) as single:
        assert single.size == (8, 8)


@pytest.mark.parametrize("prior", ["full", "diagonal"])
def test_samples_of_a_fitted_prior(prior: str, run: Path, tmp_path: Path) -> None:
    found = one_object(latentscape("sample", run, "--prior", prior, "--out", tmp_path / "x.npy", "--json"))
    assert found["prior"].startswith(f"a {prior} Gaussian fitted to")
    assert np.load(tmp_path / "x.npy").shape == (64, 1, 8, 8)


def test_without_a_name_samples_join_the_run_s_pictures(run: Path) -> None:
    answer = done(latentscape("sample", run, "--n", "4"))
    assert str(run / "pictures" / "samples.png") in answer.out
    caption = {p.name: words for p, words in RunFolder(run).pictures()}["samples.png"]
    assert caption["command"].startswith("latentscape sample")


def test_reconstructions_with_the_error_of_each(run: Path, tmp_path: Path) -> None:
    found = one_object(latentscape("reconstruct", run, "--n", "4", "--out", tmp_path / "x.npy", "--json"))
    assert set(found) == {"run", "n", "out", "mse", "errors"}
    assert len(found["errors"]) == found["n"] == 4
    assert found["mse"] == pytest.approx(sum(found["errors"]) / 4)
    images = package.load_data("digits", package.DataSettings(limit=100))
    x_BCHW = images.examples(images.indices("test")[:4], "unit")
    xhat_BCHW = np.load(tmp_path / "x.npy") / 255
    assert ((x_BCHW.numpy() - xhat_BCHW) ** 2).mean() == pytest.approx(found["mse"], rel=0.01)
    done(latentscape("reconstruct", run, "--n", "3", "--out", tmp_path / "x.png"))
    with Image.open(tmp_path / "x.png") as sheet:
        assert sheet.size[0] > 16


def test_reconstructions_of_a_user_s_pictures(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for i in range(3):
        Image.fromarray(np.full((20, 30, 3), 80 * i, np.uint8)).save(tmp_path / "mine" / f"{i}.png")
    args = ["reconstruct", run, "--data", tmp_path / "mine", "--n", "0", "--out", tmp_path / "out.npy", "--json"]
    assert one_object(latentscape(*args))["n"] == 3
    assert np.load(tmp_path / "out.npy").shape == (3, 1, 8, 8)


def test_vectors_are_trained_measured_and_sampled(tmp_path: Path) -> None:
    args = ["train", "vae", "--data", "curves", "--max-steps", "3", "--latent-dim", "1", "--hidden", "8"]
    done(latentscape(*args, "--out", tmp_path / "run"))
    metrics = one_object(latentscape("evaluate", tmp_path / "run", "--json"))["metrics"]
    expected = {
        "mse",
        "kl_nats",
        "elbo_nats",
        "active_units",
        "knn_accuracy",
        "probe_accuracy",
        "energy_distance",
        "energy_distance_floor",
    }
    assert set(metrics) == expected
    done(latentscape("sample", tmp_path / "run", "--n", "7", "--out", tmp_path / "x.npy"))
    assert np.load(tmp_path / "x.npy").shape == (7, 2)
    assert np.load(tmp_path / "x.npy").dtype == np.float32


def test_pixels_of_a_model_in_minus_one_to_one_are_brought_back(tmp_path: Path) -> None:
    with loops.toys_known():
        args = ["train", "toy-gan", "--data", "digits", "--max-steps", "2", "--bare", "--out", tmp_path / "run"]
        done(latentscape(*args))
        done(latentscape("sample", tmp_path / "run", "--n", "6", "--out", tmp_path / "x.npy"))
        model = package.load_run(tmp_path / "run")
    assert model.value_range == "signed"
    x_NCHW = model.decode(model.prior(6, torch.Generator().manual_seed(0)))
    assert x_NCHW.min() < -0.1
    expected = (255 * (x_NCHW + 1) / 2).numpy()
    assert np.abs(np.load(tmp_path / "x.npy") - expected).max() <= 0.51


def test_errors_of_a_model_in_minus_one_to_one_are_those_of_unit_pixels() -> None:
    from latentscape.tasks.evaluating import evaluate_model, to_unit

    images = package.load_data("digits", package.DataSettings(limit=60))
    model = loops.ready("toy_aae", (1, 8, 8))
    plain, _ = evaluate_model(model, images)
    decode = model.decode
    model.value_range = "signed"  # the same pictures in another range
    model.encode = lambda x_BX, y_B=None: type(model).encode(model, (x_BX + 1) / 2)
    model.decode = lambda z_BL, y_B=None: 2 * decode(z_BL) - 1
    signed, _ = evaluate_model(model, images)
    assert signed == pytest.approx(plain, rel=1e-4)
    torch.testing.assert_close(to_unit(torch.tensor([-1.0, 0.0, 1.0]), "signed"), torch.tensor([0.0, 0.5, 1.0]))


# ---- report and resume -----------------------------------------------------------------------------------------


def test_the_report_is_written_anew(run: Path) -> None:
    (run / "report.html").unlink()
    assert str(run / "report.html") in done(latentscape("report", run)).out
    html = (run / "report.html").read_text()
    assert "<html" in html
    assert "latentscape train vae --data digits" in html


def test_a_finished_run_is_trained_longer(tmp_path: Path) -> None:
    args = ["train", "vae", "--data", "digits", *FLAGS, "--bare"]
    done(latentscape(*args, "--epochs", "2", "--out", tmp_path / "run"))
    done(latentscape(*args, "--epochs", "4", "--out", tmp_path / "whole"))
    found = one_object(latentscape("resume", tmp_path / "run", "--epochs", "4", "--json"))
    assert found["steps"] == 4
    assert found["metrics"]["mse"] > 0
    assert not differing(weights(tmp_path / "run"), weights(tmp_path / "whole"))
    assert (tmp_path / "run" / "report.html").exists()
    assert RunFolder(tmp_path / "run").config()["train"]["epochs"] == 4


# ---- other commands --------------------------------------------------------------------------------------------


def test_data_info_json() -> None:
    found = one_object(latentscape("data", "info", "digits", "--json"))
    assert (found["name"], found["n"], found["shape"]) == ("digits", 1797, [1, 8, 8])
    assert sum(found["split"].values()) == sum(found["labels"].values()) == 1797
    assert {"values", "fingerprint", "unreadable", "duplicates", "near_duplicates", "notes"} <= set(found)
    assert "1,797 examples of 1×8×8" in done(latentscape("data", "info", "digits")).out


def test_doctor_json() -> None:
    found = one_object(latentscape("doctor", "--json"))
    assert {"torch", "python", "device", "processor", "threads", "fast_bf16", "compiler", "cache", "advice"} <= set(
        found
    )
    assert isinstance(found["advice"], list)
    assert "processor" in done(latentscape("doctor")).out


def test_models_are_listed_with_one_line_each() -> None:
    out = done(latentscape("models")).out
    for name, summary in models.summaries().items():
        assert name in out
        assert summary.split(":")[0].lower()[:12] in out.lower()


def test_a_model_is_summarised_before_training() -> None:
    out = done(latentscape("models", "autoencoder", "--shape", "1x28x28", "--latent-dim", "2")).out
    config = models.model_class("autoencoder").Config(latent_dim=2)
    model = models.build("autoencoder", DataShape((1, 28, 28)), config)
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters" in out
    assert "encoder.0" in out
    assert "32×14×14" in out
    assert f"{2 * 14 * 14 * 9 * 32:,}" in out  # two operations a tap of the first convolution


COMMANDS = ["train", "resume", "evaluate", "sample", "reconstruct", "report", "reproduce", "demo"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    args = [command, "vae", "--help"] if command == "train" else [command, "--help"]
    assert "usage" in done(latentscape(*args)).out.lower()


def test_help_documents_every_setting_with_its_range_and_default() -> None:
    out = " ".join(done(latentscape("train", "vae", "--help")).out.split())
    for flag in ("--latent-dim", "--beta-per-pixel", "--learning-rate", "--valid-fraction", "--out", "--json"):
        assert flag in out
    assert "at least 1" in out
    assert "(default: 0.1)" in out


def test_version_and_help() -> None:
    assert done(latentscape("--version")).out == f"latentscape {package.__version__}\n"
    assert "latentscape demo" in done(latentscape("--help")).out
    assert done(latentscape()).out == done(latentscape("help")).out


LISTS = [["--help"], ["--version"], ["models"], ["recipes"], ["train", "--help"]]


@pytest.mark.parametrize("args", LISTS, ids=" ".join)
def test_listing_does_not_import_torch(args: list[str]) -> None:
    program = (
        "import sys; from latentscape.cli import main; main(); "
        "print(*(m for m in ('torch', 'sklearn', 'matplotlib') if m in sys.modules), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True, check=True)
    assert ended.stdout.strip()
    assert ended.stderr.strip() == ""


# ---- Python ----------------------------------------------------------------------------------------------------


def test_the_public_names_from_python(tmp_path: Path) -> None:
    images = package.load_data("digits", package.DataSettings(limit=100))
    settings = {k: v for k, v in TINY.items() if k != "limit"}
    run = package.train("vae", images, out=tmp_path / "run", max_steps=4, **settings)
    assert isinstance(run.model, Model)
    assert run.path == tmp_path / "run"
    assert run.steps == 4
    assert run.data is images
    assert all("too early to be sure" in text for text in run.warnings)
    model = package.load_run(run.path)
    assert not differing(model.state_dict(), run.model.state_dict())
    answer = package.evaluate(run.path, data=images)
    assert answer["metrics"] == run.folder.metrics()["metrics"]
    with pytest.raises(package.LatentscapeError, match="names no data on disk"):
        package.evaluate(run.path)
    longer = package.resume(run.path, data=images, max_steps=6)
    assert longer.steps == 6
    assert run.folder.command().startswith("latentscape.train('vae', 'data', max_steps=4, net='mlp', hidden=(8,)")


def test_arrays_and_tensors_are_data(tmp_path: Path) -> None:
    x_NHW = np.random.default_rng(0).integers(0, 255, (40, 6, 6), dtype=np.uint8)
    for i, data in enumerate((x_NHW, torch.from_numpy(x_NHW), (x_NHW, np.arange(40) % 2))):
        run = package.train("pca", data, out=tmp_path / f"{i}", latent_dim=3)
        assert run.model.components.shape == (36, 3)
        assert ("knn_accuracy" in run.folder.metrics()["metrics"]) == isinstance(data, tuple)


def test_unknown_settings_and_names_are_refused() -> None:
    with pytest.raises(package.LatentscapeError, match="vae has no setting 'epoch'; did you mean epochs"):
        package.train("vae", "digits", epoch=3)
    with pytest.raises(AttributeError, match="has no attribute 'zzz'"):
        _ = package.zzz
    assert set(package.__all__) <= set(dir(package))
    assert all(getattr(package, name) is not None for name in package.__all__)
