"""What answers at once does not import torch, and `import latentscape` imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from latentscape import models

HEAVY = ("torch", "sklearn", "matplotlib", "pyarrow")

SCRIPT = """
import sys
sys.argv = ["latentscape", *{words!r}]
from latentscape.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
loaded = [name for name in {heavy!r} if name in sys.modules]
assert not loaded, f"imported: {{loaded}}"
"""


def fresh(source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, cwd=folder)


@pytest.mark.parametrize("line", ["", "--help", "--version", "models", "recipes", "train --help", "data --help"])
def test_answers_without_torch(line: str, tmp_path: Path) -> None:
    done = fresh(SCRIPT.format(words=line.split(), heavy=HEAVY), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "latentscape" in done.stdout or "demo" in done.stdout
    if line in ("models", "train --help"):
        assert all(name in done.stdout for name in models.summaries())


def test_a_heavy_import_would_be_found(tmp_path: Path) -> None:
    done = fresh(SCRIPT.format(words=["data", "info", "digits"], heavy=HEAVY), tmp_path)
    assert "imported: ['torch', 'sklearn'" in done.stderr


def test_importing_the_package_is_cheap(tmp_path: Path) -> None:
    done = fresh(
        f"import sys, latentscape\nassert not {set(HEAVY)} & set(sys.modules)\nlatentscape.__version__", tmp_path
    )
    assert done.returncode == 0, done.stderr
