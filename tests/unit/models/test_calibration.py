"""The temperature of a checkpoint: stored, read with care, and refused where it says nothing."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from noisystudent.errors import ModelError
from noisystudent.models.calibration import (
    CALIBRATION,
    Calibration,
    read_calibration,
    usable_calibration,
    write_calibration,
)

FITTED = Calibration(temperature=0.5, labels=40, fitted_on="validation labels")


def test_it_is_read_as_it_was_written(tmp_path):
    assert read_calibration(tmp_path) is None
    write_calibration(tmp_path, FITTED)
    assert read_calibration(tmp_path) == FITTED


WRONG = [
    ("temperature", 0),
    ("temperature", "1"),
    ("temperature", float("nan")),
    ("labels", 0),
    ("fitted_on", 3),
    ("x", 1),
]


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{", '{"temperature": 1}', *({**asdict(FITTED), name: value} for name, value in WRONG)],
)
def test_a_damaged_file_is_no_temperature(tmp_path, content):
    (tmp_path / CALIBRATION).write_text(content if isinstance(content, str) else json.dumps(content))
    assert read_calibration(tmp_path) is None


def test_probabilities_are_raised_to_the_power_of_one_over_t():
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], np.float32)
    expected = p**2 / (p**2).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(FITTED.apply(np.log(p))), expected, rtol=1e-6)


def test_without_a_temperature_or_at_an_end_of_the_range_the_message_says_what_to_do():
    with pytest.raises(ModelError, match=r"pets has no temperature .*run --validation"):
        usable_calibration(None, "pets")
    for end in (0.05, 20.0):
        with pytest.raises(ModelError, match="40 validation labels are too few or too easy"):
            usable_calibration(replace(FITTED, temperature=end), "pets")
    assert usable_calibration(FITTED, "pets") is FITTED
