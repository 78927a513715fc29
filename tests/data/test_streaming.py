"""Batches out of tar shards: the same examples as packed ones, an order that a position brings back, nothing lost."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from shard_files import jpeg, write_shards, write_tar

from latentscape.data import DataSettings, load_data
from latentscape.data.imageset import to_range
from latentscape.data.streaming import StreamBatches, load_stream

ALL = DataSettings(size="12", valid_fraction=0, test_fraction=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards") / "set", 6, 10)


def batches(images, size=8, seed=0, **options):
    return StreamBatches(images, size, seed, "unit", "cpu", **options)


def ages(stream, count):
    """Which examples come, told by their attribute."""
    return [int(a) for _ in range(count) for a in stream.next().attributes[:, 0]]


def decoded(seed):
    return np.asarray(Image.open(io.BytesIO(jpeg(seed)))).transpose(2, 0, 1)


# ---- what is given ---------------------------------------------------------------------------------------------------


def test_every_example_is_the_one_that_a_packed_set_has(folder):
    whole, images = load_data(folder, ALL), load_stream(folder, ALL)
    assert len(images.stream) == len(whole) == 60
    stream = batches(images)
    for _ in range(stream.per_epoch):
        batch = stream.next()
        i = batch.attributes[:, 0].long()
        assert torch.equal(batch.x, to_range(whole.x[i], "unit"))
        assert torch.equal(batch.y, whole.labels[i])
        assert torch.equal(batch.attributes, whole.attributes[i])
        assert (batch.x.dtype, batch.y.dtype) == (torch.float32, torch.int64)


def test_an_epoch_has_each_example_once_but_for_its_tail(folder):
    stream = batches(load_stream(folder, ALL), 7)
    assert stream.per_epoch == 8
    for _ in range(3):
        seen = ages(stream, stream.per_epoch)
        assert len(set(seen)) == 56
    assert stream.taken == 24


def test_grey_and_coloured_pictures_have_one_number_of_channels(tmp_path):
    members = {f"{i}.jpg": jpeg(i, mode="L" if i % 2 else "RGB") for i in range(8)}
    write_tar(tmp_path / "x.tar", members)
    images = load_stream(tmp_path / "x.tar", ALL)
    assert batches(images).next().x.shape == (8, 3, 12, 12)
    grey = load_stream(tmp_path / "x.tar", ALL.replace(mode="grey"))
    assert batches(grey).next().x.shape == (8, 1, 12, 12)


# ---- the order -------------------------------------------------------------------------------------------------------


def test_the_order_follows_from_seed_and_epoch(folder):
    stream = load_stream(folder, ALL).stream
    orders = {(s, e): tuple(stream.order(s, e, 5)) for s in (0, 1) for e in (0, 1)}
    assert len(set(orders.values())) == 4
    assert all(sorted(order) == list(range(60)) for order in orders.values())
    assert orders[1, 1] == tuple(stream.order(1, 1, 5))


def test_shards_come_in_any_order_and_examples_move_within_the_buffer(folder):
    stream = load_stream(folder, ALL).stream
    in_turn = stream.order(3, 0, 0)
    shards = (in_turn // 10).reshape(6, 10)
    assert (shards == shards[:, :1]).all()  # one shard after the other
    assert shards[:, 0].tolist() != list(range(6))
    assert (np.diff(in_turn.reshape(6, 10)) == 1).all()  # each read forward
    place = np.empty(60, int)
    place[in_turn] = np.arange(60)
    moved = np.abs(place[stream.order(3, 0, 15)] - np.arange(60))
    assert 0 < moved.max() <= 15
    firsts = [stream.order(0, e, 1000)[0] for e in range(400)]  # a buffer of all is a full shuffle
    assert len(set(firsts)) > 50


@pytest.mark.parametrize("at", [0, 3, 7, 8, 13])
def test_going_on_at_a_position_gives_the_same_batches(folder, at):
    images = load_stream(folder, ALL.replace(flip="horizontal", max_shift=2))
    first = batches(images, 7, seed=5)
    for _ in range(at):
        first.next()
    state = first.state()
    expected = [first.next() for _ in range(10)]
    again = batches(load_stream(folder, ALL.replace(flip="horizontal", max_shift=2)), 7, seed=5)
    again.next()
    again.restore(state)
    for batch in expected:
        other = again.next()
        assert torch.equal(batch.x, other.x)
        assert torch.equal(batch.y, other.y)
    assert again.state() == first.state()


def test_going_on_reads_nothing_before_its_place(folder, monkeypatch):
    from latentscape.data.sources.shards import Place

    stream = batches(load_stream(folder, ALL), 7)
    state = stream.state() | {"taken": 6}
    read, real = [], Place.read
    monkeypatch.setattr(Place, "read", lambda self: (read.append(self), real(self))[1])
    stream.restore(state)
    stream.next()
    stream.close()
    assert len(read) <= 14  # the last two batches of the epoch


def test_another_stream_is_refused(folder):
    images = load_stream(folder, ALL)
    state = batches(images).state()
    for other in (batches(images, 9), batches(images, seed=1), batches(images, buffer=3)):
        with pytest.raises(ValueError, match="the data stream was"):
            other.restore(state)
    with pytest.raises(ValueError, match="the data stream was"):
        batches(load_stream(folder, ALL.replace(flip="both"))).restore(state)


def test_many_are_decoded_by_processes_and_are_the_same(tmp_path):
    members = {}
    for i in range(600):
        members |= {f"{i:04d}.jpg": jpeg(i % 50), f"{i:04d}.cls": str(i % 50).encode()}
    write_tar(tmp_path / "many.tar", members)
    stream = batches(load_stream(tmp_path / "many.tar", ALL), 100)
    known = [decoded(i) for i in range(50)]
    names = stream.stream.labels
    assert names is not None
    for _ in range(3):
        batch = stream.next()
        assert batch.y is not None
        for x, y in zip(batch.x, batch.y, strict=True):
            assert np.array_equal((x * 255).round().byte().numpy(), known[int(y)])
    stream.close()


# ---- what cannot be read ---------------------------------------------------------------------------------------------


def test_a_picture_that_cannot_be_read_is_replaced_within_its_batch(tmp_path):
    members = {}
    for i in range(20):
        broken = i in (3, 11)
        members |= {f"{i:02d}.jpg": b"broken" if broken else jpeg(i), f"{i:02d}.json": f'{{"i": {i}}}'.encode()}
    write_tar(tmp_path / "x.tar", members)
    images = load_stream(tmp_path / "x.tar", ALL)
    assert len(images) == 18
    stream = batches(images, 20)
    batch = stream.next()
    assert batch.x.shape[0] == 20
    assert stream.unreadable == 2
    assert batch.attributes is not None
    seen = batch.attributes[:, 0].long().tolist()
    assert not {3, 11} & set(seen)
    assert len(set(seen)) == 18
    for x, i in zip(batch.x, seen, strict=True):
        assert np.array_equal(
            (x * 255).round().byte().numpy(), np.asarray(Image.open(io.BytesIO(jpeg(i)))).transpose(2, 0, 1)
        )


def test_a_batch_without_a_readable_picture_is_an_error(tmp_path, refused):
    write_tar(tmp_path / "x.tar", {f"{i}.jpg": jpeg(i) for i in range(4)})
    stream = batches(load_stream(tmp_path / "x.tar", ALL), 2)
    content = bytearray((tmp_path / "x.tar").read_bytes())
    for place in stream.stream.tars.places:
        content[place.offset : place.offset + 4] = b"oops"
    (tmp_path / "x.tar").write_bytes(content)
    with refused("no picture of a batch of 2 can be read"):
        stream.next()


# ---- the part that is packed -----------------------------------------------------------------------------------------


def test_the_names_of_the_shards_give_the_split(tmp_path):
    for part, count in (("train", 3), ("valid", 1), ("test", 1)):
        write_shards(tmp_path, count, 10, f"faces-{part}-{{:03d}}.tar")
    images = load_stream(tmp_path, DataSettings(size="8", limit=4))
    assert images.sizes() == {"train": 4, "valid": 4, "test": 4}
    assert len(images.stream) == 30
    assert images.x.shape == (12, 3, 8, 8)
    assert load_stream(tmp_path, DataSettings(size="8")).sizes() == {"train": 30, "valid": 10, "test": 10}


def test_without_such_names_a_tenth_each_is_held_out_and_never_trained_on(tmp_path):
    write_shards(tmp_path / "set", 4, 100, size=4)
    images = load_stream(tmp_path / "set", DataSettings(size="4"))
    sizes = images.sizes()
    assert sizes["train"] == len(images.stream)
    assert all(20 < sizes[part] < 60 for part in ("valid", "test"))
    held = images.attributes[images.split > 0, 0].long().tolist()  # type: ignore[index]
    assert not set(held) & set(images.stream.rows.tolist())


def test_an_attribute_is_the_label_of_the_stream_too(folder):
    images = load_stream(folder, ALL.replace(label_attribute="odd"))
    assert images.label_names == ("no", "yes")
    batch = batches(images).next()
    assert batch.attributes is not None
    assert torch.equal(batch.y, batch.attributes[:, 1].long())
    assert load_stream(folder, ALL).label_names == ("0", "1", "2")  # what was packed for one is not read for the other
    assert images.fingerprint != load_stream(folder, ALL).fingerprint


def test_the_fingerprint_is_that_of_the_whole_stream(folder, tmp_path):
    few = ALL.replace(limit=2)
    once = load_stream(folder, few).fingerprint
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert load_stream(tmp_path, few).fingerprint == once
    (tmp_path / "set-000005.tar").unlink()
    assert load_stream(tmp_path, few).fingerprint != once


def test_what_a_stream_cannot_do(folder, refused):
    with refused("a stream needs --size"):
        load_stream(folder, DataSettings())
    for settings in ({"only_classes": "1"}, {"labelled": 3}, {"binarise": "fixed"}):
        with refused("is not for streams"):
            load_stream(folder, ALL.replace(**settings))
    with refused("no training examples remain"):
        load_stream(folder / "set-000000.tar", DataSettings(size="8", test_fraction=0.99, valid_fraction=0.0))
