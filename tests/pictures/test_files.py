from __future__ import annotations

import errno
import json
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from latentscape.errors import DiskFull, UserError
from latentscape.pictures import files, read_captions, save_gif, save_images, save_mp4, save_png

WORDS = {"title": "Samples", "caption": "z ~ N(0, I), α = ½", "command": "latentscape sample run --seed 3"}


@pytest.fixture
def x_NCHW() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 1, 8, 8), np.uint8)


def test_png_keeps_pixels_and_words(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    path = save_png(tmp_path / "new" / "pictures" / "a.png", picture, **WORDS)
    with Image.open(path) as image:
        assert (np.asarray(image) == picture).all()
        text = image.info
    assert text["Title"] == "Samples"
    assert text["Description"] == WORDS["caption"]
    assert text["Command"] == WORDS["command"]
    assert text["Software"] == "latentscape"
    assert read_captions(path.parent) == {"a.png": WORDS}
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.png", "captions.json"]


def test_captions_gather_and_are_replaced(tmp_path):
    folder, picture = tmp_path / "pictures", np.zeros((2, 2, 3), np.uint8)
    save_png(folder / "a.png", picture, title="first")
    save_gif(folder / "b.gif", [picture], title="second")
    save_png(folder / "a.png", picture, title="third")
    assert {k: v["title"] for k, v in read_captions(folder).items()} == {"a.png": "third", "b.gif": "second"}
    save_png(folder / "a.png", picture)
    assert list(read_captions(folder)) == ["b.gif"], "words of a replaced picture must not stay"


def test_nothing_is_left_beside_a_users_own_file(tmp_path, x_NCHW):
    save_png(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8), **WORDS)
    save_images(tmp_path / "b.gif", x_NCHW, **WORDS)
    save_images(tmp_path / "singles", x_NCHW, **WORDS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.gif", "singles"]
    assert {p.suffix for p in (tmp_path / "singles").iterdir()} == {".png"}
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["Description"] == WORDS["caption"], "the words are inside"


@pytest.mark.parametrize("damaged", ["{", "[]", '{"a.png": 3}', ""])
def test_damaged_captions_are_none(tmp_path, damaged):
    (tmp_path / "captions.json").write_text(damaged)
    assert read_captions(tmp_path) == {}


def test_captions_are_plain_json(tmp_path):
    save_png(tmp_path / "pictures" / "a.png", np.zeros((2, 2, 3), np.uint8), **WORDS)
    assert json.loads((tmp_path / "pictures" / "captions.json").read_text("utf-8")) == {"a.png": WORDS}


def test_gif_frames_time_and_loop(tmp_path, x_NCHW):
    path = save_images(tmp_path / "a.gif", x_NCHW, ms=40, scale=2)
    with Image.open(path) as film:
        assert film.n_frames == 6
        assert film.info["duration"] == 40
        assert film.info["loop"] == 0
        assert film.size == (16, 16)
        for i in range(6):
            film.seek(i)
            frame = np.asarray(film.convert("RGB"))
            assert (frame == x_NCHW[i, 0].repeat(2, 0).repeat(2, 1)[..., None]).all(), "grey values are kept exactly"


def test_small_films_are_enlarged(tmp_path, x_NCHW):
    with Image.open(save_images(tmp_path / "a.gif", x_NCHW)) as film:
        assert film.size == (280, 280)


def test_mp4_frames_and_odd_sizes(tmp_path):
    levels = (20, 90, 160, 230)
    path = save_mp4(tmp_path / "a.mp4", [np.full((31, 45, 3), v, np.uint8) for v in levels], fps=10)
    decode = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(decode, capture_output=True, check=True).stdout
    frames = np.frombuffer(raw, np.uint8).reshape(-1, 32, 46, 3)
    assert frames.shape == (4, 32, 46, 3)
    assert [abs(int(f[8, 8, 0]) - v) < 6 for f, v in zip(frames, levels, strict=True)] == [True] * 4
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_npy_is_exact(tmp_path, x_NCHW):
    path = save_images(tmp_path / "a.npy", x_NCHW.astype(np.float64) / 255)
    loaded = np.load(path)
    assert loaded.dtype == np.uint8
    assert (loaded == x_NCHW).all()


def test_png_of_many_is_a_sheet(tmp_path, x_NCHW):
    with Image.open(save_images(tmp_path / "a.PNG", x_NCHW, columns=3, scale=1, **WORDS)) as image:
        assert image.size == (3 * 8 + 2, 2 * 8 + 1)
        assert image.info["Title"] == "Samples"


@pytest.mark.parametrize("channels", [1, 3])
def test_folder_gets_single_pngs(tmp_path, channels):
    x = np.random.default_rng(0).integers(0, 256, (3, channels, 4, 5), np.uint8)
    folder = save_images(tmp_path / "pictures", x)
    assert sorted(p.name for p in folder.iterdir()) == ["00000.png", "00001.png", "00002.png"]
    with Image.open(folder / "00001.png") as image:
        assert (np.asarray(image).reshape(4, 5, channels) == x[1].transpose(1, 2, 0)).all()
    save_images(folder, x[:1], title="t")
    assert list(read_captions(folder)) == ["00000.png"]


def test_an_existing_folder_with_a_dot_is_a_folder(tmp_path, x_NCHW):
    (tmp_path / "v1.2").mkdir()
    assert (save_images(tmp_path / "v1.2", x_NCHW) / "00005.png").exists()


def test_unknown_ending_is_one_sentence(tmp_path, x_NCHW):
    with pytest.raises(UserError, match=r"\.npy, \.png, \.gif, \.mp4 or a folder, and a\.tiff"):
        save_images(tmp_path / "a.tiff", x_NCHW)


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.mp4", "a.npy", "a"])
def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path, x_NCHW, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written") as caught:
        save_images(tmp_path / "file" / name, x_NCHW)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.npy"])
def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, x_NCHW, name, monkeypatch):
    path = save_images(tmp_path / name, x_NCHW)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(DiskFull, match="no space is left") as caught:
        save_images(path, 255 - x_NCHW)
    assert caught.value.exit_status == 1
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_wrong_arrays_are_refused(tmp_path):
    with pytest.raises(ValueError, match="uint8 H×W×3"):
        save_png(tmp_path / "a.png", np.zeros((2, 2, 3)))
    for save in (save_gif, save_mp4):
        with pytest.raises(ValueError, match="at least one frame"):
            save(tmp_path / "a.film", [])
    assert list(Path(tmp_path).iterdir()) == []
