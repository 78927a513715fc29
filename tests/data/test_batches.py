from __future__ import annotations

import numpy as np
import pytest
import torch

from latentscape.data import DataSettings, load_data
from latentscape.data import batches as room
from latentscape.data.batches import Gatherer, TrainBatches, in_order
from latentscape.errors import DataError


@pytest.fixture
def images():
    """103 different 1×4×5 images, labelled by position."""
    x = np.random.default_rng(0).integers(0, 256, (103, 1, 4, 5), dtype=np.uint8)
    return load_data((x, np.arange(103) % 7), DataSettings(valid_fraction=0.1, test_fraction=0.2))


def stream(source, batch_size=8, seed=0):
    return TrainBatches(source, batch_size, seed)


def test_an_epoch_sees_every_image_once_but_for_the_tail(images):
    source = Gatherer(images, "train", "unit", "cpu")
    batches = stream(source)
    seen = torch.cat([batches.next().x.flatten(1) for _ in range(batches.per_epoch)])
    assert len(seen) == len(source) // 8 * 8
    assert len(torch.unique(seen, dim=0)) == len(seen)
    everything = to_unit(images.x[images.indices("train")])
    assert all((row == everything).all(1).any() for row in seen)


def to_unit(x):
    return (x.float() / 255).flatten(1)


def test_epochs_differ_and_the_same_seed_repeats_them(images):
    source = Gatherer(images, "train", "unit", "cpu")
    one, again, other = stream(source), stream(source), stream(source, seed=1)
    first = [one.next().x for _ in range(2 * one.per_epoch)]
    assert all(torch.equal(a, again.next().x) for a in first)
    assert not torch.equal(first[0], first[one.per_epoch])
    assert not torch.equal(first[0], other.next().x)


@pytest.mark.parametrize("taken", [0, 3, 8, 11, 40])
def test_a_restored_position_goes_on_with_the_same_batches(images, taken):
    source = Gatherer(images, "train", "unit", "cpu")
    one, two = stream(source), stream(source)
    for _ in range(taken):
        one.next()
    two.next()
    two.restore(one.state())
    for _ in range(12):
        assert torch.equal(one.next().x, two.next().x)


def test_other_data_or_batch_size_is_refused(images):
    source = Gatherer(images, "train", "unit", "cpu")
    with pytest.raises(ValueError, match="was"):
        stream(source, 8).restore(stream(source, 9).state())


def test_labels_go_with_their_images(images):
    batch = stream(Gatherer(images, "train", "unit", "cpu")).next()
    everything, labels = to_unit(images.x), images.labels
    for x, y in zip(batch.x.flatten(1), batch.y, strict=True):
        assert labels[(everything == x).all(1).nonzero()[0, 0]] == y


def test_a_set_that_is_copied_to_the_device_gives_the_same_batches(images, monkeypatch):
    one = stream(Gatherer(images, "train", "signed", "cpu"))
    monkeypatch.setattr(room, "_CHUNK", 17)
    monkeypatch.setattr(room, "resides", lambda nbytes, device: True)
    source = Gatherer(images, "train", "signed", "cpu")
    assert len(source.x) == len(source) < len(images)
    two = stream(source)
    for _ in range(20):
        a, b = one.next(), two.next()
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.y, b.y)


def test_on_the_processor_nothing_is_copied_and_an_accelerator_takes_what_fits(images):
    assert Gatherer(images, "train", "unit", "cpu").x.data_ptr() == images.x.data_ptr()
    accelerator = torch.device("cuda")
    assert room.resides(room.RESIDENT_BYTES, accelerator)
    assert not room.resides(room.RESIDENT_BYTES + 1, accelerator)


@pytest.mark.parametrize(("value_range", "low", "high"), [("unit", 0, 1), ("signed", -1, 1), ("real", 0, 1)])
def test_pixels_are_scaled_to_the_value_range(value_range, low, high):
    x = np.array([[[[0, 255]]], [[[255, 0]]], [[[51, 51]]]], dtype=np.uint8)
    images = load_data(x, DataSettings(valid_fraction=0, test_fraction=0))
    batch = next(in_order(Gatherer(images, "all", value_range, "cpu")))
    assert batch.x.min() == low
    assert batch.x.max() == high
    assert batch.x[2, 0, 0, 0].item() == pytest.approx(low + (high - low) * 0.2, abs=1e-6)


