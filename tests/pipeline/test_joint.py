"""Students that learn from pseudo labels first and from labels afterwards (``rounds.joint false``)."""

import json

import pytest

import noisystudent
from noisystudent.artifacts.folder import parse_manifest, read_json
from noisystudent.errors import NoisyStudentError
from noisystudent.pipeline.stages.student import pretraining_steps
from noisystudent.training.settings import TrainSettings
from small_runs import DIGITS, SMALL, weights

APART = {**SMALL, "rounds.joint": False, "rounds.count": 1, "data.near_duplicates": "none", "rounds.controls": 1}


@pytest.mark.parametrize(
    ("ratio", "batch", "steps"),
    [(3.0, "total", (6, 2)), (1.0, "total", (4, 4)), (1e6, "total", (7, 1)), (3.0, "labeled", (8, 8))],
)
def test_both_parts_have_as_many_images_as_a_student_of_both_together(ratio, batch, steps):
    train = TrainSettings(steps=8, batch_size=32, ratio=ratio, batch=batch)

    assert pretraining_steps(train, 1) == steps


def test_a_student_is_pretrained_on_pseudo_labels_alone_and_then_tuned_on_labels(tmp_path):
    run = noisystudent.run(**DIGITS, out=tmp_path / "run", settings=APART, quiet=True)

    pretrained, student = (parse_manifest(run.path / "round-1" / name) for name in ("pretrained", "student"))
    assert pretrained.inputs["batch"] == {"pseudo": 32}
    assert student.inputs["batch"] == {"labeled": 32}
    assert student.inputs["model"]["start"] == pretrained.fingerprint
    cost = {stage.name: stage.samples_seen for stage in run.summary.cost.stages}
    assert cost["round-1/pretrained"] + cost["round-1/student"] == cost["control"] == 8 * 32
    assert weights(run.path / "round-1/pretrained") != weights(run.path / "round-1/student")
    training = read_json(run.path / "round-1/student/training.json")
    assert training["weights_samples_seen"] == 8 * 32
    rows = (run.path / "round-1/pretrained/metrics.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["step"] == 6


def test_a_plan_has_the_stages_of_the_run(tmp_path):
    planned = noisystudent.plan(**DIGITS, out=tmp_path / "run", settings=APART, quiet=True).stages

    samples = {stage.name: stage.samples_seen for stage in planned}
    assert (samples["round-1/pretrained"], samples["round-1/student"]) == (6 * 32, 2 * 32)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"distillation.method": "kd"}, r"rounds\.joint only with distillation\.method none"),
        ({"objective.weighting": "sum"}, r"objective\.weighting only with rounds\.joint true"),
        ({"model.backbone": "efficientnet-lite0", "model.tune": "head"}, "model.tune all"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, settings, named):
    with pytest.raises(NoisyStudentError, match=named):
        noisystudent.run(**DIGITS, out=tmp_path / "run", settings={**APART, **settings}, quiet=True)
