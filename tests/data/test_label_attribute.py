"""An attribute of two values as the label: which examples are yes, and that everything else sees only that."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentscape.data import DataSettings, load_data
from latentscape.data.finish import finish
from latentscape.data.raw import Raw
from latentscape.errors import ConfigError, DataError

X = np.random.default_rng(0).integers(0, 256, (60, 1, 4, 4), dtype=np.uint8)
SMILES = np.arange(60) % 3 == 0
COLUMNS = {
    "Smiling": SMILES.astype(float),
    "gender=male": np.where(np.arange(60) < 20, np.nan, np.arange(60) % 2),
    "side": np.where(SMILES, 1.0, -1.0),
    "hair=red": SMILES.astype(float),
    "hair=grey": 1.0 - SMILES,
    "age": np.arange(60.0),
}


def labelled(asked, **settings):
    raw = Raw(
        "people",
        torch.from_numpy(X.copy()),
        labels=np.arange(60) % 5,
        label_names=tuple("abcde"),
        attributes=np.stack(list(COLUMNS.values()), 1).astype(np.float32),
        attribute_names=tuple(COLUMNS),
    )
    return finish(raw, DataSettings(label_attribute=asked, **settings))


@pytest.mark.parametrize("asked", ["Smiling", "side", "hair=red"])
def test_the_larger_of_two_values_is_yes(asked):
    images = labelled(asked)
    assert images.label_names == ("no", "yes")
    assert images.labels is not None
    assert images.labels.tolist() == SMILES.astype(int).tolist()
    assert images.classes == 2
    assert "20 yes, 40 no" in images.findings.notes[-1]


def test_a_column_of_text_goes_by_its_name_and_what_is_unknown_has_no_label():
    images = labelled("gender")
    assert images.labels is not None
    assert images.labels.tolist() == [-1] * 20 + [i % 2 for i in range(20, 60)]
    assert "20 unknown" in images.findings.notes[-1]


def test_the_attributes_stay_and_the_fingerprint_tells():
    images, plain = labelled("Smiling"), labelled("")
    assert images.attribute_names == plain.attribute_names
    assert torch.equal(images.split, plain.split)
    assert len({images.fingerprint, plain.fingerprint, labelled("gender").fingerprint}) == 3


def test_other_choices_see_the_new_classes():
    smiling = labelled("Smiling", only_classes="yes")
    assert torch.equal(smiling.x, torch.from_numpy(X[SMILES]))
    few = labelled("Smiling", labelled=4)
    assert few.labels is not None
    assert (few.labels[few.indices("train")] >= 0).sum() == 4


def test_what_it_cannot_be_is_refused():
    with pytest.raises(
        DataError, match=r"got 'smiling' \(did you mean Smiling\?\); there are Smiling, gender=male, side, hair"
    ):
        labelled("smiling")
    with pytest.raises(DataError, match="must be an attribute of two values, and age of people has 60"):
        labelled("age")
    with pytest.raises(DataError, match="must be one of hair=red, hair=grey, got 'hair'"):
        labelled("hair")
    with pytest.raises(DataError, match="digits has none; leave it out"):
        load_data("digits", DataSettings(label_attribute="Smiling"))
    with pytest.raises(ConfigError, match="--label-attribute and --label-column"):
        DataSettings(label_attribute="a", label_column="b")


def test_vectors_have_it_too():
    raw = Raw("v", torch.zeros(4, 3), attributes=np.float32([[0], [1], [1], [0]]), attribute_names=("on",))
    labels = finish(raw, DataSettings(label_attribute="on")).labels
    assert labels is not None
    assert labels.tolist() == [0, 1, 1, 0]
