"""The wheel: what is in it, and that it works where nothing of this checkout is."""

from __future__ import annotations

import email
import json
import math
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import latentscape

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "latentscape"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of another environment that has the wheel, and borrows this one's dependencies, torch above all."""
    place = tmp_path_factory.mktemp("elsewhere")
    venv.EnvBuilder(symlinks=True).create(place)
    python = place / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = place / "lib" / version / "site-packages"
    # A path that a .pth file names is searched after the environment's own, and its own .pth files are not read: the
    # checkout that is installed here in editable mode stays out of sight.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    done = subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--force-reinstall", "--ignore-installed", str(wheel)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return place / "bin"


def environment(cache: Path) -> dict[str, str]:
    own = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    return own | {"LATENTSCAPE_CACHE": str(cache), "OMP_NUM_THREADS": "1"}


def test_holds_everything_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
    wanted = {
        "latentscape/" + path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == wanted
    for needed in ("py.typed", "recipes/demo.toml", "report/template.html.jinja", "models/vae.py"):
        assert f"latentscape/{needed}" in names


def test_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = f"latentscape-{latentscape.__version__}.dist-info/"
        metadata = email.message_from_bytes(archive.read(info + "METADATA"))
        points = archive.read(info + "entry_points.txt").decode()
        assert info + "licenses/LICENSE" in archive.namelist()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert metadata["Version"] == latentscape.__version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == project["requires-python"]
    assert "latentscape = latentscape.cli:main" in points
    required = {r.split(";")[0].strip() for r in metadata.get_all("Requires-Dist", []) if "extra ==" not in r}
    assert len(required) == len(project["dependencies"])
    assert not [r for r in metadata.get_all("Requires-Dist", []) if r.startswith("torchvision")]
    assert str(metadata.get_payload()).lstrip().startswith("# latentscape")


def test_help_says_what_the_checkout_says(elsewhere: Path, tmp_path: Path) -> None:
    from latentscape import cli

    done = subprocess.run(
        [elsewhere / "latentscape", "--help"], capture_output=True, text=True, cwd=tmp_path, env=environment(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    for command in cli.COMMANDS:
        assert f"\n  {command} " in done.stdout


def test_demo_runs_in_an_empty_folder(elsewhere: Path, tmp_path: Path) -> None:
    place, cache = tmp_path / "place", tmp_path / "cache"
    place.mkdir()
    where = subprocess.run(
        [elsewhere / "python", "-c", "import latentscape; print(latentscape.__file__)"],
        capture_output=True, text=True, cwd=place, env=environment(cache),
    )  # fmt: skip
    assert Path(where.stdout.strip()).is_relative_to(elsewhere.parent), where.stdout + where.stderr

    done = subprocess.run(
        [elsewhere / "latentscape", "reproduce", "demo", "--scale", "0.05", "--out", "run", "--json"],
        capture_output=True, text=True, cwd=place, env=environment(cache),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["steps"] == 132  # 0.05 × 120 epochs of 22 batches
    assert all(math.isfinite(value) for value in answer["metrics"].values())
    assert answer["metrics"]["mse"] < 0.07  # the mean digit as the answer to every digit has 0.073
    assert [p.name for p in place.iterdir()] == ["run"]
    report = (place / "run" / "report.html").read_text(encoding="utf-8")
    assert report.count("data:image/png;base64,") >= 4
    assert "http://" not in report.replace("http://www.w3.org/", "")
