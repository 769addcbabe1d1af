"""A training that is killed at any step and called again ends with the same bits."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from noisystudent.models.classifier import Classifier
from noisystudent.models.tuning import set_batch_norm_momentum, train_last_blocks
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.parted import part_model_noise
from noisystudent.noise.settings import NoiseSettings
from noisystudent.training.loader import Batch, BatchLoader
from noisystudent.training.loop import METRICS, fit
from noisystudent.training.settings import TrainSettings
from noisystudent.training.state import STATE
from training_setup import Killed, make_batches, make_classifier, objective, same_weights


def train(folder: Path, batches: Callable[[int], Batch]) -> Classifier:
    folder.mkdir(exist_ok=True)
    return fit(make_classifier(), batches, objective, TrainSettings(steps=45, save_every=1e-6), folder, seed=3)[0]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return train(folder, make_batches()), (folder / METRICS).read_text()


@pytest.mark.parametrize("kill_at", [5, 20, 27, 44])
def test_a_killed_training_resumes_to_the_same_bits(undisturbed, tmp_path, kill_at):
    batches = make_batches()

    def killed_batches(step):
        if step == kill_at:
            raise Killed
        return batches(step)

    with pytest.raises(Killed):
        train(tmp_path, killed_batches)
    torch.rand(7)  # other use of the global generator must not matter
    classifier, metrics = undisturbed
    assert same_weights(classifier, train(tmp_path, batches))
    assert (tmp_path / METRICS).read_text() == metrics


@pytest.mark.parametrize("kill_at", [20, 27])
def test_a_killed_training_of_the_last_blocks_resumes_to_the_same_bits(tmp_path, kill_at):
    settings = TrainSettings(steps=30, save_every=1e-6, layer_decay=0.5, batch_norm="frozen")

    def train_last_block(folder, kill_at=None):
        folder.mkdir(exist_ok=True)
        classifier, batches = make_classifier(), make_batches()
        train_last_blocks(classifier.net, 1)

        def killed_batches(step):
            if step == kill_at:
                raise Killed
            return batches(step)

        return fit(classifier, killed_batches, objective, settings, folder, seed=3)[0]

    with pytest.raises(Killed):
        train_last_block(tmp_path / "killed", kill_at)
    assert same_weights(train_last_block(tmp_path / "killed"), train_last_block(tmp_path / "whole"))


@pytest.mark.parametrize("kill_at", [20, 27])
def test_a_killed_training_with_noise_per_part_of_the_batch_resumes_to_the_same_bits(tmp_path, kill_at):
    def train_parted(folder, kill_at=None):
        folder.mkdir(exist_ok=True)
        classifier, given = make_classifier(), make_batches()
        part_model_noise(classifier.net, rows=given.labeled, dropout=0.6, stochastic_depth=0.0)
        set_batch_norm_momentum(classifier.net, 0.01)
        plain = InputNoise(NoiseSettings(), size=8, strength=0.0, rng=CounterRng(0, "test"))
        batches = BatchLoader(given.streams, given.noise, unlabeled_noise=plain)

        def killed_batches(step):
            if step == kill_at:
                raise Killed
            return batches(step)

        settings = TrainSettings(steps=30, save_every=1e-6)
        return fit(classifier, killed_batches, objective, settings, folder, seed=3)[0]

    with pytest.raises(Killed):
        train_parted(tmp_path / "killed", kill_at)
    assert same_weights(train_parted(tmp_path / "killed"), train_parted(tmp_path / "whole"))


@pytest.mark.parametrize("stop_at", [0, 27, 44])
def test_a_stopped_training_saves_the_step_that_it_was_in(default_signal_handlers, undisturbed, tmp_path, stop_at):
    batches = make_batches()

    def stopping_batches(step):
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        return batches(step)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, stopping_batches)
    assert torch.load(tmp_path / STATE)["step"] == stop_at + 1
    assert same_weights(undisturbed[0], train(tmp_path, batches))
