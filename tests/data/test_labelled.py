"""Few labels: which are kept, who sees them, and who does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentscape.data import DataSettings, load_data
from latentscape.data.batches import Gatherer, TrainBatches, in_order
from latentscape.data.finish import finish
from latentscape.data.raw import Raw
from latentscape.errors import DataError

X = np.random.default_rng(0).integers(0, 256, (300, 1, 4, 4), dtype=np.uint8)
Y = np.random.default_rng(1).integers(0, 3, 300)


def few(labelled=12, seed=0, y=Y, **settings):
    chosen = DataSettings(valid_fraction=0.2, test_fraction=0.2, labelled=labelled, labelled_seed=seed, **settings)
    return load_data((X, y) if y is not None else X, chosen)


def kept(images):
    return torch.nonzero((images.labels >= 0) & (images.split == 0)).flatten()


def test_equally_many_of_each_class_are_kept_and_they_are_the_right_ones():
    images, whole = few(), few(0)
    assert images.labels[kept(images)].bincount().tolist() == [4, 4, 4]
    assert torch.equal(images.labels[kept(images)], whole.labels[kept(images)])
    assert set(images.labels[images.split == 0].tolist()) == {-1, 0, 1, 2}
    assert (images.classes, images.label_names) == (3, whole.label_names)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_other_splits_keep_all_labels(split):
    images, whole = few(), few(0)
    assert torch.equal(images.labels[images.indices(split)], whole.labels[whole.indices(split)])
    assert (images.labels[images.indices(split)] >= 0).all()


def test_the_seed_decides_which_and_repeats_them():
    assert torch.equal(few(seed=3).labels, few(seed=3).labels)
    assert not torch.equal(kept(few(seed=3)), kept(few(seed=4)))


def test_another_choice_of_labels_is_another_set():
    """Resuming on other labels would not be the same run."""
    assert len({few(n, s).fingerprint for n, s in ((0, 0), (12, 0), (12, 1), (15, 0))}) == 4
    assert few(0, 5).fingerprint == few(0, 0).fingerprint  # a seed that nothing is drawn from


def test_it_is_said():
    assert "12 of the training labels are kept, 4 of each class" in few().findings.notes
    assert not any("kept" in note for note in few(0).findings.notes)


def test_examples_that_never_had_a_label_do_not_get_one():
    known = np.where(np.arange(300) % 2, Y, -1)  # as a table that does not name every file leaves them
    raw = Raw("half", torch.from_numpy(X), labels=known, label_names=("a", "b", "c"))
    images = finish(raw, DataSettings(valid_fraction=0.2, test_fraction=0.2, labelled=12))
    assert images.labels[kept(images)].bincount().tolist() == [4, 4, 4]
    assert torch.equal(images.labels[kept(images)], torch.from_numpy(known)[kept(images)])


@pytest.mark.parametrize(
    ("labelled", "y", "words"),
    [
        (10, Y, "--labelled must be a multiple of the 3 classes of .*; got 10"),
        (2, Y, "--labelled must be a multiple of the 3 classes of .*; got 2"),
        (12, None, "--labelled keeps some of a set's labels, and .* has none; leave it out"),
        (300, Y, "--labelled 300 needs 100 training labels of each class, and .* has .*; ask for fewer"),
    ],
)
def test_what_cannot_be_kept_is_refused(labelled, y, words):
    with pytest.raises(DataError, match=words):
        few(labelled, y=y)


def test_batches_of_labelled_examples_hold_known_labels_only():
    images = few()
    source = Gatherer(images, "train", "unit", "cpu", labelled=True)
    assert len(source) == 12
    assert torch.equal(source.rows, kept(images))
    batches = TrainBatches(source, 5, 0)
    assert batches.per_epoch == 2
    for _ in range(7):
        batch = batches.next()
        assert (batch.y >= 0).all()
        for x, y in zip(batch.x, batch.y, strict=True):
            at = ((255 * x).round() == images.x[source.rows]).flatten(1).all(1).nonzero().flatten()
            assert images.labels[source.rows][at].tolist() == [y]
    everything = next(in_order(Gatherer(images, "train", "unit", "cpu"))).y
    assert (everything == -1).sum() == len(everything) - 12


def test_batches_of_labelled_examples_are_augmented_too():
    images = few(max_shift=1)
    plain = TrainBatches(Gatherer(few(), "train", "unit", "cpu", labelled=True), 12, 0).next()
    moved = TrainBatches(Gatherer(images, "train", "unit", "cpu", labelled=True), 12, 0).next()
    assert torch.equal(plain.y, moved.y)
    assert not torch.equal(plain.x, moved.x)


def test_a_set_without_labels_has_no_labelled_examples():
    source = Gatherer(few(0, y=None), "train", "unit", "cpu", labelled=True)
    assert len(source) == 0
    with pytest.raises(DataError, match="no training images"):
        TrainBatches(source, 5, 0)
