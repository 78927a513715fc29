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


def test_a_set_that_is_not_resident_gives_the_same_batches(images, monkeypatch):
    one = stream(Gatherer(images, "train", "signed", "cpu"))
    monkeypatch.setattr(room, "RESIDENT_BYTES", 10)
    source = Gatherer(images, "train", "signed", "cpu")
    assert not source.resident
    two = stream(source)
    for _ in range(20):
        a, b = one.next(), two.next()
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.y, b.y)


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
