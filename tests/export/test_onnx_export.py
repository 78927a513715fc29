"""ONNX exports: every model's graphs give what the model gives, and a folder is whole, right, or not there."""

from __future__ import annotations

import copy
import errno
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("onnx", reason="wants the packages of latentscape[export]")
pytest.importorskip("onnxscript", reason="wants the packages of latentscape[export]")
pytest.importorskip("onnxruntime", reason="wants the packages of latentscape[export]")

from exported_runs import subject

import latentscape
from command import latentscape as cli_run
from command import refusal
from latentscape import cli, contract, models
from latentscape.cli import exporting
from latentscape.errors import ConfigError, DiskFull, RunError, RunFailed
from latentscape.export import about, folder, graphs, onnx
from tiny_runs import TINY

SHAPES = {"1x8x8": (1, 8, 8), "3x9x12": (3, 9, 12), "vector5": (5,)}
QUICK = {("conditional_vae", "vector5"), ("pca", "3x9x12")}
"""Tracing takes seconds a graph; the slow tests have all models on all shapes."""


def every_model_and_shape() -> list[Any]:
    found = []
    for name in models.modules():
        for shape in SHAPES:
            marks = [] if (name, shape) in QUICK else [pytest.mark.slow]
            found.append(pytest.param(name, shape, marks=marks, id=f"{name}-{shape}"))
    return found


@pytest.mark.parametrize(("name", "shape"), every_model_and_shape())
def test_every_model_gives_the_same_outside_of_pytorch(name: str, shape: str, tmp_path: Path) -> None:
    """Decoded again here, on inputs that the export did not try, at a batch size that it did not try."""
    run = subject(name, SHAPES[shape], tmp_path / "run")
    made, notes = onnx.checked(run)
    files, card = onnx.contents(run, made, "latentscape export run")
    model: Any = run.model
    kinds = {
        "encoder.onnx": contract.Encodes,
        "decoder.onnx": contract.Decodes,
        "discriminator.onnx": contract.Discriminates,
        "classifier.onnx": contract.Classifies,
    }
    expected = {file for file, kind in kinds.items() if isinstance(model, kind)}
    if name == "lossy_vae":
        expected.remove("decoder.onnx")
        assert len(notes) == 1
        assert notes[0].startswith("decoder.onnx is left out: its decoder draws ")
    else:
        assert notes == []
    assert {graph.part.file for graph in made} == set(card["files"]) == expected
    rng = torch.Generator().manual_seed(11)
    for graph in made:
        assert graph.parity <= 1e-4
        dims = model.shape.dims if graph.part.takes == "x" else (model.latent_dim,)
        given, y = torch.rand(5, *dims, generator=rng), torch.tensor([2, 1, 0, 2, 1])
        feed = {graph.part.takes: given.numpy()}
        call: tuple[Any, ...] = (given,)
        if model.needs_labels and graph.part.method != "classify":
            feed["y"], call = y.numpy(), (given, y)
        assert set(card["files"][graph.part.file]["inputs"]) == set(feed)
        found = graphs.session(files[graph.part.file]).run([graph.part.gives], feed)[0]
        with torch.no_grad():
            reference = getattr(model, graph.part.method)(*call).numpy()
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, reference, rtol=1e-4, atol=1e-4)
        shape_said = card["files"][graph.part.file]["outputs"][graph.part.gives]
        assert [5, *shape_said[1:]] == list(found.shape)


@pytest.mark.slow
def test_labels_change_what_a_conditional_graph_decodes(tmp_path: Path) -> None:
    run = subject("conditional_autoencoder", (5,), tmp_path / "run")
    graph = next(g for g in onnx.checked(run)[0] if g.part.file == "decoder.onnx")
    z = np.zeros((3, run.model.latent_dim), np.float32)
    x = graphs.session(graph.content).run(None, {"z": z, "y": np.arange(3)})[0]
    assert np.abs(x[0] - x[1]).max() > 1e-3


# ---- a trained run through the command -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VAE of the digits with an evaluation."""
    path = tmp_path_factory.mktemp("runs") / "digits-vae"
    latentscape.train("vae", "digits", out=path, max_steps=20, finish=False, **TINY)
    latentscape.evaluate(path, keep=True)
    return path


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("exports") / "there"
    onnx.export(run, target)
    return target


