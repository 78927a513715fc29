"""Priors fitted to a run are fitted once, kept whole, and serve only what they were fitted to."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from command import latentscape, refusal
from latentscape.errors import AbilityError, ConfigError
from latentscape.latents import priors
from latentscape.runs import RunFolder
from latentscape.tasks import fitted, showing, training, using
from latentscape.tasks.evaluating import load_for
from tiny_runs import TINY


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of a few steps, by their model."""
    folder, gan = tmp_path_factory.mktemp("runs"), {k: v for k, v in TINY.items() if k != "latent_dim"}
    made = {
        "autoencoder": {**TINY, "latent_dim": 3},
        "vae": TINY,
        "conditional-autoencoder": TINY,
        "gan": gan,
    }
    for model, settings in made.items():
        training.train(model, "digits", out=folder / model, **{**settings, "max_steps": 3})
    return {model: folder / model for model in made}


@pytest.fixture
def run(trained: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the autoencoder's run."""
    return Path(shutil.copytree(trained["autoencoder"], tmp_path / "run"))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits of a few steps."""
    monkeypatch.setattr(fitted, "Budget", lambda: priors.Budget(steps=5, components=(2,)))


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds that were fitted, one by one."""
    done: list[str] = []
    real = priors.fit
    monkeypatch.setattr(priors, "fit", lambda kind, *a, **k: done.append(kind) or real(kind, *a, **k))
    return done


def bare(run: Path) -> Any:
    """A stage whose data are not loaded."""
    folder = RunFolder(run)
    return showing.Stage(folder, folder.load_model(), None)  # type: ignore[arg-type]


def drawn(run: Path, kind: str = "full", **options: Any) -> torch.Tensor:
    """Draws of a fitted prior of a run."""
    return fitted.fitted_prior(bare(run), kind, **options).sample(20, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", priors.KINDS)
def test_a_prior_is_fitted_once_and_needs_no_data_then(
    kind: str, run: Path, fits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = drawn(run, kind)
    assert (run / "fitted" / f"{kind}.safetensors").is_file()
    monkeypatch.setattr(fitted, "load_for", lambda folder: pytest.fail("the data are not needed"))
    assert torch.equal(drawn(run, kind), first)
    assert fits == [kind]


def test_it_is_what_the_training_latents_give(run: Path) -> None:
    stage = bare(run)
    stage.images = load_for(stage.folder)
    z_NL, _ = stage.latents(10_000, "train")
    found = priors.fit_gaussian(z_NL).sample(20, torch.Generator().manual_seed(0))
    assert torch.equal(drawn(run), found)


def test_other_weights_seeds_budgets_and_data_are_fitted_anew(run: Path, fits: list[str]) -> None:
    first = drawn(run, "flow")
    assert not torch.equal(drawn(run, "flow", seed=1), first)
    assert fitted.fitted_prior(bare(run), "flow", budget=priors.Budget(steps=3)).figures["steps"] == 3
    folder = RunFolder(run)
    model: Any = folder.load_model()
    with torch.no_grad():
        next(iter(model.parameters())).add_(0.5)
    folder.save_model(model, 3)
    assert not torch.equal(drawn(run, "flow"), first)
    assert len(fits) == 4
    stage = bare(run)
    stage.images = load_for(folder, np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8))
    fitted.fitted_prior(stage, "flow")
    assert len(fits) == 5


def test_a_damaged_one_is_fitted_anew(run: Path, fits: list[str]) -> None:
    first, path = drawn(run), run / "fitted" / "full.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    assert torch.equal(drawn(run), first)
    assert torch.equal(drawn(run), first)
    assert fits == ["full", "full"]


def test_where_nothing_can_be_written_nothing_is_kept(run: Path, fits: list[str]) -> None:
    (run / "fitted").write_text("in the way")
    assert torch.equal(drawn(run), drawn(run))
    assert fits == ["full", "full"]


# ---- through commands ----------------------------------------------------------------------------------------------


def test_sample_takes_every_kind(run: Path, tmp_path: Path) -> None:
    pictures = {}
    for kind in priors.KINDS:
        answer = using.sample(run, n=5, prior=kind, out=tmp_path / "x.npy")
        assert "fitted to 80 training latents" in answer["prior"]
        pictures[kind] = answer["sha256"]
    assert len(set(pictures.values())) == 5
    assert using.sample(run, n=5, out=tmp_path / "x.npy")["sha256"] == pictures["full"]
    assert using.sample(run, n=5, prior="gmm", out=tmp_path / "x.npy")["prior"].startswith("a mixture of ")


def test_sample_tells_of_the_fit_beside_its_answer(run: Path, tmp_path: Path) -> None:
    answer = latentscape("sample", run, "--prior", "gmm", "--out", tmp_path / "x.npy")
    assert answer.status == 0
    assert "Mixture of 2 Gaussians" in answer.err
    assert "Mixture of 2 Gaussians" not in answer.out
    assert "--prior must" not in answer.err


def test_a_model_s_own_prior_comes_first_and_others_when_asked(trained: dict[str, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained["vae"], tmp_path / "vae"))
    words = {p: using.sample(run, n=3, prior=p, out=tmp_path / "x.npy")["prior"] for p in ("auto", "own", "flow")}
    assert words["auto"] == words["own"] == "the model's own prior"
    assert words["flow"] == "a normalising flow fitted to 80 training latents"


def test_a_conditional_model_decodes_a_fitted_prior_under_each_label(trained: dict[str, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained["conditional-autoencoder"], tmp_path / "run"))
    answer = using.sample(run, n=12, prior="gmm", out=tmp_path / "x.npy")
    assert answer["label"] == "each class in turn"
    assert np.load(tmp_path / "x.npy").shape == (12, 1, 8, 8)


@pytest.mark.parametrize("kind", ["full", "flow-matching"])
def test_temperature_draws_towards_the_prior_s_mean(kind: str, run: Path) -> None:
    """Also a single draw, which has no spread of its own."""
    stage = bare(run)
    (one, _), (warm, _), (cold, _) = (showing.prior_codes(stage, 1, 0, kind, t) for t in (1.0, 0.5, 0.0))
    mean_L = fitted.fitted_prior(stage, kind).mean_L
    torch.testing.assert_close(cold[0], mean_L)
    torch.testing.assert_close(warm[0], mean_L + 0.5 * (one[0] - mean_L))
    assert not torch.allclose(one, cold)


def test_what_cannot_be_is_refused(trained: dict[str, Path], run: Path) -> None:
    said = refusal("sample", trained["gan"], "--prior", "flow")
    assert "no encoder" in said
    assert "use --prior own" in said
    assert "flow-matching" in refusal("sample", run, "--prior", "own")
    with pytest.raises(ConfigError, match="prior must be one of auto, own, diagonal, full, gmm"):
        showing.prior_codes(bare(run), 3, 0, "normal")
    with pytest.raises(AbilityError, match="no encoder"):
        fitted.fitted_prior(bare(trained["gan"]), "full")
