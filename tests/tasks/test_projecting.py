"""Projection: planted latents are found again, through any decoder, under any label, the same way every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from latentscape import models
from latentscape.config import DataShape
from latentscape.contract import Decodes
from latentscape.data import load_data
from latentscape.errors import AbilityError, ConfigError
from latentscape.latents.projection import Frame
from latentscape.models import gan as gans
from latentscape.pictures import read_captions
from latentscape.runs import load_run
from latentscape.tasks import projecting, training, using
from latentscape.tasks.projecting import Search, find, project
from latentscape.tasks.training import Run
from tiny_runs import TINY

FAST: dict[str, Any] = {"steps": 5, "restarts": 2}


def planted(*, classes: int = 0, **settings: Any) -> Any:
    """A generator with random weights that keeps different latents apart."""
    asked = {"net": "mlp", "hidden": (32, 16), "latent_dim": 4, "norm": "none", "output": "tanh"} | settings
    model = models.build("gan", DataShape((1, 8, 8)), gans.Config(**asked), classes)
    with torch.no_grad():
        for p in model.generator.parameters():
            if p.dim() == 2:
                torch.nn.init.normal_(p, 0, 1.2 / p.shape[1] ** 0.5, generator=torch.Generator().manual_seed(1))
    return model.eval()


def drawn(n: int, size: int = 4, seed: int = 5) -> Tensor:
    return torch.randn(n, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("gan") / "run"
    return training.train("gan", "digits", out=out, max_steps=30, **TINY | {"latent_dim": 4, "limit": 200})


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("conditional") / "run"
    return training.train("conditional-vae", "digits", out=out, max_steps=60, learning_rate=0.02, **TINY)


# ---- planted latents -------------------------------------------------------------------------------------------


def test_planted_latents_are_found_again() -> None:
    model, z_NL = planted(), drawn(6)
    with torch.no_grad():
        x_NX = model.decode(z_NL)
    assert float(x_NX.std()) > 0.1
    found = find(model, x_NX, None, drawn(2_000, seed=9), Search(steps=400, restarts=6, prior_weight=0.0))
    assert float(found.errors.max()) < 1e-5
    assert float((found.z - z_NL).abs().max()) < 0.02


def test_errors_are_those_of_pixels_between_0_and_1() -> None:
    model, x_NX = planted(), torch.zeros(2, 1, 8, 8)  # grey of a model on [-1, 1]
    found = find(model, x_NX, None, drawn(600), Search(steps=1))
    with torch.no_grad():
        assert torch.equal(found.x, model.decode(found.z))
    assert torch.allclose(found.errors, (found.x / 2).square().flatten(1).mean(1))
    assert float(found.errors.min()) > 0.01


def test_more_steps_come_nearer() -> None:
    model, x_NX = planted(), 0.8 * torch.sign(torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(2)))
    before, after = (
        find(model, x_NX, None, drawn(2_000), Search(prior_weight=0.0, steps=s, restarts=1)).errors for s in (0, 100)
    )
    assert float(after.mean()) < 0.99 * float(before.mean())


def test_each_search_starts_elsewhere_and_the_best_of_a_picture_is_kept() -> None:
    model, x_NX, prior_SL = planted(), torch.rand(2, 1, 8, 8), drawn(50)
    starts_MRL = projecting._starts(model, x_NX, torch.tensor([1, 0]), None, prior_SL, 3)
    with torch.no_grad():
        distance_S = (model.decode(prior_SL) - x_NX[1]).square().flatten(1).sum(1)
    assert torch.equal(starts_MRL[0], prior_SL[distance_S.argsort()[:3]])
    losses_M, which_M = torch.tensor([3.0, 2.0, float("nan"), 1.0, 4.0]), torch.tensor([0, 0, 0, 1, 1])
    assert [int(projecting._lowest(losses_M, which_M == i)) for i in range(2)] == [1, 3]


def test_planted_labels_are_found_again_if_none_is_given() -> None:
    model, z_NL, y_N = planted(classes=3, conditional=True, label_dim=4), drawn(6), torch.arange(6) % 3
    with torch.no_grad():
        x_NX = model.decode(z_NL, y_N)
    how = Search(steps=300, restarts=3, prior_weight=0.0)
    found = find(model, x_NX, None, drawn(2_000, seed=9), how)
    assert found.y is not None
    assert torch.equal(found.y, y_N)
    assert float((found.z - z_NL).abs().max()) < 0.05
    wrong = find(model, x_NX, (y_N + 1) % 3, drawn(2_000, seed=9), how)
    assert torch.equal(wrong.y, (y_N + 1) % 3)  # type: ignore[arg-type]
    assert float(wrong.errors.min()) > 10 * float(found.errors.max())


def test_the_prior_pulls() -> None:
    """A picture from a latent far out is found there without the pull, and nearer with it."""
    model, z_NL = planted(), 3 * torch.nn.functional.normalize(drawn(4))
    with torch.no_grad():
        x_NX = model.decode(z_NL)
    sizes = [
        float(find(model, x_NX, None, drawn(2_000), Search(steps=300, prior_weight=w)).z.norm(dim=1).mean())
        for w in (0.0, 0.003, 0.1)
    ]
    assert sizes[0] == pytest.approx(3, abs=0.1)
    assert sizes[0] > sizes[1] + 0.02 > sizes[2] + 0.3


def test_a_model_s_own_density_is_what_pulls(conditional: Run) -> None:
    model: Any = load_run(conditional.path)
    y_M, z_ML = torch.tensor([3, 4]), drawn(2, 2)
    frame = Frame(torch.zeros(2), torch.full((2,), 100.0))
    objective = projecting._Objective(model, torch.zeros(2, 1, 8, 8), y_M, frame, Search())
    assert torch.allclose(objective.prior_nats(z_ML), -model.log_prior(z_ML, y_M) / 2)
    assert float(objective.prior_nats(z_ML)[0]) > 0.5  # the frame's would be next to nothing


# ---- features --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("conditional", [False, True])
def test_features_are_what_the_discriminator_s_last_layer_reads(conditional: bool) -> None:
    model = planted(classes=3 if conditional else 0, conditional=conditional)
    x_NX, y_N = torch.rand(2, 1, 8, 8) * 2 - 1, torch.tensor([0, 2]) if conditional else None
    frame = Frame(torch.zeros(4), torch.ones(4))
    objective = projecting._Objective(model, x_NX, y_N, frame, Search(feature_weight=1.0))
    with torch.no_grad():
        assert torch.equal(objective.features(x_NX), model.discriminator.body(x_NX))
        z_ML = drawn(2)
        plain = projecting._Objective(model, x_NX, y_N, frame, Search())(z_ML)
        f, goal = model.discriminator.body(model.decode(z_ML, y_N)), model.discriminator.body(x_NX)
        expected = (f - goal).square().mean(1) / goal.square().mean(1)
        assert torch.allclose(objective(z_ML) - plain, expected, atol=1e-5)


# ---- the job ---------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_latents(gan: Run, tmp_path: Path) -> None:
    answers = [project(gan.path, n=3, seed=s, out=tmp_path / f"{i}.npy", **FAST) for i, s in enumerate((1, 1, 2))]
    one, two, three = (np.load(tmp_path / f"{i}.npy") for i in range(3))
    assert one.dtype == np.float32
    assert one.shape == (3, 4)
    assert (one == two).all()
    assert (one != three).any()
    assert answers[0]["errors"] == answers[1]["errors"]
    assert (answers[0]["seed"], answers[0]["steps"], answers[0]["restarts"]) == (1, 5, 2)


def test_the_seed_moves_the_noise_too() -> None:
    model, x_NX = planted(), torch.rand(2, 1, 8, 8)
    one, two, three = (find(model, x_NX, None, drawn(600), Search(steps=5, seed=s)).z for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_the_latents_written_have_the_errors_told(gan: Run, tmp_path: Path) -> None:
    answer = project(gan.path, n=5, out=tmp_path / "z.npy", **FAST)
    model, images = load_run(gan.path), gan.data
    assert isinstance(model, Decodes)
    x = images.examples(images.indices("test")[:5], "signed")
    xhat = model.decode(torch.from_numpy(np.load(tmp_path / "z.npy")))
    assert answer["errors"] == pytest.approx(((x - xhat) / 2).square().flatten(1).mean(1).tolist(), rel=1e-4)
    assert answer["mse"] == pytest.approx(np.mean(answer["errors"]))


def test_a_picture_has_its_projection_below_it(gan: Run) -> None:
    answer = project(gan.path, n=10, **FAST)
    assert answer["out"] == str(gan.folder.pictures_path / "projected.png")
    picture = np.asarray(Image.open(answer["out"]))
    assert picture.shape[1] > 8 * 64  # eight in a row, each 64 pixels wide
    words = read_captions(gan.folder.pictures_path)["projected.png"]["caption"]
    assert words.startswith("10 pictures")
    assert f"mean {answer['mse']:.5f}" in words
    # The first original stands at the top left, its pixels in squares of eight.
    first = (255 * gan.data.examples(gan.data.indices("test")[:1], "unit")[0, 0]).round().numpy()
    assert any((picture[4:64:8, left : left + 64 : 8, 0] == first).all() for left in range(40))


def test_an_encoder_s_answer_is_where_one_search_starts(conditional: Run) -> None:
    plain = using.reconstruct(conditional.path, n=6)
    begun = project(conditional.path, n=6, steps=0, restarts=1)
    assert begun["errors"] == pytest.approx(plain["errors"], rel=1e-4)
    done = project(conditional.path, n=6, steps=60, restarts=2, prior_weight=0.0)
    assert all(a <= b + 1e-7 for a, b in zip(done["errors"], begun["errors"], strict=True))
    assert done["mse"] < 0.98 * begun["mse"]


def test_examples_are_decoded_under_their_own_labels_or_the_one_asked_for(conditional: Run) -> None:
    images = conditional.data
    assert images.labels is not None
    own = [str(int(k)) for k in images.labels[images.indices("test")[:4]]]
    assert project(conditional.path, n=4, **FAST)["labels"] == own
    assert project(conditional.path, n=4, label="7", **FAST)["labels"] == ["7"] * 4


def test_the_user_s_own_pictures_are_all_taken_and_every_label_is_tried(conditional: Run, tmp_path: Path) -> None:
    digits = load_data("digits")
    for i in range(3):
        folder = tmp_path / ("alone" if i == 0 else "folder") / "holidays"  # a class that the model knows nothing of
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.x[i, 0].numpy()).resize((16, 16)).save(folder / f"{i}.png")
    given = [tmp_path / "alone" / "holidays" / "0.png", tmp_path / "folder"]
    answer = project(conditional.path, given, **FAST)
    assert answer["n"] == 3
    assert set(answer["labels"]) <= {str(k) for k in range(10)}
    under = [project(conditional.path, given, label=k, **FAST)["mse"] for k in range(10)]
    assert answer["mse"] <= min(under) + 0.01


def test_vectors_give_latents_only(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    run = training.train("gan", x, out=tmp_path / "run", max_steps=2, **TINY)
    answer = project(run.path, data=x, n=3, **FAST)
    assert answer["out"].endswith("projected.npy")
    assert np.load(answer["out"]).shape == (3, 2)
    with pytest.raises(ConfigError, match=r"project writes latents to X\.npy, got"):
        project(run.path, data=x, out=tmp_path / "z.png", **FAST)


def test_a_model_without_a_prior_gets_one_of_the_run_s_data(tmp_path: Path) -> None:
    """The search's frame is fitted to training latents, even where other pictures are looked for."""
    run = training.train("autoencoder", "digits", out=tmp_path / "run", max_steps=2, **TINY)
    images = load_data("shapes")
    assert project(run.path, data="shapes", n=2, **FAST)["n"] == 2
    assert project(run.path, data=images.x[:3].numpy(), **FAST)["n"] == 3


