"""A finished run in Python: what it found, and what a folder without findings says."""

import pytest

from noisystudent.errors import ArtifactError
from noisystudent.pipeline.run_folder import open_run
from run_folders import full_run, minimal_run, with_findings


def test_a_run_has_its_lists(tmp_path):
    run = open_run(with_findings(full_run(tmp_path / "run"), count=3))
    assert [issue.key for issue in run.label_issues] == [f"labeled/{row:04d}.png" for row in range(3)]
    assert [image.distance for image in run.out_of_class] == [0.9] * 3
    assert [image.first for image in run.label_next] == ["class a"] * 3


def test_a_folder_without_findings_says_what_has_them(tmp_path):
    with pytest.raises(ArtifactError, match=r"findings/summary\.json is missing.*a distillation does not"):
        _ = open_run(minimal_run(tmp_path / "run")).label_issues
