"""Denoising: files in, files out; what is known of clean pictures, masks, sizes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from latentscape.data import load_data
from latentscape.errors import AbilityError, ConfigError, DataError
from latentscape.tasks import denoising, training
from latentscape.tasks.denoising import Noise, denoise
from tiny_runs import TINY


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training.train("pca", "digits", out=tmp_path_factory.mktemp("pca") / "run", latent_dim=12).path


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dae") / "run"
    settings = TINY | {"latent_dim": 16, "hidden": (64,), "limit": 0, "batch_size": 64}
    return training.train("denoising-autoencoder", "digits", out=out, epochs=6, learning_rate=3e-3, **settings).path


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Twelve noisy test digits and the clean ones, by the same names; the last is a copy of the first."""
    data = load_data("digits")
    clean = data.examples(data.indices("test"), "unit")[:12]
    clean[11] = clean[0]
    noise = 0.3 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noise[11] = noise[0]
    for name, x in (("clean", clean), ("noisy", clean + noise)):
        (tmp_path / name).mkdir()
        for i, picture in enumerate((255 * x.clamp(0, 1)).round().byte().numpy()[:, 0]):
            Image.fromarray(picture).save(tmp_path / name / f"{i:02d}.png")
    return tmp_path / "noisy", tmp_path / "clean"


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path), np.float64) / 255


def test_every_file_comes_back_under_its_name_and_nearer_to_the_clean_one(run, folders, tmp_path) -> None:
    noisy, clean = folders
    (noisy / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    answer = denoise(run, [noisy], clean=clean, out=tmp_path / "out", rivals=False, command="latentscape denoise …")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"{i:02d}.png" for i in range(12)]
    assert answer["unreadable"][0][0].endswith("torn.png")
    assert len(answer["files"]) == answer["n"] == 12
    before, after = (
        np.mean([np.square(read(p) - read(clean / f"{i:02d}.png")).mean() for i, p in enumerate(paths)])
        for paths in (sorted(noisy.glob("[01]*.png")), sorted((tmp_path / "out").iterdir()))
    )
    assert after < 0.6 * before
    versions = answer["versions"]
    assert versions["noisy"]["mse"] == pytest.approx(before, rel=1e-4)
    assert versions["pca"]["mse"] == pytest.approx(after, rel=0.1)  # the file is clipped and rounded, the figure is not
    assert versions["pca"]["psnr_db"] > versions["noisy"]["psnr_db"] + 2
    assert versions["pca"]["ssim"] > versions["noisy"]["ssim"]
    with Image.open(tmp_path / "out" / "00.png") as picture:
        assert picture.info["Command"] == "latentscape denoise …"


def test_single_files_are_taken_in_their_order_and_a_damaged_one_is_named(run, folders, tmp_path) -> None:
    noisy, _ = folders
    (tmp_path / "bad.png").write_text("no picture")
    answer = denoise(run, [noisy / "03.png", tmp_path / "bad.png", noisy / "01.png"], out=tmp_path / "a.npy")
    alone = denoise(run, [noisy / "01.png"], out=tmp_path / "b.npy")
    assert (answer["n"], alone["n"]) == (2, 1)
    assert "bad.png" in answer["unreadable"][0][0]
    assert np.array_equal(np.load(tmp_path / "a.npy")[1], np.load(tmp_path / "b.npy")[0])
    with pytest.raises(DataError, match=r"nothere\.png"):
        denoise(run, [noisy / "03.png", tmp_path / "nothere.png"], out=tmp_path / "c.npy")


def test_two_files_of_one_name_do_not_overwrite_each_other_or_their_sources(run, folders, tmp_path) -> None:
    noisy, clean = folders
    answer = denoise(run, [noisy / "01.png", clean / "01.png"], out=tmp_path / "out")
    assert sorted(Path(p).name for p in answer["files"].values()) == ["01-2.png", "01.png"]
    with pytest.raises(ConfigError, match="would write over the pictures"):
        denoise(run, [noisy], out=noisy)


def test_noise_is_added_to_the_runs_own_and_rivals_clean_the_same(autoencoder, tmp_path) -> None:
    answer = denoise(autoencoder, noise="gaussian", sigma=0.3, seed=3, n=60, out=tmp_path / "sheet.png")
    versions = answer["versions"]
    names = list(versions)
    assert names[:2] == ["noisy", "denoising-autoencoder"]
    assert names[2].startswith("PCA, ")
    assert names[3].startswith("non-local means, h ")
    assert versions["noisy"]["mse"] == pytest.approx(0.09, rel=0.05)
    gains = [versions[name]["psnr_db"] - versions["noisy"]["psnr_db"] for name in names[1:]]
    assert min(gains[:2]) > 1
    assert gains[2] > 0
    assert denoise(autoencoder, noise="gaussian", sigma=0.3, seed=3, n=60, out=tmp_path / "s.png") == answer | {
        "out": str(tmp_path / "s.png")
    }
    other = denoise(autoencoder, noise="gaussian", sigma=0.3, seed=4, n=60, rivals=False, out=tmp_path / "s.png")
    assert other["versions"]["noisy"] != versions["noisy"]


def test_each_kind_of_noise_does_what_it_says() -> None:
    x = torch.full((4, 1, 50, 50), 0.5)
    salted, dropped = (Noise(noise=k, amount=0.4).added(x) for k in ("salt-and-pepper", "drop"))
    assert {0.0, 0.5, 1.0} == set(salted.unique().tolist())
    assert float((salted != 0.5).double().mean()) == pytest.approx(0.4, abs=0.02)
    assert float((dropped == 0).double().mean()) == pytest.approx(0.4, abs=0.02)
    assert torch.equal(Noise().added(x), x)
    rms = denoising._clipped_noise(torch.zeros(4, 1, 50, 50), 0.1, Noise())
    assert float(rms.square().mean().sqrt()) == pytest.approx(0.1, abs=1e-4)
    assert float(rms.min()) == 0