@pytest.fixture(autouse=True)
def command_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "export", exporting.export)


def card_of(target: Path) -> dict[str, Any]:
    return json.loads((target / "card.json").read_text(encoding="utf-8"))


def left_over(place: Path) -> list[str]:
    return sorted(p.name for p in place.iterdir())


def test_the_card_describes_the_files_and_the_model(run: Path, exported: Path) -> None:
    card = card_of(exported)
    assert card["format"] == 1
    assert card["latentscape"] == latentscape.__version__
    assert (card["name"], card["model"], card["data"]) == ("digits-vae", "vae", "digits")
    assert (card["shape"], card["value_range"], card["latent_dim"]) == ([1, 8, 8], [0.0, 1.0], 2)
    assert (card["classes"], card["labels"], card["needs_labels"]) == (10, list("0123456789"), False)
    assert card["abilities"] == ["encode", "decode", "reconstruct", "sample", "score"]
    assert card["prior"] == {"kind": "normal", "mean": [0.0, 0.0], "std": [1.0, 1.0]}
    assert (
        set(card["contents"]) == {"README.md", "card.json", "decoder.onnx", "encoder.onnx"} == set(left_over(exported))
    )
    for name, file in card["files"].items():
        content = (exported / name).read_bytes()
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
        assert file["bytes"] == len(content)
        assert 0 <= file["parity"] <= 1e-4
    assert card["files"]["encoder.onnx"]["inputs"] == {"x": ["batch", 1, 8, 8]}
    assert card["files"]["decoder.onnx"]["outputs"] == {"x": ["batch", 1, 8, 8]}
    measured = json.loads((run / "metrics.json").read_text())["metrics"]
    assert card["metrics"]["mse"] == measured["mse"]
    assert card["settings"]["hidden"] == [8]


