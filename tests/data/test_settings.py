from __future__ import annotations

import pytest

from latentscape.data import DataSettings
from latentscape.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"flip": "sideways"}, "--flip"),
        ({"max_shift": -1}, "--max-shift"),
        ({"labelled": -1}, "--labelled"),
        ({"labelled_seed": -1}, "--labelled-seed"),
        ({"size": "0"}, "--size"),
        ({"size": "8x"}, "--size"),
        ({"valid_fraction": -0.5}, "--valid-fraction"),
        ({"test_fraction": -0.5}, "--test-fraction"),
        ({"valid_fraction": 0.6, "test_fraction": 0.4}, "add up to less than 1"),
    ],
)
def test_what_cannot_be_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        DataSettings(**settings)


def test_nothing_is_changed_unless_asked():
    plain = DataSettings()
    assert (plain.flip, plain.max_shift, plain.labelled, plain.binarise) == ("none", 0, 0, "none")


@pytest.mark.parametrize(("size", "target"), [("", None), ("64", (64, 64)), ("48x64", (48, 64)), ("48×64", (48, 64))])
def test_a_size_is_a_square_or_height_by_width(size, target):
    assert DataSettings(size=size).target == target


def test_settings_come_back_from_their_dictionary():
    settings = DataSettings(flip="both", max_shift=3, labelled=100, labelled_seed=7)
    assert DataSettings.from_dict(settings.to_dict()) == settings
