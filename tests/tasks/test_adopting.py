"""Weights from elsewhere: whole models, parts, Lightning's files, other runs; and runs made of nothing else."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import latentscape
from latentscape import models
from latentscape.config import DataShape
from latentscape.contract import Discriminates, Model, Samples
from latentscape.errors import ConfigError, RunError
from latentscape.report.html import write_report
from latentscape.runs import RunFolder, load_run
from latentscape.tasks import adopting, training
from latentscape.tasks.evaluating import evaluate
from tiny_runs import TINY, weights

WIDTH, NOISE = 4, 10
"""Filters of the first convolution and size of the noise; row B17 has 64 and 100."""

GAN: dict[str, Any] = {"net": "upsampling", "width": WIDTH, "latent_dim": NOISE}


class Course(nn.Module):
    """Row B17's nets, written as the course does: one Sequential called `layers` each."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def course_generator() -> Course:
    w = WIDTH
    blocks: list[nn.Module] = []
    for before, after, scale in ((8 * w, 4 * w, 1.75), (4 * w, 2 * w, 2), (2 * w, w, 2)):
        convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
        blocks += [convolution, nn.BatchNorm2d(after), nn.LeakyReLU(0.2), nn.Upsample(scale_factor=scale)]
    first = [nn.Linear(NOISE, 8 * w * 16, bias=False), nn.BatchNorm1d(8 * w * 16), nn.LeakyReLU(0.2)]
    return Course(*first, nn.Unflatten(1, (8 * w, 4, 4)), *blocks, nn.Conv2d(w, 1, 3, padding=1), nn.Tanh())


