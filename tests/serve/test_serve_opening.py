"""Folders that are no export, are damaged, or do not fit: one sentence each."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentscape.errors import UserError
from latentscape.serve.card import read_card
from latentscape.serve.exported import Exported
from tiny_exports import Tiny


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as refused:
        Exported(folder, 1)
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


def test_a_whole_folder_opens(tiny: Tiny) -> None:
    exported = Exported(tiny.folder, 1)
    assert exported.abilities == ("encode", "decode", "reconstruct", "sample", "score")
    assert exported.card.shape == (1, 6, 5)
    assert not exported.wants_labels("decode")


def test_a_decoder_alone_can_do_less(tiny: Tiny) -> None:
    tiny.write(files={"decoder.onnx": tiny.card["files"]["decoder.onnx"]})
    assert Exported(tiny.folder, 1).abilities == ("decode", "sample")


def test_an_encoder_alone_can_do_less(tiny: Tiny) -> None:
    tiny.write(files={"encoder.onnx": tiny.card["files"]["encoder.onnx"]})
    assert Exported(tiny.folder, 1).abilities == ("encode",)


def test_no_folder_and_no_card(tmp_path: Path) -> None:
    assert "latentscape export RUN" in refusal(tmp_path)
    assert "latentscape export RUN" in refusal(tmp_path / "nowhere")


def test_a_changed_file_is_found(tiny: Tiny) -> None:
    path = tiny.folder / "decoder.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "SHA-256" in refusal(tiny.folder)
    path.unlink()
    assert "cannot be read" in refusal(tiny.folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff", "[" * 100_000])
def test_a_card_that_is_no_card(tiny: Tiny, text: str) -> None:
    (tiny.folder / "card.json").write_text(text, encoding="latin-1")
    assert "damaged" in refusal(tiny.folder)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "format 2"),
        ({"format": None}, "format None"),
        ({"shape": [1, 6]}, "shape"),
        ({"shape": [1, 6, -5]}, "shape"),
        ({"shape": [1, 60000, 60000]}, "shape"),
        ({"shape": "1x6x5"}, "shape"),
        ({"shape": [1, 6, True]}, "shape"),
        ({"latent_dim": 0}, "latent_dim"),
        ({"latent_dim": "3"}, "latent_dim"),
        ({"latent_dim": 4, "prior": None}, "do not fit"),
        ({"shape": [1, 5, 5]}, "do not fit"),
        ({"labels": ["a"], "classes": 2}, "labels"),
        ({"labels": [1]}, "labels"),
        ({"value_range": [1, 0]}, "value_range"),
        ({"value_range": [0, "x"]}, "value_range"),
        ({"prior": {"kind": "flow"}}, "prior"),
        ({"prior": {"kind": "normal", "mean": [0, 0], "std": [1, 1]}}, "prior.mean"),
        ({"prior": {"kind": "normal", "mean": [0, 0, 0], "std": [1, 1, -1]}}, "prior.std"),
        ({"score": {"kind": "reconstruction_mse", "quantiles": [0] * 100, "n": 5}}, "101 numbers"),
        ({"score": {"kind": "reconstruction_mse", "quantiles": [1, 0] + [2] * 99, "n": 5}}, "ascend"),
        ({"score": {"kind": "other"}}, "reconstruction_mse"),
        ({"files": {}}, "files"),
        ({"files": {"../../etc/passwd": {"sha256": "0" * 64}}}, "files"),
        ({"files": {"decoder.onnx": {"sha256": 5}}}, "sha256"),
        ({"files": {"decoder.onnx": "x"}}, "sha256"),
        ({"files": {"discriminator.onnx": {"sha256": "0" * 64}}}, "neither"),
    ],
)
def test_cards_that_contradict(tiny: Tiny, changes: dict[str, Any], words: str) -> None:
    tiny.write(**changes)
    assert words in refusal(tiny.folder)


def test_what_is_no_net_is_said(tiny: Tiny) -> None:
    import hashlib

    (tiny.folder / "decoder.onnx").write_bytes(b"no net")
    card = json.loads((tiny.folder / "card.json").read_text())
    card["files"]["decoder.onnx"]["sha256"] = hashlib.sha256(b"no net").hexdigest()
    (tiny.folder / "card.json").write_text(json.dumps(card))
    assert "onnxruntime cannot open decoder.onnx" in refusal(tiny.folder)


def test_labels_that_the_card_lacks(tiny: Tiny) -> None:
    other = Tiny(tiny.folder, labels=("a", "b"))
    other.write(labels=[], classes=0)
    assert "wants labels" in refusal(tiny.folder)


def test_without_onnxruntime_it_says_how_to_get_it(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert 'pip install "latentscape[serve]"' in refusal(tiny.folder)


def test_classes_without_names_are_numbers(tiny: Tiny) -> None:
    tiny.write(classes=3)
    assert read_card(tiny.folder).labels == ("0", "1", "2")


def test_percentiles_count_what_is_better(tiny: Tiny) -> None:
    exported = Exported(tiny.folder, 1)
    np.testing.assert_allclose(exported.percentile(np.array([0.0, 0.1, 0.15, 0.3, 9.0])), [0, 0, 25, 100, 100])
