"""Asking a discriminator: of which pictures, in which range, under which labels, and what is made of its answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from latentscape.data import load_data
from latentscape.data.picture import fitted
from latentscape.errors import AbilityError, ConfigError, DataError
from latentscape.pictures import files
from latentscape.runs import load_run
from latentscape.tasks import training, using
from latentscape.tasks.probing import probe
from latentscape.tasks.showing import Stage, verdicts
from latentscape.tasks.showing.verdicts import Source, Verdict
from latentscape.tasks.training import Run

TINY: dict[str, Any] = {"limit": 80, "batch_size": 16, "threads": 1, "max_steps": 2, "latent_dim": 3, "hidden": (8,)}


def made(folder: Path, model: str = "gan", data: str = "digits", **settings: Any) -> Run:
    settings = ({"net": "mlp"} if data == "digits" else {}) | TINY | settings
    return training.train(model, data, out=folder / "run", **settings)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made(tmp_path_factory.mktemp("signed"), output="tanh")


@pytest.fixture(scope="module")
def unit(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made(tmp_path_factory.mktemp("unit"), output="sigmoid")


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made(tmp_path_factory.mktemp("conditional"), conditional=True, learning_rate=0.05)


@pytest.fixture(scope="module")
def critic(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made(tmp_path_factory.mktemp("critic"), "wgan")


def stage(run: Run) -> Stage:
    return Stage(run.folder, load_run(run.path), run.data)


def says(run: Run, x_NX: Tensor, y_N: Tensor | None = None) -> list[float]:
    """What the run's discriminator must be reported to say."""
    model: Any = load_run(run.path)
    logits = model.discriminate(x_NX, y_N)
    return (torch.sigmoid(logits) if model.probabilities else logits).tolist()


def of(answer: dict[str, Any], source: str) -> dict[str, Any]:
    return next(s for s in answer["sources"] if s["source"] == source)


# ---- its own sources -----------------------------------------------------------------------------------------------


def test_noise_lies_where_the_pictures_of_the_model_lie(signed: Run, unit: Run) -> None:
    ends = {"signed": [-1.0, 1.0], "unit": [0.0, 1.0]}
    for run in (signed, unit):
        here = stage(run)
        gaussian, signs = verdicts.own_sources(here, 200, 0, "test")[2:]
        assert signs.x.unique().tolist() == ends[here.model.value_range]
        assert float((signs.x == 1).float().mean()) == pytest.approx(0.5, abs=0.02)
        back = gaussian.x if run is signed else 2 * gaussian.x - 1
        assert float(back.mean()) == pytest.approx(0, abs=0.03)
        assert float(back.std()) == pytest.approx(1, abs=0.03)
        assert float(back.abs().max()) > 3, "it is not clipped"


def test_real_pictures_are_of_the_split_each_once(signed: Run) -> None:
    here = stage(signed)
    for split in ("test", "train"):
        real = verdicts.own_sources(here, 10_000, 0, split)[0]
        assert real.name == f"real ({split})"
        every = here.images.examples(here.images.indices(split), "signed")
        assert sorted(real.x.flatten(1).tolist()) == sorted(every.flatten(1).tolist())
    few, other = (verdicts.own_sources(here, 5, seed, "train")[0].x for seed in (0, 1))
    assert len(few) == 5
    assert (few != other).any(), "the seed draws them"


def test_generated_pictures_are_decoded_noise(signed: Run) -> None:
    model: Any = load_run(signed.path)
    generated = verdicts.own_sources(stage(signed), 8, 4, "test")[1]
    assert generated.x.shape == (8, 1, 8, 8)
    rng = torch.Generator().manual_seed(4)
    size = len(stage(signed).images.indices("test"))
    torch.randperm(size, generator=rng)
    assert torch.equal(generated.x, model.decode(model.prior(8, rng)))


def test_real_pictures_come_with_their_labels_and_others_in_turn(conditional: Run) -> None:
    here = stage(conditional)
    real, *others = verdicts.own_sources(here, 12, 0, "train")
    assert here.images.labels is not None
    rows = here.images.indices("train")
    known = {tuple(x.flatten().tolist()): int(y) for x, y in zip(
        here.images.examples(rows, here.model.value_range), here.images.labels[rows], strict=True
    )}  # fmt: skip
    assert real.y is not None
    assert [known[tuple(x.flatten().tolist())] for x in real.x] == real.y.tolist()
    for other in others:
        assert other.y is not None
        assert other.y.tolist() == [k % 10 for k in range(12)]


