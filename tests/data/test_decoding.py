from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from making import picture, write_pictures

from latentscape.data import DataSettings, decoding, load_data
from latentscape.data.picture import OtherSizeError, Picture, UnreadableError, decode

SMALL = DataSettings(size="8")


@pytest.fixture(autouse=True)
def processes(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen]:
    """Two helping processes however few the pictures; returns those that were started."""
    monkeypatch.setattr(decoding, "FEWEST", 1)
    monkeypatch.setattr(decoding, "processors", lambda: 2)
    started: list[subprocess.Popen] = []
    start = subprocess.Popen

    def watched(*args, **kwargs):
        started.append(start(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(decoding.subprocess, "Popen", watched)
    return started


def results(source, count: int, settings: DataSettings = SMALL) -> list[decoding.Result]:
    return list(decoding.decode_in_order(source, count, settings, lambda: None))


def same(found: decoding.Result, expected: Picture) -> bool:
    assert isinstance(found, Picture)
    assert np.array_equal(found.pixels, expected.pixels)
    return (found.mode, found.size, found.digest) == (expected.mode, expected.size, expected.digest)


def test_processes_give_what_decoding_here_gives_in_order(tmp_path, processes):
    names = write_pictures(tmp_path, 70, size=(20, 14))
    found = results(lambda i: tmp_path / names[i], 70)
    assert len(processes) == 2
    assert all(same(f, decode(tmp_path / name, SMALL)) for f, name in zip(found, names, strict=True))
    assert all(process.returncode is not None for process in processes), "none is left behind"


def test_bytes_paths_and_reasons_may_be_mixed(tmp_path):
    names = write_pictures(tmp_path, 40)
    (tmp_path / names[7]).write_text("no picture")

    def source(i: int) -> Path | bytes:
        if i % 5 == 4:
            raise UnreadableError(f"not given {i}")
        return tmp_path / names[i] if i % 2 else (tmp_path / names[i]).read_bytes()

    found = results(source, 40)
    for i, result in enumerate(found):
        if i % 5 == 4:
            assert str(result) == f"not given {i}"
        elif i == 7:
            assert "not a picture" in str(result)
        else:
            assert same(result, decode(tmp_path / names[i], SMALL))


def test_another_size_is_told(tmp_path):
    write_pictures(tmp_path, 6)
    picture(1, 9, 20).save(tmp_path / "003.png")
    found = list(decoding.decode_in_order(lambda i: tmp_path / f"{i:03d}.png", 6, DataSettings(), lambda: (12, 12)))
    other = found.pop(3)
    assert isinstance(other, OtherSizeError)
    assert (other.mode, other.size) == ("RGB", (9, 20))
    assert all(isinstance(result, Picture) for result in found)


def test_processes_that_die_are_done_without(tmp_path, processes):
    names = write_pictures(tmp_path, 200)
    found = []
    for i, result in enumerate(decoding.decode_in_order(lambda i: tmp_path / names[i], 200, SMALL, lambda: None)):
        found.append(result)
        if i in (20, 90):
            processes[i > 50].kill()
    assert all(same(f, decode(tmp_path / name, SMALL)) for f, name in zip(found, names, strict=True))


@pytest.mark.parametrize("why", ["no interpreter", "frozen", "no room"])
def test_where_no_process_can_be_started_threads_decode(tmp_path, monkeypatch, why):
    names = write_pictures(tmp_path, 20)
    if why == "no interpreter":
        monkeypatch.setattr(sys, "executable", "")
    elif why == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    else:
        monkeypatch.setattr(decoding.subprocess, "Popen", lambda *args, **kwargs: (_ for _ in ()).throw(OSError("no")))
    found = results(lambda i: tmp_path / names[i], 20)
    assert all(same(f, decode(tmp_path / name, SMALL)) for f, name in zip(found, names, strict=True))


def test_few_pictures_start_no_process(tmp_path, processes, monkeypatch):
    monkeypatch.setattr(decoding, "FEWEST", 21)
    names = write_pictures(tmp_path, 20)
    assert len(results(lambda i: tmp_path / names[i], 20)) == 20
    assert processes == []


def test_stopping_in_the_middle_ends_the_processes(tmp_path, processes):
    names = write_pictures(tmp_path, 200)
    found = decoding.decode_in_order(lambda i: tmp_path / names[i], 200, SMALL, lambda: None)
    next(found)
    found.close()
    assert len(processes) == 2
    assert all(process.returncode is not None for process in processes)


def test_a_folder_is_the_same_set_however_it_is_decoded(tmp_path, monkeypatch, own_places):
    write_pictures(tmp_path / "a", 30, size=(30, 40))
    write_pictures(tmp_path / "b", 30, seed=3, mode="L")
    (tmp_path / "a" / "bad.png").write_bytes(b"\x89PNG")
    many = load_data(tmp_path, SMALL)
    monkeypatch.setattr(decoding, "FEWEST", 10**9)
    monkeypatch.setenv("LATENTSCAPE_CACHE", str(own_places / "other"))
    few = load_data(tmp_path, SMALL)
    assert np.array_equal(many.x, few.x)
    assert (many.fingerprint, many.findings, many.files) == (few.fingerprint, few.findings, few.files)


def test_the_program_that_asks_is_not_run_again_and_no_torch_is_imported():
    code = (
        "import sys; import latentscape.data.decoding; print('torch' in sys.modules, 'multiprocessing' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False False"


WAITING = """
import os, pathlib, signal, sys
from latentscape.data import decoding, DataSettings
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
decoding.FEWEST, decoding.processors = 1, lambda: 2
files = sorted(pathlib.Path(sys.argv[1]).iterdir())
found = decoding.decode_in_order(lambda i: files[i % len(files)], 10**7, DataSettings(size="8"), lambda: None)
for i, _ in enumerate(found):
    if i == 100:
        print(pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text(), flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_the_program(tmp_path, how):
    write_pictures(tmp_path, 5)
    program = subprocess.Popen(
        [sys.executable, "-c", WAITING, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert program.stdout is not None
    children = [int(child) for child in program.stdout.readline().split()]
    assert len(children) == 2
    program.send_signal(how)
    try:
        program.wait(30)
    finally:
        program.kill()
        program.stdout.close()
    for _ in range(300):
        if not any(_runs(child) for child in children):
            return
        time.sleep(0.1)
    raise AssertionError("a helping process is still there")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
