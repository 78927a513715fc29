"""Walks between and along latents: ends, rows, importances, planes, transfers, on small real runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from latentscape.data import load_data
from latentscape.errors import AbilityError, ConfigError, DataError
from latentscape.latents import encode
from latentscape.pictures import read_captions
from latentscape.runs import RunFolder, load_run
from latentscape.tasks import places, training
from latentscape.tasks.planes import grid, has_normal_prior
from latentscape.tasks.training import Run
from latentscape.tasks.transferring import transfer
from latentscape.tasks.walking import interpolate, traverse
from tiny_runs import TINY


def trained(tmp_path_factory: pytest.TempPathFactory, model: str, data: str = "digits", **settings: Any) -> Run:
    out = tmp_path_factory.mktemp(model) / "run"
    return training.train(model, data, out=out, **TINY | {"max_steps": 60, "learning_rate": 0.02} | settings)


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory, "vae", latent_dim=4, limit=400)


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory, "gan", latent_dim=3, max_steps=10)


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory, "conditional-vae", limit=400, max_steps=200)


@pytest.fixture(scope="module")
def pca(tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = {"limit": 200, "threads": 1, "latent_dim": 5}
    return training.train("pca", "digits", out=tmp_path_factory.mktemp("pca") / "run", **settings)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory, "autoencoder", "curves", latent_dim=1, max_steps=20)


def pixels(run: Run, z_NL: torch.Tensor, label: int | None = None) -> np.ndarray:
    """What codes decode to, as .npy files hold it."""
    model: Any = load_run(run.path)
    y = None if label is None else torch.full((len(z_NL),), label)
    x = encode.decode_all(model, z_NL, y)
    return np.rint(((x + 1) / 2 if model.value_range == "signed" else x).clamp(0, 1).numpy() * 255).astype(np.uint8)


def close(a: np.ndarray, b: np.ndarray) -> None:
    """Equal but for the last bit of a rounding."""
    assert a.shape == b.shape
    assert a.dtype == b.dtype == np.uint8
    assert int(np.abs(a.astype(int) - b.astype(int)).max()) <= 1


def example(run: Run, position: int) -> tuple[torch.Tensor, int]:
    """A test example in the model's value range, and its class."""
    images = run.data
    row = images.indices("test")[position : position + 1]
    assert images.labels is not None
    return images.examples(row, load_run(run.path).value_range), int(images.labels[row])


# ---- interpolate ---------------------------------------------------------------------------------------------------


def test_a_walk_goes_from_one_latent_to_the_other_in_even_steps(vae: Run, tmp_path: Path) -> None:
    found = interpolate(vae.path, examples=(2, 5), steps=7, out=tmp_path / "w.npy")
    model: Any = load_run(vae.path)
    a, b = (model.encode(example(vae, p)[0]) for p in (2, 5))
    t = torch.linspace(0, 1, 7)[:, None]
    close(np.load(tmp_path / "w.npy"), pixels(vae, (1 - t) * a + t * b))
    assert (found["steps"], found["path"]) == (7, "linear")
    assert found["from"].startswith("test 2 (")
    assert found["distance"] == pytest.approx(float((a - b).norm()), rel=1e-5)
    truth = [float((example(vae, p)[0] - model.decode(z)).square().mean()) for p, z in ((2, a), (5, b))]
    assert found["errors"] == pytest.approx(truth, rel=1e-4)


def test_by_default_from_the_first_7_to_the_first_6(vae: Run, tmp_path: Path) -> None:
    found = interpolate(vae.path, out=tmp_path / "w.npy")
    assert vae.data.labels is not None
    y = vae.data.labels[vae.data.indices("test")].tolist()
    assert (found["from"], found["to"]) == (f"test {y.index(7)} (7)", f"test {y.index(6)} (6)")
    assert found["steps"] == 10