# ---- answers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["signed", "critic", "conditional"])
def test_verdicts_are_the_discriminators(name: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(name)
    here = stage(run)
    sources = verdicts.own_sources(here, 11, 0, "train")
    for batch_size in (4, 250):
        for source, verdict in zip(sources, verdicts.judge(here, sources, batch_size), strict=True):
            assert verdict.source is source
            assert verdict.values.tolist() == pytest.approx(says(run, source.x, source.y), abs=1e-6)


def test_figures_are_what_they_say() -> None:
    x = torch.zeros(4, 1, 2, 2)
    real = Verdict(Source("real", x, None), torch.tensor([0.2, 0.6, 0.8, 0.9]))
    fake = Verdict(Source("generated", x[:3], None), torch.tensor([0.1, 0.55, 0.75]))
    found = verdicts.figures([real, fake], is_probability=True)
    assert [f["n"] for f in found] == [4, 3]
    assert [f["mean"] for f in found] == pytest.approx([0.625, 1.4 / 3])
    assert [f["median"] for f in found] == pytest.approx([0.7, 0.55])
    assert [f["share_judged_real"] for f in found] == pytest.approx([3 / 4, 2 / 3])
    found = verdicts.figures([real, fake], is_probability=False)
    assert [f["share_above_real_median"] for f in found] == pytest.approx([1 / 2, 1 / 3])
    assert not any("share_judged_real" in f for f in found)


def test_a_probability_has_four_decimals_and_a_score_three_digits() -> None:
    assert [verdicts.said(v, True) for v in (0.05, 1.0)] == ["0.0500", "1.0000"]
    assert [verdicts.said(v, False) for v in (-0.0012345, 1234.5)] == ["−0.00123", "1.23e+03"]


def test_the_answer_and_the_picture(signed: Run, tmp_path: Path) -> None:
    answer = probe(signed.path, n=3, figures_n=20, out=tmp_path / "p.png", command="probe it")
    assert [s["source"] for s in answer["sources"]] == ["real (test)", "generated", "N(0, 1) noise", "±1 noise"]
    assert answer["says"] == "probability"
    sources = verdicts.own_sources(stage(signed), 20, 0, "test")
    for entry, source in zip(answer["sources"], sources, strict=True):
        values = says(signed, source.x)
        assert entry["first"] == pytest.approx(values[:3], abs=1e-6)
        assert entry["mean"] == pytest.approx(np.mean(values), abs=1e-6)
        assert entry["n"] == len(values)
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.info["Command"] == "probe it"
        assert "nothing else" in picture.info["Description"]
        assert f"generated: mean {answer['sources'][1]['mean']:.4f}" in picture.info["Description"]


def test_a_critic_gives_scores(critic: Run, tmp_path: Path) -> None:
    answer = probe(critic.path, n=2, figures_n=10, out=tmp_path / "p.png")
    assert answer["says"] == "score"
    assert all("share_above_real_median" in s and "share_judged_real" not in s for s in answer["sources"])
    with Image.open(tmp_path / "p.png") as picture:
        assert "zero means nothing" in picture.info["Description"]


def test_examples_that_are_no_pictures_get_histograms_only(tmp_path: Path) -> None:
    run = made(tmp_path, data="curves", limit=200)
    here = stage(run)
    gaussian, signs = verdicts.own_sources(here, 300, 0, "test")[2:]
    assert float(gaussian.x.mean()) == pytest.approx(0, abs=0.15)
    assert signs.x.unique().tolist() == [-1.0, 1.0]
    np.save(tmp_path / "x.npy", np.ones((3, 2), np.float32))
    answer = probe(run.path, [tmp_path / "x.npy"], n=2, out=tmp_path / "p.png")
    assert of(answer, "x.npy")["first"] == pytest.approx(says(run, torch.ones(2, 2)), abs=1e-6)
    found = verdicts.judge(here, verdicts.own_sources(here, 5, 0, "test"))
    assert verdicts.drawn(here, found, 2).shape == verdicts.drawn(here, found, 5).shape


# ---- other pictures ------------------------------------------------------------------------------------------------


def test_saved_samples_are_judged_as_they_were_generated(unit: Run, signed: Run, tmp_path: Path) -> None:
    for run in (unit, signed):
        using.sample(run.path, n=6, seed=3, out=tmp_path / "s.npy")
        model: Any = load_run(run.path)
        x = model.decode(model.prior(6, torch.Generator().manual_seed(3)))
        entry = of(probe(run.path, [tmp_path / "s.npy"], n=6, out=tmp_path / "p.png"), "s.npy")
        assert entry["first"] == pytest.approx(says(run, x), abs=0.01), "but for the rounding to 8 bits"


def test_floats_of_the_models_shape_are_taken_as_they_are(signed: Run, tmp_path: Path) -> None:
    x = 3 * torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "x.npy", x[:, 0].numpy())
    answer = probe(signed.path, [tmp_path / "x.npy", x, x.double().numpy()], n=4, out=tmp_path / "p.png")
    for name in ("x.npy", "array 2", "array 3"):
        assert of(answer, name)["first"] == pytest.approx(says(signed, x), abs=1e-6)
    half = torch.full((2, 1, 8, 8), 0.5)
    assert of(probe(signed.path, [half], n=2, out=tmp_path / "p.png"), "array 1")["first"] == pytest.approx(
        says(signed, half), abs=1e-6
    ), "0.5 is three quarters of the way from -1 to 1, not half of it"


