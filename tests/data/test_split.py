from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentscape.data import DataSettings, load_data
from latentscape.data.split import assign_split, choose, digests_of, positions
from latentscape.errors import ConfigError

RNG = np.random.default_rng(11)


def pixels(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(2, 256, (n, 4, 4), dtype=np.uint8)


def test_shares_come_out_as_asked():
    data = load_data(pixels(20_000), DataSettings(valid_fraction=0.3, test_fraction=0.2))
    sizes = data.sizes()
    assert sizes["valid"] == pytest.approx(6000, abs=300)  # 4.6 standard deviations
    assert sizes["test"] == pytest.approx(4000, abs=260)


def test_the_default_is_a_tenth_each():
    sizes = load_data(pixels(20_000)).sizes()
    assert sizes["valid"] == pytest.approx(2000, abs=200)
    assert sizes["test"] == pytest.approx(2000, abs=200)


def test_order_and_company_do_not_matter():
    x = pixels(500)
    order = np.random.default_rng(1).permutation(500)
    plain, shuffled = load_data(x), load_data(x[order])
    assert np.array_equal(plain.split.numpy()[order], shuffled.split.numpy())
    assert np.array_equal(load_data(x[:200]).split, plain.split[:200])


def test_the_split_is_the_same_on_every_machine():
    digests = digests_of(torch.arange(16, dtype=torch.uint8).reshape(1, 1, 4, 4))
    assert digests.tobytes().hex() == "f9477b91722fe719f946834577e0e8a2"
    assert digests_of(torch.tensor([[1.0, -2.0]])).tobytes().hex() == "f76600d11c87295e0d0a3f146dfdff06"
    assert positions(np.arange(16, dtype=np.uint8)[None])[0] == 0x0706050403020100 // 2**11 / 2**53


@given(
    n=st.integers(1, 60), copies=st.integers(1, 4), seed=st.integers(0, 1000), share=st.sampled_from([0.0, 0.05, 0.4])
)
@settings(max_examples=80, deadline=None)
def test_copies_never_stand_on_both_sides_and_training_is_never_empty(n, copies, seed, share):
    x = np.tile(pixels(n, seed), (copies, 1, 1))
    data = load_data(x, DataSettings(valid_fraction=share, test_fraction=share))
    parts = data.split.reshape(copies, n)
    assert (parts == parts[0]).all()
    assert (data.split == 0).any()
    if len(np.unique(x, axis=0)) >= 10 and share > 0:
        assert min(data.sizes().values()) > 0


def test_ten_pictures_fill_all_three_parts_whatever_chance_says():
    for seed in range(40):
        assert min(load_data(pixels(10, seed)).sizes().values()) >= 1


def test_no_share_no_part():
    assert load_data(pixels(50), DataSettings(valid_fraction=0, test_fraction=0)).sizes() == {
        "train": 50,
        "valid": 0,
        "test": 0,
    }


def own(n: int = 100) -> tuple[np.ndarray, np.ndarray]:
    digests = RNG.integers(0, 256, (n, 16), dtype=np.uint8)
    return digests, np.repeat(np.array([0, 2], np.uint8), [n * 8 // 10, n * 2 // 10])


def test_a_sources_own_split_is_kept():
    digests, split = own()
    assert np.array_equal(assign_split(digests, split, DataSettings()), split)


def test_valid_comes_out_of_the_training_part():
    digests, split = own(1000)
    found = assign_split(digests, split, DataSettings(valid_fraction=0.25))
    assert np.array_equal(found == 2, split == 2)
    assert (found == 1).sum() == pytest.approx(200, abs=60)


def test_a_given_test_share_splits_anew():
    digests, split = own(1000)
    found = assign_split(digests, split, DataSettings(test_fraction=0.5))
    assert (found == 2).sum() == pytest.approx(500, abs=80)
    assert ((found == 2) & (split == 0)).any()


def test_a_split_without_a_test_part_gets_one():
    digests, split = own(1000)
    found = assign_split(digests, split // 2, DataSettings())
    assert np.array_equal(found == 1, split == 2)
    assert (found == 2).sum() == pytest.approx(80, abs=40)


def test_pictures_that_a_source_has_on_both_sides_are_told(tmp_path):
    x = pixels(20)
    np.savez(tmp_path / "a.npz", x_train=x, x_test=x[:3])
    assert any("3 of the set's own test examples" in note for note in load_data(tmp_path / "a.npz").findings.notes)


def test_a_limit_holds_for_each_part_and_mixes_classes():
    x, labels = pixels(2000), np.repeat(np.arange(4), 500)
    whole = load_data((x, labels))
    data = load_data((x, labels), DataSettings(limit=100))
    assert data.sizes() == {"train": 100, "valid": 100, "test": 100}
    assert data.labels is not None
    assert torch.bincount(data.labels[data.indices("train")]).min() > 8
    assert data.label_names == whole.label_names
    assert data.fingerprint != whole.fingerprint
    for position in range(0, 300, 37):  # each kept picture still has its own label and part
        where = (whole.x == data.x[position]).flatten(1).all(1).nonzero().item()
        assert whole.labels is not None
        assert whole.labels[where] == data.labels[position]
        assert whole.split[where] == data.split[position]


def test_the_fingerprint_of_a_limited_set_is_of_what_it_holds():
    x = pixels(400)
    data = load_data(x, DataSettings(limit=20))
    held = {bytes(picture) for picture in data.x[:, 0].numpy()}
    without_some = np.array([picture for i, picture in enumerate(x) if bytes(picture) in held or i % 3])
    assert len(without_some) < 300
    assert load_data(without_some, DataSettings(limit=20)).fingerprint == data.fingerprint


def test_a_limit_above_the_size_changes_nothing():
    assert load_data(pixels(50), DataSettings(limit=1000)).fingerprint == load_data(pixels(50)).fingerprint


def test_a_smaller_limit_chooses_among_the_larger_ones():
    digests, split = own(200)
    small, large = choose(digests, split, 10), choose(digests, split, 30)
    assert set(small) <= set(large)
    assert len(small) == 20


def test_an_empty_part_is_told(refused):
    data = load_data(pixels(20), DataSettings(valid_fraction=0))
    with refused("valid split", "empty", "--valid-fraction"):
        data.indices("valid")
    with refused("train, valid, test or all", "'trian'"):
        data.indices("trian")
    assert data.indices("all").tolist() == list(range(20))


@pytest.mark.parametrize(
    "values",
    [{"valid_fraction": 0.5, "test_fraction": 0.5}, {"valid_fraction": -0.5}, {"test_fraction": 1.0}, {"size": "0"},
     {"size": "64x"}, {"size": "big"}, {"size": "1x2x3"}, {"limit": -1}],
)  # fmt: skip
def test_settings_that_make_no_sense(refused, values):
    with refused("--", kind=ConfigError):
        DataSettings(**values)


@pytest.mark.parametrize(("size", "target"), [("", None), ("64", (64, 64)), ("48x64", (48, 64)), ("48×64", (48, 64))])
def test_sizes(size, target):
    assert DataSettings(size=size).target == target
