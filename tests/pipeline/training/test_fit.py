import json
import math
import time

import numpy as np
import pytest
import torch

from data_images import array_source, noise_image
from noisystudent.data.images import ImageFormat, decode_shard
from noisystudent.errors import ArtifactError, TrainingError
from noisystudent.losses.objectives import LossTerms
from noisystudent.models.ema import Ema
from noisystudent.models.tuning import train_last_blocks
from noisystudent.noise.counter_rng import CounterRng
from noisystudent.noise.input import InputNoise
from noisystudent.noise.settings import NoiseSettings
from noisystudent.training.loader import BatchLoader, ImageBuffer, InMemoryStream, make_buffer
from noisystudent.training.loop import METRICS, fit, learning_rate, make_optimizer
from noisystudent.training.settings import TrainSettings
from noisystudent.training.state import STATE, TrainState
from training_setup import CPU, make_batches, make_classifier, objective, same_weights


def test_an_image_buffer_holds_all_sources_on_one_canvas():
    shapes = ((8, 12), (10, 8))
    wide, tall = (decode_shard(array_source(noise_image(*shape)[None]), 0, ImageFormat(8, 3)) for shape in shapes)
    buffer = make_buffer([wide, tall, wide.take(np.arange(0))], CPU)
    assert buffer.pixels.shape == (2, 3, 10, 12)
    assert buffer.sizes.tolist() == [[8, 12], [10, 8]]
    assert np.array_equal(buffer.pixels[0, :, :8], wide.pixels[0])
    assert np.array_equal(buffer.pixels[1, :, :, :8], tall.pixels[0])
    assert int(buffer.pixels.sum()) == int(wide.pixels.sum()) + int(tall.pixels.sum())


def train(folder, steps=45, **more):
    folder.mkdir(exist_ok=True)
    settings = TrainSettings(steps=steps, save_every=1e-6, **more)
    return fit(make_classifier(), make_batches(), objective, settings, folder, seed=3)[0]


def test_training_learns_and_writes_metrics(tmp_path):
    trained = train(tmp_path, steps=60)
    batch = make_batches()(1000)
    accuracy = (trained.eval()(batch.pixels).argmax(1) == batch.targets.argmax(1)).float().mean()
    assert accuracy == 1
    rows = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [row["step"] for row in rows] == [20, 40, 60]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[0].keys() >= {"loss", "labeled", "learning_rate"}


def test_training_restores_the_random_state_of_the_caller(tmp_path):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(tmp_path, steps=2)
    assert torch.equal(before, torch.get_rng_state())


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(tmp_path):
    def poisoned(logits, batch):
        terms = objective(logits, batch)
        poisoned.calls += 1
        return LossTerms(terms.loss * (math.nan if poisoned.calls == 31 else 1), terms.named)

    poisoned.calls = 0
    settings = TrainSettings(steps=60, save_every=1e-6)
    with pytest.raises(TrainingError, match="not finite at step 30"):
        fit(make_classifier(), make_batches(), poisoned, settings, tmp_path, seed=3)
    state = torch.load(tmp_path / STATE, weights_only=True)
    assert state["step"] == 20
    assert all(torch.isfinite(value).all() for value in state["model"].values())


def test_saving_takes_at_most_two_percent_of_the_time(tmp_path, monkeypatch):
    classifier = make_classifier()
    optimizer = make_optimizer(classifier, TrainSettings())
    state = TrainState(classifier, Ema(classifier, 0.9), optimizer, torch.amp.GradScaler("cpu", enabled=False))
    for state.saving, pause in ((0.0, 60), (1.2, 60), (2.0, 98)):
        assert state.pause(60.0) == pytest.approx(pause)
    monkeypatch.setattr(torch, "save", lambda state, path: (time.sleep(0.1), path.write_bytes(b"")))
    state.save(tmp_path)
    assert state.saving >= 0.1
    assert state.pause(1.0) >= 4.9


def test_a_damaged_state_is_named(tmp_path):
    (tmp_path / STATE).write_bytes(b"not a state")
    with pytest.raises(ArtifactError, match=rf"{STATE} is damaged"):
        train(tmp_path)


def test_batches_are_a_pure_function_of_the_step():
    first, second = make_batches(), make_batches()
    for step in (7, 3, 7):
        assert torch.equal(first(step).pixels, second(step).pixels)
    assert not torch.equal(first(3).pixels, first(4).pixels)
    assert not torch.equal(make_batches(0)(3).pixels, make_batches(1)(3).pixels)


