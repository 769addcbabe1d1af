"""Training in float16: steps that overflow, loss scales that survive a kill, and losses that are not finite."""

import json
import math

import pytest
import torch

from noisystudent.errors import TrainingError
from noisystudent.losses.objectives import LossTerms
from noisystudent.runtime.device import Engine
from noisystudent.training.loop import METRICS, fit
from noisystudent.training.settings import TrainSettings
from noisystudent.training.state import STATE
from training_setup import CPU, Killed, make_batches, make_classifier, objective, same_weights

FLOAT16 = Engine(CPU, "float16")


@pytest.fixture
def frequent_saves(monkeypatch):
    """Losses are checked and the state is saved every 5 steps."""
    monkeypatch.setattr("noisystudent.training.loop.LOG_EVERY", 5)


def scaled_objective(logits, batch, factor=2000.0):
    """The usual loss times a factor that makes gradients overflow float16 until the scale has fallen."""
    terms = objective(logits, batch)
    return LossTerms(terms.loss * factor, terms.named)


def train(folder, batches, objective=scaled_objective, steps=15):
    folder.mkdir(exist_ok=True)
    settings = TrainSettings(steps=steps, save_every=1e-6)
    return fit(make_classifier(), batches, objective, settings, folder, seed=3, engine=FLOAT16)[0]


def test_steps_whose_gradients_overflow_are_skipped(tmp_path):
    trained = train(tmp_path, make_batches(), steps=40)
    rows = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert 1 <= rows[0]["scale"] < 2.0**16  # the initial scale
    assert rows[-1]["labeled"] < rows[0]["labeled"]
    batch = make_batches()(1000)
    assert (trained.eval()(batch.pixels).argmax(1) == batch.targets.argmax(1)).float().mean() == 1


def test_a_killed_training_resumes_with_its_scale_to_the_same_bits(frequent_saves, tmp_path):
    whole = train(tmp_path / "whole", make_batches())
    batches = make_batches()

    def killed_batches(step):
        if step == 12:
            raise Killed
        return batches(step)

    with pytest.raises(Killed):
        train(tmp_path / "killed", killed_batches)
    assert torch.load(tmp_path / "killed" / STATE, weights_only=True)["scaler"]["scale"] < 2.0**16
    assert same_weights(whole, train(tmp_path / "killed", batches))
    assert (tmp_path / "killed" / METRICS).read_text() == (tmp_path / "whole" / METRICS).read_text()


def test_gradients_that_overflow_at_every_scale_are_an_error_with_a_remedy(tmp_path):
    with pytest.raises(TrainingError, match=r"overflow float16 .* at step 19 .* 0\.0625.*bfloat16"):
        train(tmp_path, make_batches(), lambda logits, batch: scaled_objective(logits, batch, 1e30), 45)
    assert not (tmp_path / STATE).exists()


def test_a_loss_that_is_not_finite_is_an_error_in_float16_too(frequent_saves, tmp_path):
    with pytest.raises(TrainingError, match="not finite at step 0"):
        train(tmp_path, make_batches(), lambda logits, batch: scaled_objective(logits, batch, math.inf))
