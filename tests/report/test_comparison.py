"""The page of a comparison: what stands in it, that it loads nothing, and that its table says what is supported."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_html import Page

from latentscape.errors import ConfigError
from latentscape.report import comparison
from latentscape.report.html import write_page
from latentscape.tasks.comparing import Comparison, Sheet, Strip


def about(folder: Path, name: str, likelihood: str, shift: float, held_out: bool = True) -> dict[str, Any]:
    """A run folder with a log and nothing else, and what a comparison says of it."""
    path = folder / name
    path.mkdir()
    (path / "config.toml").write_text("[run]\n")
    kinds = ["train", "held_out"] if held_out else ["train"]
    terms = {"elbo/recon_nats_per_image": shift + 50.0, "elbo/kl_nats_per_image": 9.0, "elbo/total": 0.1}
    records = [{"kind": k, "step": s, "terms": terms} for s in (10, 20) for k in kinds]
    (path / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    budget = {"ended": "reached 5 epochs"}
    more = {"model": "vae", "recipe": "", "seed": 0, "command": f"latentscape train vae --out {name}"}
    return {
        "name": name,
        "path": str(path),
        "likelihood": likelihood,
        "budget": budget,
        "warnings": [],
        "features": "a net",
        **more,
    }


@pytest.fixture
def found(tmp_path: Path) -> Comparison:
    """Two runs and a third that lacks what they have; the second is longer trained."""
    runs = [
        about(tmp_path, "a & b", "bernoulli likelihood", 0),
        about(tmp_path, "long", "bernoulli likelihood", 1, held_out=False),
        about(tmp_path, "gan", "", 2),
    ]
    runs[1]["warnings"] = [{"detector": "posterior_collapse", "step": 7, "text": "one dimension says nothing"}]
    entry = {"model": "vae", "fitted": False, "machine": "cpu", "samples_from": "", "seeds": [0], "parameters": 1234}
    entries = [
        {**entry, "name": r["name"], "runs": [r["name"]], "steps": s, "images": 64 * s, "seconds": 61.0}
        for r, s in zip(runs, (100, 200, 100), strict=True)
    ]
    cells = [
        {"value": 0.02, "verdict": "best", "interval": [0.019, 0.021]},
        {"value": 0.0203, "verdict": "level", "interval": [0.019, 0.022], "method": "paired", "difference": 0.0003}
        | {"difference_interval": [-0.0001, 0.0007]},
        {"value": None, "verdict": "missing", "why": "a gan has no encoder"},
    ]
    accuracy = [
        {
            "value": 0.9,
            "verdict": "worse",
            "difference": -0.05,
            "difference_interval": [-0.07, -0.03],
            "method": "seeds",
        }
        | {"seeds": 3, "deviation": 0.004},
        {"value": 0.95, "verdict": "best"},
        {"value": None, "verdict": "missing", "why": "a gan has no encoder"},
    ]
    scales = [{"value": -90.0, "verdict": "incomparable"}] * 2 + [{"value": None, "verdict": "missing", "why": "no"}]
    row = {"best": 0, "unranked": ""}
    answer = {
        "data": "digits",
        "split": "test",
        "n": 189,
        "samples": 0,
        "runs": runs,
        "entries": entries,
        "settings": [
            {"name": "train.epochs", "values": [5, 10, 5], "differs": True},
            {"name": "model.hidden", "values": [(8,), (8,), None], "differs": False},
        ],
        "metrics": [
            {"metric": "mse", "better": "lower", "cells": cells, **row},
            {"metric": "knn_accuracy", "better": "higher", "cells": accuracy, **row},
            {"metric": "elbo_nats", "better": "higher", "cells": scales, "best": None, "unranked": "other scales"},
        ],
        "methods": {"paired": "over images", "seeds": "over seeds"},
        "cautions": ["Unequal budgets: steps 100 (a & b, gan), 200 (long)."],
    }
    pixels = np.full((16, 16, 3), 99, np.uint8)
    strips = [Strip("a & b", pixels, "made"), Strip("gan", None, "a gan has no encoder")]
    return Comparison(answer, [Sheet("Reconstructions", "The same images.", strips)])


@pytest.fixture
def made(found: Comparison, tmp_path: Path) -> Page:
    values = comparison.page(found, "latentscape compare 'a & b' long gan")
    return Page(write_page(tmp_path / "out.html", "comparison.html.jinja", values))


def words_of(page: Page) -> str:
    return " ".join(page.text.split())


def test_nothing_is_loaded_from_elsewhere(made: Page):
    addresses = [v for _, a in made.elements for k, v in a.items() if k in ("src", "href", "srcset", "poster")]
    assert sum(str(v).startswith("data:image/png") for v in addresses) == 1
    assert all(str(v).startswith(("data:", "#")) for v in addresses)
    assert not re.search(r"https?://|url\(|@import", made.source)
    policy = next(a["content"] for a in made.all("meta") if "http-equiv" in a)
    assert str(policy).startswith("default-src 'none'")


def test_the_page_is_well_formed_and_every_link_lands(made: Page):
    assert made.open == []
    ids = [a["id"] for _, a in made.elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = {str(a["href"])[1:] for a in made.all("a")} | {a["aria-labelledby"] for a in made.all("section")}
    assert links <= set(ids)
    levels = [int(tag[1]) for tag, _ in made.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels)), "a heading level is skipped"
    assert all(a.get("alt") for a in made.all("img"))


def test_what_the_measurements_support_is_said(made: Page):
    text = words_of(made)
    assert "0.0203 [0.019, 0.022] not told apart: +0.0003 [−0.0001, +0.0007]" in text
    assert "0.02 [0.019, 0.021] best" in text
    assert "90.0 % ± 0.4 points told apart: −5.00 [−7.00, −3.00] points" in text
    assert "A gan has no encoder." in text
    assert "evidence lower bound (ELBO): other scales." in text
    marks = [a["class"] for a in made.all("td") if a.get("class")]
    assert sorted(marks) == sorted(
        ["best", "level", "missing", "worse", "best", "missing", "incomparable", "incomparable", "missing"]
    )


def test_unequal_budgets_and_warnings_are_loud(made: Page):
    text = words_of(made)
    assert text.index("Unequal budgets") < text.index("How good they are")
    assert "Posterior collapse, while training: long" in text
    assert "one dimension says nothing" in text
    assert sum(a.get("class") == "unequal" for a in made.all("tr")) == 2, "steps and images"


def test_settings_costs_and_commands_are_there(made: Page):
    text = words_of(made)
    for part in ("train.epochs 5 10 5", "parameters 1,234", "1 min 1 s", "latentscape train vae --out long"):
        assert part in text, part
    assert "latentscape compare 'a & b' long gan" in text


def test_a_saved_picture_says_what_it_is_and_how_it_is_made(made: Page):
    address = str(made.all("img")[0]["src"])
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        assert image.info["Command"] == "latentscape compare 'a & b' long gan"
        assert image.info["Title"] == "Reconstructions: a & b"
        assert "The same images." in image.info["Description"]


def test_curves_share_a_chart_where_they_mean_the_same(found: Comparison):
    charts = {c.title: c for c in comparison.charts(found.answer)}
    kl = next(c for title, c in charts.items() if title.startswith("KL"))
    assert [line.name for line in kl.lines] == ["a & b", "long", "gan"]
    assert len({line.look for line in kl.lines}) == 3
    assert kl.title.endswith("training"), "one run has no held-out values"
    recon = next(c for title, c in charts.items() if title.startswith("reconstruction"))
    assert [line.name for line in recon.lines] == ["a & b", "long"], "the third has another likelihood"
    assert "bernoulli likelihood" in recon.title
    assert len(charts) == 2, "totals are weighed differently"


def test_the_terminal_says_the_same(found: Comparison):
    rows = {row[0]: row[1:] for row in comparison.table_rows(found.answer)}
    assert rows["mse ↓"] == ["0.02 ★\n[0.019, 0.021]", "0.0203 ≈\n[0.019, 0.022]", "–"]
    assert rows["elbo_nats ↑"][0].endswith("≁")
    assert rows["steps !!"] == ["100", "200", "100"]
    assert rows["parameters"] == ["1,234"] * 3
    assert rows["train.epochs"] == ["5", "10", "5"]
    assert "model.hidden" not in rows
    legend = list(comparison.legend(found.answer))
    assert "≈ not told apart from the best" in legend[0]
    assert "≁ elbo_nats: other scales." in legend
    assert "Samples are compared on a net." in legend
    assert "– mse, knn_accuracy: a gan has no encoder." in legend


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [("mse", -0.00312, "−0.00312"), ("knn_accuracy", 0.012, "+1.20"), ("fid", 12.0, "+12"), ("mse", 0.0, "+0")],
)
def test_differences_have_their_sign(metric: str, value: float, text: str):
    assert comparison.signed(metric, value) == text


def test_an_interval_may_reach_beyond_all_of_them():
    assert comparison.interval_text("precision", [0.971, 1.018]) == "[97.1 %, 101.8 %]"


def test_only_html_is_written(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"\.html"):
        comparison.compare([], out=tmp_path / "x.pdf")