def test_latents_and_scores_on_the_card_are_those_of_held_out_examples(run: Path, exported: Path) -> None:
    card, model = card_of(exported), latentscape.load_run(run)
    images = latentscape.load_data("digits", latentscape.DataSettings(limit=80))
    x = images.examples(images.indices("test"), "unit")
    with torch.no_grad():
        z, mse = model.encode(x), (model.reconstruct(x) - x).square().flatten(1).mean(1)
    latents = card["latents"]
    assert latents["n"] == card["score"]["n"] == len(x)
    np.testing.assert_allclose(latents["mean"], z.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(latents["std"], z.std(0, correction=0), rtol=1e-4)
    for q, values in latents["quantiles"].items():
        np.testing.assert_allclose(values, np.quantile(z, float(q), 0), rtol=1e-4, atol=1e-5)
    assert sorted(latents["importance"]) == [0, 1]
    assert len(card["score"]["quantiles"]) == 101
    np.testing.assert_allclose(card["score"]["quantiles"][::50], np.quantile(mse, [0, 0.5, 1]), rtol=1e-4)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_importance_is_measured_by_what_is_decoded(order: list[int], tmp_path: Path) -> None:
    """Not by how much latents vary: the decoder is made to use the coordinates in a given order."""
    run = subject("pca", (5,), tmp_path / "run", latent_dim=3)
    made = [graphs.Graph(part, b"", 0.0, {}, {}) for part in graphs.PARTS[:2]]
    model: Any = run.model
    plain, scales_L = model.decode, torch.tensor([10.0 ** -order.index(i) for i in range(3)])
    model.decode = lambda z, y=None: plain(z * scales_L**2, y)
    assert about.card(run, made, "")["latents"]["importance"] == order


def test_a_prior_that_is_not_standard_normal_is_fitted_to_latents(tmp_path: Path) -> None:
    run = subject("pca", (5,), tmp_path / "run", latent_dim=2)
    assert not about.has_standard_prior(run.model)
    prior = about._prior(run)
    assert prior
    np.testing.assert_allclose(prior["std"], run.latents.std(0, correction=0), rtol=1e-5)
    assert about.has_standard_prior(subject("vae", (5,), tmp_path / "vae").model)
    assert about._prior(subject("gan", (5,), tmp_path / "gan", latent_dim=2)) == {
        "kind": "normal",
        "mean": [0.0, 0.0],
        "std": [1.0, 1.0],
    }


def test_the_same_run_gives_the_same_bytes_that_name_no_place(run: Path, exported: Path, tmp_path: Path) -> None:
    onnx.export(run, tmp_path / "again")
    for path in exported.iterdir():
        content = path.read_bytes()
        assert content == (tmp_path / "again" / path.name).read_bytes(), path.name
        assert str(run.parent).encode() not in content
        assert str(Path(latentscape.__file__).parent).encode() not in content


def test_the_page_has_a_program_that_runs(exported: Path) -> None:
    text = (exported / "README.md").read_text(encoding="utf-8")
    program = re.search(r"```python\n(.*?)```", text, re.S)
    assert program
    said = program[1] + "print(pixels.shape, pixels.dtype)\n"
    done = subprocess.run([sys.executable, "-c", said], cwd=exported, capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[0] == "(4, 1, 8, 8) uint8", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["conditional_vae", "gan", "style_label_aae", "classifier", "pca"])
def test_the_page_of_other_abilities_runs_too(name: str, tmp_path: Path) -> None:
    run = subject(name, (5,) if name == "gan" else (1, 8, 8), tmp_path / "run")
    files, card = onnx.contents(run, onnx.checked(run)[0], "made")
    folder.write(tmp_path / "there", files, card)
    program = re.search(r"```python\n(.*?)```", (tmp_path / "there" / "README.md").read_text(), re.S)
    assert program
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program[1]], cwd=tmp_path / "there", capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def test_the_command_writes_says_where_and_is_otherwise_quiet(run: Path, tmp_path: Path) -> None:
    answer = cli_run("export", run, "--out", tmp_path / "there")
    assert answer.status == 0, answer
    assert answer.err == ""
    lines = answer.out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("encoder.onnx: ")
    assert lines[2] == f"The export lies in {tmp_path / 'there'}; its README.md says how to use it."
    assert card_of(tmp_path / "there")["made"] == "latentscape export digits-vae --out there"
    answer = cli_run("export", run, "--out", tmp_path / "there", "--force", "--json")
    assert json.loads(answer.out)["files"].keys() == {"encoder.onnx", "decoder.onnx"}


def test_the_place_by_default(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder.target_of(about.RunFolder(run), None, "onnx", False) == Path("exports/digits-vae-onnx")


# ---- what is refused -----------------------------------------------------------------------------------------------


def test_a_graph_that_differs_is_refused_and_nothing_is_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = graphs.traced

    def bent(model: Any, part: graphs.Part, trials: Any) -> bytes:
        if part.method == "decode":
            with torch.no_grad():
                model = copy.deepcopy(model)
                next(p for n, p in model.named_parameters() if n.startswith("decoder")).add_(0.01)
        return real(model, part, trials)

    monkeypatch.setattr(graphs, "traced", bent)
    said = refusal("export", run, "--out", tmp_path / "new" / "there", status=1)
    assert said.startswith("decoder.onnx would not compute what the model does (largest difference ")
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("found", "expected", "distance"),
    [
        ([0.5, 0.2], [0.5, 0.1], 0.1),
        ([100.0, -50.0], [100.0, -51.0], 0.01),
        ([1.0, float("nan")], [1.0, 1.0], float("nan")),
        ([float("inf")], [float("inf")], float("nan")),
        ([1.0], [1.0, 1.0], float("inf")),
    ],
)
def test_difference(found: list[float], expected: list[float], distance: float) -> None:
    assert graphs.difference(np.array(found), np.array(expected)) == pytest.approx(distance, nan_ok=True)


def test_a_model_that_gives_nan_is_refused(tmp_path: Path) -> None:
    run = subject("pca", (5,), tmp_path / "run")
    run.model.get_buffer("mean").fill_(float("nan"))
    with pytest.raises(
        RunFailed, match=r"encoder\.onnx would not compute what the model does \(largest difference nan"
    ):
        onnx.checked(run)


