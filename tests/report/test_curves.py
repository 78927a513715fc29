from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from latentscape.report.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, Line, charts, even_ticks, thin
from latentscape.report.words import duration, measured, number, plain, term_words


def record(step: int, value: float, kind: str = "train", name: str = "reconstruct/recon_nats_per_image") -> dict:
    return {"kind": kind, "step": step, "terms": {name: value}}


def corners(line: Line) -> list[tuple[float, float]]:
    pairs = line.path.replace("M", "").replace("L", "").split()
    return [(float(x), float(y)) for x, y in zip(pairs[::2], pairs[1::2], strict=True)]


def only(log: list[dict]) -> Chart:
    (chart,) = charts(log)
    return chart


def test_a_chart_has_every_logged_point():
    log = [record(s, 100 - s) for s in range(1, 41)] + [record(s, 99 - s, "held_out") for s in (10, 20, 30)]
    chart = only(log)
    assert (chart.title, chart.unit) == ("reconstruction", "nats per image")
    assert [line.look for line in chart.lines] == ["train", "held-out"]
    assert [len(corners(line)) for line in chart.lines] == [40, 3]
    assert [len(line.dots) for line in chart.lines] == [40, 3]
    assert [line.last for line in chart.lines] == ["60", "69"]
    assert "training ends at 60" in chart.description


def test_higher_values_are_drawn_higher_and_later_steps_further_right():
    points = corners(only([record(1, 1.0), record(2, 3.0), record(3, 2.0)]).lines[0])
    assert points[0][0] < points[1][0] < points[2][0]
    assert points[1][1] < points[2][1] < points[0][1]


def test_a_value_that_is_not_finite_is_a_gap():
    (line,) = only([record(1, 1.0), record(2, 2.0), record(3, math.nan), record(4, 2.5)]).lines
    assert line.path.count("M") == 2
    assert len(corners(line)) == 3


def test_a_run_of_one_record_has_a_visible_dot():
    (line,) = only([record(7, 2.0)]).lines
    assert len(line.dots) == 1
    assert line.dots[0][2] == "step 7: 2"


def test_wide_ranges_get_a_logarithmic_axis_and_others_do_not():
    assert only([record(1, 1e4), record(2, 1.0)]).is_log
    assert not only([record(1, 40.0), record(2, 1.0)]).is_log
    assert not only([record(1, 1e4), record(2, -1.0)]).is_log


def test_learning_rates_and_speed_have_charts():
    rates = {"generate": 1e-4, "discriminate": 2e-4}
    log = [{"kind": "train", "step": s, "learning_rate": rates, "images_per_second": 300.0} for s in (1, 2)]
    found = {chart.title: chart for chart in charts(log)}
    assert [line.name for line in found["learning rate"].lines] == ["generate", "discriminate"]
    assert len({line.look for line in found["learning rate"].lines}) == 2
    assert found["speed"].unit == "images per second"


def test_phases_are_named_when_there_are_several():
    log = [record(1, 1.0, name="generate/total"), record(1, 2.0, name="discriminate/total")]
    assert [c.title for c in charts(log)] == ["total loss, generate phase", "total loss, discriminate phase"]


values = st.floats(-1e30, 1e30)


@example([0.0, 5e-324])
@given(st.lists(st.one_of(values, st.just(math.nan)), min_size=1, max_size=30))
def test_everything_drawn_lies_inside_the_axes(ys):
    for chart in charts([record(i, y) for i, y in enumerate(ys)]):
        for x, y in corners(chart.lines[0]):
            assert LEFT - 0.1 <= x <= WIDTH - RIGHT + 0.1
            assert TOP - 0.1 <= y <= HEIGHT - BOTTOM + 0.1
        for tick in chart.y_ticks:
            assert TOP - 0.1 <= tick.at <= HEIGHT - BOTTOM + 0.1
        assert 1 <= len(chart.y_ticks) <= 12


@given(st.lists(values, min_size=1, max_size=400), st.integers(10, 60))
def test_thinning_keeps_the_extremes_and_the_order(ys, most):
    points = [(float(i), y) for i, y in enumerate(ys)]
    kept = thin(points, most)
    assert len(kept) <= max(most, 2) + 2
    assert min(y for _, y in kept) == min(ys)
    assert max(y for _, y in kept) == max(ys)
    assert kept == sorted(kept)
    assert set(kept) <= set(points)


def test_thinning_keeps_gaps():
    points = [(float(i), math.nan if i == 50 else 1.0) for i in range(100)]
    assert any(math.isnan(y) for _, y in thin(points, 20))


@given(st.floats(-1e6, 1e6), st.floats(1e-4, 1e6), st.integers(4, 8))
def test_ticks_are_round_even_and_told_apart(low, span, about):
    ticks = even_ticks(low, low + span, about)
    assert 1 <= len(ticks) <= about + 1
    assert all(low - span / 100 <= v <= low + span * 1.01 for v, _ in ticks)
    assert len({text for _, text in ticks}) == len(ticks)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1797, "1,797"), (-86.44, "−86.44"), (0.000123456, "0.0001235"), (12345.6, "12,346"), (2e20, "2e+20"),
     (math.nan, "not a number"), (-math.inf, "−∞"), (0.5, "0.5")],
)  # fmt: skip
def test_numbers_are_written_for_people(value, text):
    assert number(value) == text


def test_metrics_times_terms_and_settings_in_words():
    assert measured("knn_accuracy", 0.8125) == "81.2 %"
    assert measured("knn_accuracy", 1.5) == "1.5"
    assert measured("elbo_nats", -22.514, 6) == "−22.514"
    assert [duration(s) for s in (3.21, 59.4, 200, 7500)] == ["3.2 s", "59 s", "3 min 20 s", "2 h 5 min"]
    assert term_words("kl_nats_per_image") == ("KL divergence to the prior", "nats per image")
    assert term_words("gradient_penalty") == ("gradient penalty", "")
    shown = [plain(v) for v in (True, [], None, [32, 64], {"a": 1}, 1e-4, -0.5, "x")]
    assert shown == ["yes", "none", "none", "32, 64", "a: 1", "0.0001", "−0.5", "x"]
