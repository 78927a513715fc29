"""`latentscape serve` as a process: no torch in it, one sentence for what is wrong, an orderly end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import command
from latentscape import cli
from latentscape.cli import serving as serving_commands
from tiny_exports import Tiny

SCRIPT = """
import atexit, os, sys
sys.argv = ["latentscape", *{words!r}]
import latentscape.cli as cli
from latentscape.cli import serving
cli.COMMANDS.setdefault("serve", serving.serve)
heavy = [name.split(".")[0] for name in ("torch", "sklearn", "matplotlib", "pyarrow", *{also!r})]
atexit.register(lambda: print("loaded:", sorted(set(heavy) & set(sys.modules)), file=sys.stderr))
cli.main()
"""


def started(*words: Any, also: tuple[str, ...] = (), **environment: str) -> subprocess.Popen[str]:
    source = SCRIPT.format(words=list(map(str, words)), also=also)
    return subprocess.Popen(
        [sys.executable, "-c", source],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


@contextmanager
def serving(*words: Any, **environment: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    process = started("serve", *words, "--port", "0", "--json", **environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield process, json.loads(line)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_it_serves_without_torch_and_ends_in_order(tiny: Tiny, number: signal.Signals) -> None:
    with serving(tiny.folder) as (process, told):
        assert told["token"] == ""
        assert told["abilities"] == ["encode", "decode", "reconstruct", "sample", "score"]
        assert told["url"].startswith("http://127.0.0.1:")
        with httpx.Client(base_url=told["url"], trust_env=False) as client:
            assert client.post("/v1/sample", json={"n": 2}).status_code == 200
            for path in ("/docs/", "/metrics", "/openapi.json"):
                assert client.get(path).status_code == 200
            assert "server" not in client.get("/healthz").headers
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0
        assert err.splitlines() == ["Stopped.", "loaded: []"]


@pytest.mark.slow
def test_a_token_is_made_or_taken_from_the_environment(tiny: Tiny) -> None:
    with serving(tiny.folder, "--token", "auto") as (_, told):
        assert len(told["token"]) >= 32
        bearer = {"authorization": f"Bearer {told['token']}"}
        assert httpx.get(told["url"] + "v1/card", trust_env=False).status_code == 401
        assert httpx.get(told["url"] + "v1/card", headers=bearer, trust_env=False).status_code == 200
    with serving(tiny.folder, LATENTSCAPE_TOKEN="from-the-environment") as (_, told):
        assert told["token"] == "from-the-environment"
        assert httpx.get(told["url"] + "v1/card", trust_env=False).status_code == 401


def test_help_needs_neither_torch_nor_onnxruntime() -> None:
    process = started("serve", "--help", also=("onnxruntime", "fastapi"), LATENTSCAPE_TOKEN="a-secret-of-the-shell")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "--threads" in out
    assert "a-secret" not in out
    assert err.splitlines() == ["loaded: []"]


def test_what_is_wrong_is_one_sentence(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "serve", serving_commands.serve)

    def refusal(*words: Any) -> str:
        return command.refusal("serve", *words)

    assert "EXPORT" in refusal()
    assert "card.json" in refusal(tmp_path / "nothing")
    assert "needs a token" in refusal(tiny.folder, "--host", "0.0.0.0")
    assert "at least 16" in refusal(tiny.folder, "--token", "short")
    assert "IP address" in refusal(tiny.folder, "--host", "example.org")
    assert "--threads" in refusal(tiny.folder, "--threads", "-2")
    assert "--batch" in refusal(tiny.folder, "--batch", "0")


def test_a_port_that_is_taken(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "serve", serving_commands.serve)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = command.refusal("serve", tiny.folder, "--port", port)
    assert f"cannot listen on 127.0.0.1 port {port}" in said