def course_discriminator() -> Course:
    w = WIDTH
    return Course(
        *(nn.Conv2d(1, w, 3, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Conv2d(w, 2 * w, 3, 2, 1), nn.LeakyReLU(0.2), nn.BatchNorm2d(2 * w)),
        *(nn.Conv2d(2 * w, 4 * w, 3, 2, 1), nn.BatchNorm2d(4 * w), nn.LeakyReLU(0.2)),
        *(nn.Flatten(), nn.Linear(4 * w * 16, 1), nn.Sigmoid()),
    )


@pytest.fixture(scope="module")
def course() -> tuple[Course, Course]:
    """Generator and discriminator with running statistics of their own."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        nets = course_generator(), course_discriminator()
        for _ in range(3):
            nets[1](nets[0](torch.randn(32, NOISE)))
    return nets[0].eval(), nets[1].eval()


@pytest.fixture
def files(course: tuple[Course, Course], tmp_path: Path) -> dict[str, Path]:
    """The generator as a state dict, the discriminator in a Lightning checkpoint."""
    torch.save(course[0].state_dict(), tmp_path / "G.pt")
    lightning = {
        "epoch": 4,
        "global_step": 9380,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": {f"discriminator.{k}": v for k, v in course[1].state_dict().items()},
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 5}}}},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.1), "best_model_path": "a.ckpt"}},
        "optimizer_states": [torch.optim.Adam(course[1].parameters()).state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": {"latent_dim": NOISE, "lr": 2e-4, "betas": (0.5, 0.999)},
    }
    torch.save(lightning, tmp_path / "D.ckpt")
    return {"generator": tmp_path / "G.pt", "discriminator": tmp_path / "D.ckpt"}


def as_flag(files: dict[str, Path]) -> str:
    return ",".join(f"{part}={path}" for part, path in files.items())


def built(name: str, shape: tuple[int, ...] = (1, 8, 8), **settings: Any) -> Model:
    return models.build(name, DataShape(shape), models.model_class(name).Config.from_dict(settings), seed=3)


# ---- row B17 ---------------------------------------------------------------------------------------------------


def test_the_foreign_files_have_the_names_of_row_b17(course: tuple[Course, Course]) -> None:
    numbers = [sorted({int(k.split(".")[1]) for k in net.state_dict()}) for net in course]
    assert numbers == [[0, 1, 4, 5, 8, 9, 12, 13, 16], [0, 2, 4, 5, 6, 9]]


def test_loaded_nets_make_the_same_pictures_and_judge_them_alike(
    course: tuple[Course, Course], files: dict[str, Path], tmp_path: Path
) -> None:
    answer = latentscape.import_weights("gan", as_flag(files), shape="1x28x28", out=tmp_path / "run", **GAN)
    assert answer["left"] == []
    assert {t["part"]: t["how"] for t in answer["taken"]} == {"generator": "order", "discriminator": "order"}
    model = load_run(tmp_path / "run")
    assert isinstance(model, Samples)
    assert isinstance(model, Discriminates)
    z = torch.randn(20, NOISE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x, expected = model.decode(z), course[0](z)
        assert float(expected.std()) > 0.01
        assert torch.allclose(x, expected, rtol=0, atol=1e-6)
        assert torch.allclose(model.discriminate(x), course[1].layers[:-1](x)[:, 0], rtol=0, atol=1e-5)


def test_what_is_random_stays_random_and_is_told(files: dict[str, Path], tmp_path: Path) -> None:
    only = {"generator": files["generator"]}
    answer = latentscape.import_weights("gan", only, shape=(1, 28, 28), out=tmp_path / "run", **GAN)
    assert answer["left"] == ["discriminator"]
    fresh = built("gan", (1, 28, 28), **GAN)  # another seed than the run's
    new = weights(tmp_path / "run")
    assert not torch.equal(new["discriminator.head.weight"], fresh.state_dict()["discriminator.head.weight"])
    assert any("No weights were given for discriminator" in r["text"] for r in RunFolder(tmp_path / "run").log()[:-1])


# ---- a run of imported weights ---------------------------------------------------------------------------------


def test_every_command_works_on_an_imported_run(files: dict[str, Path], tmp_path: Path) -> None:
    run = latentscape.import_weights("gan", files, shape="1x28x28", out=tmp_path / "run", **GAN)["run"]
    one = latentscape.sample(run, n=4, seed=1, out=tmp_path / "a.npy")
    assert np.load(tmp_path / "a.npy").shape == (4, 1, 28, 28)
    assert latentscape.sample(run, n=4, seed=1)["sha256"] == one["sha256"]
    latentscape.project(run, [write_picture(tmp_path)], steps=2)
    assert "not trained here" in write_report(RunFolder(run)).read_text()
    config = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert config["run"]["imported"] is True
    assert config["run"]["init_from"] == as_flag(files)
    assert config["model"]["net"] == "upsampling"
    assert config["train"]["learning_rate"] == 2e-4  # as a GAN would be trained further
    assert "import_weights('gan'" in RunFolder(run).command()
    assert RunFolder(run).environment()["torch"] == torch.__version__


def write_picture(folder: Path) -> Path:
    from PIL import Image

    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (28, 28), dtype=np.uint8)).save(folder / "own.png")
    return folder / "own.png"


def test_an_imported_run_is_not_resumed_but_trained_from(files: dict[str, Path], tmp_path: Path) -> None:
    run = latentscape.import_weights("gan", files, shape="1x28x28", out=tmp_path / "run", **GAN)["run"]
    with pytest.raises(RunError, match=r"was not trained; train a new run from them: --init-from \S+run"):
        training.resume(run)
    with pytest.raises(RunError, match="holds a run already"):
        latentscape.import_weights("gan", files, shape="1x28x28", out=tmp_path / "run", **GAN)


def test_with_data_the_shape_and_the_labels_are_theirs(tmp_path: Path) -> None:
    source = training.train("vae", "digits", out=tmp_path / "vae", max_steps=2, **TINY)
    file = source.folder.model_path
    settings = {k: TINY[k] for k in ("net", "hidden", "latent_dim", "limit")}
    answer = latentscape.import_weights("vae", file, data="digits", out=tmp_path / "run", **settings)
    assert answer["taken"][0]["how"] == "name"
    assert evaluate(answer["run"])["metrics"]["mse"] == evaluate(source.path)["metrics"]["mse"]
    assert RunFolder(answer["run"]).data()["labels"] == source.folder.data()["labels"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "give --data, or the shape"),
        ({"shape": "1x8x8", "data": "digits"}, "leave --shape and --classes out"),
        ({"shape": "1x8x8", "classes": -1}, "--classes must be at least 0"),
        ({"shape": "1x8x8", "size": "8"}, "--size is about data, and there is none"),
        ({"shape": "1x8x8", "epochs": 3}, "nothing is trained here; leave --epochs out"),
        ({"shape": "1x8x8", "latent": 3}, "has no setting 'latent'"),
    ],
)
def test_bad_imports_write_nothing(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(ConfigError, match=words):
        latentscape.import_weights("vae", tmp_path / "a.pt", out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


# ---- --init-from -----------------------------------------------------------------------------------------------


def test_training_starts_from_the_parts_given(files: dict[str, Path], tmp_path: Path) -> None:
    """One step with a rate of nothing leaves the weights where they were taken from."""
    options = GAN | {"limit": 40, "batch_size": 8, "threads": 1, "learning_rate": 1e-30, "max_steps": 1, "size": "28"}
    run = training.train("gan", "digits", out=tmp_path / "run", init_from=as_flag(files), **options)
    new, old = weights(run.path), torch.load(files["generator"])
    assert torch.equal(new["generator.net.0.weight"], old["layers.0.weight"])
    old = torch.load(files["discriminator"])["state_dict"]
    assert torch.equal(new["discriminator.head.weight"], old["discriminator.layers.9.weight"])
    assert run.folder.config()["run"]["init_from"] == as_flag(files)


def test_a_run_killed_before_its_first_checkpoint_takes_the_weights_again(
    files: dict[str, Path], tmp_path: Path
) -> None:
    options = GAN | {"limit": 40, "batch_size": 8, "threads": 1, "max_steps": 2, "size": "28"}
    whole = training.train("gan", "digits", out=tmp_path / "whole", init_from=files, **options)
    again = training.train("gan", "digits", out=tmp_path / "again", init_from=files, **options)
    for path in [*(again.path / "checkpoints").iterdir(), again.folder.model_path, again.path / "log.jsonl"]:
        path.unlink()
    training.resume(again.path)
    assert all(torch.equal(v, weights(again.path)[k]) for k, v in weights(whole.path).items())


def test_a_part_comes_from_another_run(tmp_path: Path) -> None:
    source = training.train("autoencoder", "digits", out=tmp_path / "ae", max_steps=2, **TINY)
    old = weights(source.path)
    other = built("denoising-autoencoder", **{k: TINY[k] for k in ("net", "hidden", "latent_dim")})
    before = other.state_dict()["encoder.1.weight"].clone()
    (took,) = adopting.adopt(other, {"decoder": source.path})
    assert (took.part, took.how, took.sha256) == ("decoder", "name", "")
    assert torch.equal(other.state_dict()["decoder.0.weight"], old["decoder.0.weight"])
    assert torch.equal(other.state_dict()["encoder.1.weight"], before)
    assert not torch.equal(before, old["encoder.1.weight"])


def test_a_generator_takes_an_autoencoder_s_decoder_by_the_model_s_own_table(tmp_path: Path) -> None:
    source = training.train("autoencoder", "digits", out=tmp_path / "ae", max_steps=2, **TINY | {"activation": "tanh"})
    gan = built("gan", net="mlp", hidden=(8,), latent_dim=2, norm="none")
    (took,) = adopting.adopt(gan, f"generator={source.path}")
    assert took.how == "name"
    mine = {k: v for k, v in gan.state_dict().items() if k.startswith("generator.net.")}
    old = {f"generator.net.{k.removeprefix('decoder.')}": v for k, v in weights(source.path).items() if "decoder" in k}
    assert mine.keys() == old.keys()
    assert all(torch.equal(mine[k], old[k]) for k in old)


def test_the_whole_model_from_a_file_is_all_or_nothing(tmp_path: Path) -> None:
    settings = {k: TINY[k] for k in ("net", "hidden", "latent_dim")}
    other, own = built("vae", **settings), built("vae", **settings)
    for p in other.parameters():
        p.data.normal_()
    torch.save({"model": other.state_dict()}, tmp_path / "all.pt")
    (took,) = adopting.adopt(own, tmp_path / "all.pt")
    assert (took.part, took.how) == ("", "name")
    assert took.tensors == took.of == len([k for k in own.state_dict() if "num_batches_tracked" not in k])
    assert all(torch.equal(v, own.state_dict()[k]) for k, v in other.state_dict().items())
    torch.save(other.get_submodule("decoder").state_dict(), tmp_path / "decoder.pt")
    with pytest.raises(
        RunError, match=r"does not fit this model: .*weights of a part alone are given as \w+=decoder\.pt"
    ):
        adopting.adopt(own, tmp_path / "decoder.pt")


def test_weights_that_are_not_finite_are_refused(files: dict[str, Path], course: tuple[Course, Course]) -> None:
    bad = course[0].state_dict() | {"layers.16.bias": torch.tensor([float("nan")])}
    torch.save(bad, files["generator"])
    with pytest.raises(RunError, match=r"layers\.16\.bias in \S+ holds values that are not finite"):
        adopting.adopt(built("gan", (1, 28, 28), **GAN), files)


def test_half_precision_is_widened(files: dict[str, Path], course: tuple[Course, Course]) -> None:
    torch.save(
        {k: v.half() if v.is_floating_point() else v for k, v in course[0].state_dict().items()}, files["generator"]
    )
    model = built("gan", (1, 28, 28), **GAN)
    adopting.adopt(model, {"generator": files["generator"]})
    taken = model.state_dict()["generator.net.0.weight"]
    assert taken.dtype == torch.float32
    assert torch.equal(taken, course[0].state_dict()["layers.0.weight"].half().float())


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("generatr=G.pt", ConfigError, "this model has no part 'generatr'; its parts are generator, discriminator"),
        ("generator=G.pt,generator=G.pt", ConfigError, "generator is named twice"),
        ("generator=", ConfigError, "generator has no path"),
        ("generator=nowhere.pt", RunError, "there is no file of weights nowhere.pt"),
        ("nowhere.pt", RunError, "there is no file of weights nowhere.pt"),
        ("nowhere", RunError, "there is no run folder nowhere"),
        ("generator.net.2=G.pt", ConfigError, "generator.net.2 holds no weights to replace"),
        (
            "discriminator=G.pt",
            RunError,
            r"G\.pt does not fit discriminator: expected body\.0\.weight of 4×1×3×3, found",
        ),
    ],
)
def test_mistakes_are_said_in_one_sentence(
    text: str, error: type[Exception], words: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files["generator"].parent)
    with pytest.raises(error, match=words) as told:
        adopting.adopt(built("gan", (1, 28, 28), **GAN), text)
    assert "\n" not in str(told.value)


def test_sources_and_their_text_are_inverse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"generator": Path("with,comma.pt"), "discriminator.body": Path("D.pt")}
    text = adopting.as_text(given)
    assert adopting.sources(text) == {part: path.resolve() for part, path in given.items()}
    assert adopting.sources("runs/a") == {"": Path("runs/a")}
    (tmp_path / "x=y").mkdir()
    assert adopting.sources("x=y") == {"": Path("x=y")}