# ---- refusals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"n": 0}, ConfigError, "--n must be at least 1"),
        ({"out": "a.gif"}, ConfigError, r"project writes pictures to X\.png or latents to X\.npy, got --out a\.gif"),
        ({"steps": -1}, ConfigError, "--steps must be at least 0"),
        ({"restarts": 501}, ConfigError, "--restarts must be at least 1 and at most 500"),
        ({"learning_rate": 0.0}, ConfigError, "--learning-rate must be above 0"),
        ({"restart": 3}, ConfigError, "did you mean restarts"),
        ({"label": "3"}, AbilityError, "a gan reads no labels"),
        ({"pictures": ["a.png"], "data": "digits"}, ConfigError, "give pictures or --data, not both"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], error: type[Exception], words: str, gan: Run) -> None:
    with pytest.raises(error, match=words):
        project(gan.path, **options)


def test_models_that_cannot_are_refused(tmp_path: Path) -> None:
    small = {"limit": 40, "max_steps": 1, "threads": 1, "batch_size": 8}
    classifier = training.train("classifier", "digits", out=tmp_path / "c", width=2, **small)
    with pytest.raises(AbilityError, match="classifier has no decoder"):
        project(classifier.path)
    vq = training.train("vq-vae", "digits", out=tmp_path / "q", width=4, codebook_size=8, **small)
    with pytest.raises(AbilityError, match="vq-vae rounds latents before it decodes them"):
        project(vq.path)
    vae = training.train("vae", "digits", out=tmp_path / "v", **TINY | small)
    with pytest.raises(AbilityError, match=r"no discriminator.*leave --feature-weight out"):
        project(vae.path, feature_weight=1.0)
