"""The chain of faces: autoencoder, a VAE that starts from it, a GAN that starts from the VAE; on a miniature CelebA."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import celeba
import latentscape
from command import latentscape as call
from latentscape import recipes
from latentscape.errors import ConfigError
from latentscape.runs import RunFolder
from latentscape.training.checkpoint import load_state
from loops import differing
from tiny_runs import weights

STAGES = ("faces-autoencoder", "faces-vae", "faces-gan")
SMALL = ["--width", "2", "--latent-dim", "16", "--size", "16", "--batch-size", "8", "--threads", "1"]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(celeba.make(tmp_path_factory.mktemp("celeba") / "mini"))


@pytest.fixture(scope="module")
def chain(faces: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("chain") / "faces"
    answer = call("reproduce", "faces", "--data", faces, "--out", out, "--epochs", "2", *SMALL)
    assert answer.status == 0, answer.err
    return out


def test_the_chain_is_known_beside_the_recipes() -> None:
    assert recipes.stages("faces") == list(STAGES)
    assert recipes.stages("demo") == []
    assert [recipes.chain_of(name) for name in STAGES] == ["", "faces", "faces"]
    for before, name in itertools.pairwise(STAGES):
        assert recipes.read(name)["init_from"] == before
    assert "faces " in call("recipes").out


def test_every_stage_is_a_whole_run_that_starts_from_the_one_before(chain: Path) -> None:
    assert sorted(p.name for p in chain.iterdir()) == sorted(STAGES)
    for before, name in zip((None, *STAGES), STAGES, strict=False):
        folder = RunFolder(chain / name)
        assert folder.metrics()
        assert folder.report_path.exists()
        assert folder.config()["run"]["recipe"] == name
        assert folder.config()["run"]["init_from"] == (str(chain / before) if before else "")
        assert len([p for p, _ in folder.pictures()]) >= len(recipes.read(name)["show"])
    assert (chain / "faces-gan" / "pictures" / "film-generated.gif").exists()


def test_a_whole_chain_is_left_as_it_is(chain: Path, faces: str) -> None:
    before = {p: p.stat().st_mtime_ns for p in chain.rglob("*") if p.is_file()}
    answer = call("reproduce", "faces", "--data", faces, "--out", chain, "--epochs", "2", *SMALL)
    assert answer.status == 0
    assert answer.err.count("whole already") == 3
    assert {p: p.stat().st_mtime_ns for p in chain.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("words", "said"), [(["--width", "4"], "width"), (["--seed", "3"], "seed"), (["--data", "shapes"], "made from")]
)
def test_a_chain_made_with_other_settings_is_not_gone_on_with(
    words: list[str], said: str, chain: Path, faces: str
) -> None:
    answer = call("reproduce", "faces", "--data", faces, "--out", chain, *words)
    assert answer.status == 2
    assert said in answer.err
    assert "give another --out" in answer.err


def test_a_later_stage_alone_asks_what_it_starts_from(faces: str, tmp_path: Path) -> None:
    answer = call("reproduce", "faces-vae", "--data", faces, "--out", tmp_path / "run")
    assert answer.status == 2
    assert "--init-from RUN" in answer.err
    assert "reproduce faces" in answer.err
    with pytest.raises(ConfigError, match="leave --init-from out"):
        latentscape.reproduce("faces", data=faces, out=tmp_path / "run", init_from="anywhere")
    assert not list(tmp_path.iterdir())


def test_a_stage_that_was_deleted_is_made_again_and_a_stopped_one_gone_on_with(
    chain: Path, faces: str, tmp_path: Path
) -> None:
    import shutil

    again = tmp_path / "faces"
    shutil.copytree(chain, again)
    shutil.rmtree(again / "faces-gan")
    (again / "faces-vae" / "model.safetensors").unlink()
    answer = call("reproduce", "faces", "--data", faces, "--out", again, "--epochs", "2", *SMALL)
    assert answer.status == 0, answer.err
    assert ["whole already" in answer.err, "going on in" in answer.err, "3 of 3, faces-gan: into" in answer.err]
    for name in STAGES:
        assert not differing(weights(chain / name), weights(again / name)), name


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_chain_killed_in_the_middle_of_a_stage_ends_in_the_same_weights(
    stage: str, chain: Path, faces: str, tmp_path: Path
) -> None:
    """kill -9 once a stage has a checkpoint; the same command goes on."""
    whole, out = tmp_path / "whole", tmp_path / "faces"
    words = ["reproduce", "faces", "--data", faces, *SMALL, "--epochs", "6", "--checkpoint-every", "2"]
    words += ["--early-stopping", "0"] if stage == "faces-gan" else []
    if stage == "faces-gan":
        words = ["reproduce", stage, "--init-from", str(chain / "faces-vae"), *words[2:-2]]
    elif stage == "faces-vae":
        words = ["reproduce", stage, "--init-from", str(chain / "faces-autoencoder"), *words[2:]]
    else:
        words = ["reproduce", stage, *words[2:]]
    assert call(*words, "--out", whole).status == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "latentscape.cli", *words, "--out", str(out)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "GOMP_SPINCOUNT": "20000"},
    )  # fmt: skip
    while process.poll() is None and not list(out.glob("checkpoints/step-*.safetensors")):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "model.safetensors").exists()
    answer = call("resume", out)
    assert answer.status == 0, answer.err
    assert not differing(weights(whole), weights(out))


def test_the_vae_begins_as_the_autoencoder_and_the_gan_as_the_vae(chain: Path) -> None:
    from latentscape.tasks import adopting

    autoencoder, vae, gan = (RunFolder(chain / name).build_model().eval() for name in STAGES)
    autoencoder.load_state_dict(weights(chain / STAGES[0]))
    adopting.adopt(vae, chain / STAGES[0])
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        q, z = vae.posterior(x), autoencoder.encode(x)
        torch.testing.assert_close(q.mean, z)
        torch.testing.assert_close(q.log_var, torch.full_like(z, -2.0))
        torch.testing.assert_close(vae.decode(z), autoencoder.decode(z))
        adopting.adopt(gan, chain / STAGES[1])
        vae.load_state_dict(weights(chain / STAGES[1]))
        noise = gan.prior(4, torch.Generator().manual_seed(1))
        torch.testing.assert_close(gan.decode(noise), vae.decode(noise))
        torch.testing.assert_close(gan.discriminator.body(x), vae.encoder[0](x))


def test_checkpoints_of_some_epochs_stay_and_can_be_begun_from(tmp_path: Path) -> None:
    told = {"net": "mlp", "hidden": (8,), "latent_dim": 2, "limit": 80, "batch_size": 16, "threads": 1}
    run = latentscape.train(
        "vae", "digits", out=tmp_path / "run", finish=False, epochs=5, keep_every_epochs=2, checkpoint_every=1,
        keep_checkpoints=1, **told,
    )  # fmt: skip
    kept = sorted(p.name for p in run.path.glob("checkpoints/*.safetensors"))
    assert kept == ["epoch-0002.safetensors", "epoch-0004.safetensors", "step-000000025.safetensors"]
    from_it = run.path / "checkpoints" / kept[1]
    again = latentscape.train(
        "vae",
        "digits",
        out=tmp_path / "again",
        finish=False,
        init_from=from_it,
        max_steps=1,
        learning_rate=1e-30,
        **told,
    )
    then = {k.removeprefix("model."): v for k, v in load_state(from_it)[0].items() if k.startswith("model.")}
    for name in ("encoder.1.weight", "decoder.0.weight"):
        torch.testing.assert_close(weights(again.path)[name], then[name])


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"head": "none", "net": "resnet", "width": 2}, "--latent-dim 16"),
        ({"loss": "bce", "output": "linear"}, "--output sigmoid"),
    ],
)
def test_an_autoencoder_s_ends_must_fit(told: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        latentscape.train("autoencoder", "digits", out=tmp_path / "run", finish=False, latent_dim=3, **told)
    with pytest.raises(ConfigError, match="--output linear"):
        latentscape.train("autoencoder", "curves", out=tmp_path / "run", finish=False, output="sigmoid")
    assert not list(tmp_path.iterdir())
