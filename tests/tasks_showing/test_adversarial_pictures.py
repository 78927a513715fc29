"""Pictures of generators, curves of logged terms, and films by the epoch with their collages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from latentscape import api, recipes
from latentscape.contract import Model
from latentscape.errors import AbilityError, ConfigError
from latentscape.pictures import plots, read_captions, sheets
from latentscape.runs import RunFolder
from latentscape.tasks import showing, training
from latentscape.tasks.showing import Stage, adversarial, drawing

GetStage = Callable[[str], Stage]
SMALL: dict[str, Any] = {"net": "mlp", "hidden": (8,), "latent_dim": 4, "limit": 80, "batch_size": 16, "threads": 1}

RECIPE = """
title = "a recipe for tests of films by the epoch"
row = "B19"
model = "wgan"
data = "digits"

[settings]
net = "mlp"
hidden = [8]
latent_dim = 3
limit = 80
batch_size = 16
threads = 1
critic_steps = 3
epochs = 8
ema_halflife_images = 100
learning_rate = 0.01

[[show]]
what = "terms_curve"

[[show]]
what = "probe"
figures_n = 20
n = 5

[[film]]
what = "generated"
every_epochs = 1
collage = [2, 3]
options = { n = 1, scale = 4 }

[[film]]
what = "generated"
every_epochs = 3
options = { n = 6, columns = 3 }
"""


@pytest.fixture(scope="module")
def gans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stage]:
    """A GAN, and one that reads labels."""
    made = {}
    for name, conditional in (("gan", False), ("conditional", True)):
        out = tmp_path_factory.mktemp(name) / "run"
        run = training.train("gan", "digits", out=out, max_steps=3, log_every=1, conditional=conditional, **SMALL)
        made[name] = Stage(run.folder, run.model, run.data)
    return made


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "trial.toml"
    path.write_text(RECIPE)
    return path


def noise(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, SMALL["latent_dim"], generator=torch.Generator().manual_seed(seed))


# ---- pictures from noise -------------------------------------------------------------------------------------------


def test_generated_is_the_decoding_of_noise_that_stays_the_same(gans: dict[str, Stage]) -> None:
    here = gans["gan"]
    drawn = drawing.draw(here, "generated", n=6, seed=2, columns=3, scale=5)
    assert (drawn.pixels == sheets.sheet(here.decode(noise(6, 2)), 3, scale=5)).all()
    assert (drawn.pixels == drawing.draw(here, "generated", n=6, seed=2, columns=3, scale=5).pixels).all()
    one = drawing.draw(here, "generated", n=1, scale=4).pixels
    assert one.shape == (32, 32, 3)
    assert (one[::4, ::4, 0] == sheets.to_uint8(here.decode(noise(1)))[0, 0]).all()


def test_24_pictures_stand_in_four_rows(gans: dict[str, Stage]) -> None:
    height, width = drawing.draw(gans["gan"], "generated", scale=1).pixels.shape[:2]
    assert (height, width) == (4 * 9 - 1, 6 * 9 - 1)


def test_a_conditional_generator_goes_through_its_classes(gans: dict[str, Stage]) -> None:
    here = gans["conditional"]
    drawn = drawing.draw(here, "generated", n=12, scale=1)
    assert (drawn.pixels == sheets.sheet(here.decode(noise(12), torch.arange(12) % 10), 5, scale=1)).all()
    assert drawn.caption.endswith("classes in turn.")


def shown_columns(stage: Stage, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[np.ndarray, list[str]]:
    """What `mixed_noises` puts under which headings: pairs×steps×…."""
    seen: list[Any] = []
    whole = sheets.headed_sheet
    monkeypatch.setattr(adversarial.sheets, "headed_sheet", lambda x, names: seen.append((x, names)) or whole(x, names))
    drawing.draw(stage, "mixed_noises", **options)
    x, names = seen[0]
    return x.reshape(-1, len(names), *x.shape[1:]), names


def test_alpha_goes_from_the_second_noise_to_the_first(gans: dict[str, Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    here = gans["gan"]
    x, names = shown_columns(here, monkeypatch, n=2, seeds=(5, 6))
    assert names == ["α = 0", "α = 0.25", "α = 0.5", "α = 0.75", "α = 1"]
    z1, z2 = noise(2, 5), noise(2, 6)
    for k, alpha in enumerate((0, 0.25, 0.5, 0.75, 1)):
        assert x[:, k] == pytest.approx(here.decode(alpha * z1 + (1 - alpha) * z2), abs=1e-6)


def test_the_great_circle_keeps_the_length(gans: dict[str, Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    here = gans["gan"]
    straight = drawing.draw(here, "mixed_noises", n=1).caption
    bent = drawing.draw(here, "mixed_noises", n=1, spherical=True).caption
    ends, middles = [], []
    for caption in (straight, bent):
        lengths = [float(v) for v in caption.split("left: ")[1].rstrip(".").split(", ")]
        assert len(lengths) == 5
        ends.append((lengths[0], lengths[-1]))
        middles.append(lengths[2])
    assert ends[0] == ends[1]
    assert middles[1] == pytest.approx(np.mean(ends[1]), abs=0.01)
    assert middles[0] < middles[1]
    x, _ = shown_columns(here, monkeypatch, spherical=True)
    assert x[0, 0] == pytest.approx(here.decode(noise(1, 1))[0], abs=1e-5)


def test_mixed_noises_of_a_conditional_generator_keep_a_label(
    gans: dict[str, Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = gans["conditional"]
    x, _ = shown_columns(here, monkeypatch, n=2)
    assert x[:, 4] == pytest.approx(here.decode(noise(2), torch.tensor([0, 1])), abs=1e-6)
    x, _ = shown_columns(here, monkeypatch, n=2, label=7)
    assert x[:, 4] == pytest.approx(here.decode(noise(2), torch.tensor([7, 7])), abs=1e-6)
    with pytest.raises(AbilityError, match="reads no labels"):
        drawing.draw(gans["gan"], "mixed_noises", label=7)


def test_what_has_no_prior_or_asks_for_nothing_is_refused(gans: dict[str, Stage], stage: GetStage) -> None:
    for what in ("generated", "mixed_noises"):
        with pytest.raises(AbilityError, match="no noise to start from"):
            drawing.draw(stage("autoencoder"), what)
    with pytest.raises(AbilityError, match="a vae has no discriminator"):
        drawing.draw(stage("vae"), "probe")
    for what, options in (
        ("generated", {"n": 0}),
        ("generated", {"scale": -1}),
        ("mixed_noises", {"steps": 1}),
        ("mixed_noises", {"seeds": [1]}),
        ("probe", {"n": 9, "figures_n": 8}),
        ("terms_curve", {"terms": []}),
        ("terms_curve", {"smooth": -1}),
    ):
        with pytest.raises(ConfigError):
            drawing.draw(gans["gan"], what, **options)


# ---- curves --------------------------------------------------------------------------------------------------------


class Log:
    """A run folder of which only the log is asked."""

    path = Path("runs/any")

    def __init__(self, values: list[float], term: str = "criticise/wasserstein_estimate") -> None:
        self.records = [{"kind": "train", "step": 10 * (i + 1), "terms": {term: v}} for i, v in enumerate(values)]
        self.records += [{"kind": "held_out", "step": 10, "terms": {term: 99.0, "other/term": 1.0}}]

    def log(self) -> list[dict[str, Any]]:
        return self.records


def curve(monkeypatch: pytest.MonkeyPatch, values: list[float], **options: Any) -> tuple[Any, Any, str]:
    """The smoothed and the raw series that are drawn, and the caption."""
    seen: list[Any] = []
    whole = plots.curves
    monkeypatch.setattr(
        adversarial.plots, "curves", lambda series, **o: seen.append((series, o["raw"])) or whole(series, **o)
    )
    stage = Stage(Log(values), None, None)  # type: ignore[arg-type]
    drawn = drawing.draw(stage, "terms_curve", **options)
    (series,), (raw,) = (list(s.values()) for s in seen[-1])
    return series, raw, drawn.caption


def test_terms_are_drawn_as_logged_and_smoothed(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [4.0, 1.0, 7.0, 2.0, 6.0, 9.0]
    (x, smooth), (x_raw, raw), caption = curve(monkeypatch, values, smooth=3)
    assert x.tolist() == x_raw.tolist() == [10, 20, 30, 40, 50, 60]
    assert raw.tolist() == values
    assert smooth.tolist() == pytest.approx([2.5, 4.0, 10 / 3, 5.0, 17 / 3, 7.5])
    assert caption.startswith("6 records of the training")
    assert "the mean over 3 records" in caption
    assert "ends at 7.5" in caption
    (_, smooth), _, caption = curve(monkeypatch, values)
    assert smooth.tolist() == values, "a twentieth of six records is none to smooth over"
    assert "pale" not in caption
    (_, smooth), _, _ = curve(monkeypatch, values, smooth=4)
    ranges = [(0, 3), (0, 4), (1, 5), (2, 6), (3, 6), (4, 6)]
    assert smooth.tolist() == pytest.approx([np.mean(values[a:b]) for a, b in ranges])


def test_a_logarithmic_axis_says_what_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "1 values that are not above 0" in curve(monkeypatch, [1.0, -1.0, 2.0], log=True)[2]
    assert "left out" not in curve(monkeypatch, [1.0, -1.0, 2.0])[2]


def test_terms_that_were_not_logged_are_refused(gans: dict[str, Stage]) -> None:
    with pytest.raises(ConfigError, match=r"no term 'criticise/wasserstein_estimate'; it logged discriminate/"):
        drawing.draw(gans["gan"], "terms_curve")
    drawn = drawing.draw(gans["gan"], "terms_curve", terms=["discriminate/real_logit", "discriminate/fake_logit"])
    assert drawn.title == "Real logit, fake logit"
    assert drawn.caption.startswith("3 records")


def test_a_run_without_steps_has_no_curve(stage: GetStage) -> None:
    with pytest.raises(AbilityError, match="logged no training steps"):
        drawing.draw(stage("pca"), "terms_curve")


# ---- films by the epoch --------------------------------------------------------------------------------------------


def frames(run: Path, name: str) -> list[int]:
    return sorted(int(p.stem) for p in (run / "pictures" / ".frames" / name).glob("*.png"))


def test_frames_are_kept_where_epochs_end(recipe: Path, tmp_path: Path) -> None:
    run = api.reproduce(str(recipe), out=tmp_path / "run")
    log = run.folder.log()
    size, batch = run.folder.data()["split"]["train"], SMALL["batch_size"]
    ends = [r["step"] for r in log if r["kind"] == "held_out"]
    assert ends == [-(-e * (size // batch) // 3) for e in range(1, 9)], "three batches a step"
    assert frames(run.path, "generated") == [0, *ends]
    assert frames(run.path, "generated-2") == [0, ends[2], ends[5], ends[7]], "every third, and the last"
    words = read_captions(run.folder.pictures_path)
    assert words["film-generated.gif"]["caption"].endswith("one after every epoch.")
    assert words["film-generated-2.gif"]["caption"].endswith("one after every 3 epochs.")
    assert {p.name for p, _ in run.folder.pictures()} == {
        *("terms_curve.png", "probe.png", "film-generated.gif", "film-generated-2.gif", "collage-generated.png"),
    }


def test_a_collage_is_made_of_frames_at_even_distances(recipe: Path, tmp_path: Path) -> None:
    run = api.reproduce(str(recipe), out=tmp_path / "run")
    steps = frames(run.path, "generated")
    picked = [steps[i] for i in (0, 2, 3, 5, 6, 8)]
    place = run.folder.pictures_path
    collage = np.asarray(Image.open(place / "collage-generated.png").convert("RGB"))
    assert collage.shape == (2 * 33 - 1, 3 * 33 - 1, 3)
    for i, step in enumerate(picked):
        top, left = i // 3 * 33, i % 3 * 33
        frame = np.asarray(Image.open(place / ".frames" / "generated" / f"{step:09d}.png").convert("RGB"))
        assert (collage[top : top + 32, left : left + 32] == frame).all()
    model: Any = run.model
    rng = torch.Generator().manual_seed(0)
    last = sheets.sheet(Stage(run.folder, model, run.data).decode(model.prior(1, rng)), scale=4)
    assert (collage[-32:, -32:] == last).all(), "the last is what the finished run's model, the average, makes"
    words = read_captions(place)["collage-generated.png"]["caption"]
    assert words == (
        f"6 of {len(steps)} frames of the learning, row by row from the top left, at the steps "
        f"{', '.join(map(str, picked))}."
    )


def test_a_collage_goes_on_when_the_run_is_resumed(recipe: Path, tmp_path: Path) -> None:
    text = recipe.read_text().replace("collage = [2, 3]", "collage = [3, 7]")
    recipe.write_text(text)
    run = api.reproduce(str(recipe), out=tmp_path / "run", scale=0.5)
    before = frames(run.path, "generated")
    one_row = np.asarray(Image.open(run.folder.pictures_path / "collage-generated.png"))
    assert one_row.shape[:2] == (32, len(before) * 33 - 1), "too few frames for three rows"
    longer = api.resume(run.path, epochs=12)
    after = frames(run.path, "generated")
    assert after[: len(before)] == before
    assert len(after) > len(before)
    collage = np.asarray(Image.open(longer.folder.pictures_path / "collage-generated.png").convert("RGB"))
    first = np.asarray(Image.open(run.path / "pictures" / ".frames" / "generated" / f"{0:09d}.png").convert("RGB"))
    assert (collage[:32, :32] == first).all()


def test_steps_and_epochs_together(tmp_path: Path) -> None:
    entry = {"what": "generated", "every_steps": 5, "every_epochs": 1, "options": {"n": 1}}
    films = showing.Films(tmp_path / "run", [entry])
    seen: list[int] = []

    def watch(model: Model, step: int) -> None:
        seen.append(step)
        films(model, step)

    run = training.train(
        "gan", "digits", out=tmp_path / "run", watch=watch, watch_every=films.every, **{**SMALL, "max_steps": 12}
    )
    films.finish(run.model, run.steps)
    per_epoch = run.folder.data()["split"]["train"] // SMALL["batch_size"]
    assert frames(run.path, "generated") == sorted({*range(0, 13, 5), *range(0, 13, per_epoch), 12})
    caption = read_captions(run.folder.pictures_path)["film-generated.gif"]["caption"]
    assert caption.endswith("one every 5 steps and after every epoch.")
    assert seen == list(range(13))


@pytest.mark.parametrize(
    ("intervals", "every"),
    [
        ([{"every_steps": 6}, {"every_steps": 4}], 2),
        ([{"every_epochs": 6}, {"every_epochs": 4}], 0),
        ([{"every_steps": 6}, {"every_epochs": 4}], 1),
    ],
)
def test_calls_between_which_no_frame_is_missed(intervals: list[dict[str, int]], every: int) -> None:
    assert showing.Films("unused", [{"what": "generated", **i} for i in intervals]).every == every


def test_frames_bear_their_step_in_the_film_only(recipe: Path, tmp_path: Path) -> None:
    run = api.reproduce(str(recipe), out=tmp_path / "run")
    place = run.folder.pictures_path
    with Image.open(place / "film-generated.gif") as film, Image.open(next((place / ".frames").rglob("*.png"))) as one:
        assert film.height > one.height
        assert film.width > one.width, "the step is written above"


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("every_epochs = 3", "", "a film in trial.toml lacks every_steps or every_epochs"),
        ("every_epochs = 3", "every_epochs = 0", "every_epochs in trial.toml must be at least 1, got 0"),
        ("[2, 3]", "[2]", "collage in trial.toml must be rows and columns"),
        ("[2, 3]", "[2, 0]", r"collage in trial.toml must be rows and columns, at least 1 each, as \[5, 5\], got"),
        ("[2, 3]", "6", "collage in trial.toml must be rows and columns"),
        ("[2, 3]", "[2, true]", "collage in trial.toml must be rows and columns"),
    ],
)
def test_films_that_cannot_be_are_refused(was: str, becomes: str, said: str, recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace(was, becomes))
    with pytest.raises(ConfigError, match=said):
        recipes.read(str(recipe))


def test_the_table_of_a_curve_is_the_logs(recipe: Path, tmp_path: Path) -> None:
    run = api.reproduce(str(recipe), out=tmp_path / "run")
    logged = [json.loads(line) for line in (RunFolder(run.path).path / "log.jsonl").read_text().splitlines()]
    count = sum(r["kind"] == "train" for r in logged)
    assert read_captions(run.folder.pictures_path)["terms_curve.png"]["caption"].startswith(f"{count} records")