def test_other_classes_and_no_classes_have_ends_too() -> None:
    images = load_data("digits")
    rows = images.indices("test")
    assert images.labels is not None
    renamed = type(images)(
        name="letters",
        x=images.x,
        split=images.split,
        fingerprint="",
        labels=images.labels,
        label_names=tuple("abcdefghij"),
    )
    first, second = places.two_apart(renamed, rows, "test")
    assert first == 0
    assert images.labels[rows[first]] != images.labels[rows[second]]
    assert len(set(images.labels[rows[:second]].tolist())) == 1
    bare = type(images)(name="bare", x=images.x, split=images.split, fingerprint="")
    assert places.two_apart(bare, rows, "test") == (0, 1)
    with pytest.raises(DataError, match="there is one"):
        places.two_apart(bare, rows[:1], "test")


def test_a_great_circle_keeps_the_length_and_a_chord_does_not(gan: Run, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"random": True, "seed": 3, "steps": 9}
    straight = interpolate(gan.path, out=tmp_path / "a.npy", **asked)["lengths"]
    curved = interpolate(gan.path, out=tmp_path / "b.npy", spherical=True, **asked)["lengths"]
    assert straight["shortest"] < 0.95 * min(straight["from"], straight["to"])
    assert curved["shortest"] == pytest.approx(min(curved["from"], curved["to"]), rel=1e-4)
    ends = [np.load(tmp_path / f"{name}.npy")[[0, -1]] for name in "ab"]
    close(*ends)
    z_2L = load_run(gan.path).prior(2, torch.Generator().manual_seed(3))  # type: ignore[attr-defined]
    close(ends[0], pixels(gan, z_2L))


def test_the_cross_fade_mixes_the_originals(vae: Run, tmp_path: Path) -> None:
    found = interpolate(vae.path, examples=(0, 1), steps=5, cross_fade=True, out=tmp_path / "w.npy")
    rows = np.load(tmp_path / "w.npy")
    assert found["rows"] == ["decoded", "pixels mixed"]
    assert rows.shape == (2, 5, 1, 8, 8)
    a, b = (example(vae, p)[0].numpy()[0] for p in (0, 1))
    close(rows[1, 2], np.rint((a + b) / 2 * 255).astype(np.uint8))
    close(rows[1, 0], np.rint(a * 255).astype(np.uint8))


def test_two_files_are_walked_between(vae: Run, tmp_path: Path) -> None:
    for p in (0, 1):
        Image.fromarray((example(vae, p)[0][0, 0].numpy() * 255).round().astype(np.uint8)).save(tmp_path / f"{p}.png")
    by_file = interpolate(vae.path, [tmp_path / "0.png", tmp_path / "1.png"], out=tmp_path / "f.npy")
    interpolate(vae.path, examples=(0, 1), out=tmp_path / "e.npy")
    assert (by_file["from"], by_file["to"]) == ("0.png", "1.png")
    close(np.load(tmp_path / "f.npy"), np.load(tmp_path / "e.npy"))
    with pytest.raises(ConfigError, match="between two pictures, got 1"):
        interpolate(vae.path, [tmp_path / "0.png"])


def test_latents_of_a_file_are_walked_between(gan: Run, tmp_path: Path) -> None:
    z_NL = np.array([[1, 0, 2], [0, 1, -1], [5, 5, 5]], np.float32)
    np.save(tmp_path / "z.npy", z_NL)
    interpolate(gan.path, latents=tmp_path / "z.npy", steps=3, out=tmp_path / "w.npy")
    middle = torch.from_numpy(z_NL[:2]).mean(0, keepdim=True)
    close(np.load(tmp_path / "w.npy")[1:2], pixels(gan, middle))
    np.save(tmp_path / "wide.npy", np.zeros((2, 4), np.float32))
    with pytest.raises(DataError, match="at least 2 latents of 3 numbers each, a row each; it holds 2×4"):
        interpolate(gan.path, latents=tmp_path / "wide.npy")
    np.save(tmp_path / "nan.npy", np.full((2, 3), np.nan, np.float32))
    with pytest.raises(DataError, match="not finite"):
        interpolate(gan.path, latents=tmp_path / "nan.npy")
    with pytest.raises(DataError, match=r"not an \.npy file"):
        interpolate(gan.path, latents=tmp_path / "none.npy")


