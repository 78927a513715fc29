from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from making import picture, write_pictures

from latentscape.data import DataSettings, decoding, load_data
from latentscape.data import cache as cache_module
from latentscape.errors import DataError, DiskFull


@pytest.fixture
def no_decoding(monkeypatch):
    """After calling it, decoding any picture fails the test."""

    def forbid(*args, **kwargs):
        raise AssertionError("a picture was decoded")

    return lambda: monkeypatch.setattr(decoding, "decode", forbid)


def packed(root: Path) -> list[Path]:
    return sorted((root / "packed").glob("*"))


def test_the_second_load_reads_no_picture(tmp_path, no_decoding):
    write_pictures(tmp_path / "a", 6, seed=1)
    write_pictures(tmp_path / "b", 6, seed=2)
    (tmp_path / "a" / "bad.png").touch()
    first = load_data(tmp_path)
    no_decoding()
    second = load_data(tmp_path)
    assert np.array_equal(first.x, second.x)
    for name in ("files", "label_names", "findings", "fingerprint", "name"):
        assert getattr(first, name) == getattr(second, name)
    assert first.split.tolist() == second.split.tolist()


def test_settings_that_do_not_change_pixels_use_the_same_cache(tmp_path, no_decoding, own_places):
    write_pictures(tmp_path, 30)
    load_data(tmp_path)
    no_decoding()
    data = load_data(tmp_path, DataSettings(valid_fraction=0.3, limit=4))
    assert max(data.sizes().values()) <= 4
    assert len(packed(own_places)) == 1


@pytest.mark.parametrize("change", [{"size": "8"}, {"mode": "grey"}, {"size": "8x16", "fit": "pad"}])
def test_settings_that_change_pixels_pack_anew(tmp_path, change, own_places):
    write_pictures(tmp_path, 3)
    load_data(tmp_path)
    load_data(tmp_path, DataSettings(**change))
    assert len(packed(own_places)) == 2


@pytest.mark.parametrize("change", ["content", "time", "new", "gone", "renamed", "table"])
def test_changed_files_are_packed_anew(tmp_path, change):
    write_pictures(tmp_path, 5)
    before = load_data(tmp_path)
    first = tmp_path / "000.png"
    if change == "content":
        picture(77, mode="RGB").save(first)
    elif change == "time":
        os.utime(first, (5, 5))
    elif change == "new":
        picture(77).save(tmp_path / "x.png")
    elif change == "gone":
        first.unlink()
    elif change == "renamed":
        first.rename(tmp_path / "zzz.png")
    else:
        (tmp_path / "labels.csv").write_text("file,label\n000.png,a\n001.png,b\n")
    after = load_data(tmp_path)
    assert after.cache_path != before.cache_path
    assert (after.fingerprint == before.fingerprint) == (change == "time")


def test_two_folders_that_look_alike_from_outside_do_not_share(tmp_path):
    for name, seed in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        picture(seed).save(tmp_path / name / "a.bmp")
        os.utime(tmp_path / name / "a.bmp", (1, 1))
    assert not np.array_equal(load_data(tmp_path / "one").x, load_data(tmp_path / "two").x)


def test_a_killed_packing_leaves_nothing_that_looks_complete(tmp_path, monkeypatch, own_places):
    write_pictures(tmp_path, 5)

    def die(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cache_module.Pixels, "append", die)
        with pytest.raises(KeyboardInterrupt):
            load_data(tmp_path)
    assert packed(own_places) == []
    assert len(load_data(tmp_path)) == 5


def test_what_kill_9_leaves_behind_is_never_taken_for_a_cache_and_goes_later(tmp_path, own_places):
    write_pictures(tmp_path, 5)
    left = own_places / "packed" / f"{cache_module._PREFIX}dead"
    fresh = own_places / "packed" / f"{cache_module._PREFIX}busy"
    for folder in (left, fresh):
        folder.mkdir(parents=True)
        (folder / "pixels.bin").write_bytes(b"123")
    os.utime(left, (1, 1))
    assert len(load_data(tmp_path)) == 5
    assert not left.exists()
    assert fresh.exists()


def test_kill_9_in_the_middle_of_packing(tmp_path, own_places):
    write_pictures(tmp_path, 8)
    code = """
import os, signal, sys
from latentscape.data import cache, load_data
append = cache.Pixels.append
def dying(pixels, picture):
    append(pixels, picture)
    if pixels.count == 5:
        os.kill(os.getpid(), signal.SIGKILL)
cache.Pixels.append = dying
load_data(sys.argv[1])
"""
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -signal.SIGKILL
    left = packed(own_places)
    assert [p.name.startswith(cache_module._PREFIX) for p in left] == [True]
    assert len(load_data(tmp_path)) == 8


@pytest.mark.parametrize("damage", ["pixels", "index", "labels", "version"])
def test_a_damaged_cache_is_packed_anew(tmp_path, damage):
    write_pictures(tmp_path / "a", 3, seed=1)
    write_pictures(tmp_path / "b", 3, seed=2)
    before = load_data(tmp_path)
    place = before.cache_path
    assert place is not None
    if damage == "pixels":
        os.truncate(place / "pixels.bin", 10)
    elif damage == "index":
        (place / "index.json").write_text("{")
    elif damage == "labels":
        np.save(place / "labels.npy", np.zeros(2))
    else:
        index = json.loads((place / "index.json").read_text())
        (place / "index.json").write_text(json.dumps({**index, "version": -1}))
    after = load_data(tmp_path)
    assert after.fingerprint == before.fingerprint
    assert len(after) == 6


def test_a_twin_that_was_faster_is_used(tmp_path, monkeypatch):
    write_pictures(tmp_path, 4)
    expected = load_data(tmp_path).fingerprint
    monkeypatch.setattr("latentscape.data.sources.folder.cache.open_packed", _misses_once(cache_module.open_packed))
    assert load_data(tmp_path).fingerprint == expected


def _misses_once(real):
    calls = []

    def open_packed(key):
        calls.append(key)
        return None if len(calls) == 1 else real(key)

    return open_packed


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch, refused, own_places):
    write_pictures(tmp_path, 4)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_module.Pixels, "append", full)
    with refused("no space is left", "LATENTSCAPE_CACHE", kind=DiskFull):
        load_data(tmp_path)
    assert packed(own_places) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("file", ["pixels.bin", "digests.npy", "index.json"])
def test_a_disk_that_is_really_full_is_one_sentence(tmp_path, monkeypatch, refused, own_places, file):
    write_pictures(tmp_path, 4)
    make = cache_module.tempfile.mkdtemp

    def make_full(**options):
        folder = make(**options)
        (Path(folder) / file).symlink_to("/dev/full")
        return folder

    monkeypatch.setattr(cache_module.tempfile, "mkdtemp", make_full)
    with refused("no space is left", kind=DiskFull):
        load_data(tmp_path)
    assert packed(own_places) == []


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch, refused):
    write_pictures(tmp_path / "set", 2)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LATENTSCAPE_CACHE", str(tmp_path / "file"))
    with refused("cannot be written", "LATENTSCAPE_CACHE", kind=DataError):
        load_data(tmp_path / "set")


def test_a_tilde_in_the_root_is_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LATENTSCAPE_CACHE", "~/here")
    assert cache_module.cache_root() == tmp_path / "here"
    monkeypatch.delenv("LATENTSCAPE_CACHE")
    assert cache_module.cache_root() == tmp_path / ".cache" / "latentscape"
