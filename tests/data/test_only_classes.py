"""Some classes alone: which examples stay, how they are numbered, and that nothing else moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentscape.data import DataSettings, load_data
from latentscape.data.finish import finish
from latentscape.data.raw import Raw
from latentscape.errors import ConfigError, DataError

X = np.random.default_rng(0).integers(0, 256, (300, 1, 4, 4), dtype=np.uint8)
Y = np.random.default_rng(1).integers(0, 3, 300)
NAMES = ("cat", "dog", "owl")


def only(classes, *, labels=Y, split=None, **settings):
    raw = Raw("pets", torch.from_numpy(X.copy()), labels=labels.copy(), label_names=NAMES, split=split)
    return finish(raw, DataSettings(only_classes=classes, **settings))


def test_one_class_stays_and_has_no_labels():
    images = only("dog")
    assert torch.equal(images.x, torch.from_numpy(X[Y == 1]))
    assert images.labels is None
    assert images.classes == 0
    assert "class dog" in images.findings.notes[-1]


def test_several_classes_are_numbered_anew_in_the_sets_order():
    images = only("owl, cat")
    assert images.label_names == ("cat", "owl")
    assert torch.equal(images.x, torch.from_numpy(X[Y != 1]))
    assert images.labels is not None
    assert images.labels.tolist() == (Y[Y != 1] // 2).tolist()


def test_each_example_stays_in_its_split():
    whole = only("")
    assert torch.equal(only("dog").split, whole.split[torch.from_numpy(Y == 1)])
    own = (np.arange(300) % 3).astype(np.uint8)
    assert only("dog", split=own).split.tolist() == own[Y == 1].tolist()


def test_an_example_without_a_label_is_of_no_class():
    labels = np.where(np.arange(300) < 100, -1, Y)
    assert len(only("owl", labels=labels)) == (Y[100:] == 2).sum()


def test_it_goes_before_the_other_choices():
    assert len(only("dog", limit=5)) <= 15
    assert only("cat,owl", labelled=4).labels is not None
    assert only("dog").fingerprint != only("owl").fingerprint
    assert only("dog").fingerprint == only(" dog ").fingerprint


def test_what_it_cannot_do_is_refused():
    with pytest.raises(DataError, match="must be names of the classes of pets \\(cat, dog, owl\\), got 'cow'"):
        only("dog,cow")
    with pytest.raises(DataError, match="has none; leave it out"):
        load_data(X, DataSettings(only_classes="3"))
    with pytest.raises(DataError, match="leaves no example"):
        only("owl", labels=np.zeros(300, np.int64))
    with pytest.raises(ConfigError, match="--only-classes must name at least one class"):
        DataSettings(only_classes=" , ")


def test_folders_are_filtered_too(tmp_path):
    from PIL import Image

    for i in range(12):
        place = tmp_path / "pets" / ("good" if i % 3 else "bad")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(X[i, 0]).save(place / f"{i}.png")
    images = load_data(tmp_path / "pets", DataSettings(only_classes="good"))
    assert images.files is not None
    assert len(images) == 8
    assert all(name.startswith("good/") for name in images.files)