def test_each_end_s_class_has_a_row_of_the_whole_walk(conditional: Run, tmp_path: Path) -> None:
    found = interpolate(conditional.path, steps=4, out=tmp_path / "w.npy")
    assert found["rows"] == ["as 7", "as 6"]
    rows = np.load(tmp_path / "w.npy")
    model: Any = load_run(conditional.path)
    p, q = (int(found[k].split()[1]) for k in ("from", "to"))
    (a, ya), (b, yb) = example(conditional, p), example(conditional, q)
    assert (ya, yb) == (7, 6)
    close(rows[0, :1], pixels(conditional, model.encode(a, torch.tensor([7])), 7))
    close(rows[1, -1:], pixels(conditional, model.encode(b, torch.tensor([6])), 6))
    assert len(found["errors"]) == 2
    one = interpolate(conditional.path, label="3", steps=4, out=tmp_path / "one.npy")
    assert one["rows"] == ["walk"]
    assert "errors" not in one
    close(np.load(tmp_path / "one.npy")[:1], pixels(conditional, model.encode(a, torch.tensor([7])), 3))
    drawn = interpolate(conditional.path, random=True, steps=3, out=tmp_path / "r.npy")
    assert drawn["rows"] == [f"as {k}" for k in range(10)]


@pytest.mark.parametrize(("kind", "panels"), [("gif", 1), ("gif", 2), ("mp4", 1), ("mp4", 2)])
def test_films_have_the_frames_asked_for(vae: Run, tmp_path: Path, kind: str, panels: int) -> None:
    path = tmp_path / f"w.{kind}"
    found = interpolate(vae.path, frames=12, cross_fade=panels == 2, out=path)
    assert found["steps"] == 12
    if kind == "mp4":
        assert path.read_bytes()[4:8] == b"ftyp"
        return
    with Image.open(path) as film:
        total = 0
        for i in range(film.n_frames):  # type: ignore[attr-defined]
            film.seek(i)
            total += film.info["duration"]
        assert total == 12 * 40
        assert film.info["loop"] == 0
        assert film.size == (280, 280) if panels == 1 else film.size[0] > 560


# ---- traverse ------------------------------------------------------------------------------------------------------


def test_importances_of_pca_are_its_spectrum(pca: Run, tmp_path: Path) -> None:
    """A linear decoder with orthonormal directions: coordinate i accounts for its variance, spread over the pixels."""
    found = traverse(pca.path, rows=3, out=tmp_path / "t.npy")
    by_coordinate = {e["coordinate"]: e for e in found["importances"]}
    assert found["shown"] == [1, 2, 3]  # PCA orders them itself
    for entry in by_coordinate.values():
        assert entry["importance"] == pytest.approx(entry["std"] ** 2 / 64, rel=1e-3)
        assert entry["standard_error"] < 1e-3 * entry["importance"]
    model: Any = load_run(pca.path)
    assert by_coordinate[1]["std"] == pytest.approx(float(model.variances[0].sqrt()), rel=0.01)


def test_a_row_moves_one_coordinate_by_standard_deviations_about_the_mean(vae: Run, tmp_path: Path) -> None:
    found = traverse(vae.path, coordinates=(3,), reach=2.0, steps=5, out=tmp_path / "t.npy")
    stage = places.with_data(places.open_stage(vae.path, ""), None)
    z_NL, _ = stage.latents(5_000, "train")
    z_5L = z_NL.mean(0).repeat(5, 1)
    z_5L[:, 2] += torch.linspace(-2, 2, 5) * z_NL[:, 2].std(correction=0)
    close(np.load(tmp_path / "t.npy"), pixels(vae, z_5L))
    assert found["shown"] == [3]
    assert [e["importance"] for e in found["importances"]] == sorted(
        (e["importance"] for e in found["importances"]), reverse=True
    )


def test_rows_are_the_most_important_and_start_where_asked(vae: Run, tmp_path: Path) -> None:
    found = traverse(vae.path, rows=2, example=4, low=-1.0, high=1.0, steps=3, out=tmp_path / "t.npy")
    assert found["shown"] == [e["coordinate"] for e in found["importances"][:2]]
    rows = np.load(tmp_path / "t.npy")
    assert rows.shape == (2, 3, 1, 8, 8)
    model: Any = load_run(vae.path)
    z_3L = model.encode(example(vae, 4)[0]).repeat(3, 1)
    z_3L[:, found["shown"][1] - 1] = torch.tensor([-1.0, 0.0, 1.0])
    close(rows[1], pixels(vae, z_3L))


