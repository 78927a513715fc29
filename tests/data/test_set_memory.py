"""Memory that training takes must not grow with a packed set."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_anonymous_memory_does_not_grow_by_the_sets_size():
    """20,000 pictures of 64x64x3 are 234 MiB; what training on them holds beyond 500 of them is a fraction of that."""
    command = [sys.executable, "-m", "bench.memory", "--count", "20000", "--few", "500", "--steps", "3"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    few, many = (run["anonymous"] for run in json.loads(said.splitlines()[-1])["runs"])
    assert many > 0
    assert many - few < 60 << 20