def test_channels_last_batches_hold_the_same_values():
    x = np.random.default_rng(0).integers(0, 256, (9, 3, 4, 4), dtype=np.uint8)
    images = load_data(x, DataSettings(valid_fraction=0, test_fraction=0))
    plain = next(in_order(Gatherer(images, "all", "unit", "cpu")))
    last = next(in_order(Gatherer(images, "all", "unit", "cpu", torch.channels_last)))
    assert last.x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain.x, last.x)


def test_a_small_set_is_one_batch_and_an_empty_one_is_refused(images):
    source = Gatherer(images, "train", "unit", "cpu")
    batches = stream(source, 10_000)
    assert (batches.batch_size, batches.per_epoch) == (len(source), 1)
    source.rows = source.rows[:0]
    with pytest.raises(DataError, match="no training images"):
        stream(source)


def test_dynamic_binarisation_redraws_training_pixels_only():
    grey = np.full((40, 1, 8, 8), 128, np.uint8)
    grey[:, 0, 0, 0] = np.arange(40)
    images = load_data(grey, DataSettings(valid_fraction=0, test_fraction=0.25, binarise="dynamic"))
    batches = stream(Gatherer(images, "train", "unit", "cpu"), 30)
    one, two = batches.next().x, batches.next().x
    assert set(one.unique().tolist()) == {0.0, 1.0}
    assert one[:, :, 1:].mean().item() == pytest.approx(128 / 255, abs=0.05)
    assert one.mean(0).ne(two.mean(0)).any()
    test = Gatherer(images, "test", "unit", "cpu")
    a, b = next(in_order(test)).x, next(in_order(test)).x
    assert torch.equal(a, b)
    assert set(a.unique().tolist()) == {0.0, 1.0}
    batches.restore(batches.state() | {"taken": 1})
    assert torch.equal(batches.next().x, two)


def ramps(flip="none", shift=0, n=600, **settings):
    """Copies of one 2×5×6 image without symmetry, every value different, all of them for training."""
    ramp = np.arange(10, 70, dtype=np.uint8).reshape(1, 2, 5, 6).repeat(n, 0)
    chosen = DataSettings(valid_fraction=0, test_fraction=0, flip=flip, max_shift=shift, **settings)
    return load_data((ramp, np.zeros(n, dtype=np.int64)), chosen)


def taken(images, n=600, value_range="unit"):
    x = stream(Gatherer(images, "train", value_range, "cpu"), n).next().x
    return x if value_range == "signed" else (255 * x).round()


@pytest.mark.parametrize(
    ("flip", "axes"), [("horizontal", [(3,)]), ("vertical", [(2,)]), ("both", [(2,), (3,), (2, 3)])]
)
def test_flips_mirror_half_of_the_training_images_along_each_axis(flip, axes):
    images = ramps(flip)
    kinds = torch.stack([images.x[0].float(), *(images.x[:1].flip(a)[0].float() for a in axes)])
    shares = (taken(images)[:, None] == kinds).flatten(2).all(2).float().mean(0)
    assert float(shares.sum()) == pytest.approx(1)
    assert shares.tolist() == pytest.approx([1 / len(kinds)] * len(kinds), abs=0.06)


def test_shifts_go_each_way_equally_often_and_repeat_the_border():
    images = ramps(shift=2)
    padded = torch.nn.functional.pad(images.x[:1].float(), (2, 2, 2, 2), mode="replicate")[0]
    kinds = torch.stack([padded[:, a : a + 5, b : b + 6] for a in range(5) for b in range(5)])
    shares = (taken(images)[:, None] == kinds).flatten(2).all(2).float().mean(0)
    assert float(shares.sum()) == pytest.approx(1)
    assert shares.min() > 0.015
    assert shares.max() < 0.075


def test_flips_and_shifts_together_are_one_change_of_each():
    images = ramps("both", 1)
    x = taken(images)
    assert len(torch.unique(x.flatten(1), dim=0)) == 36
    assert torch.isin(x, images.x.float()).all()


