from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from making import idx_bytes, write_idx

from latentscape.data import NAMES, DataSettings, fetch, fetching, load_data
from latentscape.data.sources.idx import MNIST_MD5
from latentscape.data.sources.shapes import draw

MNIST = Path(os.environ.get("LATENTSCAPE_MNIST") or Path(__file__).parents[2].parent / "shared" / "data" / "mnist")
needs_mnist = pytest.mark.skipif(not MNIST.is_dir(), reason=f"the real MNIST is not at {MNIST}; set LATENTSCAPE_MNIST")


@pytest.fixture
def real_mnist(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "mnist").symlink_to(MNIST)
    monkeypatch.setenv("LATENTSCAPE_DATA", str(tmp_path / "home"))


def test_digits_are_the_real_ones():
    data = load_data("digits")
    assert data.x.shape == (1797, 1, 8, 8)
    assert (data.x.min(), data.x.max()) == (0, 255)
    assert data.x[0, 0, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # 0 0 5 13 9 1 0 0 of 16
    assert data.labels is not None
    assert data.labels[:10].tolist() == list(range(10))
    assert min(data.sizes().values()) > 100


def test_curves_lie_on_their_curves():
    data = load_data("curves")
    assert data.x.shape == (4000, 2)
    assert data.sizes() == {"train": 3000, "valid": 0, "test": 1000}
    assert data.labels is not None
    sine, circle = (data.x[data.labels == k].double() for k in (0, 1))
    off_circle = (circle - torch.tensor([1.5, -0.5])).norm(dim=1) - 0.5
    assert off_circle.std() == pytest.approx(0.06, rel=0.1)
    assert off_circle.mean() == pytest.approx(0.06**2 / 2 / 0.5, abs=0.006)
    rest = sine[:, 1] - sine[:, 0].sin()
    assert rest.mean() == pytest.approx(0, abs=0.008)
    assert rest.std() == pytest.approx(0.06 * np.sqrt(1 + 0.5), rel=0.15)  # both coordinates are noisy: slope² ≈ ½
    assert sine[:, 0].min() < -2.1
    assert sine[:, 0].max() > 2.1
    assert torch.equal(load_data("curves").x, data.x)


def test_curves_are_those_of_the_specification():
    """What is left when the evenly spaced curves are taken away is Gaussian noise of σ = 0.06."""
    data = load_data("curves")
    assert data.labels is not None
    assert data.labels.tolist() == [0] * 2000 + [1] * 2000
    t = torch.linspace(-2.2, 2.2, 2000, dtype=torch.float64)
    turn = torch.arange(2000, dtype=torch.float64) * 2 * torch.pi / 2000
    sine = torch.stack([t, t.sin()], 1)
    circle = torch.stack([1.5 + 0.5 * turn.cos(), -0.5 + 0.5 * turn.sin()], 1)
    noise = data.x.double() - torch.cat([sine, circle])
    assert noise.mean(0).abs().max() < 4 * 0.06 / 4000**0.5
    assert noise.std(0) == pytest.approx(0.06, rel=4 / (2 * 4000) ** 0.5)
    assert (noise**4).mean() / (noise**2).mean() ** 2 == pytest.approx(3, abs=0.25)
    assert abs(torch.corrcoef(noise.T)[0, 1]) < 4 / 4000**0.5


def test_the_test_points_of_curves_lie_everywhere_on_both():
    test = load_data("curves").split == 2
    share = test.double().view(8, 500).mean(1)  # eight stretches, four of each curve
    assert share.sub(0.25).abs().max() < 4 * (0.25 * 0.75 / 500) ** 0.5
    assert len(set(test.view(-1, 4).sum(1).tolist())) == 5  # not every fourth point


def test_curves_can_hold_out_a_validation_part():
    sizes = load_data("curves", DataSettings(valid_fraction=0.2)).sizes()
    assert sizes["test"] == 1000
    assert 500 < sizes["valid"] < 700


def test_shapes_show_their_factors():
    data = load_data("shapes")
    assert data.shape.dims == (3, 32, 32)
    assert data.attribute_names == ("shape", "size", "rotation", "x", "y", "hue")
    assert data.label_names == ("square", "ellipse", "triangle")
    assert data.attributes is not None
    light = data.x.float().amax(1)
    axis = torch.arange(32) - 15.5
    area = light.sum((1, 2))
    x, y = (light.sum(1) @ axis) / area, (light.sum(2) @ axis) / area
    square = data.attributes[:, 0] == 0
    assert (x - data.attributes[:, 3])[square].abs().max() < 0.1
    assert (y - data.attributes[:, 4])[square].abs().max() < 0.1
    side = 1.6 * data.attributes[:, 1]
    assert (area / 255 / side**2 - 1)[square].abs().max() < 0.05
    assert data.x.flatten(1).amax(1).min() > 200  # every picture shows something at full strength


def test_the_factors_of_shapes_are_drawn_evenly_and_independently():
    """What scores of disentanglement take for granted."""
    factors = load_data("shapes").attributes
    assert factors is not None
    lows, highs = torch.tensor([0, 5, 0, -5, -5, 0.0]), torch.tensor([2, 10, 90, 5, 5, 0.8])
    assert (factors.amin(0) - lows).abs().max() < 0.01 * (highs - lows).max()
    assert (factors.amax(0) - highs).abs().max() < 0.01 * (highs - lows).max()
    assert torch.bincount(factors[:, 0].long()).sub(10_000 / 3).abs().max() < 4 * (10_000 * 2 / 9) ** 0.5
    for column in factors[:, 1:].T:
        counts = torch.histc((column - column.min()) / (column.max() - column.min()), 10, 0, 1)
        assert counts.sub(1000).abs().max() < 4.5 * 900**0.5
    assert (torch.corrcoef(factors.T) - torch.eye(6)).abs().max() < 4 / 10_000**0.5


def test_each_factor_of_shapes_shows():
    """Changed alone over its range, a factor changes the picture."""
    base = np.array([[0, 7.5, 20, 0, 0, 0.4]])
    for factor, other in enumerate([1, 9, 60, 4, 4, 0.7]):
        changed = base.copy()
        changed[0, factor] = other
        assert np.abs(draw(base).astype(int) - draw(changed)).max() > 100, factor


def test_shapes_turn_by_their_rotation():
    degrees = np.arange(0, 90, 7.5)
    pictures = draw(np.array([[1, 9, angle, 0, 0, 0.1] for angle in degrees])).max(1).astype(float)
    axis = np.arange(32) - 15.5
    xx, yy = (pictures.sum(k) @ axis**2 for k in (1, 2))
    xy = np.einsum("nhw,h,w->n", pictures, axis, axis)
    assert np.rad2deg(np.arctan2(2 * xy, xx - yy) / 2) == pytest.approx(degrees, abs=1)


def test_shapes_are_antialiased_and_move_smoothly():
    base = np.array([[0, 8, 20, 0, 0, 0.1]])
    step = base + np.array([[0, 0, 0, 0.1, 0, 0]])
    one, two = draw(base).astype(int), draw(step).astype(int)
    assert 0 < np.abs(one - two).max() < 60
    assert ((one > 0) & (one < 200)).any()


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_shapes_fit_into_the_picture(kind):
    corners = np.array(
        [[kind, 10, angle, x, y, 0.3] for angle in (0, 30, 45, 90) for x in (-5, 5) for y in (-5, 5)], float
    )
    pictures = draw(corners)
    outside = draw(np.array([[kind, 10, 0, 0, 0, 0.3]]))
    assert pictures.sum((1, 2, 3)).min() > 0.97 * outside.sum()


def test_names_are_found_however_they_are_written():
    assert load_data("Digits").name == "digits"
    assert set(NAMES) >= {"digits", "shapes", "curves", "mnist", "fashion-mnist", "kmnist", "stacked-mnist"}


@needs_mnist
@pytest.mark.mnist
def test_the_real_mnist(tmp_path):
    for name, expected in MNIST_MD5.items():
        content = gzip.decompress((MNIST / f"{name}.gz").read_bytes())
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() == expected
    (tmp_path / "whatever").symlink_to(MNIST)
    data = load_data(tmp_path / "whatever")
    assert data.name == "mnist"
    assert data.sizes() == {"train": 60_000, "valid": 0, "test": 10_000}
    assert data.x.shape == (70_000, 1, 28, 28)
    assert data.labels is not None
    assert torch.bincount(data.labels[:60_000]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.labels[60_000:60_005].tolist() == [7, 2, 1, 0, 4]
    assert data.x[:60_000].double().mean().item() / 255 == pytest.approx(0.1307, abs=5e-5)


@needs_mnist
@pytest.mark.mnist
def test_mnist_by_name_and_stacked(real_mnist):
    data = load_data("MNIST")
    assert data.sizes()["test"] == 10_000
    stacked = load_data("stacked_mnist")
    assert stacked.x.shape == (70_000, 3, 28, 28)
    assert stacked.classes == 1000
    assert stacked.labels is not None
    assert torch.bincount(stacked.labels[:60_000], minlength=1000).min() > 20
    assert data.labels is not None
    for i in (0, 31_000, 69_999):
        part = slice(0, 60_000) if i < 60_000 else slice(60_000, 70_000)
        digits = [int(data.labels[part][(data.x[part, 0] == stacked.x[i, c]).flatten(1).all(1)][0]) for c in range(3)]
        assert stacked.labels[i] == 100 * digits[0] + 10 * digits[1] + digits[2]


@needs_mnist
@pytest.mark.mnist
def test_mnist_at_another_size_and_binarised(real_mnist):
    data = load_data("mnist", DataSettings(size="32", mode="rgb", limit=50))
    assert data.x.shape == (100, 3, 32, 32)
    bits = load_data("mnist", DataSettings(binarise="fixed", limit=500))
    grey = load_data("mnist", DataSettings(limit=500))
    assert set(bits.x.unique().tolist()) == {0, 255}
    assert bits.x.double().mean() == pytest.approx(grey.x.double().mean().item(), rel=0.01)


# ---- fetching, from a folder that stands for a mirror ----


def small_four(folder: Path) -> Path:
    for part, n in (("train", 6), ("t10k", 4)):
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", np.full((n, 28, 28), n, np.uint8))
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", np.arange(n, dtype=np.uint8))
    return folder


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    folder = small_four(tmp_path / "mirror")
    sums = tuple(hashlib.md5(gzip.decompress((folder / f).read_bytes())).hexdigest() for f in fetching.FILES)
    monkeypatch.setitem(fetching.MD5, "mnist", sums)
    return folder


def test_fetching_from_an_address_checks_and_keeps(mirror, own_places):
    lines: list[str] = []
    folder = fetch("mnist", str(mirror), lines.append)
    assert folder == own_places / "datasets" / "mnist"
    assert sorted(p.name for p in folder.iterdir()) == sorted(fetching.FILES)
    assert len(lines) == 4
    assert all(f"expected MD5 {s}, found {s}" in line for s, line in zip(fetching.MD5["mnist"], lines, strict=True))
    shutil.rmtree(mirror)
    again: list[str] = []
    assert fetch("mnist", None, again.append) == folder
    assert all("already there" in line for line in again)


def test_the_environment_names_a_mirror(mirror, monkeypatch):
    monkeypatch.setenv("LATENTSCAPE_MIRROR", str(mirror))
    assert (fetch("mnist", report=lambda line: None) / fetching.FILES[0]).is_file()


def test_addresses_are_tried_in_turn(mirror, tmp_path, monkeypatch):
    monkeypatch.setitem(fetching.ADDRESSES, "mnist", (f"file://{tmp_path}/nowhere/", mirror.as_uri()))
    monkeypatch.setitem(fetching.ADDRESSES, "mnist", (f"file://{tmp_path}/nowhere/", mirror.as_uri() + "/"))
    lines: list[str] = []
    fetch("mnist", str(tmp_path), lines.append)
    assert len(lines) == 4


def test_a_wrong_file_is_never_kept(mirror, refused, own_places):
    (mirror / fetching.FILES[1]).write_bytes(gzip.compress(idx_bytes(np.zeros(6, np.uint8))))
    with refused("mnist could not be fetched", "MD5 must be", "by hand", str(own_places)):
        fetch("mnist", str(mirror), lambda line: None)
    kept = [p.name for p in (own_places / "datasets" / "mnist").iterdir()]
    assert kept == [fetching.FILES[0]]
    (mirror / fetching.FILES[1]).write_bytes(b"<html>not found</html>")
    with refused("not a gzip file"):
        fetch("mnist", str(mirror), lambda line: None)


def test_nothing_reachable_says_what_to_do_by_hand(refused, own_places):
    with refused("mnist could not be fetched", "train-images-idx3-ubyte.gz", str(own_places), "LATENTSCAPE_MIRROR"):
        load_data("mnist")
    with refused("could not be fetched", "127.0.0.1"):
        fetch("kmnist", "http://127.0.0.1:9/", lambda line: None)


def test_what_cannot_be_fetched(refused):
    with refused("digits is embedded", "mnist"):
        fetch("digits")
    with refused("no data set 'cats'"):
        fetch("cats")
    with refused("the address", "'ftp://x'"):
        fetch("mnist", "ftp://x")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_something_else_under_the_name_is_told(tmp_path, monkeypatch, refused, name):
    small_four(tmp_path / name)
    monkeypatch.setenv("LATENTSCAPE_DATA", str(tmp_path))
    with refused("70,000", "10×1×28×28", str(tmp_path / name)):
        load_data(name)


def test_changed_mnist_under_the_name_is_told_by_its_sum(tmp_path, monkeypatch, refused):
    for part, n in (("train", 60_000), ("t10k", 10_000)):
        write_idx(tmp_path / "mnist" / f"{part}-images-idx3-ubyte", np.zeros((n, 28, 28), np.uint8))
        write_idx(tmp_path / "mnist" / f"{part}-labels-idx1-ubyte", (np.arange(n) % 10).astype(np.uint8))
    monkeypatch.setenv("LATENTSCAPE_DATA", str(tmp_path))
    with refused("train-images-idx3-ubyte", MNIST_MD5["train-images-idx3-ubyte"], "found"):
        load_data("mnist")
    (tmp_path / "mnist").rename(tmp_path / "fashion-mnist")
    data = load_data("fashion-mnist")
    assert (data.name, data.label_names[9]) == ("fashion-mnist", "Ankle boot")
