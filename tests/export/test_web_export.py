"""The explorer's folder: whole, self-contained, with what is stored in the package unpacked as it was brought."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported_runs import subject
from PIL import Image

from latentscape.errors import AbilityError, RunError
from latentscape.export import web

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return web.page()


def test_the_vendored_files_are_those_that_the_tool_brings(files: dict[str, bytes]) -> None:
    spec = importlib.util.spec_from_file_location("vendor_web", ROOT / "tools" / "vendor_web.py")
    assert spec
    assert spec.loader
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    about = json.loads(files["vendor/VERSION.json"])
    assert (about["version"], about["integrity"]) == (tool.VERSION, tool.INTEGRITY)
    for name, expected in about["sha256"].items():
        packed = f"vendor/{name}" not in files
        content = gzip.decompress(files[f"vendor/{name}.gz"]) if packed else files[f"vendor/{name}"]
        assert hashlib.sha256(content).hexdigest() == expected
    assert gzip.decompress(files[f"vendor/{tool.WASM}.gz"])[:4] == b"\0asm"
    assert b"MIT License" in files["vendor/LICENSE"]


def test_a_damaged_installation_is_told(tmp_path: Path) -> None:
    shutil.copytree(web.resources.files("latentscape.export") / "static" / "vendor", tmp_path / "vendor")
    loader = tmp_path / "vendor" / "ort.min.mjs"
    loader.write_bytes(loader.read_bytes() + b" ")
    with pytest.raises(RunError, match=r"ort\.min\.mjs in this installation is damaged; install latentscape again"):
        web._vendored(tmp_path / "vendor")
    loader.unlink()
    with pytest.raises(RunError, match="onnxruntime-web in this installation is damaged"):
        web._vendored(tmp_path / "vendor")


def test_the_page_asks_nobody_else_for_anything(files: dict[str, bytes]) -> None:
    page = files["index.html"].decode()
    own = {name: text.decode() for name, text in files.items() if not name.startswith("vendor/")}
    assert not [name for name, text in own.items() if re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)]
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?! type=\"module\" src=\"js/main\.js\"></script>)", page)
    for address in re.findall(r"(?:src|href)=\"([^\"#]+)\"", page):
        assert address in files, address
    policy = re.search(r"Content-Security-Policy\" content=\"([^\"]+)\"", page)
    assert policy
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self' 'wasm-unsafe-eval'"
    for name, text in own.items():
        for address in re.findall(r"from \"([^\"]+)\"", text) if name.endswith(".js") else []:
            assert (Path(name).parent / address).as_posix().replace("js/../", "") in files, (name, address)


def test_every_element_that_the_page_is_asked_for_is_there(files: dict[str, bytes]) -> None:
    there = set(re.findall(r"\sid=\"([^\"]+)\"", files["index.html"].decode()))
    for name, text in files.items():
        if name.startswith("js/"):
            assert set(re.findall(r"\$\(\"([^\"]+)\"\)", text.decode())) <= there, name


def layout(files: dict[str, bytes]) -> tuple[dict[str, Any], np.ndarray]:
    return json.loads(files["explorer.json"]), np.frombuffer(files["latents.bin"], "<f4")


def test_examples_are_packed_in_the_order_of_their_latents(tmp_path: Path) -> None:
    run = subject("vae", (3, 9, 12), tmp_path / "run", latent_dim=3)
    files = web.examples(run)
    about, values = layout(files)
    n = about["examples"]
    assert n == 20
    assert about["draws"] == 0  # N(0, I) is drawn in the browser
    np.testing.assert_array_equal(values.reshape(n, 3), run.latents.numpy())
    assert about["labels"] == run.stage.labels("valid").tolist()
    sheet = np.asarray(Image.open(io.BytesIO(files["examples.png"])))
    (height, width), columns = about["thumbnail"], about["columns"]
    assert (height, width) == (9, 12)
    row, column = divmod(7, columns)
    found = sheet[height * row : height * (row + 1), width * column : width * (column + 1)]
    expected = (255 * run.held_out[0][7]).round().numpy().transpose(1, 2, 0)
    np.testing.assert_array_equal(found, expected)


def test_large_examples_become_small_and_wide_codes_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "VALUES", 30)
    monkeypatch.setattr(web, "THUMBNAIL", 6)
    run = subject("pca", (3, 9, 12), tmp_path / "run", latent_dim=3)
    about, values = layout(web.examples(run))
    assert (about["examples"], about["draws"]) == (10, 10)
    assert about["thumbnail"] == [4, 6]
    assert values.size == 20 * 3
    own = run.model.prior(10, torch.Generator().manual_seed(0))  # pyright: ignore
    np.testing.assert_array_equal(values[30:].reshape(10, 3), own.numpy())


@pytest.mark.parametrize(
    ("name", "shape", "why"),
    [
        ("vae", (5,), "the explorer shows grey or RGB pictures, and the data is a vector of 5; use --format onnx"),
        ("lossy_vae", (1, 8, 8), "lossy-vae has no decoder that ONNX can hold; --format onnx exports what it has"),
        ("classifier", (1, 8, 8), "classifier has no decoder that ONNX can hold"),
    ],
)
def test_what_a_page_cannot_show_is_refused(name: str, shape: tuple[int, ...], why: str, tmp_path: Path) -> None:
    with pytest.raises(AbilityError, match=re.escape(why)):
        web._check(subject(name, shape, tmp_path / "run"))
