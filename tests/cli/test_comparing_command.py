"""`compare`: one table, one page, one JSON object, and refusals in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from command import latentscape, refusal
from latentscape import api
from latentscape.tasks import classify
from tiny_runs import TINY


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    room = tmp_path_factory.mktemp("runs")

    def trained(name: str, model: str = "vae", **settings: Any) -> Path:
        settings = {**TINY, "max_steps": 6, **settings}
        return api.train(model, "digits", out=room / name, finish=False, **settings).path

    return [trained("vae"), trained("wide", hidden=(16,), max_steps=10), trained("gan", "gan")]


def test_one_table_and_one_page(runs: list[Path], tmp_path: Path):
    answer = latentscape("compare", *runs, "--out", tmp_path / "page.html")
    assert answer.status == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[0].startswith("!! Unequal budgets: steps 6 (vae, gan), 10 (wide)")
    assert "3 runs on 80 test examples of digits" in answer.out
    row = next(line for line in lines if "psnr_db" in line)
    assert row.count("★") == 1
    assert "–" in row
    assert any("no encoder" in line for line in lines)
    page = (tmp_path / "page.html").read_text()
    assert f"latentscape compare {runs[0]}" in page
    assert "told apart" in page


def test_json_is_the_only_thing_on_standard_output(runs: list[Path], tmp_path: Path):
    answer = latentscape("compare", *runs[:2], "--out", tmp_path / "page.html", "--json")
    found = json.loads(answer.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert found["report"] == str(tmp_path / "page.html")
    assert [e["name"] for e in found["entries"]] == ["vae", "wide"]
    assert found["metrics"][0]["metric"] == "elbo_nats", "in the order of a report"
    cells = next(m for m in found["metrics"] if m["metric"] == "mse")["cells"]
    assert {c["verdict"] for c in cells} in ({"best", "worse"}, {"best", "level"})


def test_samples_are_judged_where_a_model_makes_some(runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(classify, "STEPS", 20)
    answer = latentscape("compare", *runs, "--samples", 60, "--out", tmp_path / "page.html", "--json")
    assert answer.status == 0, answer.err
    found = json.loads(answer.out)
    fid = next(m for m in found["metrics"] if m["metric"] == "fid")
    assert all(c["value"] > 0 and c["floor"] > 0 for c in fid["cells"])
    assert all(c["interval"][0] <= c["value"] <= c["interval"][1] for c in fid["cells"])
    assert {c["verdict"] for c in fid["cells"]} <= {"best", "worse", "level"}, "all have an interval"
    assert len({r["features"] for r in found["runs"]}) == 1
    assert [r["samples_from"] for r in found["runs"]] == ["the model's own prior"] * 3


def test_refusals(runs: list[Path], tmp_path: Path):
    assert "two or more different runs, and got 1" in refusal("compare", runs[0])
    assert "is given twice" in refusal("compare", runs[0], runs[0])
    assert "got 0" in refusal("compare")
    assert "no run folder" in refusal("compare", runs[0], tmp_path / "none")
    assert ".html file" in refusal("compare", *runs, "--out", tmp_path / "x.csv")


def test_nothing_is_written_when_it_is_refused(runs: list[Path], tmp_path: Path):
    refusal("compare", runs[0], "--out", tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []
