"""Percentiles and rates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision.stats import Histogram, Rate, Stats


@given(st.lists(st.integers(1, 10**11), min_size=1, max_size=200), st.integers(1, 100))
def test_percentiles_are_within_two_percent_of_the_exact_one(durations, percent):
    histogram = Histogram()
    for duration in durations:
        histogram.record(duration)
    exact = np.percentile(durations, percent, method="inverted_cdf") / 1e6
    assert histogram.percentile_ms(percent) == pytest.approx(exact, rel=0.02)


def test_nothing_recorded_is_zero_and_nonsense_does_not_crash():
    histogram = Histogram()
    assert histogram.summary() == {"p50": 0.0, "p95": 0.0, "p99": 0.0}
    histogram.record(-5)
    histogram.record(10**30)
    assert histogram.count == 2


def test_stages_are_kept_apart():
    stats = Stats()
    stats.record("infer", 1_000_000)
    stats.record("decode", 2_000_000)
    latency = stats.latency_ms()
    assert latency["infer"]["p50"] == pytest.approx(1, rel=0.02)
    assert latency["decode"]["p50"] == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("fps", [5, 30, 200])
def test_the_rate_settles_on_the_true_one(fps):
    rate = Rate()
    for frame in range(10 * fps):
        told = rate.tick(round(frame * 1e9 / fps))
    assert told == pytest.approx(fps, rel=0.01)


def test_a_short_first_gap_does_not_make_the_rate():
    rate = Rate()
    rate.tick(0)
    rate.tick(1_000_000)
    for frame in range(1, 31):
        told = rate.tick(round(frame * 1e9 / 30))
    assert told == pytest.approx(30, rel=0.1)
