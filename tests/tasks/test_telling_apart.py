"""Which entry is best, and what the measurements support: images, seeds, intervals, and what is not on one scale."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from latentscape.tasks.telling_apart import Entry, Measured, row


def of_images(name: str, values_N: torch.Tensor, metric: str = "mse", **more: Any) -> Entry:
    return Entry(name, [Measured({metric: float(values_N.mean())}, values={metric: values_N}, **more)])


def of_seeds(name: str, *values: float, metric: str = "fid", interval: float | None = None) -> Entry:
    intervals = [{} if interval is None else {metric: [v - interval, v + interval]} for v in values]
    return Entry(name, [Measured({metric: v}, i) for v, i in zip(values, intervals, strict=True)])


def verdicts(found: dict[str, Any]) -> list[str]:
    return [c["verdict"] for c in found["cells"]]


HARD_N = torch.rand(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
"""Images that are hard or easy for every model: much wider than any difference here."""


def test_a_small_difference_on_every_image_is_told_apart():
    """Over the images themselves the two intervals overlap almost wholly."""
    found = row("mse", [of_images("a", HARD_N + 0.01), of_images("b", HARD_N)], "lower")
    assert verdicts(found) == ["worse", "best"]
    assert found["best"] == 1
    assert found["cells"][0]["method"] == "paired"
    assert found["cells"][0]["difference"] == pytest.approx(0.01)
    assert found["cells"][0]["difference_interval"] == pytest.approx([0.01, 0.01])


def test_a_difference_that_comes_from_a_few_images_is_not():
    noise_N = torch.randn(400, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    noise_N = noise_N - noise_N.mean() + 0.01
    found = row("mse", [of_images("a", HARD_N), of_images("b", HARD_N + noise_N)], "lower")
    assert verdicts(found) == ["best", "level"]
    low, high = found["cells"][1]["difference_interval"]
    assert low < 0 < high
    assert high - low == pytest.approx(2 * 1.96 / math.sqrt(400), rel=0.1)


@pytest.mark.parametrize(("better", "best"), [("higher", 0), ("lower", 1), ("", None)])
def test_the_direction_decides_what_is_best(better: str, best: int | None):
    found = row("mse", [of_images("a", HARD_N + 1), of_images("b", HARD_N)], better)
    assert found["best"] == best
    assert verdicts(found).count("best") == (best is not None)


def test_seeds_are_told_apart_by_their_own_spread():
    apart = row("fid", [of_seeds("a", 5.0, 5.1, 4.9), of_seeds("b", 7.0, 7.2, 6.8)], "lower")
    assert verdicts(apart) == ["best", "worse"]
    assert apart["cells"][1]["method"] == "seeds"
    assert apart["cells"][0]["deviation"] == pytest.approx(0.1)
    assert apart["cells"][0]["seeds"] == 3
    level = row("fid", [of_seeds("a", 5.0, 9.0, 1.0), of_seeds("b", 7.0, 12.0, 2.0)], "lower")
    assert verdicts(level) == ["best", "level"]


def test_seeds_decide_even_where_images_would_tell_apart():
    """Three seeds that scatter: the images tell each of them apart from each other, the settings are level."""
    a = Entry("a", [of_images("a", HARD_N + d).runs[0] for d in (0.0, 0.2, 0.4)])
    b = Entry("b", [of_images("b", HARD_N + d).runs[0] for d in (0.1, 0.3, 0.35)])
    found = row("mse", [a, b], "lower")
    assert verdicts(found) == ["best", "level"]
    assert found["cells"][1]["method"] == "seeds"


def test_without_images_and_seeds_intervals_must_not_overlap():
    apart = row("fid", [of_seeds("a", 5.0, interval=0.4), of_seeds("b", 6.0, interval=0.4)], "lower")
    assert verdicts(apart) == ["best", "worse"]
    level = row("fid", [of_seeds("a", 5.0, interval=0.6), of_seeds("b", 6.0, interval=0.6)], "lower")
    assert verdicts(level) == ["best", "level"]
    assert level["cells"][1]["method"] == "overlap"
    assert "difference_interval" not in level["cells"][1]


def test_a_group_and_a_single_run_meet_by_the_widest_interval_of_the_group():
    """5 to 6 of the group overlap 5.9 to 6.7 of the run, though each seed's mean and the run's do not."""
    found = row("fid", [of_seeds("a", 5.2, 5.8, interval=0.2), of_seeds("b", 6.3, interval=0.4)], "lower")
    assert verdicts(found) == ["best", "level"]


def test_values_of_which_nothing_is_known_are_not_judged():
    assert verdicts(row("fid", [of_seeds("a", 5.0), of_seeds("b", 60.0)], "lower")) == ["best", "unjudged"]


def test_what_is_missing_or_no_number_takes_no_part():
    entries = [Entry("gan", [Measured({})]), of_images("a", HARD_N), of_images("b", HARD_N + 1)]
    found = row("mse", entries, "lower")
    assert verdicts(found) == ["missing", "best", "worse"]
    assert found["cells"][0]["value"] is None
    broken = Entry("broken", [Measured({"mse": math.nan}, values={"mse": HARD_N * math.nan})])
    assert verdicts(row("mse", [broken, *entries[1:]], "lower")) == ["", "best", "worse"]
    assert verdicts(row("mse", entries[:2], "lower")) == ["missing", ""], "one alone is not the best of anything"


def test_bounds_of_different_likelihoods_are_not_ranked():
    kinds = [("a", "bernoulli likelihood"), ("b", "gaussian likelihood")]
    entries = [of_images(name, HARD_N, "elbo_nats", likelihood=kind) for name, kind in kinds]
    found = row("elbo_nats", entries, "higher")
    assert verdicts(found) == ["incomparable", "incomparable"]
    assert found["best"] is None
    assert "bernoulli likelihood: a; gaussian likelihood: b" in found["unranked"]
    same = [of_images(name, HARD_N, "elbo_nats", likelihood="bernoulli likelihood") for name in "ab"]
    assert row("elbo_nats", same, "higher")["best"] == 0
    assert row("mse", [of_images(n, HARD_N, likelihood=k) for n, k in kinds], "lower")["best"] == 0


def test_distances_in_latents_of_different_priors_are_not_ranked():
    def entry(name: str, floor: float) -> Entry:
        return Entry(name, [Measured({"energy_distance": 0.5, "energy_distance_floor": floor}, {})])

    assert row("energy_distance", [entry("a", 0.01), entry("b", 0.02)], "lower")["unranked"]
    found = row("energy_distance", [entry("a", 0.01), entry("b", 0.01)], "lower")
    assert verdicts(found) == ["best", "unjudged"]
    assert found["cells"][0]["floor"] == 0.01


def test_histograms_are_shown_and_not_ranked():
    entries = [Entry(name, [Measured({"class_histogram": {"0": 1.0}})]) for name in "ab"]
    found = row("class_histogram", entries, "")
    assert [c["value"] for c in found["cells"]] == [{"0": 1.0}] * 2
    assert verdicts(found) == ["", ""]