def test_only_masked_pixels_are_filled(run, folders, tmp_path) -> None:
    _, clean = folders
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 3:6] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    denoise(run, [clean], mask=tmp_path / "mask.png", out=tmp_path / "out")
    for i in range(12):
        was, now = (np.asarray(Image.open(place / f"{i:02d}.png")) for place in (clean, tmp_path / "out"))
        assert np.array_equal(was[mask == 0], now[mask == 0])
    # What lies under the mask is not looked at.
    spoiled = np.asarray(Image.open(clean / "00.png")).copy()
    spoiled[mask > 0] = 200
    Image.fromarray(spoiled).save(tmp_path / "00.png")
    denoise(run, [tmp_path / "00.png"], mask=tmp_path / "mask.png", out=tmp_path / "again")
    assert np.array_equal(*(np.asarray(Image.open(tmp_path / p / "00.png")) for p in ("out", "again")))


def test_a_folder_of_masks_is_matched_by_name(run, folders, tmp_path) -> None:
    _, clean = folders
    (tmp_path / "masks").mkdir()
    for i in range(12):
        mask = np.zeros((8, 8), np.uint8)
        mask[:, i % 8] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"{11 - i:02d}.png")
    denoise(run, [clean], mask=tmp_path / "masks", out=tmp_path / "out")
    for i in range(12):
        was, now = (np.asarray(Image.open(place / f"{i:02d}.png")) for place in (clean, tmp_path / "out"))
        kept = np.arange(8) != (11 - i) % 8
        assert np.array_equal(was[:, kept], now[:, kept])
    (tmp_path / "masks" / "05.png").unlink()
    with pytest.raises(DataError, match=r"must hold a picture called 05\.png"):
        denoise(run, [clean], mask=tmp_path / "masks", out=tmp_path / "out")


def test_masks_on_the_runs_own_pictures_are_measured(run, tmp_path) -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 2:6] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    versions = denoise(run, mask=tmp_path / "mask.png", n=50, out=tmp_path / "x.png")["versions"]
    assert list(versions) == ["with the gaps", "pca"]
    assert versions["pca"]["mse"] < versions["with the gaps"]["mse"]


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_pictures_come_back_in_their_own_size_where_they_were(fit, tmp_path) -> None:
    """A model that gives back what it is shown: the picture must come back too, whatever was done to its size."""
    x = np.random.default_rng(0).integers(0, 256, (400, 8, 8), dtype=np.uint8)
    run = training.train("pca", x, out=tmp_path / "run", variance=1.0, fit=fit, valid_fraction=0, test_fraction=0).path
    y, x_ = np.mgrid[0:48, 0:80]
    smooth = (127 + 80 * np.sin(x_ / 18) * np.cos(y / 14)).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "wide.png")
    answer = denoise(run, [tmp_path / "wide.png"], keep_size=True, out=tmp_path / "out")
    found = np.asarray(Image.open(tmp_path / "out" / "wide.png")).astype(float)
    assert found.shape == (48, 80)
    assert np.abs(found - smooth).mean() < 12
    assert "48x80 pixels were brought to the model's 8x8" in answer["size"]
    if fit == "crop":
        assert np.array_equal(found[:, :16], smooth[:, :16])


def test_a_model_that_reads_labels_finds_the_nearest(tmp_path) -> None:
    out = tmp_path / "run"
    run = training.train("conditional-vae", "digits", out=out, max_steps=20, **TINY).path
    data = load_data("digits")
    Image.fromarray(data.x[0, 0].numpy()).save(tmp_path / "one.png")
    assert denoise(run, [tmp_path / "one.png"], out=tmp_path / "x.npy")["n"] == 1


def test_vectors_are_cleaned_too(tmp_path) -> None:
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) @ torch.randn(3, 9)
    run = training.train("pca", x.numpy(), out=tmp_path / "run", latent_dim=3).path
    np.save(tmp_path / "noisy.npy", (x[:20] + 0.5 * torch.randn(20, 9)).numpy())
    denoise(run, [tmp_path / "noisy.npy"], out=tmp_path / "cleaned.npy")
    after, before = (np.square(np.load(tmp_path / f) - x[:20].numpy()).mean() for f in ("cleaned.npy", "noisy.npy"))
    assert after < 0.7 * before
    with pytest.raises(ConfigError, match="vectors"):
        denoise(run, [tmp_path / "noisy.npy"], out=tmp_path / "cleaned.png")


def test_what_makes_no_sense_is_refused(run, folders, tmp_path) -> None:
    noisy, clean = folders
    for options, words in (
        ({}, "say which pictures"),
        ({"noise": "snow"}, "--noise must be one of"),
        ({"noise": "gaussian", "clean": clean}, "--clean belongs to"),
        ({"noise": "gaussian", "keep_size": True}, "--keep-size is for files"),
        ({"asked": [noisy], "keep_size": True, "out": tmp_path / "x.png"}, "--keep-size is for files"),
        ({"asked": [noisy], "out": tmp_path / "x.gif"}, "writes a folder"),
        ({"asked": [noisy], "data": "digits"}, "not both"),
    ):
        with pytest.raises(ConfigError, match=words):
            denoise(run, **options)
    with pytest.raises(DataError, match="there is no mask"):
        denoise(run, [noisy], mask=tmp_path / "none.png")
    gan = training.train("gan", "digits", out=tmp_path / "gan", max_steps=2, **TINY).path
    with pytest.raises(AbilityError, match="`project` finds"):
        denoise(gan, [noisy])
