"""Durations are read as users write them; anything else is refused in one line."""

import pytest

from noisystudent.duration import parse_duration, parse_samples


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("1h30m", 5400), ("1.5H", 5400), (" 1d ", 86400)]
)
def test_a_duration_is_numbers_with_units(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "15", "15 m", "m", "-5m", "1w", "15m!", "1h-30m", "nan", "infh", "١٥m"[0:2]])
def test_what_is_no_duration_is_named(text):
    with pytest.raises(ValueError, match=r"is no duration; write numbers with a unit \(s, m, h, d\), such as 15m"):
        parse_duration(text)


def test_no_time_is_refused():
    with pytest.raises(ValueError, match="'0m' is no time at all"):
        parse_duration("0m")


@pytest.mark.parametrize(("text", "samples"), [("76800samples", 76_800), ("76,800 samples", 76_800), ("15m", None)])
def test_samples_are_a_number_with_their_word(text, samples):
    assert parse_samples(text) == samples


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="no work at all"):
        parse_samples("0samples")
