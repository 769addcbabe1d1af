"""The paper's ablations by settings: noise of unlabeled images alone, a share of them, bins of confidence."""

import json

import pyarrow.parquet as pq
import pytest

import noisystudent
from noisystudent.errors import ModelError
from small_runs import DIGITS, SMALL, weights

BASE = {**SMALL, "rounds.count": 1, "rounds.controls": 0, "train.steps": 4}
WITHOUT_NOISE = {
    "noise.unlabeled.crop": "none",
    "noise.unlabeled.randaugment": False,
    "noise.unlabeled.dropout": 0.0,
    "noise.unlabeled.stochastic_depth": 0.0,
}


def run(folder, settings) -> noisystudent.Run:
    return noisystudent.run(**DIGITS, out=folder, settings={**BASE, **settings}, quiet=True)


def inputs(folder, stage):
    return json.loads((folder / stage / "inputs.json").read_text())


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return run(tmp_path_factory.mktemp("plain"), {}).path


def test_noise_off_on_unlabeled_images_changes_students_alone(plain, tmp_path):
    run(tmp_path, WITHOUT_NOISE)
    assert weights(tmp_path / "teacher") == weights(plain / "teacher")
    assert inputs(tmp_path, "teacher") == inputs(plain, "teacher")
    assert weights(tmp_path / "round-1/student") != weights(plain / "round-1/student")
    student, same = inputs(tmp_path, "round-1/student"), inputs(plain, "round-1/student")
    assert student.pop("unlabeled_noise")["dropout"] == 0
    assert student == same
    config = json.loads((tmp_path / "round-1/student/config.json").read_text())
    assert config == json.loads((plain / "round-1/student/config.json").read_text())  # the labeled rows have the noise


def test_batch_norm_momentum_changes_the_statistics(plain, tmp_path):
    run(tmp_path, {"model.batch_norm_momentum": 0.01})
    assert weights(tmp_path / "teacher") != weights(plain / "teacher")
    model = inputs(tmp_path, "teacher")["model"]
    assert model.pop("batch_norm_momentum") == 0.01
    assert model == inputs(plain, "teacher")["model"]
    with pytest.raises(ModelError, match=r"batch_norm_momentum is 0\.01, and VisionTransformer has no batch norm"):
        run(tmp_path / "vit", {"model.batch_norm_momentum": 0.01, "model.teacher": "test_vit", "data.size": 160})


@pytest.mark.parametrize("streaming", ["never", "always"])
def test_a_share_of_the_unlabeled_images_is_labeled_and_selected(plain, tmp_path, streaming):
    bounds = {"selection.rule": "threshold", "selection.threshold": 0.05, "selection.below": 0.9}
    run(tmp_path, {"data.unlabeled_share": 0.25, "data.streaming": streaming, **bounds})
    whole, share = (
        [key for path in sorted((folder / "round-1/predictions").glob("*.parquet")) for key in _column(path, "key")]
        for folder in (plain, tmp_path)
    )
    assert set(share) < set(whole)
    assert len(share) == pytest.approx(len(whole) / 4, rel=0.2)
    kept = json.loads((tmp_path / "run.json").read_text())["sources"]["unlabeled"]
    assert kept["notes"] == [f"{kept['images']} of its 1257 images are used (data.unlabeled_share 0.25)"]


def _column(path, name):
    return pq.read_table(path)[name].to_pylist()
