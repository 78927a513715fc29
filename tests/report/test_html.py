from __future__ import annotations

import itertools
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from latentscape.errors import RunError, UserError
from latentscape.report import html, write_report
from latentscape.report.words import MEANINGS
from latentscape.runs import RunFolder

VOID = {"meta", "img", "source", "br", "link", "input"}


class Page(HTMLParser):
    """Elements with their attributes, the headings' levels, and the text that a reader sees."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.source = path.read_text("utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} is closed out of order"

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_nothing_is_loaded_from_elsewhere(full_run):
    page = Page(write_report(full_run))
    addresses = [v for _, a in page.elements for k, v in a.items() if k in ("src", "href", "srcset", "poster", "data")]
    assert len([v for v in addresses if v.startswith("data:image/")]) == 6, "five pictures and the film's still one"
    assert all(v.startswith(("data:", "#")) for v in addresses)
    assert not re.search(r"https?://|url\(|@import", page.source)
    policy = next(a["content"] for a in page.all("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'")


def test_the_page_is_well_formed_and_every_link_lands(full_run):
    page = Page(write_report(full_run))
    assert page.open == []
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in page.all("a")} | {a["aria-labelledby"] for a in page.all("section")} <= set(ids)


def test_readers_of_screens_are_served(full_run):
    page = Page(write_report(full_run))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels)), "a heading level is skipped"
    assert all(a.get("alt") for a in page.all("img"))
    assert all(a.get("scope") in ("col", "row") for a in page.all("th"))
    assert all(a.get("aria-label") or a.get("aria-hidden") for a in page.all("svg"))
    assert page.all("html") == [{"lang": "en"}]


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_text_stands_out_from_its_ground(full_run, theme):
    blocks = re.findall(r":root \{(.*?)\}", write_report(full_run).read_text("utf-8"), re.S)
    colour = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", blocks[theme]))
    inks = ("ink", "quiet", "accent", "second", "third", "fourth")
    pairs = [(ink, "page") for ink in inks] + [("ink", "raised"), ("warn-ink", "warn-page")]
    for ink, ground in pairs:
        light, dark = sorted((luminance(colour[ink]), luminance(colour[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{ink} on {ground}"


def test_all_that_the_run_holds_is_on_the_page(full_run):
    text = " ".join(Page(write_report(full_run)).text.split())
    assert "vae, trained on digits (1,257 training examples of 1×8×8) for 100 steps in 1 min 15 s" in text
    assert "Finished: 7 epochs done" in text
    assert "Measured on 360 examples of the test split." in text
    assert "Posterior collapse, 2 times from step 30 to 60 still nothing" in text
    for fact in ("the rate falls soon", "latent_dim", "epochs 7", "learning_rate 0.001", "n 1797", "torch 2.11.0"):
        assert fact in text, fact
    assert "latentscape train vae --data digits" in text
    assert f"latentscape resume '{full_run.path}'" in text
    assert "latentscape sample 'a run' --seed 0" in text
    assert "at posterior means" in text
    assert "0.0312" in text
    assert "81.2 %" in text


def test_pictures_come_in_the_order_of_what_a_person_asks_first(full_run):
    text = Page(write_report(full_run)).text
    places = [text.index(title) for title in ("Reconstructions", "Samples", "Latent map", "The plane", "A film")]
    assert places == sorted(places)


def test_small_pictures_keep_square_pixels(full_run):
    page = Page(write_report(full_run))
    looks = {a["alt"]: (a["class"], a["width"]) for a in page.all("img")}
    assert looks["The plane"] == ("", "900")
    assert looks["A film"] == ("tiny", "280")
    assert looks["Samples"][0] == "tiny"


def test_every_known_metric_is_named_and_explained(full_run):
    metrics = dict.fromkeys(MEANINGS, 0.5) | {"class_histogram": [0.25, 0.75], "a_new_one": 3.0, "worst": float("nan")}
    (full_run.path / "metrics.json").write_text(json.dumps({"metrics": metrics}))
    page = Page(write_report(full_run))
    text = " ".join(page.text.split())
    for name, about in MEANINGS.items():
        assert name in text
        assert about.name in text
        assert about.text in text
    assert "0.25, 0.75" in text
    assert "a new one" in text
    assert "not a number" in text
    rows = len(re.findall(r'<th scope="row">[^<]*<br><code', page.source))
    assert rows == len(metrics)


HOSTILE = "<script>alert('x')</script>\"><img src=http://evil.example/x onerror=alert(1)>{{ 7*7 }}"


def test_names_from_files_stay_text(full_run):
    path = full_run.path
    config = (path / "config.toml").read_text().replace('"vae"', json.dumps(HOSTILE))
    (path / "config.toml").write_text(config.replace('size = ""', f"{json.dumps(HOSTILE)} = {json.dumps(HOSTILE)}"))
    (path / "command.txt").write_text(HOSTILE)
    for name in ("data.json", "environment.json"):
        (path / name).write_text(json.dumps({"name": HOSTILE, HOSTILE: {HOSTILE: [HOSTILE]}}))
    (path / "metrics.json").write_text(json.dumps({"n": 1, "split": HOSTILE, "metrics": {HOSTILE: HOSTILE}}))
    terms = {f"{HOSTILE}/{HOSTILE}": 1.0}
    records = [
        {"kind": "train", "step": 1, "terms": terms, "learning_rate": {HOSTILE: 0.1}},
        {"kind": "warning", "step": 1, "detector": HOSTILE, "text": HOSTILE},
        {"kind": "note", "text": HOSTILE},
        {"kind": "done", "step": 1, "reason": HOSTILE},
    ]
    (path / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    words = {"title": HOSTILE, "caption": HOSTILE, "command": HOSTILE}
    (path / "pictures" / "captions.json").write_text(json.dumps({"grid.png": words, "film.gif": words}))
    page = Page(write_report(full_run))
    assert len(page.all("script")) == 1
    assert len(page.all("img")) == 5
    assert not [k for _, a in page.elements for k in a if k.startswith("on")]
    assert all(a["src"].startswith("data:") for a in page.all("img"))
    assert page.text.count("{{ 7*7 }}") >= 15
    assert "49" not in page.text.replace(str(path), "")  # temporary folders are numbered


def test_a_run_with_settings_only_gets_a_page(bare_run):
    page = Page(write_report(bare_run))
    assert "Not finished: nothing is logged yet" in page.text
    assert "Nothing is measured yet" in page.text
    assert "There are no pictures yet" in page.text
    assert "logged nothing to draw" in page.text
    assert page.all("svg") == []
    assert "Watch out" not in page.text
    assert f"latentscape evaluate '{bare_run.path}' --split test" in page.text


def test_an_unfinished_run_says_how_far_it_is(bare_run):
    record = json.dumps({"kind": "train", "step": 1250, "terms": {"reconstruct/total": 3.0}})
    (bare_run.path / "log.jsonl").write_text(record + '\n{"kind": "train", "st')
    text = Page(write_report(bare_run)).text
    assert "Not finished: the log ends at step 1,250" in text
    assert "Go on where it stopped" in text


def test_a_closed_form_fit_shows_what_it_found(bare_run, write_log):
    write_log(
        [{"kind": "fitted", "step": 0, "terms": {"components": 87, "explained": 0.9}}, {"kind": "done", "step": 0}]
    )
    page = Page(write_report(bare_run))
    assert "in closed form" in page.text
    assert re.search(r"components\s*87", page.text)
    assert "logged nothing" not in page.text


def test_odd_records_and_pictures_do_not_stop_the_page(bare_run, write_log):
    write_log(
        [
            {"kind": "train"},
            {"kind": "train", "step": "x", "terms": [1], "learning_rate": None},
            {"kind": "train", "step": 5, "terms": {"a/b": "text", "a/c": None, "a/total": float("inf")}},
            {"kind": "warning"},
        ]
    )
    pictures = bare_run.path / "pictures"
    pictures.mkdir()
    (pictures / "broken.png").write_bytes(b"\x89PNG no")
    (pictures / "empty.gif").write_bytes(b"")
    page = Page(write_report(bare_run))
    assert page.all("img") == []
    assert "No further words were logged." in page.text


def test_a_film_stands_still_for_those_who_want_that(full_run):
    page = Page(write_report(full_run))
    (still,) = page.all("source")
    assert still["media"] == "(prefers-reduced-motion: reduce)"
    assert still["srcset"].startswith("data:image/png;base64,")


def test_an_mp4_is_in_the_page(full_run):
    (full_run.path / "pictures" / "walk.mp4").write_bytes(b"not read")
    (video,) = Page(write_report(full_run)).all("video")
    assert video["src"] == "data:video/mp4;base64,bm90IHJlYWQ="
    assert video["aria-label"] == "Walk"


def test_a_picture_too_large_for_the_page_is_named(full_run, monkeypatch):
    monkeypatch.setattr(html, "LARGEST", 10)
    page = Page(write_report(full_run))
    assert page.all("img") == []
    assert "as grid.png" in page.text


def test_the_same_run_gives_the_same_bytes_and_no_other_file(full_run):
    before = sorted(p.name for p in full_run.path.iterdir())
    first = write_report(full_run).read_bytes()
    assert write_report(full_run).read_bytes() == first
    assert sorted(p.name for p in full_run.path.iterdir()) == sorted([*before, "report.html"])


def test_the_page_tells_where_the_run_lies_now(full_run):
    elsewhere = full_run.path.with_name("moved")
    shutil.move(full_run.path, elsewhere)
    assert f"latentscape resume {elsewhere}" in Page(write_report(RunFolder(elsewhere))).text


def test_damage_and_unwritable_places_are_one_sentence(full_run):
    (full_run.path / "metrics.json").write_text("{")
    with pytest.raises(RunError, match=r"metrics\.json"):
        write_report(full_run)
    (full_run.path / "metrics.json").unlink()
    full_run.report_path.mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        write_report(full_run)