def test_a_generator_is_walked_from_a_draw(gan: Run, tmp_path: Path) -> None:
    found = traverse(gan.path, seed=5, steps=3, out=tmp_path / "t.npy")
    assert found["about"] == "draw 0 (from the model's own prior, seed 5)"
    z_1L = load_run(gan.path).prior(1, torch.Generator().manual_seed(5))  # type: ignore[attr-defined]
    rows = np.load(tmp_path / "t.npy")
    assert rows.shape == (3, 3, 1, 8, 8)
    for row in rows:
        close(row[1:2], pixels(gan, z_1L))


def test_labels_are_the_example_s_own_or_asked_for(conditional: Run, tmp_path: Path) -> None:
    y = example(conditional, 3)[1]
    assert traverse(conditional.path, example=3, out=tmp_path / "t.npy")["label"] == str(y)
    assert traverse(conditional.path, example=3, label=(y + 1) % 10, out=tmp_path / "t.npy")["label"] == str(
        (y + 1) % 10
    )
    assert traverse(conditional.path, out=tmp_path / "t.npy")["label"] == "0"


def test_a_film_goes_there_and_back(vae: Run, tmp_path: Path) -> None:
    traverse(vae.path, rows=2, frames=8, out=tmp_path / "t.gif")
    with Image.open(tmp_path / "t.gif") as film:
        frames = []
        for i in range(film.n_frames):  # type: ignore[attr-defined]
            film.seek(i)
            frames.append(np.asarray(film.convert("L")).astype(int))
    assert len(frames) == 8
    assert np.abs(frames[1] - frames[7]).max() <= 2
    assert np.abs(frames[0] - frames[4]).max() > 20


def test_the_caption_defines_what_is_shown(vae: Run) -> None:
    traverse(vae.path, rows=2, command="latentscape traverse …")
    words = read_captions(vae.path / "pictures")["traversed.png"]
    assert words["command"] == "latentscape traverse …"
    assert (
        "mean squared change of the decoded pixels, on [0, 1], when it moves by one standard deviation"
        in words["caption"]
    )
    assert "2 of 4 coordinates, the most important first" in words["caption"]


# ---- grid ----------------------------------------------------------------------------------------------------------


def test_a_lattice_of_two_coordinates_reads_like_a_picture(vae: Run, tmp_path: Path) -> None:
    found = grid(vae.path, coordinates=(4, 2), low=-1.0, high=1.0, steps=3, out=tmp_path / "g.npy")
    assert (found["axes"], found["right"], found["up"]) == (["z4", "z2"], [-1, 1], [-1, 1])
    stage = places.with_data(places.open_stage(vae.path, ""), None)
    z = stage.latents(5_000, "train")[0].mean(0, keepdim=True)
    z[0, 3], z[0, 1] = 1.0, 1.0  # right and up: the top right picture
    x = np.load(tmp_path / "g.npy")
    assert x.shape == (3, 3, 1, 8, 8)
    close(x[0, 2:], pixels(vae, z))


def test_a_grid_covers_the_data_unless_told_otherwise(vae: Run, tmp_path: Path) -> None:
    covered = grid(vae.path, steps=4, out=tmp_path / "g.npy")
    assert 0.95 < covered["inside"] <= 0.98 + 0.01
    important = [e["coordinate"] for e in traverse(vae.path, out=tmp_path / "t.npy")["importances"][:2]]
    assert covered["axes"] == [f"z{c}" for c in important]
    assert grid(vae.path, steps=4, low=-0.01, high=0.01, out=tmp_path / "g.npy")["inside"] < 0.2


def test_principal_directions_of_pca_are_its_coordinates(pca: Run, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"low": -2.0, "high": 2.0, "steps": 3}
    grid(pca.path, principal=True, out=tmp_path / "p.npy", **asked)
    grid(pca.path, coordinates=(1, 2), out=tmp_path / "c.npy", **asked)
    a, b = np.load(tmp_path / "p.npy").astype(int), np.load(tmp_path / "c.npy").astype(int)
    mirrored = [b, b[::-1], b[:, ::-1], b[::-1, ::-1]]  # a direction has no sign
    assert min(np.abs(a - m).max() for m in mirrored) <= 2