def test_picture_files_are_made_grey_stretched_and_scaled(signed: Run, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    (tmp_path / "again").mkdir()
    Image.fromarray(pixels[::-1]).save(tmp_path / "again" / "wide.png")
    answer = probe(signed.path, [tmp_path / "wide.png", tmp_path / "again" / "wide.png"], n=3, out=tmp_path / "p.png")
    expected = {}
    for path, turned in ((tmp_path / "wide.png", pixels), (tmp_path / "again" / "wide.png", pixels[::-1])):
        grey = np.asarray(fitted(Image.fromarray(turned).convert("L"), (8, 8), "stretch")[0], np.float32)
        expected[path] = says(signed, torch.from_numpy(grey / 127.5 - 1)[None, None])[0]
    entry = of(answer, "pictures")
    assert entry["n"] == 2
    assert entry["files"]["wide.png"] == pytest.approx(expected[tmp_path / "wide.png"], abs=1e-5)
    second = tmp_path / "again" / "wide.png"
    assert entry["files"][str(second)] == pytest.approx(expected[second], abs=1e-5)


def test_one_picture_is_judged_under_every_label(conditional: Run, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(x).save(tmp_path / "one.png")
    entry = of(probe(conditional.path, [tmp_path / "one.png"], n=4, out=tmp_path / "p.png"), "one.png")
    x_1X = torch.from_numpy(x).float()[None, None] / 127.5 - 1
    right = says(conditional, x_1X.expand(10, -1, -1, -1), torch.arange(10))
    assert entry["files"]["one.png"] == pytest.approx(right, abs=1e-5)
    assert len(set(right)) > 1


def test_sets_are_sources_of_their_own_and_large_ones_are_drawn_from(signed: Run, tmp_path: Path) -> None:
    answer = probe(signed.path, ["digits"], n=2, figures_n=50, out=tmp_path / "p.png")
    assert of(answer, "digits")["n"] == 50
    np.save(tmp_path / "few.npy", load_data("digits").x[:7].numpy())
    few = of(probe(signed.path, [tmp_path / "few.npy"], n=7, figures_n=50, out=tmp_path / "p.png"), "few.npy")
    assert few["first"] == pytest.approx(
        says(signed, load_data("digits").examples(torch.arange(7), "signed")), abs=1e-6
    )


def test_all_single_pictures_are_shown_and_of_sets_the_first(signed: Run, tmp_path: Path, monkeypatch: Any) -> None:
    rows: list[Any] = []
    whole = verdicts.sheets.titled_rows
    monkeypatch.setattr(verdicts.sheets, "titled_rows", lambda entries: rows.extend(entries) or whole(entries))
    for i in range(5):
        files.save_png(tmp_path / f"{i}.png", np.full((8, 8, 3), 50 * i, np.uint8))
    answer = probe(signed.path, [tmp_path / f"{i}.png" for i in range(5)], n=2, out=tmp_path / "p.png")
    assert [(title, len(texts)) for title, _, texts in rows[-4:]] == [
        ("±1 noise", 2),
        ("pictures", 2),
        ("", 2),
        ("", 1),
    ]
    assert rows[-2][2][0] == f"{of(answer, 'pictures')['files']['2.png']:.4f}\n2.png"
    assert rows[0][2] == [f"{v:.4f}" for v in answer["sources"][0]["first"]]


def test_other_data_for_the_real_ones(signed: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", np.zeros((30, 8, 8), np.uint8))
    real = probe(signed.path, data=tmp_path / "other.npy", n=2, out=tmp_path / "p.png")["sources"][0]
    assert real["source"] == "real"
    assert real["n"] == 30
    assert real["mean"] == pytest.approx(says(signed, torch.full((1, 1, 8, 8), -1.0))[0], abs=1e-6)


# ---- refusals ------------------------------------------------------------------------------------------------------


def test_a_model_without_a_discriminator_is_refused(tmp_path: Path) -> None:
    run = made(tmp_path, "vae")
    with pytest.raises(AbilityError, match="a vae has no discriminator"):
        probe(run.path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"n": 5, "figures_n": 4}, "figures_n must be at least n, the 5 pictures that are shown, got 4"),
        ({"seed": -1}, "--seed must be at least 0"),
        ({"out": "p.jpg"}, r"probe writes its picture to X\.png, got --out p\.jpg"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, Any], said: str, signed: Run) -> None:
    with pytest.raises(ConfigError, match=said):
        probe(signed.path, **options)


def test_examples_that_cannot_be_judged_are_refused(signed: Run, conditional: Run, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must hold finite numbers"):
        probe(signed.path, [torch.full((1, 1, 8, 8), float("nan"))])
    np.save(tmp_path / "v.npy", np.zeros((3, 5), np.float32))
    with pytest.raises(DataError, match=r"v has examples of vector of 5, and the model in .* was built for 1×8×8"):
        probe(signed.path, [tmp_path / "v.npy"])
    (tmp_path / "cut.npy").write_bytes((tmp_path / "v.npy").read_bytes()[:-4])
    with pytest.raises(DataError, match=r"cut\.npy .* damaged"):
        probe(signed.path, [tmp_path / "cut.npy"])
    with pytest.raises(DataError, match="there is no data set and no path"):
        probe(signed.path, [tmp_path / "absent.png"])
    np.save(tmp_path / "v.npy", np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(DataError, match="knows 10 classes, and v has no labels"):
        probe(conditional.path, data=tmp_path / "v.npy")
