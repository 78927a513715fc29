"""The classifier that reads a data set: trained once, found again, resumed, shared between processes."""

from __future__ import annotations

import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from latentscape.data import ImageSet
from latentscape.data.cache import cache_root
from latentscape.errors import AbilityError, DataError
from latentscape.runs import RunFolder
from latentscape.tasks import classify, training
from latentscape.training.loop import Loop


class Heard(training.Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def striped(n: int = 240, shape: tuple[int, ...] = (1, 8, 8), seed: int = 0, labels: Any = "own") -> ImageSet:
    """Noise with a bright stripe at the row of its class; the last quarter is for testing."""
    rng = torch.Generator().manual_seed(seed)
    y_N = torch.arange(n) % 3
    x = 100 * torch.rand(n, *shape, generator=rng)
    for k in range(3):
        x.view(n, -1)[y_N == k, 10 * k : 10 * k + 10] += 150
    x = x.to(torch.uint8) if len(shape) == 3 else x / 255
    split = torch.zeros(n, dtype=torch.uint8)
    split[3 * n // 4 :] = 2
    kept: Tensor | None = y_N if isinstance(labels, str) else labels
    return ImageSet("striped", x, split, f"striped{seed}", kept, ("a", "b", "c") if kept is not None else ())


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classify, "STEPS", 30)
    monkeypatch.setattr(classify, "EPOCHS", 40)


@pytest.mark.parametrize("shape", [(1, 8, 8), (64,)])
def test_it_is_trained_once_measured_and_found_again(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    heard, images = Heard(), striped(shape=shape)
    with torch.no_grad():  # whoever asks may be measuring
        first = classify.reader_run(images, console=heard)
    assert first.path.is_relative_to(cache_root() / "classifiers")
    assert heard.said[0].startswith("Training a classifier that reads striped, once, in ")
    card = classify.card(first, images, "test")
    assert card["split"] == "test"
    assert card["n"] == 60
    assert card["accuracy"] > 0.9
    assert heard.said[-1] == f"The classifier reads {card['accuracy']:.2%} of 60 test examples rightly."
    reader = classify.reader(images)
    test = images.indices("test")
    assert images.labels is not None
    right = (reader.classify(images.examples(test, "unit")).argmax(1) == images.labels[test]).double().mean()
    assert float(right) == pytest.approx(card["accuracy"])
    monkeypatch.setattr(training, "train", lambda *a, **k: pytest.fail("it was trained again"))
    heard.said.clear()
    assert classify.reader_run(images, console=heard).path == first.path
    assert heard.said == []


def test_other_data_and_other_settings_have_other_classifiers(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {classify._key(i, classify._settings(i)) for i in (striped(), striped(seed=1))}
    monkeypatch.setattr(classify, "STEPS", 60)
    keys |= {classify._key(striped(), classify._settings(striped()))}
    monkeypatch.setattr(classify, "FORMAT", classify.FORMAT + 1)
    keys |= {classify._key(striped(), classify._settings(striped()))}
    assert len(keys) == 4


def test_a_small_set_is_gone_over_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    images = striped()  # 180 training examples are one batch
    assert classify._settings(images)["epochs"] == 30
    monkeypatch.setattr(classify, "EPOCHS", 7)
    assert classify._settings(images)["epochs"] == 7
    monkeypatch.setattr(classify, "STEPS", 1)
    assert classify._settings(images)["epochs"] == 4  # the model's own


def test_a_half_trained_one_is_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    images, steps = striped(), 0
    whole = Loop.step

    def stopping(self: Loop) -> None:
        nonlocal steps
        steps += 1
        if steps == 10:
            self._stop = "SIGINT"
        whole(self)

    monkeypatch.setattr(Loop, "step", stopping)
    with pytest.raises(training.Stopped, match="the same command goes on with it"):
        classify.reader_run(images)
    heard = Heard()
    folder = classify.reader_run(images, console=heard)
    assert heard.said[0].startswith("Going on with the classifier that reads striped")
    assert steps == 30
    assert classify.card(folder, images, "test")["n"] == 60
    assert folder.log()[-1]["step"] == 30


def test_one_killed_before_it_was_measured_is_measured() -> None:
    images = striped()
    folder = classify.reader_run(images)
    kept = (folder.path / "metrics.json").read_bytes()
    (folder.path / "metrics.json").unlink()
    again = classify.card(classify.reader_run(images), images, "train")
    assert again["accuracy"] == 1 - (folder.metrics() or {})["metrics"]["error_rate"]
    assert (folder.path / "metrics.json").stat().st_size == pytest.approx(len(kept), abs=4)


def test_one_killed_while_its_folder_was_made_is_made_anew() -> None:
    images = striped()
    path = cache_root() / "classifiers" / classify._key(images, classify._settings(images))
    (path / "checkpoints").mkdir(parents=True)
    (path / "command.txt").write_text("half")
    (path / ".lock").touch()
    assert classify.card(classify.reader_run(images), images, "train")["n"] == 60


def _train(barrier: Any, answers: Any) -> None:
    torch.set_num_threads(1)
    heard = Heard()
    barrier.wait()
    classify.STEPS, classify.EPOCHS = 30, 40
    folder = classify.reader_run(striped(), console=heard)
    answers.put(
        (str(folder.path), classify.card(folder, striped(), "test")["accuracy"], heard.said[0] if heard.said else "")
    )


def test_two_processes_train_it_once() -> None:
    """The second waits for the first, or finds its work done."""
    spawn = multiprocessing.get_context("spawn")
    barrier, answers = spawn.Barrier(2), spawn.Queue()
    processes = [spawn.Process(target=_train, args=(barrier, answers)) for _ in range(2)]
    for p in processes:
        p.start()
    found = [answers.get(timeout=100) for _ in processes]
    for p in processes:
        p.join(20)
        assert p.exitcode == 0
    assert found[0][:2] == found[1][:2]
    assert sum(said.startswith("Training a classifier") for *_, said in found) == 1


def test_the_second_says_that_it_waits(tmp_path: Path) -> None:
    first, second, order = Heard(), Heard(), []

    def other() -> None:
        with classify._alone(tmp_path / "key", second):
            order.append("second")

    with classify._alone(tmp_path / "key", first):
        thread = threading.Thread(target=other)
        thread.start()
        while not second.said:
            time.sleep(0.01)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert second.said == ["Waiting for another process that trains the same classifier."]
    assert first.said == []


# ---- a user's own ----------------------------------------------------------------------------------------------


def own(tmp_path: Path, images: ImageSet, model: str = "classifier", **settings: Any) -> Path:
    training.train(model, images, out=tmp_path / "own", max_steps=2, threads=1, **settings)
    return tmp_path / "own"


def test_a_user_s_own_is_taken_as_it_is(tmp_path: Path) -> None:
    run = own(tmp_path, striped(), width=3)
    reader = classify.reader(striped(seed=5), classifier=run)
    assert reader.config.width == 3
    rate, n = classify.error_rate(reader, striped(seed=5), "test")
    assert n == 60
    expected = {"run": str(run), "accuracy": 1 - rate, "split": "test", "n": n}
    assert classify.card(RunFolder(run), striped(seed=5), "test") == expected
    unlabelled = striped(labels=None)
    assert classify.card(RunFolder(run), unlabelled, "test") == expected | {"accuracy": None, "n": 0}
    assert classify.reader(unlabelled, classifier=run).classes == 3
    assert classify.label_names(RunFolder(run)) == ("a", "b", "c")
    assert not (cache_root() / "classifiers").exists()


def test_one_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    run = own(tmp_path, striped())
    with pytest.raises(DataError, match=r"reads examples of 1×8×8, and those of striped are 1×6×6; give one"):
        classify.reader(striped(shape=(1, 6, 6)), classifier=run)
    other = striped()
    other.label_names = ("a", "b", "x")
    with pytest.raises(DataError, match="tells a, b, c apart, and the classes of striped are a, b, x; give one"):
        classify.reader(other, classifier=run)


def test_a_run_that_reads_nothing_is_refused(tmp_path: Path) -> None:
    run = own(tmp_path, striped(), "autoencoder", net="mlp")
    with pytest.raises(AbilityError, match=r"has no classifier .*; give --classifier a run of `train classifier`"):
        classify.reader(striped(), classifier=run)


@pytest.mark.parametrize("labels", [None, torch.full((240,), -1)])
def test_data_without_labels_are_refused(labels: Tensor | None) -> None:
    with pytest.raises(DataError, match="striped has no labels to train one with; give data with class folders"):
        classify.reader(striped(labels=labels))


# ---- values ----------------------------------------------------------------------------------------------------


def test_readers_get_the_pixels_that_would_be_saved() -> None:
    reader = classify.reader(striped())
    signed = torch.tensor([-1.4, -1.0, 0.0, 1.0, 1.2]).view(1, 1, 1, 5)
    expected = torch.tensor([0, 0, 0.5, 1, 1]).view(1, 1, 1, 5)
    torch.testing.assert_close(classify.inputs_for(reader, signed, "signed"), expected)
    reader.value_range = "signed"
    torch.testing.assert_close(classify.inputs_for(reader, signed, "signed"), 2 * expected - 1)
    vectors = classify.reader(striped(shape=(64,)))
    torch.testing.assert_close(classify.inputs_for(vectors, signed.view(1, 5), "real"), signed.view(1, 5))


def test_the_error_rate_counts_labelled_examples_only() -> None:
    images = striped()
    model = classify.reader(images)
    assert images.labels is not None
    test = images.indices("test")
    read = model.classify(images.examples(test, "unit")).argmax(1)
    images.labels[test] = read
    images.labels[test[:15]] = (read[:15] + 1) % 3
    images.labels[test[15:20]] = -1
    assert classify.error_rate(model, images, "test") == (pytest.approx(15 / 55), 55)
    images.labels[test] = -1
    rate, n = classify.error_rate(model, images, "test")
    assert n == 0
    assert rate != rate