def test_quantiles_are_the_prior_s(vae: Run, pca: Run, tmp_path: Path) -> None:
    found = grid(vae.path, quantiles=True, steps=4, coordinates=(1, 2), out=tmp_path / "g.npy")
    z_2L = torch.zeros(2, 4)
    z_2L[:, 0] = torch.special.ndtri(torch.tensor([0.125, 0.375]))
    z_2L[:, 1] = torch.special.ndtri(torch.tensor(0.875))
    close(np.load(tmp_path / "g.npy")[0, :2], pixels(vae, z_2L))
    assert found["right"] == pytest.approx([-1.1503, 1.1503], abs=1e-3)
    with pytest.raises(AbilityError, match="prior is N"):
        grid(pca.path, quantiles=True)


def test_which_priors_are_standard_normal(
    vae: Run, gan: Run, pca: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    uniform = trained(tmp_path_factory, "adversarial-autoencoder", max_steps=2)
    mixed = trained(tmp_path_factory, "adversarial-autoencoder", max_steps=2, prior="mixture")
    plain = trained(tmp_path_factory, "autoencoder", max_steps=2)
    known = [has_normal_prior(places.open_stage(r.path, "")) for r in (vae, gan, pca, uniform, mixed, plain)]
    assert known == [True, True, False, False, False, False]


def test_classes_have_a_panel_each_or_one_is_asked_for(conditional: Run, tmp_path: Path) -> None:
    found = grid(conditional.path, steps=3, out=tmp_path / "all.npy")
    assert found["labels"] == [str(k) for k in range(10)]
    assert np.load(tmp_path / "all.npy").shape == (10, 3, 3, 1, 8, 8)
    grid(conditional.path, steps=3, label="6", out=tmp_path / "six.npy")
    close(np.load(tmp_path / "six.npy"), np.load(tmp_path / "all.npy")[6])


def test_grids_are_drawn(vae: Run, gan: Run, conditional: Run, tmp_path: Path) -> None:
    for i, (run, asked) in enumerate([(vae, {"quantiles": True}), (gan, {}), (conditional, {}), (vae, {})]):
        grid(run.path, steps=3, out=tmp_path / f"{i}.png", **asked)
        with Image.open(tmp_path / f"{i}.png") as picture:
            assert min(picture.size) > 100
            assert picture.text["Title"] == "Decoded latent plane"  # type: ignore[attr-defined]
    grid(vae.path, steps=3, out=tmp_path / "folder")
    assert len(list((tmp_path / "folder").glob("*.png"))) == 9


# ---- transfer ------------------------------------------------------------------------------------------------------


def test_z_is_kept_and_the_label_changed(conditional: Run, tmp_path: Path) -> None:
    found = transfer(conditional.path, n=3, to=["1", 4], out=tmp_path / "t.npy")
    x = np.load(tmp_path / "t.npy")
    assert x.shape == (3, 2, 1, 8, 8)
    model: Any = load_run(conditional.path)
    for i in range(3):
        picture, y = example(conditional, i)
        z = model.encode(picture, torch.tensor([y]))
        close(x[i, 1:], pixels(conditional, z, 4))
        assert found["labels"][i] == str(y)
        error = float((model.decode(z, torch.tensor([y])) - picture).square().mean())
        assert found["errors"][i] == pytest.approx(error, rel=1e-4)
    assert found["to"] == ["1", "4"]


def test_labels_of_files_are_found(conditional: Run, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    """A conditional VAE takes the class that fits best; a model that reads labels says it."""
    model: Any = load_run(conditional.path)
    x = torch.cat([example(conditional, i)[0] for i in range(12)])
    errors = torch.stack(
        [(model.reconstruct(x, torch.full((12,), k)) - x).square().flatten(1).mean(1) for k in range(10)]
    )
    y, how = places.own_labels(model, x, None)
    assert y is not None
    assert torch.equal(y, errors.argmin(0))
    assert "reconstructed best" in how
    kept, _ = places.own_labels(model, x, torch.tensor([5] + [-1] * 11))
    assert kept is not None
    assert kept.tolist() == [5, *y.tolist()[1:]]
    reader = trained(tmp_path_factory, "style-label-aae", limit=200, max_steps=40)
    reading: Any = load_run(reader.path)
    read, how = places.own_labels(reading, x, None)
    assert read is not None
    assert torch.equal(read, reading.classify(x).argmax(1))
    assert "as the model reads them" in how
    for i in range(2):
        Image.fromarray((x[i, 0].numpy() * 255).round().astype(np.uint8)).save(tmp_path / f"{i}.png")
    found = transfer(reader.path, [tmp_path / "0.png", tmp_path / "1.png"], out=tmp_path / "t.png")
    assert found["pictures"] == ["0.png", "1.png"]
    assert len(found["to"]) == 10


# ---- vectors and refusals ------------------------------------------------------------------------------------------


def test_vectors_are_walked_too(vectors: Run, tmp_path: Path) -> None:
    found = interpolate(vectors.path, steps=4)
    assert found["out"].endswith("pictures/interpolated.npy")
    walk = np.load(found["out"])
    assert (walk.shape, walk.dtype) == ((4, 2), np.float32)
    rows = traverse(vectors.path, steps=5, out=tmp_path / "t.npy")
    assert rows["shown"] == [1]
    with pytest.raises(ConfigError, match=r"vectors are written to \.npy only"):
        traverse(vectors.path, out=tmp_path / "t.png")
    with pytest.raises(AbilityError, match="at least two latent dimensions"):
        grid(vectors.path)


def test_what_cannot_be_is_refused(vae: Run, gan: Run, conditional: Run, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    picture = tmp_path / "a.png"
    for call in (
        lambda: interpolate(gan.path, [picture, picture]),
        lambda: traverse(gan.path, [picture]),
        lambda: interpolate(gan.path),
        lambda: traverse(gan.path, example=0),
    ):
        with pytest.raises(AbilityError, match=r"has no encoder .*--random.*project --out X.npy.*--latents"):
            call()
    with pytest.raises(AbilityError, match="a vae reads no labels; conditional models do"):
        transfer(vae.path)
    with pytest.raises(AbilityError, match="a vae reads no labels"):
        interpolate(vae.path, label="3")
    with pytest.raises(AbilityError, match="no principal directions"):
        grid(gan.path, principal=True)
    with pytest.raises(ConfigError, match="give pictures or --random, not both"):
        interpolate(vae.path, [picture, picture], random=True)
    with pytest.raises(ConfigError, match="examples must be 0 to"):
        interpolate(vae.path, examples=(0, 10_000))
    with pytest.raises(ConfigError, match="takes two positions"):
        interpolate(vae.path, examples=(1,))
    with pytest.raises(ConfigError, match="coordinates must be 1 to 4"):
        traverse(vae.path, coordinates=(5,))
    with pytest.raises(ConfigError, match="name each one once"):
        grid(vae.path, coordinates=(2, 2))
    with pytest.raises(ConfigError, match="--low and --high go together"):
        traverse(vae.path, low=1.0)
    with pytest.raises(ConfigError, match="give --reach, or --low and --high, not both"):
        traverse(vae.path, low=1.0, high=2.0, reach=3.0)
    with pytest.raises(ConfigError, match="give --rows or --coordinates, not both"):
        traverse(vae.path, rows=2, coordinates=(1,))
    with pytest.raises(ConfigError, match="must be below --high"):
        traverse(vae.path, low=1.0, high=1.0)
    with pytest.raises(ConfigError, match=r"this is written to X\.png, X\.npy or a folder"):
        grid(vae.path, out=tmp_path / "g.gif")
    with pytest.raises(ConfigError, match="leave --principal, --low, --high out"):
        grid(vae.path, quantiles=True, low=0.0)
    with pytest.raises(ConfigError, match="must be a class of the training data"):
        transfer(conditional.path, to=["eleven"])
    assert not (RunFolder(gan.path).pictures_path / "interpolated.png").exists()
