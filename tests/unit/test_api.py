"""Options of single stages that would have no effect are refused."""

import pytest

import noisystudent
from noisystudent.artifacts.folder import commit
from noisystudent.errors import SettingsError


def test_a_round_counts_only_where_the_rule_grows(tmp_path):
    commit(tmp_path / "predictions", "predictions", {"classes": ["a", "b"]})
    with pytest.raises(SettingsError, match=r"--round 2 has an effect only with selection\.rule curriculum"):
        noisystudent.select(
            predictions=tmp_path / "predictions",
            out=tmp_path / "selection",
            round=2,
            settings={"selection.rule": "threshold"},
        )


def test_a_seed_counts_only_where_the_teacher_is_noised(tmp_path):
    with pytest.raises(SettingsError, match=r"--seed 3 has an effect only with noise\.teacher true"):
        noisystudent.label(teacher=tmp_path, source="digits", out=tmp_path / "out", seed=3)