def test_missing_packages_are_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = graphs.importlib.util.find_spec
    monkeypatch.setattr(graphs.importlib.util, "find_spec", lambda n: None if n.startswith("onnx") else real(n))
    with pytest.raises(ConfigError, match=r'not installed; run: pip install "latentscape\[export\]"'):
        onnx.export(run, tmp_path / "there")
    assert left_over(tmp_path) == []


def test_weights_beyond_what_a_file_holds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = subject("pca", (5,), tmp_path / "run")
    monkeypatch.setattr(graphs, "LARGEST", 10)
    with pytest.raises(RunFailed, match="an ONNX file holds less than 2; hand on the run itself"):
        onnx.checked(run)


def test_what_cannot_be_traced_is_told_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = subject("pca", (5,), tmp_path / "run")

    def encode(self: Any, x: torch.Tensor, y: Any = None) -> torch.Tensor:
        raise NotImplementedError("eager\nonly")

    monkeypatch.setattr(type(run.model), "encode", encode)
    with pytest.raises(RunFailed, match=r"encoder\.onnx cannot be written, .* what the model does \(eager\)") as error:
        graphs.traced(run.model, graphs.PARTS[0], run.trials(graphs.PARTS[0]))
    assert "\n" not in str(error.value)


# ---- folders -------------------------------------------------------------------------------------------------------


CARD: dict[str, Any] = {"format": 1, "latentscape": "x"}


def test_places_that_hold_anything_else_are_refused(run: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "mine.txt").write_text("x")
    opened = about.RunFolder(run)
    with pytest.raises(RunError, match="holds other files"):
        folder.target_of(opened, there, "onnx", True)
    with pytest.raises(RunError, match="is there and is no folder"):
        folder.target_of(opened, there / "mine.txt", "onnx", True)
    (there / "mine.txt").unlink()
    folder.write(there, {"a/b.txt": b"1"}, CARD)
    assert (there / "a" / "b.txt").read_bytes() == b"1"
    with pytest.raises(RunError, match="holds an export already; choose another --out, or replace it with --force"):
        folder.target_of(opened, there, "onnx", False)
    folder.target_of(opened, there, "onnx", True)
    folder.write(there, {"c.txt": b"2"}, CARD, force=True)
    assert {p.relative_to(there).as_posix() for p in there.rglob("*")} == {"c.txt", "card.json"}
    (there / "mine.txt").write_text("x")
    with pytest.raises(RunError, match=r"is an export that also holds mine\.txt"):
        folder.write(there, {"c.txt": b"3"}, CARD, force=True)
    assert (there / "c.txt").read_bytes() == b"2"
    assert left_over(tmp_path) == ["there"]


def full_from_call(n: int, real: Callable) -> Callable:
    calls = [0]

    def call(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] >= n:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **kwargs)

    return call


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_full_disk_leaves_nothing_or_the_old_export(n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write(tmp_path / "old", {"a": b"1"}, CARD)
    for target in (tmp_path / "new" / "there", tmp_path / "old"):
        with monkeypatch.context() as patch:
            patch.setattr(folder.os, "fsync", full_from_call(n, os.fsync))
            with pytest.raises(DiskFull, match="no space is left to write "):
                folder.write(target, {"a": b"2", "b": b"2"}, CARD, force=True)
    assert left_over(tmp_path) == ["old"]
    assert (tmp_path / "old" / "a").read_bytes() == b"1"
    assert left_over(tmp_path / "old") == ["a", "card.json"]


@pytest.mark.slow
def test_a_run_without_data_is_compared_on_random_inputs(run: Path, tmp_path: Path) -> None:
    net = {"net": "mlp", "hidden": (8,), "latent_dim": 2}
    made = latentscape.import_weights("vae", run / "model.safetensors", shape="1x8x8", out=tmp_path / "run", **net)
    out = onnx.export(made["run"], tmp_path / "there")
    assert out["notes"] == ["The run names no data, so graphs and model were compared on random inputs alone."]
    card = card_of(tmp_path / "there")
    assert "score" not in card
    assert "latents" not in card
    assert card["abilities"] == ["encode", "decode", "reconstruct", "sample"]
    onnx.export(made["run"], tmp_path / "with", data="digits")
    assert card_of(tmp_path / "with")["latents"]["n"] > 0