def test_a_batch_has_the_labeled_rows_first_and_the_targets_of_its_images():
    batches = make_batches()
    plain = InputNoise(NoiseSettings(randaugment=False, crop="none"), size=8, strength=1.0, rng=CounterRng(0, "test"))
    batches.noise = plain
    batch = batches(11)
    assert (batch.labeled, len(batch.pixels)) == (8, 16)
    stream = batches.streams[0]
    assert isinstance(stream, InMemoryStream)
    rows = [(batch.pixels[i] == stream.buffer.pixels).flatten(1).all(1).nonzero().item() for i in range(16)]
    assert max(rows[:8]) < 20 <= min(rows[8:])
    assert torch.equal(batch.targets, stream.targets[rows])


def test_every_copy_of_an_image_gets_its_own_noise():
    buffer = ImageBuffer(torch.randint(0, 255, (1, 1, 8, 8), dtype=torch.uint8), torch.full((1, 2), 8))
    noise = InputNoise(NoiseSettings(), size=8, strength=1.0, rng=CounterRng(0, "test"))
    batches = BatchLoader(
        [InMemoryStream("labeled", buffer, torch.ones(1, 1), np.zeros(16, np.int64), 16, seed=0)], noise
    )
    assert len({image.numpy().tobytes() for image in batches(0).pixels}) > 8


def test_the_schedule_warms_up_and_then_decays():
    settings = TrainSettings(steps=100, warmup=0.1, learning_rate=1.0)
    rates = [learning_rate(step, settings) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[55] == pytest.approx(0.5)
    assert rates[-1] < 0.001
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_the_staircase_equals_that_of_the_paper():
    settings = TrainSettings(steps=35000, warmup=0.0, learning_rate=0.128, schedule="staircase")
    # 350 epochs of 100 steps: x0.97 every 2.4 epochs (up to the rounding of 350 / 2.4 to 146 decays).
    for epoch in (0, 1, 3, 100.1, 349):
        expected = 0.128 * 0.97 ** math.floor(epoch / 2.4)
        assert learning_rate(int(epoch * 100), settings) == pytest.approx(expected, rel=0.031)


def test_biases_and_normalization_are_not_decayed():
    classifier = make_classifier()
    optimizer = make_optimizer(classifier, TrainSettings(weight_decay=0.3))
    decays = {id(parameter): group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]}
    for name, parameter in classifier.named_parameters():
        assert decays[id(parameter)] == (0.3 if parameter.ndim > 1 else 0.0), name


def test_a_rate_per_block_moves_the_first_blocks_less_and_resumes(tmp_path):
    before = make_classifier().net.state_dict()

    def moved(net, block):
        weights = net.state_dict()
        return float((weights[f"blocks.{block}.conv1.weight"] - before[f"blocks.{block}.conv1.weight"]).abs().max())

    tenth = train(tmp_path / "tenth", steps=25, layer_decay=0.1)
    assert moved(tenth.net, 2) > 5 * moved(tenth.net, 1) > 25 * moved(tenth.net, 0) > 0
    again = train(tmp_path / "tenth", steps=25, layer_decay=0.1)
    assert same_weights(tenth, again)


def test_frozen_statistics_do_not_move(tmp_path):
    before = make_classifier().state_dict()
    after = train(tmp_path, steps=25, batch_norm="frozen").state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    statistics = {name for name in before if "running" in name or "tracked" in name}
    assert statistics
    assert moved == {*before} - statistics


def test_frozen_blocks_do_not_move_by_a_bit(tmp_path):
    def last_block_of(folder):
        classifier = make_classifier()
        train_last_blocks(classifier.net, 1)
        settings = TrainSettings(steps=25, save_every=1e-6, layer_decay=0.5)
        return fit(classifier, make_batches(), objective, settings, folder, seed=3)[0]

    before, trained = make_classifier().state_dict(), last_block_of(tmp_path)
    after = trained.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.startswith(("net.blocks.2", "net.classifier"))}
    assert same_weights(trained, last_block_of(tmp_path))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsproptf"])
def test_every_optimizer_trains_and_resumes(tmp_path, optimizer):
    whole = train(tmp_path / "whole", steps=25, optimizer=optimizer, learning_rate=0.01)
    again = train(tmp_path / "whole", steps=25, optimizer=optimizer, learning_rate=0.01)
    assert same_weights(whole, again)


def test_scores_during_training_are_recorded(tmp_path):
    settings = TrainSettings(steps=45, evaluate_every=20)
    fit(
        make_classifier(),
        make_batches(),
        objective,
        settings,
        tmp_path,
        seed=3,
        evaluate=lambda classifier: {"score": float(classifier.training)},
    )
    rows = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [row.get("score") for row in rows] == [0.0, 0.0, 0.0]


def test_without_a_largest_norm_gradients_stay_as_they_are(tmp_path):
    own = train(tmp_path / "none", steps=3, clip=0)
    assert same_weights(own, train(tmp_path / "beyond", steps=3, clip=1e9))
    free, bound = (train(tmp_path / f"clip-{clip}", steps=3, clip=clip, optimizer="sgd") for clip in (0, 1e-3))
    assert not same_weights(free, bound)