@pytest.mark.parametrize("value_range", ["signed", "real"])
def test_augmented_pixels_are_scaled_as_others_are(value_range):
    plain, changed = taken(ramps(), 600, value_range), taken(ramps("both"), 600, value_range)
    assert torch.equal(plain.unique(), changed.unique())
    assert not torch.equal(plain, changed)


def test_augmentation_reaches_training_batches_only():
    """Not a pass over the training split either: that is how it is encoded, measured and probed."""
    images = ramps("both", 2)
    for split in ("train", "all"):
        x = torch.cat([b.x for b in in_order(Gatherer(images, split, "unit", "cpu"))])
        assert torch.equal((255 * x).round(), images.x.float())
    assert torch.equal((255 * Gatherer(images, "train", "unit", "cpu").take(torch.arange(9)).x).round(), images.x[:9])


@pytest.mark.parametrize("binarise", ["none", "dynamic", "fixed"])
def test_augmented_batches_go_on_from_a_position_and_differ_from_each_other(binarise):
    grey = np.random.default_rng(0).integers(0, 256, (40, 1, 6, 6), dtype=np.uint8)
    images = load_data(
        grey, DataSettings(valid_fraction=0, test_fraction=0, flip="both", max_shift=1, binarise=binarise)
    )
    source = Gatherer(images, "train", "unit", "cpu")
    one, two, other = stream(source, 20), stream(source, 20), stream(source, 20, seed=1)
    batches = [one.next().x for _ in range(9)]
    two.restore(two.state() | {"taken": 3})
    assert all(torch.equal(x, two.next().x) for x in batches[3:])
    assert not torch.equal(batches[0], other.next().x)
    if binarise != "none":
        assert torch.cat(batches).unique().tolist() == [0, 1]
    again = stream(Gatherer(ramps("both"), "train", "unit", "cpu"), 600)
    assert not torch.equal(again.next().x, again.next().x)  # the same images, other draws


def test_binarised_pixels_are_drawn_where_the_image_was_moved_to():
    """Half of each picture is black, half white: a draw changes nothing, a flip all."""
    grey = np.zeros((200, 1, 4, 4), np.uint8)
    grey[..., 2:] = 255
    settings = DataSettings(valid_fraction=0, test_fraction=0, flip="horizontal", binarise="dynamic")
    x = taken(load_data(grey, settings), 200)
    mirrored = (x[..., 0] == 255).all(2).flatten()
    assert torch.equal(x[mirrored], torch.from_numpy(grey)[mirrored].flip(3).float())
    assert 0.35 < float(mirrored.float().mean()) < 0.65


def test_a_set_that_is_not_resident_is_augmented_alike(monkeypatch):
    images = ramps("both", 2)
    one = taken(images)
    monkeypatch.setattr(room, "RESIDENT_BYTES", 10)
    assert torch.equal(one, taken(images))


def test_augmentation_changed_half_way_is_refused():
    plain, mirrored = (stream(Gatherer(ramps(f), "train", "unit", "cpu"), 8) for f in ("none", "horizontal"))
    assert "flip" not in plain.state()  # positions written without augmentation are as they were
    for a, b in ((plain, mirrored), (mirrored, plain)):
        with pytest.raises(ValueError, match="flip"):
            a.restore(b.state())


def test_augmentation_does_not_make_it_another_set():
    """What is measured on it can be compared with runs that did not augment."""
    assert ramps("both", 2).fingerprint == ramps().fingerprint


@pytest.mark.parametrize(("settings", "flag"), [({"flip": "vertical"}, "--flip"), ({"max_shift": 1}, "--max-shift")])
def test_vectors_are_neither_mirrored_nor_moved(settings, flag):
    with pytest.raises(DataError, match=f"{flag} is for images, but .* holds vectors of 5; leave it out"):
        load_data(np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32), DataSettings(**settings))


def test_a_shift_stays_below_the_sides_that_training_sees():
    assert ramps(shift=4).max_shift == 4
    with pytest.raises(DataError, match=r"--max-shift must be less than either side .* 5 x 6 pixels; got 5"):
        ramps(shift=5)
    with pytest.raises(DataError, match="4 x 4 pixels; got 4"):
        ramps(shift=4, size="4")
