"""A run of networks without validation labels has a temperature too, from labels that its folds did not see."""

import json

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import noisystudent as ns
from noisystudent.data.sources.builtin import open_digits
from noisystudent.data.stratified import cross_fit_folds
from noisystudent.errors import ModelError

SETTINGS = {
    "data.size": 8,
    "data.near_duplicates": "none",
    "model.teacher": "tiny_resnet",
    "train.steps": 60,
    "train.batch_size": 32,
    "rounds.count": 1,
    "rounds.controls": 0,
    "runtime.threads": 1,
    "noise.randaugment": False,
}


def run(out, strength):
    settings = {**SETTINGS, "noise.strength": strength, **({"noise.strengths": [0.1]} if strength == "auto" else {})}
    return ns.run("digits:labeled", "digits:unlabeled", out=out, settings=settings, quiet=True)


def test_the_temperature_fits_the_answers_of_models_that_did_not_see_the_labels(tmp_path):
    run(tmp_path / "run", "auto")
    stored = json.loads((tmp_path / "run/best/calibration.json").read_text())
    assert stored["fitted_on"] == "cross-fitted labels"
    assert stored["labels"] == 40
    records = [record for shard in [open_digits("labeled", seed=0, labeled=True)] for record in shard.read(0)]
    labels = np.array([record.label for record in records])
    folds = cross_fit_folds(labels, 2, seed=0)
    answers = np.zeros((40, 10))
    for number, fold in enumerate(folds, start=1):
        model = ns.load(tmp_path / f"run/strength/0.1-fold-{number}")
        answers[fold] = model.predict_proba([np.asarray(records[row].image) for row in fold])

    def loss(log_temperature):
        powers = answers ** np.exp(-log_temperature)
        return -np.log(powers[np.arange(40), labels] / powers.sum(axis=1)).mean()

    best = np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x)
    assert stored["temperature"] == pytest.approx(best, rel=1e-2)
    calibrated = ns.predict(tmp_path / "run", "digits:test", calibrated=True, quiet=True)
    assert sum(calibrated.counts.values()) == 500


def test_without_folds_calibration_is_refused_with_what_would_give_it(tmp_path):
    run(tmp_path / "run", 0.1)
    assert not (tmp_path / "run/best/calibration.json").exists()
    with pytest.raises(ModelError, match=r"has no temperature .* noise.strength auto"):
        ns.predict(tmp_path / "run", "digits:test", calibrated=True, quiet=True)
